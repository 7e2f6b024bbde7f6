//! Bytes to and from a server, over TLS where it is at `https`.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Stream};

/// Where a server is, and how hands are shaken with it.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) handshake: Option<Handshake>,
}

/// How hands are shaken with one server.
#[derive(Clone)]
pub(crate) struct Handshake {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Handshake {
    /// With the server of this name or address.
    pub(crate) fn new(config: Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned());
        Ok(Self { config, name: name.map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))? })
    }
}

impl Place {
    /// A connection whose hands are shaken, for whoever may wait; reads and writes on it wait as long, too.
    pub(crate) fn connect(&self, longest: Duration) -> io::Result<Wire> {
        let stream = TcpStream::connect_timeout(&self.address, longest)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(longest))?;
        stream.set_write_timeout(Some(longest))?;
        let mut wire = Wire::new(stream, self.handshake.as_ref())?;
        let deadline = Instant::now() + longest;
        while wire.is_shaking_hands() {
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            wire.shake()?;
        }
        Ok(wire)
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Wire {
    /// One over this stream; hands are shaken by the first who writes.
    pub(crate) fn new(stream: TcpStream, handshake: Option<&Handshake>) -> io::Result<Self> {
        let tls = handshake.map(|Handshake { config, name }| {
            ClientConnection::new(config.clone(), name.clone()).map(Box::new).map_err(io::Error::other)
        });
        Ok(Self { stream, tls: tls.transpose()? })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// True while nothing that is written can go to the other side.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// What is to be waited for, where TLS decides it: true if something is left to be written.
    pub(crate) fn has_unsent(&self) -> Option<bool> {
        self.tls.as_ref().map(|tls| tls.wants_write())
    }

    fn shake(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.complete_io(&mut self.stream).map(drop).map_err(told),
            None => Ok(()),
        }
    }
}

/// Why hands could not be shaken, in words where the system or the library has none.
fn told(error: io::Error) -> io::Error {
    let of_tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    if matches!(of_tls, Some(rustls::Error::InvalidMessage(_))) {
        return io::Error::other("what it answers is no TLS; http:// may be meant");
    }
    match error.kind() {
        // What a socket says whose time is over.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(
            ErrorKind::TimedOut,
            "it does not answer the handshake of TLS; http:// may be meant",
        ),
        _ => error,
    }
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.stream).read(bytes),
            None => self.stream.read(bytes),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => match Stream::new(&mut **tls, &mut self.stream).write(bytes)? {
                // What was written before fills the room that there is.
                0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
                length => Ok(length),
            },
            None => self.stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.stream).flush(),
            None => self.stream.flush(),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_that_is_not_answered_is_told_in_words() {
        let silent = told(ErrorKind::WouldBlock.into());
        assert_eq!(silent.kind(), ErrorKind::TimedOut);
        assert!(silent.to_string().contains("does not answer the handshake"), "{silent}");
        let other = told(ErrorKind::ConnectionReset.into());
        assert_eq!(other.kind(), ErrorKind::ConnectionReset);
    }
}

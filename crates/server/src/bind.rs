//! Binding addresses.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::settings::{Listen, Value};

/// Connections that wait to be taken; the kernel may allow fewer.
const BACKLOG: u32 = 4096;
/// Ports tried after the wanted one when any of them will do.
const NEXT_PORTS: u16 = 100;

/// How the API's address is chosen.
const FLAG: &str = "--listen HOST:PORT";

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}; stop what listens there, or choose another address with \
     {setting} (port 0 picks a free one)"
)]
pub struct BindError {
    address: String,
    setting: &'static str,
    source: io::Error,
}

/// Listens on this very address.
pub async fn bind(listen: &Listen) -> Result<TcpListener, BindError> {
    bind_for(listen, FLAG).await
}

/// The same for an address that another setting says.
pub async fn bind_for(listen: &Listen, setting: &'static str) -> Result<TcpListener, BindError> {
    let bound = bind_port(&listen.host, listen.port).await;
    bound.map_err(|source| BindError { address: listen.print(), setting, source })
}

/// Listens on this address, or on the next port that is free.
pub async fn bind_next_free(listen: &Listen) -> Result<TcpListener, BindError> {
    for port in listen.port..=listen.port.saturating_add(NEXT_PORTS) {
        match bind_port(&listen.host, port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => {
                return other.map_err(|source| BindError { address: listen.print(), setting: FLAG, source });
            }
        }
    }
    bind(&Listen { port: 0, ..listen.clone() }).await
}

async fn bind_port(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in lookup_host((host, port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Listens on an address of this machine.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that was just stopped leaves connections behind that are of no concern to the next.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> Listen {
        Listen { host: "127.0.0.1".to_owned(), port }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_or_skipped() {
        let holder = bind(&loopback(0)).await.unwrap();
        let taken = holder.local_addr().unwrap();
        let text = bind(&loopback(taken.port())).await.unwrap_err().to_string();
        assert!(text.contains(&taken.to_string()) && text.contains("--listen"), "{text}");
        let next = bind_next_free(&loopback(taken.port())).await.unwrap();
        assert_ne!(next.local_addr().unwrap(), taken);
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let listener = bind(&Listen { host: "localhost".to_owned(), port: 0 }).await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
        assert!(bind(&Listen { host: "host.invalid".to_owned(), port: 0 }).await.is_err());
    }
}

//! The name servers of the node, and asking them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::super::dns::{Answer, Question};
use super::super::egress::NAME_SERVER_PATIENCE;

/// The machine's own list.
const SOURCE: &str = "/etc/resolv.conf";
/// The C library reads no more.
const MOST: usize = 3;
/// A list longer than this is not read to its end.
const FILE_BYTES: u64 = 64 * 1024;
/// How long a list is good before it is read again: machines move.
const GOOD: Duration = Duration::from_secs(5);
const PORT: u16 = 53;
/// The longest message there is.
const MESSAGE: usize = 65535;

/// How a question comes, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Udp,
    Tcp,
}

/// The configured name servers, else those of the machine, wherever they are: the node asks them, not the sandbox.
#[derive(Debug)]
pub(in super::super) struct Servers {
    configured: Vec<IpAddr>,
    found: Mutex<Option<(Instant, Vec<IpAddr>)>>,
}

impl Servers {
    pub(in super::super) fn new(configured: &[IpAddr]) -> Self {
        Self { configured: bounded(configured.iter().copied()), found: Mutex::default() }
    }

    /// Those of this moment.
    pub(in super::super) fn list(&self) -> Vec<IpAddr> {
        if !self.configured.is_empty() {
            return self.configured.clone();
        }
        let mut found = self.found.lock();
        match &*found {
            Some((read, servers)) if read.elapsed() < GOOD => servers.clone(),
            _ => {
                let servers = bounded(name_servers(&read(Path::new(SOURCE))));
                *found = Some((Instant::now(), servers.clone()));
                servers
            }
        }
    }

    /// The answer of the first one that gives one in time.
    pub(super) async fn ask(&self, question: &Question, over: Over) -> Option<Answer> {
        for server in self.list() {
            let server = SocketAddr::new(server, PORT);
            let asked = async {
                match over {
                    Over::Udp => over_udp(server, question).await,
                    Over::Tcp => over_tcp(server, question).await,
                }
            };
            match timeout(NAME_SERVER_PATIENCE, asked).await {
                Ok(Ok(Some(answer))) => return Some(answer),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::debug!(%server, %error, "a name server does not answer"),
                Err(_) => tracing::debug!(%server, "a name server does not answer in time"),
            }
        }
        None
    }
}

/// Asks from a port that the kernel picks, under a number that nobody can foresee; hears nobody but the server.
async fn over_udp(server: SocketAddr, question: &Question) -> io::Result<Option<Answer>> {
    let anywhere: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((anywhere, 0)).await?;
    socket.connect(server).await?;
    let id = number()?;
    let Some(asked) = question.asked(id) else { return Ok(None) };
    socket.send(&asked).await?;
    let mut message = [0; 4096];
    loop {
        let length = socket.recv(&mut message).await?;
        // Whatever else comes is not the answer; patience ends this.
        if let Some(answer) = question.answered(id, message.get(..length).unwrap_or_default()) {
            return Ok(Some(answer));
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Question) -> io::Result<Option<Answer>> {
    let id = number()?;
    let Some(asked) = question.asked(id) else { return Ok(None) };
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&framed(&asked)).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut message = vec![0; length.min(MESSAGE)];
    stream.read_exact(&mut message).await?;
    Ok(question.answered(id, &message))
}

/// A message as it goes over TCP: its length first. One that is too long is none.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    match u16::try_from(message.len()) {
        Ok(length) => [&length.to_be_bytes(), message].concat(),
        Err(_) => Vec::new(),
    }
}

fn number() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u16::from_ne_bytes(bytes))
}

fn read(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A list that is not text has no name servers.
        let _ = file.take(FILE_BYTES).read_to_string(&mut text);
    }
    text
}

fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    })
}

fn bounded(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for address in addresses {
        if !address.is_unspecified() && !found.contains(&address) && found.len() < MOST {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_that_name_servers() {
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 127.0.0.53\nnameserver\t192.0.2.1 # a\n\
                    nameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver 192.0.2.1\nnameservers 192.0.2.7\n";
        let found: Vec<String> = bounded(name_servers(text)).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53", "192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn configured_ones_win_and_are_bounded() {
        let configured: Vec<IpAddr> = (1..6).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        assert_eq!(Servers::new(&configured).list(), configured[..3]);
    }

    #[test]
    fn a_message_goes_behind_its_length() {
        assert_eq!(framed(b"abc"), b"\0\x03abc");
        assert!(framed(&[0; MESSAGE + 1]).is_empty());
    }
}

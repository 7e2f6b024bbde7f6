//! What the kernel counts in a network namespace. As long as that is what it was at first, nothing has passed, no address
//! was asked for, and whoever was inside has left nothing that the next one could see.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use super::error::NetworkError;
use super::namespace::visit;

/// Packets of every link, and every event of every protocol; among them all that makes the kernel remember a way, a peer
/// or a connection.
const EVENTS: [&str; 4] = ["dev", "snmp", "snmp6", "netstat"];
/// Its first line counts the sockets of the namespace, the others those of the machine.
const SOCKETS: &str = "sockstat";
const NO_SOCKETS: &str = "sockets: used 0";

/// What a namespace counts at one time.
#[derive(Debug)]
pub(super) struct Counters {
    events: Box<str>,
    has_sockets: bool,
}

impl Counters {
    /// Those of `namespace` now.
    ///
    /// # Errors
    /// When the namespace cannot be entered or does not tell.
    pub(super) fn of(namespace: BorrowedFd<'_>) -> Result<Self, NetworkError> {
        visit(namespace, || {
            let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            let mut events = String::new();
            for file in EVENTS {
                match read(file) {
                    Ok(text) => events.push_str(&text),
                    // A machine without IPv6.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            let has_sockets = read(SOCKETS)?.lines().next() != Some(NO_SOCKETS);
            Ok(Self { events: events.into_boxed_str(), has_sockets })
        })?
        .map_err(|error| NetworkError::kernel("read the counters of a network namespace", error))
    }

    /// Whether nothing has happened since `first`, and nothing is there that could do anything. Sockets of that time do not
    /// count: the kernel ends the one by which a namespace is set up a moment later.
    pub(super) fn are_still(&self, first: &Self) -> bool {
        !self.has_sockets && self.events == first.events
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd as _;
    use std::time::{Duration, Instant};

    use super::super::namespace::Namespace;
    use super::*;

    #[test]
    fn a_socket_or_an_attempt_to_send_does_not_go_unnoticed() {
        let Ok(namespace) = Namespace::new() else {
            println!("skipped: needs the right to make network namespaces");
            return;
        };
        let namespace = namespace.into_fd();
        let counters = || Counters::of(namespace.as_fd()).unwrap();
        let first = counters();
        let deadline = Instant::now() + Duration::from_secs(60);
        while counters().has_sockets {
            assert!(Instant::now() < deadline, "the namespace keeps a socket");
            std::thread::yield_now();
        }
        assert!(counters().are_still(&first), "reading leaves no trace");
        let listener = visit(namespace.as_fd(), || TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        assert!(!counters().are_still(&first), "somebody listens");
        drop(listener);
        let socket = visit(namespace.as_fd(), || UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        // There is no way to it: no packet passes, but the attempt is counted.
        assert!(socket.send_to(b"x", "192.0.2.1:9").is_err());
        drop(socket);
        let after = counters();
        assert_ne!(after.events, first.events, "somebody tried to send");
        assert!(!after.are_still(&first));
    }
}

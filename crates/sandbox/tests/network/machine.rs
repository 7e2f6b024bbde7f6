//! A machine and an internet of the test's own: two network namespaces joined by a link, so that
//! tests neither touch the real machine's network nor each other.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chasen_sandbox::network::{Network, NetworkConfig};

use crate::dns::serve_names;
use nix::sched::{CloneFlags, setns, unshare};

/// A host of the internet.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Another one.
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// The machine's own address on its uplink.
pub(crate) const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// A host of a private network, reachable from the machine.
pub(crate) const PRIVATE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// A name server on a private address.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 53);
/// Where every host above answers.
pub(crate) const PORT: u16 = 80;
/// Where the public ones answer as well.
pub(crate) const OTHER_PORT: u16 = 8080;
pub(crate) const DNS: u16 = 53;
pub(crate) const UPLINK: &str = "uplink0";

/// Until somebody who does not answer counts as silent.
const PATIENCE: Duration = Duration::from_secs(3);
/// Until somebody who has taken a call has answered it, on however busy a machine.
const LONG: Duration = Duration::from_secs(60);

/// The machine of one test.
pub(crate) struct Machine {
    /// The internet's thread: it lives as long as the sender of this channel.
    internet: mpsc::Sender<Box<dyn FnOnce() + Send>>,
    pub(crate) run_dir: tempfile::TempDir,
}

/// Prints a line that the test harness does not swallow.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs `test` on a machine of its own; says so when it cannot.
pub(crate) fn on_a_machine(test: impl FnOnce(&Machine) + Send) {
    if !nix::unistd::geteuid().is_root() {
        return say("SKIPPED: tests of sandbox networks need root");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return say("SKIPPED: tests of sandbox networks need the `ip` program");
    }
    thread::scope(|scope| {
        let machine = scope.spawn(|| {
            if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
                return say(&format!("SKIPPED: no network namespaces here: {error}"));
            }
            test(&Machine::new());
        });
        if let Err(panic) = machine.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Machine {
    fn new() -> Self {
        let (thread_id, born) = mpsc::channel();
        let (internet, work) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            thread_id.send(nix::unistd::gettid()).unwrap();
            for job in work {
                job();
            }
        });
        let there = born.recv().unwrap();
        ip("link set lo up");
        ip(&format!("link add {UPLINK} type veth peer name eth0 netns {there}"));
        ip(&format!("address add {MACHINE}/24 dev {UPLINK}"));
        ip(&format!("link set {UPLINK} up"));
        ip(&format!("route add default via {PUBLIC}"));
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        let machine = Self { internet, run_dir: tempfile::tempdir().unwrap() };
        machine.on_internet(|| {
            ip(&format!("address add {PUBLIC}/24 dev eth0"));
            for address in [OTHER, PRIVATE, METADATA, RESOLVER] {
                ip(&format!("address add {address}/32 dev eth0"));
            }
            ip("link set eth0 up");
            ip("link set lo up");
            for address in [PUBLIC, OTHER, PRIVATE, METADATA, RESOLVER] {
                serve_tcp(SocketAddrV4::new(address, PORT));
            }
            for address in [PUBLIC, OTHER] {
                serve_tcp(SocketAddrV4::new(address, OTHER_PORT));
            }
            for address in [PUBLIC, OTHER, PRIVATE, RESOLVER] {
                serve_udp(SocketAddrV4::new(address, PORT));
            }
            for address in [PUBLIC, PRIVATE] {
                serve_udp(SocketAddrV4::new(address, DNS));
            }
            serve_names(RESOLVER);
        });
        machine
    }

    /// Runs `work` on the internet's side and waits for its result.
    pub(crate) fn on_internet<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, done) = mpsc::channel();
        self.internet.send(Box::new(move || drop(result.send(work())))).unwrap();
        done.recv().unwrap()
    }

    pub(crate) fn config(&self, node_id: &str, prepared: usize) -> NetworkConfig {
        NetworkConfig {
            run_dir: self.run_dir.path().to_owned(),
            dns: vec![RESOLVER.into()],
            prepared,
            ..NetworkConfig::new(node_id, 3233)
        }
    }

    pub(crate) fn open(&self, node_id: &str, prepared: usize) -> Network {
        Network::open(self.config(node_id, prepared)).unwrap()
    }

    /// Names of the machine's links, and how many packet filter tables and forwarding links of ours
    /// it has.
    pub(crate) fn remains(&self) -> Vec<String> {
        let links = ip("-brief link");
        let links = links.lines().map(|line| line.split_whitespace().next().unwrap());
        let mut remains: Vec<String> =
            links.filter(|name| name.starts_with("ch")).map(str::to_owned).collect();
        remains.extend(tables());
        if forwards(UPLINK) {
            remains.push(format!("forwarding on {UPLINK}"));
        }
        remains
    }
}

/// Runs `work` in the namespace `namespace`, on a thread of its own.
pub(crate) fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        inside.join().unwrap()
    })
}

/// The `ip` program in the namespace of this thread.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn forwards(link: &str) -> bool {
    let path = Path::new("/proc/sys/net/ipv4/conf").join(link).join("forwarding");
    std::fs::read_to_string(path).unwrap().trim() == "1"
}

/// The packet filter tables of this thread's namespace that bear our name.
pub(crate) fn tables() -> Vec<String> {
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
    use std::os::fd::AsRawFd as _;
    let netfilter = SockProtocol::NetlinkNetFilter;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, netfilter).unwrap();
    // Length, type "get table", flags "request, dump", sequence, port; then family "all".
    let mut request = Vec::new();
    request.extend(20u32.to_ne_bytes());
    request.extend(((10u16 << 8) | 1).to_ne_bytes());
    request.extend(0x301u16.to_ne_bytes());
    request.extend([0; 12]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).unwrap();
    let mut answer = vec![0; 1 << 16];
    let mut text = String::new();
    while let Ok(length) = recv(socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT) {
        text.push_str(&String::from_utf8_lossy(&answer[..length]));
    }
    text.match_indices("chasen_").map(|(at, _)| text[at..at + 15].to_owned()).collect()
}

/// Answers every TCP connection with the address of who called.
pub(crate) fn serve_tcp(address: SocketAddrV4) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            // A caller that left is its own business.
            let _ = write!(stream, "{}", from.ip());
        }
    });
}

/// Answers every datagram with the address of who sent it.
pub(crate) fn serve_udp(address: SocketAddrV4) {
    let socket = UdpSocket::bind(address).unwrap();
    thread::spawn(move || {
        let mut datagram = [0; 512];
        while let Ok((_, from)) = socket.recv_from(&mut datagram) {
            let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
        }
    });
}

/// Calls `address` over TCP and returns what it answers.
pub(crate) fn call_tcp(address: Ipv4Addr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(LONG))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends a datagram to `address` and returns what it answers.
pub(crate) fn call_udp(address: Ipv4Addr, port: u16) -> io::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddrV4::new(address, port))?;
    socket.send(b"?")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

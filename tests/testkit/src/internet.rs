//! A machine and an internet of a test's own: two network namespaces joined by a link. A node started on the
//! machine reaches the internet's hosts and nothing else, so that what a function can reach is known.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

/// A host of the internet: HTTP on port 80, which answers with the address of who asked.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// The machine's own address on its uplink.
pub const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Hosts that the machine reaches and functions must not: private networks and the metadata service.
pub const FORBIDDEN: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::new(172, 16, 5, 5),
    Ipv4Addr::new(192, 168, 7, 7),
    Ipv4Addr::new(169, 254, 169, 254),
];
/// The name server: it knows every name as [`PUBLIC`].
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 255, 255, 53);

const UPLINK: &str = "uplink0";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` on a thread that lives on a machine of its own; processes that it starts live there too.
///
/// # Panics
/// When the namespaces cannot be made, and when the test panics.
pub fn on_a_machine(test: impl FnOnce() + Send) {
    on_a_machine_beside(|| {}, test);
}

/// The same beside one more service of the internet: `host` runs there, before the test, and may listen on any port
/// of [`PUBLIC`] but 80, on threads that it starts.
///
/// # Panics
/// As [`on_a_machine`], and when the host panics.
pub fn on_a_machine_beside(host: impl FnOnce() + Send + 'static, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let machine = scope.spawn(|| {
            let internet = build(host);
            test();
            drop(internet);
        });
        if let Err(panic) = machine.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Calls a host over TCP from the thread's machine; what it answers to an HTTP request.
///
/// # Errors
/// When it does not answer.
pub fn fetch(address: Ipv4Addr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(address, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Answers HTTP on this address of the thread's machine; answers hold the address of who asked.
///
/// # Panics
/// When the address is taken.
pub fn serve_http(address: Ipv4Addr, port: u16) {
    let address = SocketAddrV4::new(address, port);
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = from.ip().to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
            // A caller that left is its own business.
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
}

/// The addresses of version 4 of the thread's machine, of every link.
///
/// # Panics
/// When `ip` fails.
#[must_use]
pub fn addresses() -> Vec<String> {
    let lines = ip("-4 -o address");
    let address = |line: &str| line.split_once(" inet ")?.1.split(['/', ' ']).next().map(str::to_owned);
    lines.lines().filter_map(address).collect()
}

/// What nodes have left on the thread's machine: links, and whether it still forwards.
///
/// # Panics
/// When `ip` fails.
#[must_use]
pub fn network_remains() -> Vec<String> {
    let links = ip("-brief link");
    let name = |line: &str| line.split([' ', '@']).next().unwrap_or_default().to_owned();
    links.lines().map(name).filter(|name| !["lo", UPLINK].contains(&name.as_str())).collect()
}

/// Makes the machine of this thread and its internet; that one lives as long as the sender.
fn build(host: impl FnOnce() + Send + 'static) -> mpsc::Sender<()> {
    let (born, birth) = mpsc::channel();
    let (life, end) = mpsc::channel::<()>();
    let (linked, ready) = mpsc::channel();
    let (done, answering) = mpsc::channel();
    leave_network();
    thread::spawn(move || {
        leave_network();
        born.send(gettid()).expect("the machine waits");
        ready.recv().expect("the machine makes the link");
        answer();
        host();
        done.send(()).expect("the machine waits");
        let _ = end.recv();
    });
    let there = birth.recv().expect("the internet is born").as_raw();
    ip("link set lo up");
    ip(&format!("link add {UPLINK} type veth peer name eth0 netns {there}"));
    ip(&format!("address add {MACHINE}/24 dev {UPLINK}"));
    ip(&format!("link set {UPLINK} up"));
    ip(&format!("route add default via {PUBLIC}"));
    linked.send(()).expect("the internet waits");
    answering.recv().expect("the internet answers");
    life
}

/// The internet's side: its addresses and who listens there.
fn answer() {
    ip("link set lo up");
    ip(&format!("address add {PUBLIC}/24 dev eth0"));
    for address in FORBIDDEN.iter().chain([&RESOLVER]) {
        ip(&format!("address add {address}/32 dev eth0"));
    }
    ip("link set eth0 up");
    for address in FORBIDDEN.iter().chain([&PUBLIC, &RESOLVER]) {
        serve_http(*address, 80);
    }
    serve_names();
}

/// A name server that knows one address.
fn serve_names() {
    let socket = UdpSocket::bind((RESOLVER, 53)).expect("the resolver's port is free");
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&name_reply(query.get(..length).unwrap_or_default()), from);
        }
    });
}

/// The reply to a query: [`PUBLIC`] for addresses of version 4, nothing for others.
fn name_reply(query: &[u8]) -> Vec<u8> {
    // Identifier, flags, four counts, then labels up to an empty one, type and class.
    let Some((identifier, rest)) = query.split_at_checked(2) else { return Vec::new() };
    let question = rest.get(10..).unwrap_or_default();
    let Some(end) = question.iter().position(|byte| *byte == 0).map(|zero| zero + 5) else {
        return Vec::new();
    };
    let question = question.get(..end).unwrap_or_default();
    let asks_for_v4 = question.ends_with(&[0, 1, 0, 1]);
    let mut reply = identifier.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(asks_for_v4), 0, 0, 0, 0]);
    reply.extend(question);
    if asks_for_v4 {
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(PUBLIC.octets());
    }
    reply
}

fn leave_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
}

/// The `ip` program in the namespace of this thread.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("`ip` is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("`ip` speaks UTF-8")
}

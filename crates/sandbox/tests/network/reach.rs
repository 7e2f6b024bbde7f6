//! What a sandbox reaches, and what it does not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use chasen_sandbox::network::{Lease, Network};

use crate::dns::{ask_tcp, ask_udp};
use crate::machine::{
    DNS, MACHINE, METADATA, Machine, PORT, PRIVATE, PUBLIC, RESOLVER, call_tcp, call_udp, ip, on_a_machine,
    say, serve_tcp, serve_udp, within,
};

pub(crate) fn take(network: &Network) -> Lease {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(network.take()).unwrap()
}

/// A refusal is prompt: nobody waits for a timeout.
pub(crate) fn assert_refused_tcp(sandbox: &Lease, address: Ipv4Addr, port: u16) {
    let start = Instant::now();
    let error = within(sandbox.fd(), || call_tcp(address, port)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}:{port}: {error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{address}:{port}");
}

pub(crate) fn assert_silent_udp(sandbox: &Lease, address: Ipv4Addr, port: u16) {
    let answer = within(sandbox.fd(), || call_udp(address, port));
    assert!(answer.is_err(), "{address}:{port} answered {answer:?}");
}

fn assert_all_reachable_from(machine: &Machine) {
    // Else a refusal below would prove nothing.
    for address in [PUBLIC, PRIVATE, METADATA, RESOLVER] {
        assert_eq!(call_tcp(address, PORT).unwrap(), MACHINE.to_string());
    }
    assert!(machine.remains().is_empty());
}

#[test]
fn public_hosts_and_the_resolver_answer() {
    on_a_machine(|machine| {
        // The strictest check of ways back.
        std::fs::write("/proc/sys/net/ipv4/conf/all/rp_filter", "1").unwrap();
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        assert_eq!(network.resolver(), *network.door_address().ip());
        within(sandbox.fd(), || {
            // They see the machine, not the sandbox.
            assert_eq!(call_tcp(PUBLIC, PORT).unwrap(), MACHINE.to_string());
            assert_eq!(call_udp(PUBLIC, PORT).unwrap(), MACHINE.to_string());
            assert_eq!(ask_udp(network.resolver(), "public.example").unwrap(), [PUBLIC]);
            assert_eq!(ask_tcp(network.resolver(), "public.example").unwrap(), [PUBLIC]);
            let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8080);
            serve_tcp(loopback);
            assert_eq!(call_tcp(*loopback.ip(), 8080).unwrap(), "127.0.0.1");
        });
    });
}

#[test]
fn private_hosts_metadata_and_name_servers_do_not_answer() {
    on_a_machine(|machine| {
        assert_all_reachable_from(machine);
        let extra = "198.51.100.10/32".parse().unwrap();
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        for address in [PRIVATE, METADATA, RESOLVER] {
            assert_refused_tcp(&sandbox, address, PORT);
        }
        assert_refused_tcp(&sandbox, Ipv4Addr::new(172, 16, 0, 1), PORT);
        assert_refused_tcp(&sandbox, Ipv4Addr::new(192, 168, 0, 1), PORT);
        assert_silent_udp(&sandbox, PRIVATE, DNS);
        assert_silent_udp(&sandbox, RESOLVER, PORT);
        // Name servers are the node's, not the sandbox's.
        assert_refused_tcp(&sandbox, RESOLVER, DNS);
        assert!(within(sandbox.fd(), || ask_udp(RESOLVER, "public.example")).is_err());
        drop((sandbox, network));

        let config =
            chasen_sandbox::network::NetworkConfig { denied: vec![extra], ..machine.config("node", 1) };
        let network = Network::open(config).unwrap();
        assert_refused_tcp(&take(&network), PUBLIC, PORT);
    });
}

#[test]
fn of_the_node_only_the_door_answers() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let door = network.door_address();
        let (ip, other) = (*door.ip(), door.port() + 1);
        for address in [door, SocketAddrV4::new(ip, other), SocketAddrV4::new(MACHINE, door.port())] {
            serve_tcp(address);
            assert!(call_tcp(*address.ip(), address.port()).is_ok());
        }
        serve_udp(SocketAddrV4::new(ip, DNS));
        let sandbox = take(&network);
        let seen = within(sandbox.fd(), || call_tcp(ip, door.port())).unwrap();
        assert_eq!(seen, sandbox.address().to_string());
        assert_refused_tcp(&sandbox, ip, other);
        assert_refused_tcp(&sandbox, MACHINE, door.port());
        assert_silent_udp(&sandbox, ip, DNS);
    });
}

#[test]
fn sandboxes_of_this_and_other_nodes_do_not_answer_each_other() {
    on_a_machine(|machine| {
        let (network, neighbour) = (machine.open("node", 2), machine.open("neighbour", 1));
        let (one, two, three) = (take(&network), take(&network), take(&neighbour));
        for other in [&two, &three] {
            let address = SocketAddrV4::new(other.address(), PORT);
            within(other.fd(), || serve_tcp(address));
            // The node itself may.
            assert!(call_tcp(other.address(), PORT).is_ok());
            assert_refused_tcp(&one, other.address(), PORT);
        }
        serve_tcp(neighbour.door_address());
        assert_refused_tcp(&one, *neighbour.door_address().ip(), neighbour.door_address().port());
    });
}

#[test]
fn neighbours_of_the_machine_reach_neither_sandboxes_nor_the_door() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        let (address, door) = (sandbox.address(), network.door_address());
        within(sandbox.fd(), || serve_tcp(SocketAddrV4::new(address, PORT)));
        serve_tcp(door);
        machine.on_internet(move || {
            ip(&format!("route add 100.64.0.0/10 via {MACHINE}"));
            assert!(call_tcp(address, PORT).is_err());
            assert!(call_tcp(*door.ip(), door.port()).is_err());
        });
    });
}

#[test]
fn spoofed_sources_are_dropped() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let (liar, victim) = (take(&network), take(&network));
        let sink = SocketAddrV4::new(PUBLIC, 9999);
        let heard = machine.on_internet(move || UdpSocket::bind(sink).unwrap());
        heard.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let elsewhere = Ipv4Addr::new(203, 0, 113, 9);
        within(liar.fd(), || {
            for source in [elsewhere, victim.address(), *network.door_address().ip(), MACHINE] {
                ip(&format!("address add {source}/32 dev eth0"));
                let socket = UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(b"a lie", sink).unwrap();
            }
            let socket = UdpSocket::bind((liar.address(), 0)).unwrap();
            socket.send_to(b"the truth", sink).unwrap();
        });
        // Packets of one link keep their order: a lie would have come first.
        let mut datagram = [0; 64];
        let length = heard.recv(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], b"the truth");
    });
}

/// The kernel does not count what has ended, and remembers it all the same.
#[test]
fn nor_can_it_with_connections_that_have_ended() {
    const AT_ONCE: usize = 2048;
    const PER_SECOND: usize = 200;
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let (flood, other) = (take(&network), take(&network));
        // One that is open all along.
        let sink = SocketAddrV4::new(PUBLIC, 9998);
        let listener = machine.on_internet(move || TcpListener::bind(sink).unwrap());
        let mut held = within(other.fd(), || TcpStream::connect(sink).unwrap());
        let (mut far_end, _) = listener.accept().unwrap();
        let begun = Instant::now();
        let opened = within(flood.fd(), || {
            let connect = |_: &u32| call_tcp(PUBLIC, PORT).is_ok();
            (0..u32::MAX)
                .take_while(|_| begun.elapsed() < Duration::from_secs(30))
                .take_while(connect)
                .count()
        });
        let most = AT_ONCE + PER_SECOND * (usize::try_from(begun.elapsed().as_secs()).unwrap() + 1);
        assert!(opened <= most, "{opened} connections, {most} expected");
        // It is the flooding one's own loss.
        far_end.write_all(b"still here").unwrap();
        let mut heard = [0; 10];
        held.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still here");
        assert!(within(other.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
    });
}

#[test]
fn one_sandbox_cannot_fill_the_table_of_connections() {
    const LIMIT: usize = 4096;
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let (flood, other) = (take(&network), take(&network));
        let table = || std::fs::read_to_string("/proc/thread-self/net/nf_conntrack");
        if table().is_err() {
            return say("SKIPPED: this kernel does not list its connections");
        }
        let tracked = |address: Ipv4Addr| {
            let source = format!("src={address} ");
            table().unwrap().lines().filter(|line| line.contains(&source)).count()
        };
        let send_to_ports_twice_the_limit = || {
            within(flood.fd(), || {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
                for port in 10_000..10_000 + 2 * u16::try_from(LIMIT).unwrap() {
                    // Refusals come back as errors of later calls.
                    let _ = socket.send_to(b"x", (PUBLIC, port));
                }
            });
        };
        // A burst overruns the link's queue, so it takes some, and more on a busy machine.
        let deadline = Instant::now() + Duration::from_secs(25);
        while tracked(flood.address()) < LIMIT - 64 && Instant::now() < deadline {
            send_to_ports_twice_the_limit();
        }
        send_to_ports_twice_the_limit();
        let flooded = tracked(flood.address());
        assert!((LIMIT - 64..=LIMIT + 64).contains(&flooded), "{flooded}");
        assert!(within(other.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        let address = flood.address();
        drop(flood);
        // An ended sandbox leaves no connection to the next holder of its address.
        let deadline = Instant::now() + Duration::from_secs(60);
        while tracked(address) > 0 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    });
}

#[test]
fn a_sandbox_has_no_ipv6_but_its_loopback() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let addresses = within(take(&network).fd().as_fd(), || ip("-6 -o address"));
        assert!(addresses.lines().all(|line| line.contains("::1/128")), "{addresses}");
        let host = ip("-6 -o address");
        assert!(!host.contains(" ch"), "{host}");
    });
}

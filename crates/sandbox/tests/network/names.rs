//! The resolver: whom it answers, and what it bears.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use chasen_sandbox::network::{Network, NetworkConfig};

use crate::dns::{MANY, REBOUND, ask_tcp, ask_udp, ask_udp_within, question, serve_names};
use crate::machine::{
    DNS, MACHINE, METADATA, PORT, PRIVATE, PUBLIC, RESOLVER, call_tcp, ip, on_a_machine, within,
};
use crate::reach::{assert_refused_tcp, take};

#[test]
fn names_are_seen_wherever_they_lead_but_lead_nowhere_that_is_denied() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        let resolver = network.resolver();
        for (name, address) in [
            ("public.example", PUBLIC),
            ("alias.example", PUBLIC),
            ("private.example", PRIVATE),
            ("rebind.example", METADATA),
        ] {
            assert_eq!(within(sandbox.fd(), || ask_udp(resolver, name)).unwrap(), [address], "{name}");
        }
        assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        assert_refused_tcp(&sandbox, PRIVATE, PORT);
        assert_refused_tcp(&sandbox, METADATA, PORT);
        let unknown = within(sandbox.fd(), || ask_udp(resolver, "nobody.example")).unwrap_err();
        assert_eq!(unknown.to_string(), "NameError");
        let truncated = within(sandbox.fd(), || ask_udp(resolver, "big.example")).unwrap_err();
        assert_eq!(truncated.to_string(), "Truncated");
        let whole = within(sandbox.fd(), || ask_tcp(resolver, "big.example")).unwrap();
        assert_eq!(whole.len(), usize::from(MANY));
    });
}

#[test]
fn names_that_change_what_they_stand_for_lead_nowhere_else() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        let ask = |name: &str| within(sandbox.fd(), || ask_udp(network.resolver(), name)).unwrap();
        for address in REBOUND {
            assert_eq!(ask("rebound.example"), [address]);
            match address {
                PUBLIC => assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok()),
                denied => assert_refused_tcp(&sandbox, denied, PORT),
            }
        }
        assert_eq!(ask("both.example"), [PUBLIC, METADATA]);
        assert_refused_tcp(&sandbox, METADATA, PORT);
    });
}

#[test]
fn name_servers_on_the_machines_loopback_serve_sandboxes_too() {
    on_a_machine(|machine| {
        let loopback = Ipv4Addr::new(127, 0, 0, 53);
        serve_names(loopback);
        // The first one is not there; the second one is asked then.
        let dns: Vec<IpAddr> = vec![Ipv4Addr::new(127, 0, 0, 99).into(), loopback.into()];
        let network = Network::open(NetworkConfig { dns, ..machine.config("node", 1) }).unwrap();
        let sandbox = take(&network);
        assert_eq!(within(sandbox.fd(), || ask_udp(network.resolver(), "public.example")).unwrap(), [PUBLIC]);
        assert_eq!(within(sandbox.fd(), || ask_tcp(network.resolver(), "public.example")).unwrap(), [PUBLIC]);
    });
}

#[test]
fn a_name_server_of_the_machine_is_not_in_the_way() {
    on_a_machine(|machine| {
        // As some do: on every address of the machine.
        serve_names(Ipv4Addr::UNSPECIFIED);
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        assert_eq!(within(sandbox.fd(), || ask_udp(network.resolver(), "public.example")).unwrap(), [PUBLIC]);
        assert!(within(sandbox.fd(), || ask_udp(MACHINE, "public.example")).is_err(), "it is the machine's");
    });
}

#[test]
fn where_no_name_server_answers_sandboxes_are_told_so() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take(&network);
        let silent = within(sandbox.fd(), || ask_udp(network.resolver(), "silent.example")).unwrap_err();
        assert_eq!(silent.to_string(), "ServerFailure");
    });
}

#[test]
fn nobody_but_sandboxes_is_answered() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let resolver = network.resolver();
        assert!(ask_udp(resolver, "public.example").is_err(), "not even the machine");
        machine.on_internet(move || {
            ip(&format!("route add 100.64.0.0/10 via {MACHINE}"));
            let socket = UdpSocket::bind((PUBLIC, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            socket.send_to(&question("public.example"), (resolver, DNS)).unwrap();
            assert!(socket.recv(&mut [0; 64]).is_err());
        });
        assert!(ask_tcp(RESOLVER, "public.example").is_ok(), "the name server itself answers the machine");
    });
}

#[test]
fn a_flood_of_questions_is_its_senders_own_loss() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let (flood, other) = (take(&network), take(&network));
        let resolver = network.resolver();
        let slow = question("silent.example");
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                within(flood.fd(), || {
                    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
                    let mut sent = 0_u64;
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        // Neither junk nor questions that take long, and a full queue is no error.
                        let message = if sent.is_multiple_of(2) { &slow[..] } else { b"junk" };
                        let _ = socket.send_to(message, (resolver, DNS));
                        sent += 1;
                    }
                    sent
                })
            });
            let deadline = Instant::now() + Duration::from_secs(60);
            for _ in 0..5 {
                // A packet may be lost on a full link: that is what asking again is for.
                let again = Duration::from_secs(2);
                while within(other.fd(), || ask_udp_within(again, resolver, "public.example")).is_err() {
                    assert!(Instant::now() < deadline, "a neighbour gets no answer");
                }
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(flooding.join().unwrap() > 0);
        });
    });
}

#[test]
fn connections_that_ask_nothing_are_bounded_and_close() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let (idle, other) = (take(&network), take(&network));
        let resolver = network.resolver();
        let held: Vec<_> = within(idle.fd(), || {
            (0..20).map(|_| std::net::TcpStream::connect((resolver, DNS)).unwrap()).collect()
        });
        assert_eq!(within(other.fd(), || ask_tcp(resolver, "public.example")).unwrap(), [PUBLIC]);
        use std::io::Read as _;
        for mut stream in held {
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // Closed, at once or after a while, without a word.
            assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
        }
    });
}

//! Lists of destinations: what is on one, what is not, and that nobody has another's.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::NetworkPolicy;
use chasen_entity::network::Allowed;
use chasen_sandbox::network::{Lease, Network, NetworkConfig};

use crate::dns::{REBOUND, ask_tcp, ask_udp};
use crate::machine::{
    MACHINE, METADATA, Machine, OTHER, OTHER_PORT, PORT, PRIVATE, PUBLIC, RESOLVER, call_tcp, call_udp,
    on_a_machine, serve_tcp, within,
};
use crate::reach::{assert_refused_tcp, assert_silent_udp, take};

pub(crate) fn allowed(policy: &str) -> Arc<Allowed> {
    match NetworkPolicy::parse(policy) {
        Ok(NetworkPolicy::Allow(allowed)) => allowed,
        other => panic!("{policy}: {other:?}"),
    }
}

pub(crate) fn restrict(sandbox: &mut Lease, allowed: Arc<Allowed>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(sandbox.restrict(allowed)).unwrap();
}

fn take_with(network: &Network, policy: &str) -> Lease {
    let mut sandbox = take(network);
    restrict(&mut sandbox, allowed(policy));
    sandbox
}

fn reaches(sandbox: &Lease, address: Ipv4Addr, port: u16) {
    let called = within(sandbox.fd(), || call_tcp(address, port));
    assert!(called.is_ok(), "{address}:{port}: {called:?}");
}

fn lending(machine: &Machine, network: &str) -> Network {
    let lent = vec![network.parse().unwrap()];
    Network::open(NetworkConfig { lent, ..machine.config("node", 1) }).unwrap()
}

#[test]
fn addresses_on_a_list_answer_and_no_others() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let sandbox = take_with(&network, &format!("allow:{PUBLIC}"));
        reaches(&sandbox, PUBLIC, PORT);
        reaches(&sandbox, PUBLIC, OTHER_PORT);
        assert!(within(sandbox.fd(), || call_udp(PUBLIC, PORT)).is_ok());
        assert_refused_tcp(&sandbox, OTHER, PORT);
        assert_silent_udp(&sandbox, OTHER, PORT);
        for denied in [PRIVATE, METADATA, RESOLVER, MACHINE] {
            assert_refused_tcp(&sandbox, denied, PORT);
        }
        // A neighbour without a list has none.
        reaches(&take(&network), OTHER, PORT);
    });
}

#[test]
fn ports_on_a_list_count_for_tcp_and_udp() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take_with(&network, &format!("allow:198.51.100.0/24:{PORT}"));
        reaches(&sandbox, PUBLIC, PORT);
        reaches(&sandbox, OTHER, PORT);
        assert!(within(sandbox.fd(), || call_udp(OTHER, PORT)).is_ok());
        assert_refused_tcp(&sandbox, PUBLIC, OTHER_PORT);
        // The machine is in that network, and is not reached.
        serve_tcp(SocketAddrV4::new(MACHINE, PORT));
        assert_refused_tcp(&sandbox, MACHINE, PORT);
    });
}

#[test]
fn an_empty_list_leaves_the_door() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        serve_tcp(network.door_address());
        let sandbox = take_with(&network, "allow:");
        reaches(&sandbox, *network.door_address().ip(), network.door_address().port());
        assert_refused_tcp(&sandbox, PUBLIC, PORT);
        let refused = within(sandbox.fd(), || ask_udp(network.resolver(), "public.example")).unwrap_err();
        assert_eq!(refused.to_string(), "Refused");
    });
}

#[test]
fn other_transports_are_on_no_list() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let echo = |sandbox: &Lease| {
            within(sandbox.fd(), || {
                std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
                use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
                let fd = socket(
                    AddressFamily::Inet,
                    SockType::Datagram,
                    SockFlag::SOCK_CLOEXEC,
                    SockProtocol::Icmp,
                );
                let socket = UdpSocket::from(fd.unwrap());
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                socket.connect((PUBLIC, 0)).unwrap();
                // An echo request; the kernel fills in number and checksum.
                socket.send(&[8, 0, 0, 0, 0, 0, 0, 1]).and_then(|_| socket.recv(&mut [0; 64])).is_ok()
            })
        };
        assert!(echo(&take(&network)), "the internet answers pings");
        assert!(!echo(&take_with(&network, "allow:0.0.0.0/0")));
    });
}

#[test]
fn names_on_a_list_open_what_they_stand_for() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let resolver = network.resolver();
        let sandbox = take_with(&network, &format!("allow:public.example:{PORT},*.sub.example"));
        // An address is nobody's name before somebody asks for it.
        assert_refused_tcp(&sandbox, PUBLIC, PORT);
        assert_eq!(within(sandbox.fd(), || ask_udp(resolver, "PUBLIC.example")).unwrap(), [PUBLIC]);
        reaches(&sandbox, PUBLIC, PORT);
        assert!(within(sandbox.fd(), || call_udp(PUBLIC, PORT)).is_ok());
        assert_refused_tcp(&sandbox, PUBLIC, OTHER_PORT);
        assert_eq!(within(sandbox.fd(), || ask_tcp(resolver, "a.sub.example")).unwrap(), [PUBLIC]);
        reaches(&sandbox, PUBLIC, OTHER_PORT);
        for name in ["other.example", "sub.example", "example", "nobody.example"] {
            for asked in [
                within(sandbox.fd(), || ask_udp(resolver, name)),
                within(sandbox.fd(), || ask_tcp(resolver, name)),
            ] {
                assert_eq!(asked.unwrap_err().to_string(), "Refused", "{name}");
            }
        }
        assert_refused_tcp(&sandbox, OTHER, PORT);
        // What one was told opens nothing to a neighbour with the same list.
        let neighbour = take_with(&network, &format!("allow:public.example:{PORT},*.sub.example"));
        assert_refused_tcp(&neighbour, PUBLIC, PORT);
    });
}

#[test]
fn aliases_lead_to_what_is_allowed_and_names_never_to_what_is_denied() {
    on_a_machine(|machine| {
        let network = machine.open("node", 1);
        let sandbox = take_with(&network, "allow:alias.example,rebind.example,private.example");
        let ask = |name: &str| within(sandbox.fd(), || ask_udp(network.resolver(), name)).unwrap();
        assert_eq!(ask("alias.example"), [PUBLIC]);
        reaches(&sandbox, PUBLIC, PORT);
        assert_eq!(ask("rebind.example"), [METADATA]);
        assert_eq!(ask("private.example"), [PRIVATE]);
        assert_refused_tcp(&sandbox, METADATA, PORT);
        assert_refused_tcp(&sandbox, PRIVATE, PORT);
    });
}

#[test]
fn names_on_a_list_open_nothing_that_is_denied_when_they_change() {
    on_a_machine(|machine| {
        let network = lending(machine, "10.1.0.0/16");
        // An action's list: what is lent is for the namespaces that the operator's administrator trusts with it.
        let list = allowed("allow:rebound.example,both.example");
        let mut sandbox = take(&network);
        restrict(&mut sandbox, Arc::new(Allowed { private: false, ..Allowed::clone(&list) }));
        let ask = |name: &str| within(sandbox.fd(), || ask_udp(network.resolver(), name)).unwrap();
        for address in REBOUND {
            assert_refused_tcp(&sandbox, METADATA, PORT);
            assert_eq!(ask("rebound.example"), [address]);
            // What it stood for a moment ago may be connected to, as whoever asked then may be about to.
            reaches(&sandbox, PUBLIC, PORT);
        }
        assert_refused_tcp(&sandbox, METADATA, PORT);
        assert_refused_tcp(&sandbox, PRIVATE, PORT);
        assert_eq!(ask("both.example"), [PUBLIC, METADATA]);
        assert_refused_tcp(&sandbox, METADATA, PORT);
    });
}

#[test]
fn lent_networks_are_for_namespaces_that_name_them() {
    on_a_machine(|machine| {
        let network = lending(machine, "10.1.0.0/16");
        let policy = format!("allow:{PRIVATE},{METADATA},{RESOLVER},private.example,rebind.example");
        let sandbox = take_with(&network, &policy);
        reaches(&sandbox, PRIVATE, PORT);
        // Private, but not lent; and what can never be lent.
        assert_refused_tcp(&sandbox, RESOLVER, PORT);
        assert_refused_tcp(&sandbox, METADATA, PORT);
        let by_name = take_with(&network, "allow:private.example");
        assert_refused_tcp(&by_name, PRIVATE, PORT);
        assert_eq!(
            within(by_name.fd(), || ask_udp(network.resolver(), "private.example")).unwrap(),
            [PRIVATE]
        );
        reaches(&by_name, PRIVATE, PORT);
        // An action's own list, and no list at all.
        let mut own = take(&network);
        restrict(&mut own, Arc::new(Allowed { private: false, ..Allowed::clone(&allowed(&policy)) }));
        assert_refused_tcp(&own, PRIVATE, PORT);
        assert_refused_tcp(&take(&network), PRIVATE, PORT);
    });
}

#[test]
fn what_cannot_be_lent_is_refused() {
    on_a_machine(|machine| {
        for (lent, denied) in [
            ("169.254.0.0/16", None),
            ("100.64.0.0/10", None),
            ("0.0.0.0/0", None),
            ("10.0.0.0/8", Some("10.1.0.0/16")),
        ] {
            let config = NetworkConfig {
                lent: vec![lent.parse().unwrap()],
                denied: denied.iter().map(|one| one.parse().unwrap()).collect(),
                ..machine.config("node", 1)
            };
            let error = Network::open(config).unwrap_err().to_string();
            assert!(error.contains("lent"), "{error}");
        }
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

#[test]
fn nobody_inherits_a_list() {
    on_a_machine(|machine| {
        let network = machine.open("node", 0);
        let sandbox = take_with(&network, "allow:");
        // Its name is nobody else's for as long as this lives.
        let held = sandbox.fd().try_clone_to_owned().unwrap();
        let name = crate::life::name(&sandbox);
        // Nothing has passed, and yet it serves nobody else.
        sandbox.give_back();
        for _ in 0..5 {
            let next = take(&network);
            assert_ne!(crate::life::name(&next), name);
            reaches(&next, PUBLIC, PORT);
        }
        drop(held);
    });
}

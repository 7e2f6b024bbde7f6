//! Opening, taking, closing, dying.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chasen_sandbox::network::{Lease, Network, NetworkConfig, NetworkError, cleanup};

use crate::machine::{
    Machine, PORT, PUBLIC, UPLINK, call_tcp, forwards, on_a_machine, say, serve_tcp, tables, within,
};
use crate::reach::take;

const VICTIM_FOLDER: &str = "NETWORK_TEST_VICTIM_FOLDER";

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn links(remains: &[String]) -> usize {
    remains.iter().filter(|name| name.starts_with("ch") && !name.starts_with("chasen")).count()
}

#[test]
fn closing_removes_everything() {
    on_a_machine(|machine| {
        let network = machine.open("node", 3);
        let sandbox = take(&network);
        assert!(forwards(UPLINK));
        assert!(machine.remains().len() >= 4, "{:?}", machine.remains());
        network.close().unwrap();
        assert_eq!(machine.remains(), Vec::<String>::new());
        // A sandbox that outlives its node is cut off.
        assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_err());
        drop(sandbox);
        drop(machine.open("node", 3));
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

#[test]
fn two_nodes_share_a_machine() {
    on_a_machine(|machine| {
        let (one, two) = (machine.open("one", 1), machine.open("two", 1));
        assert_ne!(one.door_address(), two.door_address());
        let (first, second) = (take(&one), take(&two));
        for sandbox in [&first, &second] {
            assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        }
        one.close().unwrap();
        assert!(forwards(UPLINK), "the other node still needs it");
        assert!(within(second.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        two.close().unwrap();
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

#[test]
fn a_router_stays_a_router() {
    on_a_machine(|machine| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let network = machine.open("node", 1);
        assert!(within(take(&network).fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        network.close().unwrap();
        assert!(forwards(UPLINK));
    });
}

#[test]
fn nobody_gets_a_used_namespace() {
    on_a_machine(|machine| {
        let network = machine.open("node", 2);
        let mut addresses = HashSet::new();
        for _ in 0..20 {
            let sandbox = take(&network);
            assert!(addresses.insert(sandbox.address()));
            let marked = within(sandbox.fd(), || {
                let path = "/proc/sys/net/ipv4/ip_default_ttl";
                let before = std::fs::read_to_string(path).unwrap();
                std::fs::write(path, "42").unwrap();
                before.trim() == "42"
            });
            assert!(!marked);
        }
        // Links of ended sandboxes go away: the door's, two prepared ones' and their growth stay.
        wait_until("links stay", || links(&machine.remains()) <= 1 + 64);
        network.close().unwrap();
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

/// What the kernel calls the namespace.
pub(crate) fn name(sandbox: &Lease) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", sandbox.fd().as_raw_fd())).unwrap()
}

#[test]
fn a_namespace_without_a_trace_serves_again() {
    on_a_machine(|machine| {
        let network = machine.open("node", 0);
        let mut last = None;
        // One that has just been made may still have the socket by which that was done.
        wait_until("none serves again", || {
            let sandbox = take(&network);
            let one = Some((name(&sandbox), sandbox.address()));
            sandbox.give_back();
            std::mem::replace(&mut last, one.clone()) == one
        });
        let sandbox = take(&network);
        assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok(), "and works");
    });
}

#[test]
fn a_namespace_with_a_trace_serves_nobody_else() {
    type Trace = fn() -> Option<UdpSocket>;
    let traces: [(&str, Trace); 4] = [
        ("a connection", || call_tcp(PUBLIC, PORT).map(|_| None).unwrap()),
        ("a packet to itself", || {
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9").unwrap();
            None
        }),
        ("an attempt to send", || {
            assert!(UdpSocket::bind("[::]:0").unwrap().send_to(b"x", "[2001:db8::1]:9").is_err());
            None
        }),
        ("a socket", || Some(UdpSocket::bind("0.0.0.0:0").unwrap())),
    ];
    on_a_machine(|machine| {
        let network = machine.open("node", 0);
        for (what, leave) in traces {
            let sandbox = take(&network);
            // Its name is nobody else's for as long as this lives.
            let held = sandbox.fd().try_clone_to_owned().unwrap();
            let (used, address) = (name(&sandbox), sandbox.address());
            let left = within(sandbox.fd(), leave);
            sandbox.give_back();
            for _ in 0..3 {
                let other = take(&network);
                assert_ne!(name(&other), used, "{what}");
                assert_ne!(other.address(), address, "{what}");
            }
            drop((held, left));
        }
    });
}

#[test]
fn an_ended_sandbox_is_cut_off() {
    on_a_machine(|machine| {
        let network = machine.open("node", 0);
        let sandbox = take(&network);
        let survivor = sandbox.fd().try_clone_to_owned().unwrap();
        drop(sandbox);
        wait_until("the link stays", || links(&machine.remains()) == 1);
        use std::os::fd::AsFd as _;
        assert!(within(survivor.as_fd(), || call_tcp(PUBLIC, PORT)).is_err());
    });
}

#[test]
fn a_lazy_network_prepares_nothing_before_the_first_taker() {
    on_a_machine(|machine| {
        let config = NetworkConfig { lazy: true, ..machine.config("node", 2) };
        let network = Network::open(config).unwrap();
        assert_eq!(links(&machine.remains()), 1, "only the door");
        let sandbox = take(&network);
        wait_until("nothing is prepared", || links(&machine.remains()) >= 1 + 1 + 2);
        drop(sandbox);
    });
}

#[test]
fn a_killed_node_is_cleaned_up_and_no_other() {
    on_a_machine(|machine| {
        let neighbour = machine.open("neighbour", 0);
        let sandbox = take(&neighbour);
        let before = machine.remains().len();
        let mut victim = open_victim(machine);
        assert!(machine.remains().len() > before + 1);
        let alive = cleanup("victim", machine.run_dir.path());
        assert!(matches!(alive, Err(NetworkError::Running)), "{alive:?}");
        victim.kill().unwrap();
        victim.wait().unwrap();

        cleanup("victim", machine.run_dir.path()).unwrap();
        wait_until("remains stay", || machine.remains().len() == before);
        assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        // A next life finds its way whether or not somebody cleaned up.
        let again = machine.open("victim", 1);
        assert!(within(take(&again).fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        again.close().unwrap();
        neighbour.close().unwrap();
        wait_until("remains stay", || machine.remains().is_empty());
    });
}

#[test]
fn what_a_killed_node_left_does_not_hide_the_door_of_another() {
    on_a_machine(|machine| {
        let mut victim = open_victim(machine);
        victim.kill().unwrap();
        victim.wait().unwrap();
        wait_until("links stay", || links(&machine.remains()) == 0);
        // Nothing says that it is dead: it may keep its files elsewhere.
        let files = std::fs::read_dir(machine.run_dir.path()).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.to_string_lossy().ends_with(".lock")) {
            std::fs::remove_file(file).unwrap();
        }
        // One of these would have the dead node's block, and its rules in the way.
        for number in 0..4096 {
            let name = format!("node-{number}");
            if block(&name) != block("victim") {
                continue;
            }
            let network = machine.open(&name, 1);
            serve_tcp(network.door_address());
            let door = network.door_address();
            let called = within(take(&network).fd(), || call_tcp(*door.ip(), door.port()));
            assert!(called.is_ok(), "{name}: {called:?}");
            network.close().unwrap();
            return;
        }
        panic!("no name leads to the victim's block");
    });
}

#[test]
fn any_node_cleans_up_after_a_killed_one() {
    on_a_machine(|machine| {
        let neighbour = machine.open("neighbour", 1);
        let sandbox = take(&neighbour);
        let before = tables().len();
        let mut victim = open_victim(machine);
        let started_beside = machine.open("beside", 0);
        assert_eq!(tables().len(), before + 2, "the living one keeps what it has");
        victim.kill().unwrap();
        victim.wait().unwrap();
        started_beside.close().unwrap();
        let later = machine.open("later", 0);
        assert_eq!(tables().len(), before + 1, "{:?}", machine.remains());
        assert!(within(sandbox.fd(), || call_tcp(PUBLIC, PORT)).is_ok());
        later.close().unwrap();
        neighbour.close().unwrap();
        wait_until("remains stay", || machine.remains().is_empty());
    });
}

/// The block that a node of this name asks for first: FNV-1a, modulo their number.
fn block(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)) % 1024
}

/// A node in a process of its own, which has made a sandbox's network.
fn open_victim(machine: &Machine) -> Child {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::victim", "--nocapture"])
        .env(VICTIM_FOLDER, machine.run_dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "open"));
    victim
}

/// Not a test by itself: the node that another test kills.
#[test]
fn victim() {
    let Some(folder) = std::env::var_os(VICTIM_FOLDER) else { return };
    let config = NetworkConfig { prepared: 2, ..NetworkConfig::new("victim", 3233) };
    let network = Network::open(NetworkConfig { run_dir: Path::new(&folder).to_owned(), ..config }).unwrap();
    let _sandbox = take(&network);
    println!("open");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn wrong_settings_are_refused_and_leave_nothing() {
    on_a_machine(|machine| {
        for config in [
            NetworkConfig { door_port: 0, ..machine.config("node", 1) },
            machine.config("node", 100_000),
            NetworkConfig { run_dir: "/proc/none".into(), ..machine.config("node", 1) },
        ] {
            assert!(Network::open(config).is_err());
        }
        let error = Network::open(NetworkConfig { door_port: 0, ..machine.config("node", 1) }).unwrap_err();
        assert!(matches!(error, NetworkError::Setting(_)));
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

#[test]
fn this_machine_lacks_nothing_that_the_tests_use() {
    on_a_machine(|machine| {
        assert_eq!(Network::missing(), []);
        assert_eq!(machine.remains(), Vec::<String>::new());
    });
}

/// Prints what namespaces cost; fails only when the cold path would feel it.
#[test]
fn taking_a_prepared_namespace_is_instant() {
    on_a_machine(|machine| {
        let median = |mut times: Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let network = machine.open("node", 16);
        wait_until("16 are prepared", || links(&machine.remains()) == 17);
        let prepared = (0..8).map(|_| {
            let start = Instant::now();
            let lease = take(&network);
            (start.elapsed(), lease)
        });
        let prepared: Vec<_> = prepared.map(|(time, _)| time).collect();
        // A busy machine may be late now and then.
        let quickest = prepared.iter().min().copied();
        let prepared = median(prepared);
        network.close().unwrap();

        let network = machine.open("node", 0);
        let made = (0..50).map(|_| {
            let start = Instant::now();
            let lease = take(&network);
            (start.elapsed(), lease)
        });
        let made: Vec<_> = made.collect();
        let made_median = median(made.iter().map(|(time, _)| *time).collect());
        let mut made: Vec<_> = made.into_iter().map(|(_, lease)| lease).collect();
        let list = crate::lists::allowed("allow:203.0.113.0/24,*.example:443");
        let restricted = made.iter_mut().map(|lease| {
            let start = Instant::now();
            crate::lists::restrict(lease, list.clone());
            start.elapsed()
        });
        let restricted = median(restricted.collect());
        let start = Instant::now();
        drop(made);
        wait_until("links stay", || links(&machine.remains()) == 1);
        let removed = start.elapsed() / 50;
        say(&format!(
            "take prepared {prepared:?}, make on demand {made_median:?}, restrict {restricted:?}, remove {removed:?}"
        ));
        assert!(quickest < Some(Duration::from_millis(5)), "{quickest:?}, and usually {prepared:?}");
    });
}

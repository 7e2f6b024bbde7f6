//! Functions that try to get out, or to harm others: none may succeed, and each does where its wall is open.
//!
//! Attacks are data ([`attack::Attack`]), by theme. Each is made twice, in each of its languages: against the node as it is,
//! where it must fail and neither the node nor a neighbour may notice; and, so that this proves the wall and not a
//! clumsy attack, against a node of a binary for tests that leaves just the attack's walls open, where it must succeed.

#![allow(clippy::print_stdout, reason = "what every attack said is read when one fails")]

mod archives;
mod attack;
mod builds;
mod channel;
mod files;
mod memory;
mod network;
mod processes;
mod reuse;
mod rights;
mod stage;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chasen_testkit::internet::{self, RESOLVER};
use chasen_testkit::{Builder, Node};
use serde_json::json;

use self::attack::{Attack, EVERYWHERE};
use self::stage::{Stage, ordinary};
use crate::functions::{Function, call};
use crate::scenario::{Need, Scenario, wait_for};

/// The least number of attacks.
const LEAST: usize = 40;

pub(crate) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::blocking("containment::there_are_many_attacks_and_each_has_its_walls", count)
            .needing_nothing(),
        Scenario::blocking("containment::every_wall_is_told_of", documents).needing_nothing(),
    ];
    for theme in THEMES {
        scenarios.push(Scenario::blocking(format!("containment::{}_fail", theme.name), || {
            theme.on_its_machine(|| theme.fail());
        }));
        scenarios.push(
            Scenario::blocking(format!("containment::{}_succeed_where_walls_are_open", theme.name), || {
                theme.on_its_machine(|| theme.succeed());
            })
            .needing(Need::OpenWalls),
        );
        if (theme.attacks)(&Surroundings::none()).iter().any(|attack| !attack.enough.is_empty()) {
            scenarios.push(
                Scenario::blocking(format!("containment::{}_fail_at_single_walls", theme.name), || {
                    theme.on_its_machine(|| theme.fail_at_single_walls());
                })
                .needing(Need::OpenWalls),
            );
        }
    }
    scenarios.extend(archives::scenarios());
    scenarios.extend(channel::scenarios());
    scenarios.extend(builds::scenarios());
    scenarios.extend(reuse::scenarios());
    let languages = ["node", "python3.11", "cc", "ip"].map(Need::command);
    scenarios
        .into_iter()
        .map(|scenario| languages.iter().cloned().fold(scenario, Scenario::needing))
        .collect()
}

/// Attacks that are made on one node, one after the other.
struct Theme {
    name: &'static str,
    attacks: fn(&Surroundings) -> Vec<Attack>,
    /// Whether the node has a machine and an internet of its own.
    has_internet: bool,
    /// Whether nothing else shall be made to suffer meanwhile.
    is_alone: bool,
}

/// What attacks aim at.
struct Surroundings {
    node: u32,
    data: std::path::PathBuf,
    port: u16,
    door: Ipv4Addr,
    /// Those of the machine, the door's among them.
    addresses: Vec<String>,
    neighbour: String,
}

impl Surroundings {
    /// For whoever wants to know which attacks there are.
    fn none() -> Self {
        Self {
            node: 0,
            data: "/".into(),
            port: 0,
            door: Ipv4Addr::LOCALHOST,
            addresses: Vec::new(),
            neighbour: String::new(),
        }
    }
}

const THEMES: &[Theme] = &[
    Theme::new("attacks_with_processes", |_| processes::attacks()).alone(),
    Theme::new("attacks_on_processes_of_others", |at| processes::attacks_on_others(at.node)),
    Theme::new("attacks_on_memory_and_disk", |_| memory::attacks()).alone(),
    Theme::new("attacks_on_the_kernel", |_| rights::attacks()),
    Theme::new("attacks_on_files", |at| files::attacks(&at.data)),
    Theme::new("attacks_on_replies_and_logs", |_| channel::attacks()),
    Theme { has_internet: true, ..Theme::new("attacks_over_the_network", network::attacks) },
];

/// Held by whoever fills the machine.
static BOMBS: Mutex<()> = Mutex::new(());

impl Theme {
    const fn new(name: &'static str, attacks: fn(&Surroundings) -> Vec<Attack>) -> Self {
        Self { name, attacks, has_internet: false, is_alone: false }
    }

    const fn alone(self) -> Self {
        Self { is_alone: true, ..self }
    }

    fn on_its_machine(&self, body: impl AsyncFnOnce() + Send) {
        let _alone: Option<MutexGuard<'_, ()>> =
            self.is_alone.then(|| BOMBS.lock().unwrap_or_else(PoisonError::into_inner));
        if self.has_internet {
            internet::on_a_machine(|| {
                internet::serve_http(Ipv4Addr::UNSPECIFIED, network::STORE);
                let _listener = listen_by_name(network::ABSTRACT);
                wait_for(body());
            });
        } else {
            wait_for(body());
        }
    }

    /// A node as this theme wants it.
    fn builder(&self) -> Builder {
        if self.has_internet {
            let dns = RESOLVER.to_string();
            return ordinary().listen("0.0.0.0:0").argument("--allow-guest").set("sandbox.dns", &dns);
        }
        ordinary()
    }

    /// What is there to be attacked on a stage.
    async fn surroundings(&self, stage: &Stage) -> Surroundings {
        let node = stage.node();
        let mut surroundings = Surroundings {
            node: node.pid(),
            data: node.data().to_owned(),
            port: port(node),
            ..Surroundings::none()
        };
        if self.has_internet {
            surroundings.addresses = internet::addresses();
            let listens = Function::python("listens", LISTENS).limit("timeout", 300_000);
            listens.put(stage.client()).await;
            let told = call(stage.client(), "listens", &json!({"port": network::LISTENER})).await;
            let told = told.result();
            told["address"].as_str().unwrap().clone_into(&mut surroundings.neighbour);
            surroundings.door = told["door"].as_str().unwrap().parse().unwrap();
        }
        surroundings
    }

    /// Makes every attack on a node as it is.
    async fn fail(&self) {
        let stage = Stage::new(self.builder()).await;
        let surroundings = self.surroundings(&stage).await;
        let mut wrong = Vec::new();
        let attacks = (self.attacks)(&surroundings);
        for language in EVERYWHERE {
            for attack in attacks.iter().filter(|attack| attack.languages.contains(language)) {
                let verdict = stage.attempt(attack, *language).await;
                println!("{} in {language:?}: {}", attack.name, verdict.how);
                if verdict.escaped {
                    wrong.push(format!("{} in {language:?} succeeded: {}", attack.name, verdict.how));
                }
                let silent = stage.canary().await;
                wrong.extend(silent.map(|what| format!("{} in {language:?}: {what}", attack.name)));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        stage.has_recovered().await;
    }

    /// Makes every attack where its walls are open.
    async fn succeed(&self) {
        self.try_without(|attack| vec![attack.walls.to_vec()], true).await;
    }

    /// Makes those attacks that single walls stop where all others of their walls are open, in one language.
    async fn fail_at_single_walls(&self) {
        let all_but = |attack: &Attack| {
            let others = |wall| attack.walls.iter().copied().filter(|other| *other != wall).collect();
            attack.enough.iter().map(|wall| others(*wall)).collect()
        };
        self.try_without(all_but, false).await;
    }

    /// Makes each attack once for every list of walls that `open` names for it, without these; it must succeed, or fail.
    async fn try_without(&self, open: impl Fn(&Attack) -> Vec<Vec<&'static str>>, succeeds: bool) {
        let mut by_walls: BTreeMap<Vec<&str>, Vec<&str>> = BTreeMap::new();
        for attack in (self.attacks)(&Surroundings::none()) {
            for walls in open(&attack) {
                by_walls.entry(walls).or_default().push(attack.name);
            }
        }
        let mut wrong = Vec::new();
        for (walls, names) in by_walls {
            let stage = Stage::without(&walls, self.builder()).await;
            let surroundings = self.surroundings(&stage).await;
            let attacks = (self.attacks)(&surroundings).into_iter();
            for attack in attacks.filter(|attack| names.contains(&attack.name)) {
                for language in if succeeds { attack.languages } else { &attack.languages[..1] } {
                    let verdict = stage.attempt(&attack, *language).await;
                    println!("{} in {language:?}, without {walls:?}: {}", attack.name, verdict.how);
                    if verdict.escaped != succeeds {
                        wrong.push(format!(
                            "{} in {language:?} {} without {walls:?}: {}",
                            attack.name,
                            if succeeds { "fails, so that it proves nothing," } else { "succeeds" },
                            verdict.how
                        ));
                    }
                }
            }
            stage.close().await;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Listens, answers, and says where it and the door of the node are.
const LISTENS: &str = "import os, socket, threading\n\
    def serve(server):\n    while True:\n        client, _ = server.accept()\n        client.sendall(b'x')\n\
    def main(args):\n    server = socket.create_server(('0.0.0.0', args['port']))\n    \
    threading.Thread(target=serve, args=(server,), daemon=True).start()\n    \
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n    probe.connect(('198.51.100.10', 9))\n    \
    door = os.environ['__OW_API_HOST'].split('/')[-1].split(':')[0]\n    \
    return {'address': probe.getsockname()[0], 'door': door}\n";

fn port(node: &Node) -> u16 {
    node.base().rsplit(':').next().unwrap().parse().unwrap()
}

/// An abstract socket of this name, in the network of this thread.
fn listen_by_name(name: &str) -> std::os::unix::net::UnixListener {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    std::os::unix::net::UnixListener::bind_addr(&address).unwrap()
}

fn all() -> Vec<Attack> {
    let nowhere = Surroundings::none();
    THEMES.iter().flat_map(|theme| (theme.attacks)(&nowhere)).collect()
}

fn count() {
    let attacks = all();
    let names: std::collections::BTreeSet<&str> = attacks.iter().map(|attack| attack.name).collect();
    assert_eq!(names.len(), attacks.len(), "two attacks have one name");
    assert!(attacks.len() >= LEAST, "{} attacks", attacks.len());
    for attack in &attacks {
        assert!(!attack.walls.is_empty() && !attack.languages.is_empty(), "{}", attack.name);
        assert!(attack.enough.iter().all(|wall| attack.walls.contains(wall)), "{}", attack.name);
    }
}

/// The page on security names every wall, and each is what stops some attack.
fn documents() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/security.md");
    let page = std::fs::read_to_string(page).unwrap();
    let used: std::collections::BTreeSet<&str> = all()
        .iter()
        .flat_map(|attack| attack.walls.iter().copied())
        .chain([archives::WALLS, builds::WALLS].into_iter().flatten().copied())
        .collect();
    for wall in &used {
        assert!(page.contains(&format!("`{wall}`")), "docs/security.md does not tell of the wall {wall}");
    }
    let told: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    for wall in told {
        assert!(used.contains(wall), "no attack shows what the wall {wall} stops");
    }
}

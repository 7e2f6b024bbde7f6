//! Where attacks are made: a node, the functions that try them, and those that must not notice.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chasen_testkit::{Builder, Client, Node, PATIENCE, Signal, descendants, node, signal};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use super::attack::{Attack, Sign};
use crate::functions::{Called, Function, Language, call, eventually, start};

/// What a neighbour has in its environment, and its value.
pub(super) const SECRET: &str = "NEIGHBOURS_SECRET";
const SECRET_VALUE: &str = "told-to-nobody";
/// The command line of a neighbour's process.
pub(super) const ASLEEP: &str = "sleep 600";
/// What the canary's code holds.
pub(super) const CODE_MARK: &str = "the-code-of-the-canary";
/// A file of the node's that is planted in its data folder, and what it says.
pub(super) const PLANTED: &str = "planted";
pub(super) const SECRET_OF_THE_NODE: &str = "whisk-this-away-if-you-can";

/// What a call of an attack may take, milliseconds; more for nothing but a busy machine.
const TIMEOUT: u64 = 60_000;
/// The same where an attack never ends.
const SHORT_TIMEOUT: u64 = 5000;
/// The canary's time limit, milliseconds.
const CANARY_TIMEOUT: u64 = 20_000;
/// The log that a flooding function may have, megabytes.
const LOG_LIMIT: usize = 1;
/// How long a function is left alone while it should stand still, and how much of that does not count: it is stopped only
/// when nobody has called for a moment.
const IDLE: Duration = Duration::from_millis(1000);
const GRACE: Duration = Duration::from_secs(2);
/// Time between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(20);
/// How long the node keeps containers that nobody calls: more than both, however busy the machine is.
const IDLE_CONTAINER: &str = "10 s";
/// Runs within that time that nobody needs: a function that was not stopped makes ten times as many.
const ENOUGH: u32 = 5;
/// The time in which two functions use one processor; they are called a while before it.
const RACE: Duration = Duration::from_millis(1500);
const LEAD: Duration = Duration::from_secs(2);
/// Cells that a node may hold on to after its attackers are gone: it prepares some of each sort that was used.
const SPARE_CELLS: usize = 24;
/// Most processes and descriptors of a cell without a purpose.
const OF_A_CELL: usize = 4;
/// What a node's memory may grow by, bytes.
const GROWTH: u64 = 96 << 20;

/// A node under attack.
pub(super) struct Stage {
    node: Node,
    client: Client,
    before: Holdings,
    /// The attacker that is there: whoever has tried nothing but system calls, in vain, can try others.
    attacker: Cell<Option<(Language, u64)>>,
    /// Whether its attackers are expected to succeed.
    is_open: bool,
}

/// How an attack has ended.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) escaped: bool,
    pub(super) how: String,
}

/// What a node has of the machine.
#[derive(Debug, Clone, Copy)]
struct Holdings {
    processes: usize,
    descriptors: usize,
    groups: usize,
    memory: u64,
}

impl Stage {
    /// A node of this description.
    pub(super) async fn new(builder: Builder) -> Self {
        let node = builder
            .set("server.drain-timeout", "1 s")
            .set("node.memory", "4 GB")
            .set("limits.action-memory-max", "1 GB")
            .set("sandbox.idle-container", IDLE_CONTAINER)
            .start();
        fs::write(node.data().join(PLANTED), SECRET_OF_THE_NODE).expect("the data folder can be written");
        let client = node.client();
        let canary = format!("#!/bin/sh\n# {CODE_MARK}\necho '{{\"sings\":true}}'\n");
        Function::native("canary", &canary).limit("timeout", CANARY_TIMEOUT).put(&client).await;
        let neighbour = Function::native("neighbour", &format!("#!/bin/sh\nexec {ASLEEP}\n"));
        neighbour.init_parameter(SECRET, json!(SECRET_VALUE)).limit("timeout", TIMEOUT).put(&client).await;
        let mut stage = Self {
            before: Holdings { processes: 0, descriptors: 0, groups: 0, memory: 0 },
            node,
            client,
            attacker: Cell::new(None),
            is_open: false,
        };
        assert_eq!(stage.canary().await, None);
        stage.before = stage.holdings();
        stage
    }

    /// A node whose walls of these names are open.
    pub(super) async fn without(walls: &[&str], builder: Builder) -> Self {
        let binary = chasen_testkit::faults_binary().expect("scenarios that need it are left out without it");
        let builder = builder.program(&binary).environment("CHASEN_OPEN_WALLS", &walls.join(","));
        Self { is_open: true, ..Self::new(builder).await }
    }

    /// Ends a node whose walls are open: cells that do not end by themselves would keep it from ending.
    pub(super) async fn close(self) {
        let node = self.node.pid();
        signal(node, Signal::TERM);
        let begun = Instant::now();
        while runs(node) && begun.elapsed() < PATIENCE {
            for (process, _) in descendants(node) {
                let cell = groups_beside(process).and_then(|_| Pid::from_raw(process.cast_signed()));
                // Some have ended meanwhile.
                let _ = cell.map(|cell| kill_process(cell, Signal::KILL));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Makes an attack in one language.
    pub(super) async fn attempt(&self, attack: &Attack, language: Language) -> Verdict {
        if let Some(arguments) = &attack.accomplice {
            self.put("accomplice", attack, language).await;
            call(&self.client, "accomplice", arguments).await;
        }
        let neighbour = if attack.has_neighbour { Some(self.neighbour().await) } else { None };
        let sort = attack.is_of_calls().then_some((language, attack.memory));
        if sort.is_none() || self.attacker.take() != sort {
            self.put("attacker", attack, language).await;
        }
        let verdict = match attack.sign {
            Sign::Word | Sign::WordOrEnd => {
                let called = call(&self.client, "attacker", &attack.call).await;
                let verdict = word_of(&called, attack.sign);
                if verdict.escaped && attack.call["attack"] == "environment" {
                    assert!(verdict.how.contains(SECRET_VALUE), "{}", verdict.how);
                }
                verdict
            }
            Sign::Survivor => self.survivor(attack).await,
            Sign::Log => self.log(&[call(&self.client, "attacker", &attack.call).await]).await,
            // What comes before the end of the first call is still its own.
            Sign::LaterLog => {
                let first = call(&self.client, "attacker", &attack.call).await;
                first.result();
                let mut rest = attack.call.clone();
                rest["rest"] = json!(true);
                self.log(&[first, call(&self.client, "attacker", &rest).await]).await
            }
            Sign::Idle => self.idle(attack).await,
            Sign::Share => self.share(attack, language).await,
        };
        let has_tried_in_vain = !self.is_open && !verdict.escaped;
        self.attacker.set(sort.filter(|_| has_tried_in_vain));
        let ended =
            if self.attacker.get().is_some() { &["accomplice"][..] } else { &["attacker", "accomplice"] };
        for name in ended {
            let reply = self.client.delete_action(name).await.unwrap();
            assert!([200, 404].contains(&reply.status.as_u16()), "{}", reply.text());
        }
        if let Some(process) = neighbour.filter(|process| is_alive(*process, "sleep")) {
            signal(process, Signal::KILL);
        }
        verdict
    }

    /// What is wrong with the canary, if anything is.
    pub(super) async fn canary(&self) -> Option<String> {
        let called = call(&self.client, "canary", &json!({})).await;
        let sings = called.record["response"]["result"] == json!({"sings": true});
        (!sings).then(|| format!("the canary is silent: {} {}", called.status, called.text))
    }

    /// Waits until the node has let go of whatever its attackers had.
    pub(super) async fn has_recovered(&self) {
        let before = self.before;
        let well = |now: Holdings| {
            now.groups <= before.groups + SPARE_CELLS
                && now.processes <= before.processes + OF_A_CELL * SPARE_CELLS
                && now.descriptors <= before.descriptors + OF_A_CELL * SPARE_CELLS
        };
        let begun = Instant::now();
        let mut last = self.holdings();
        while !well(last) {
            assert!(
                begun.elapsed() < PATIENCE,
                "the node has let go of too little: {before:?}, then {last:?}"
            );
            tokio::time::sleep(LOOK).await;
            last = self.holdings();
        }
        assert!(last.memory < before.memory + GROWTH, "the node grew: {before:?}, then {last:?}");
    }

    async fn put(&self, name: &str, attack: &Attack, language: Language) {
        let timeout = if attack.sign == Sign::Survivor || attack.name == "reply_for_another_activation" {
            SHORT_TIMEOUT
        } else {
            TIMEOUT
        };
        let function = Function::new(name, language, code(language))
            .limit("memory", attack.memory)
            .limit("timeout", timeout)
            .limit("logs", LOG_LIMIT as u64);
        function.put(&self.client).await;
    }

    /// A process of another function that runs.
    pub(super) async fn neighbour(&self) -> u32 {
        let before = self.sleepers();
        start(&self.client, "neighbour", &json!({})).await;
        eventually("the neighbour runs", async || {
            self.sleepers().into_iter().find(|process| !before.contains(process))
        })
        .await
    }

    fn sleepers(&self) -> Vec<u32> {
        let all = descendants(self.node.pid()).into_iter();
        all.filter_map(|(process, name)| (name == "sleep").then_some(process)).collect()
    }

    async fn survivor(&self, attack: &Attack) -> Verdict {
        let name = attack.call["name"].as_str().unwrap();
        let called = call(&self.client, "attacker", &attack.call).await;
        let begun = processes_named(name);
        assert!(
            !begun.is_empty() || called.annotation("timeout") == &json!(true),
            "nothing to outlive: {}",
            called.text
        );
        self.client.delete_action("attacker").await.unwrap();
        let deadline = tokio::time::Instant::now() + if self.is_open { GRACE } else { IDLE * 30 };
        let mut left = processes_named(name);
        while !left.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            left = processes_named(name);
        }
        for process in &left {
            signal(*process, Signal::KILL);
        }
        let how = format!("{begun:?}, at the end {left:?}; {}", called.text);
        Verdict { escaped: !left.is_empty(), how }
    }

    /// By the longest log that these calls left.
    async fn log(&self, flooding: &[Called]) -> Verdict {
        let mut bytes = 0;
        for called in flooding {
            let lines = crate::functions::logs(&self.client, called.id()).await;
            bytes = lines.iter().map(String::len).sum::<usize>().max(bytes);
        }
        let told: Vec<_> = flooding.iter().map(|called| &called.text).collect();
        assert!(bytes > LOG_LIMIT << 19, "the flood was none: {bytes} bytes, {told:?}");
        Verdict { escaped: bytes > (LOG_LIMIT << 20) + 1000, how: format!("{bytes} bytes of log") }
    }

    async fn idle(&self, attack: &Attack) -> Verdict {
        call(&self.client, "attacker", &attack.call).await.result();
        tokio::time::sleep(GRACE).await;
        let from = now();
        tokio::time::sleep(IDLE).await;
        let look = json!({"attack": attack.call["attack"], "from": from, "until": now(), "enough": ENOUGH});
        word_of(&call(&self.client, "attacker", &look).await, attack.sign)
    }

    async fn share(&self, attack: &Attack, language: Language) -> Verdict {
        self.put("modest", attack, language).await;
        let mut lead = LEAD;
        loop {
            let from = now() + lead.as_secs_f64();
            let common =
                json!({"attack": "spin", "processor": 0, "from": from, "until": from + RACE.as_secs_f64()});
            let with = |count: &Value| {
                let mut arguments = common.clone();
                arguments["count"] = count.clone();
                arguments
            };
            let (one, many) = (with(&json!(1)), with(&attack.call["count"]));
            let (one, many) =
                tokio::join!(call(&self.client, "modest", &one), call(&self.client, "attacker", &many));
            let (one, many) = (one.result(), many.result());
            let used = |result: &Value| result["used"].as_f64().unwrap();
            if one["late"] == false && many["late"] == false {
                self.client.delete_action("modest").await.unwrap();
                let share = used(many) / (used(one) + used(many)).max(1.0);
                return Verdict {
                    escaped: share > 0.8,
                    how: format!("a share of {share:.2}: {one}, {many}"),
                };
            }
            lead *= 2;
            assert!(lead < LEAD * 16, "functions never came up in time: {one}, {many}");
        }
    }

    fn holdings(&self) -> Holdings {
        let processes = descendants(self.node.pid());
        let folder = |path: String| fs::read_dir(path).map_or(0, Iterator::count);
        Holdings {
            processes: processes.len(),
            descriptors: folder(format!("/proc/{}/fd", self.node.pid())),
            groups: processes.iter().find_map(|(process, _)| groups_beside(*process)).unwrap_or(0),
            memory: self.node.memory_peak(),
        }
    }
}

/// What a function says of its attack.
fn word_of(called: &Called, sign: Sign) -> Verdict {
    let result = &called.record["response"]["result"];
    match result["escaped"].as_bool() {
        Some(escaped) => Verdict { escaped, how: result["how"].to_string() },
        None if sign == Sign::WordOrEnd && called.status == 502 => {
            Verdict { escaped: false, how: result.to_string() }
        }
        None => panic!("the attack did not tell how it went: {} {}", called.status, called.text),
    }
}

/// Groups of cells in the folder in which that of a process is.
fn groups_beside(process: u32) -> Option<usize> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    let line = text.lines().find(|line| line.contains("/chasen-"))?;
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let trees = [
        "/sys/fs/cgroup/unified".to_owned(),
        format!("/sys/fs/cgroup/{controllers}"),
        "/sys/fs/cgroup".to_owned(),
    ];
    let group = trees.iter().map(|tree| PathBuf::from(format!("{tree}{path}"))).find(|path| path.is_dir())?;
    let entries = fs::read_dir(group.parent()?).ok()?;
    Some(entries.flatten().filter(|entry| entry.path().is_dir()).count())
}

/// Processes of this name, wherever they are.
fn processes_named(name: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").expect("/proc is there").flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|process| is_alive(*process, name)).collect()
}

/// Whether a process has this name and has not ended.
fn is_alive(process: u32, name: &str) -> bool {
    name_of(process).is_some_and(|own| own == name)
}

/// Whether a process has not ended.
fn runs(process: u32) -> bool {
    name_of(process).is_some()
}

/// The name of a process that has not ended.
fn name_of(process: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let has_ended = tail.trim_start().starts_with(['Z', 'X']);
    head.split_once('(').filter(|_| !has_ended).map(|(_, name)| name.to_owned())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs_f64()
}

/// The attacks in a language, as code of an action.
pub(super) fn code(language: Language) -> &'static str {
    static WITH_PROGRAM: OnceLock<String> = OnceLock::new();
    match language {
        Language::Nodejs => WITH_PROGRAM.get_or_init(|| {
            let script = include_str!("../../functions/containment/attacks.js");
            format!("{script}\nconst PROGRAM = '{}';\n", program())
        }),
        Language::Python => include_str!("../../functions/containment/attacks.py"),
        Language::Native => program(),
    }
}

/// The attacks in C, compiled: base64 of the program.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(compiled)
}

fn compiled() -> String {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("functions/containment/attacks.c");
    let program = folder.path().join("attacks");
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program).arg(source);
    let output = compiler.output().expect("the compiler can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    BASE64.encode(fs::read(program).unwrap())
}

/// A node as attacks meet it.
pub(super) fn ordinary() -> Builder {
    node()
}

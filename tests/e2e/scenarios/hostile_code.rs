//! Code that means harm or has gone wrong: each deed has its clear answer, and the node, the same action and
//! other actions go on as if nothing had happened.

use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, node};
use serde_json::{Value, json};

use crate::functions::{Called, Function, Language, call, eventually, start};
use crate::scenario::Scenario;

/// Time limit of the hostile actions, milliseconds.
const TIMEOUT: u64 = 2000;
const TIMED_OUT: &str = "The action exceeded its time limits of 2000 milliseconds.";
/// The same where there is more to do in that time.
const TIMED_OUT_LATE: &str = "The action exceeded its time limits of 30000 milliseconds.";
/// The time limit of those that have more to do, milliseconds.
const LATE: u64 = 30_000;
/// The longest time limit that there is, milliseconds.
const LONGEST: u64 = 300_000;
const INIT_TIMED_OUT: &str =
    "The action exceeded its time limits of 2000 milliseconds during initialization.";
const EXITED: &str = "The action did not produce a valid response and exited unexpectedly.";
const PYTHON_EXITED: &str = "command exited";
const PYTHON_INIT_EXITED: &str = "Cannot start action. Check logs for details.";
const INIT_EXITED: &str = "The action did not initialize and exited unexpectedly.";
const OUT_OF_MEMORY: &str = "The action exhausted its memory and was aborted.";
const TRUNCATED: &str =
    "Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.";
/// What a node may grow by while a function floods it.
const GROWTH: u64 = 64 << 20;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("hostile_code::nodejs_functions_that_end_or_hang", || ends(Language::Nodejs))
            .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::python_functions_that_end_or_hang", || ends(Language::Python))
            .needing(Language::Python.need()),
        Scenario::new("hostile_code::executables_that_end_or_hang", native_ends),
        Scenario::new("hostile_code::nodejs_code_that_never_becomes_a_function", nodejs_init)
            .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::python_code_that_never_becomes_a_function", python_init)
            .needing(Language::Python.need()),
        Scenario::new("hostile_code::nodejs_functions_that_eat_the_machine", || eats(Language::Nodejs))
            .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::python_functions_that_eat_the_machine", || eats(Language::Python))
            .needing(Language::Python.need()),
        Scenario::new("hostile_code::executables_that_eat_the_machine", || eats(Language::Native)),
        Scenario::new("hostile_code::nodejs_functions_that_forge_frames", || forges(Language::Nodejs))
            .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::python_functions_that_forge_frames", || forges(Language::Python))
            .needing(Language::Python.need()),
        Scenario::new("hostile_code::nodejs_functions_that_answer_and_listen_no_more", || {
            sulks(Language::Nodejs)
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::python_functions_that_answer_and_listen_no_more", || {
            sulks(Language::Python)
        })
        .needing(Language::Python.need()),
        Scenario::new("hostile_code::many_at_once_do_not_disturb_the_canary", crowd)
            .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::a_gigabyte_of_log_from_nodejs_is_cut", || {
            floods_of_log(Language::Nodejs)
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("hostile_code::a_gigabyte_of_log_from_python_is_cut", || {
            floods_of_log(Language::Python)
        })
        .needing(Language::Python.need()),
        Scenario::new("hostile_code::a_gigabyte_of_log_from_an_executable_is_cut", || {
            floods_of_log(Language::Native)
        }),
        Scenario::new("hostile_code::a_result_of_a_gigabyte_is_cut", floods_of_result),
    ]
}

/// What a deed must give.
#[derive(Debug, Clone)]
enum Expected {
    /// A developer error of this text.
    Error(String),
    /// A result.
    Result(Value),
}

/// What a function that dies without an answer gives, in the words of its kind.
fn exited(language: Language) -> Expected {
    let text = if language == Language::Python { PYTHON_EXITED } else { EXITED };
    Expected::Error(text.to_owned())
}

fn timed_out() -> Expected {
    Expected::Error(TIMED_OUT.to_owned())
}

fn out_of_memory() -> Expected {
    Expected::Error(OUT_OF_MEMORY.to_owned())
}

impl Expected {
    /// What is wrong with what came, if anything is.
    fn mismatch(&self, called: &Called) -> Option<String> {
        let good = match self {
            Self::Result(result) => called.status == 200 && called.record["response"]["result"] == *result,
            Self::Error(text) => {
                called.status == 502 && called.failure() == ("action developer error", text.clone())
            }
        };
        (!good).then(|| format!("expected {self:?}, got {} {}", called.status, called.text))
    }
}

/// A node with a hostile action and a canary of another.
struct Stage {
    node: Node,
    client: Client,
}

impl Stage {
    async fn new(hostile: &Function) -> Self {
        let node = node().start();
        let client = node.client();
        Function::native("canary", "#!/bin/sh\necho '{\"sings\":true}'\n").put(&client).await;
        hostile.put(&client).await;
        Self { node, client }
    }

    /// Does each deed; afterwards, the same action must work in calm and the canary must sing.
    async fn check(&self, deeds: Vec<(&str, Expected)>) {
        let mut wrong = Vec::new();
        for (deed, expected) in deeds {
            let called = call(&self.client, "hostile", &json!({"deed": deed, "megabytes": 1})).await;
            wrong.extend(expected.mismatch(&called).map(|what| format!("{deed}: {what}")));
            let calm = call(&self.client, "hostile", &json!({})).await;
            if calm.record["response"]["result"] != json!({"calm": true}) {
                wrong.push(format!(
                    "{deed}: the next call of the action failed: {} {}",
                    calm.status, calm.text
                ));
            }
            wrong.extend(self.canary().await.map(|what| format!("{deed}: {what}")));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// The record of a deed that takes as long as it is allowed to on a busy machine, which is more than callers wait.
    async fn at_leisure(&self, deed: &Value) -> Value {
        let id = start(&self.client, "hostile", deed).await;
        let begun = Instant::now();
        loop {
            let reply = self.client.activation(&id).await.unwrap();
            if reply.status.is_success() {
                return reply.json();
            }
            assert!(begun.elapsed() < 2 * Duration::from_millis(LONGEST), "{deed} never ends");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Fails if the node's peak of memory is much above `before`, in bytes.
    fn has_not_grown(&self, before: u64) {
        let after = self.node.memory_peak();
        assert!(after < before + GROWTH, "the node grew from {before} to {after} bytes");
    }

    /// What is wrong with the canary, if anything is.
    async fn canary(&self) -> Option<String> {
        let called = call(&self.client, "canary", &json!({})).await;
        let sings = called.record["response"]["result"] == json!({"sings": true});
        (!sings).then(|| format!("the canary is silent: {} {}", called.status, called.text))
    }
}

/// The hostile action in a language.
fn hostile(language: Language) -> Function {
    let code = match language {
        Language::Nodejs => include_str!("../functions/hostile.js"),
        Language::Python => include_str!("../functions/hostile.py"),
        Language::Native => include_str!("../functions/hostile.sh"),
    };
    Function::new("hostile", language, code).limit("memory", 128).limit("timeout", TIMEOUT)
}

async fn ends(language: Language) {
    let stage = Stage::new(&hostile(language)).await;
    let deeds = vec![
        ("exit", exited(language)),
        ("abort", exited(language)),
        ("spin", timed_out()),
        ("idle", timed_out()),
        ("kill_all", exited(language)),
    ];
    stage.check(deeds).await;
    let called = call(&stage.client, "hostile", &json!({"deed": "idle"})).await;
    assert_eq!(called.annotation("timeout"), &json!(true), "{}", called.text);
    assert!(called.record["duration"].as_u64().unwrap() >= TIMEOUT, "{}", called.text);
}

async fn native_ends() {
    let stage = Stage::new(&hostile(Language::Native)).await;
    let nothing = "The action did not return a dictionary or array.";
    let deeds = vec![
        ("exit", Expected::Error(nothing.to_owned())),
        ("spin", timed_out()),
        ("idle", timed_out()),
        ("kill_parent", exited(Language::Native)),
        ("kill_all", exited(Language::Native)),
    ];
    stage.check(deeds).await;
}

async fn nodejs_init() {
    init(
        Language::Nodejs,
        &[
            ("process.exit(3)", INIT_EXITED),
            ("process.kill(process.pid, 'SIGKILL')", INIT_EXITED),
            ("for (;;);", INIT_TIMED_OUT),
            ("for (const hoard = [];;) hoard.push(Buffer.alloc(1 << 20, 1))", OUT_OF_MEMORY),
            ("require('fs').closeSync(3); setInterval(() => {}, 1000)", INIT_EXITED),
            ("", "Missing main/no code to execute."),
            (
                "const main = 7",
                "Initialization has failed due to: Action entrypoint 'main' is not a function.",
            ),
        ],
    )
    .await;
}

async fn python_init() {
    let failed = "The action failed to generate or locate a binary. See logs for details.";
    init(
        Language::Python,
        &[
            ("import os\nos._exit(3)", PYTHON_INIT_EXITED),
            ("import sys\nsys.exit(1)", PYTHON_INIT_EXITED),
            ("import os\nos.kill(os.getpid(), 9)", PYTHON_INIT_EXITED),
            ("while True: pass", INIT_TIMED_OUT),
            ("hoard = []\nwhile True: hoard.append(b'x' * (1 << 20))", OUT_OF_MEMORY),
            ("import os, time\nos.close(3)\ntime.sleep(600)", PYTHON_INIT_EXITED),
            ("def main(:", failed),
            ("import nothing_of_that_name", PYTHON_INIT_EXITED),
        ],
    )
    .await;
}

/// Puts and calls each code; the errors must be these.
async fn init(language: Language, codes: &[(&str, &str)]) {
    let stage = Stage::new(&hostile(language)).await;
    let mut wrong = Vec::new();
    for (code, error) in codes {
        let limit = if *error == INIT_TIMED_OUT { TIMEOUT } else { LATE };
        let function = Function::new("broken", language, code).limit("memory", 128).limit("timeout", limit);
        function.put(&stage.client).await;
        for attempt in ["first", "second"] {
            let called = call(&stage.client, "broken", &json!({})).await;
            if called.status != 502 || called.failure() != ("action developer error", (*error).to_owned()) {
                wrong.push(format!("{code:?}, {attempt} call: expected {error:?}, got {}", called.text));
            }
        }
        wrong.extend(stage.canary().await.map(|what| format!("{code:?}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn eats(language: Language) {
    let stage = Stage::new(&hostile(language).limit("timeout", LATE)).await;
    let no_space = if language == Language::Python { "No space left on device" } else { "ENOSPC" };
    let no_files = match language {
        Language::Nodejs | Language::Native => "EMFILE",
        Language::Python => "Too many open files",
    };
    // Ten thousand processes are as likely to run out of memory, or of time, as out of processes.
    let contained = call(&stage.client, "hostile", &json!({"deed": "fork"})).await;
    let tamed = contained.record["response"]["result"] == json!({"contained": true})
        || [OUT_OF_MEMORY, EXITED, PYTHON_EXITED, TIMED_OUT_LATE].contains(&contained.failure().1.as_str());
    assert!(tamed, "{}", contained.text);
    stage
        .check(vec![("memory", out_of_memory()), ("fill", Expected::Result(json!({"code": no_space})))])
        .await;
    let files = call(&stage.client, "hostile", &json!({"deed": "files"})).await;
    let opened = files.result()["opened"].as_u64().unwrap();
    assert!((1024 - 30..=1024).contains(&opened), "{}", files.text);
    assert_eq!(files.result()["code"], no_files, "{}", files.text);
}

async fn forges(language: Language) {
    let stage = Stage::new(&hostile(language)).await;
    let deeds = ["close", "flood", "wrong_id", "wrong_kind", "second_hello", "huge_length", "short_length"];
    let mut deeds = deeds.map(|deed| (deed, exited(language))).to_vec();
    deeds.push(("half_frame", timed_out()));
    stage.check(deeds).await;
    // A function may give its own answer as it likes, but never that of a later call.
    let forged = call(&stage.client, "hostile", &json!({"deed": "forge_own"})).await;
    assert_eq!(forged.result(), &json!({"forged": true}));
    let next = call(&stage.client, "hostile", &json!({})).await;
    let calm = Expected::Result(json!({"calm": true}));
    assert!(calm.mismatch(&next).is_none() || exited(language).mismatch(&next).is_none(), "{}", next.text);
    assert_eq!(calm.mismatch(&call(&stage.client, "hostile", &json!({})).await), None);
    // The parent is the first process of the sandbox: it dies with everything in it, or cannot be killed.
    let called = call(&stage.client, "hostile", &json!({"deed": "kill_parent"})).await;
    let fair = exited(language).mismatch(&called).is_none()
        || called.record["response"]["result"] == json!({"survived": true});
    assert!(fair, "{}", called.text);
    assert_eq!(stage.canary().await, None);
}

async fn sulks(language: Language) {
    let stage = Stage::new(&hostile(language)).await;
    for text in ["short".to_owned(), "x".repeat(900_000)] {
        let called = call(&stage.client, "hostile", &json!({"deed": "sulk"})).await;
        assert_eq!(called.result(), &json!({"sulks": true}));
        let next = call(&stage.client, "hostile", &json!({"text": text})).await;
        assert_eq!(timed_out().mismatch(&next), None);
        let calm = Expected::Result(json!({"calm": true}));
        assert_eq!(calm.mismatch(&call(&stage.client, "hostile", &json!({})).await), None);
    }
    assert_eq!(stage.canary().await, None);
}

/// Every deed at the same time, and the canary all along.
async fn crowd() {
    let stage = Stage::new(&hostile(Language::Nodejs)).await;
    let deeds = ["exit", "spin", "idle", "memory", "fork", "fill", "flood", "wrong_id", "kill_all", "close"];
    let done = std::cell::Cell::new(false);
    let harm = async {
        let calls = deeds.iter().map(|deed| json!({"deed": deed}));
        let calls = calls.map(async |arguments| call(&stage.client, "hostile", &arguments).await);
        let called = futures_util::future::join_all(calls).await;
        done.set(true);
        called
    };
    let song = async {
        while !done.get() {
            assert_eq!(stage.canary().await, None);
        }
    };
    let (called, ()) = tokio::join!(harm, song);
    for (deed, called) in deeds.iter().zip(called) {
        assert!(called.status == 502 || called.status == 200, "{deed}: {}", called.text);
    }
    stage.client.delete_action("hostile").await.unwrap();
    let names = || chasen_testkit::descendants(stage.node.pid()).into_iter().map(|(_, name)| name);
    eventually("nothing that was forked is left", async || {
        (!names().any(|name| name == "sleep")).then_some(())
    })
    .await;
}

async fn floods_of_log(language: Language) {
    const MEGABYTES: u64 = 1024;
    let stage = Stage::new(&hostile(language).limit("logs", 1).limit("timeout", LONGEST)).await;
    call(&stage.client, "hostile", &json!({})).await;
    let before = stage.node.memory_peak();
    let record = stage.at_leisure(&json!({"deed": "flood_log", "megabytes": MEGABYTES})).await;
    assert_eq!(record["response"]["result"], json!({"megabytes": MEGABYTES}));
    let lines: Vec<&str> =
        record["logs"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert!(bytes < (1 << 20) + 1000, "{bytes} bytes of log");
    let last = lines.last().expect("a log");
    assert!(last.ends_with(&format!(" stderr: {TRUNCATED}")), "{last}");
    stage.has_not_grown(before);
    assert_eq!(stage.canary().await, None);
}

/// A result of a gigabyte in one line.
async fn floods_of_result() {
    let stage = Stage::new(&hostile(Language::Native).limit("timeout", LONGEST)).await;
    let before = stage.node.memory_peak();
    let record = stage.at_leisure(&json!({"deed": "flood_line"})).await;
    let (status, error) = (&record["response"]["status"], record["response"]["result"]["error"].as_str());
    let error = error.unwrap_or_default();
    assert_eq!(status, "application error", "{}", &error[..error.len().min(999)]);
    let is_cut = error.starts_with("The action produced a response that exceeded the allowed length: ");
    assert!(is_cut, "{}", &error[..error.len().min(999)]);
    stage.has_not_grown(before);
    assert_eq!(stage.canary().await, None);
}

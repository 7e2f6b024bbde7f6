//! What an activation cost: how it came by its container, memory, processor time, and memory that ran out.

use chasen_test_images::of_shell;
use chasen_testkit::docker::{self, NETWORK};
use chasen_testkit::{Client, node};
use serde_json::{Value, json};

use crate::functions::{Called, Function, Language, annotation, call, eventually, logs, record};
use crate::images::import;
use crate::scenario::{Need, Scenario};

const OUT_OF_MEMORY: &str = "The action exhausted its memory and was aborted.";
/// Memory that the functions below take, bytes.
const TAKEN: u64 = 100 << 20;
/// Processor time that they burn, milliseconds.
const BURNT: f64 = 250.0;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("resources::nodejs_runs_tell_what_they_used", || uses(nodejs()))
            .needing(Language::Nodejs.need()),
        Scenario::new("resources::python_runs_tell_what_they_used", || uses(python()))
            .needing(Language::Python.need()),
        Scenario::new("resources::forked_python_runs_tell_what_they_used", forked)
            .needing(Language::Python.need()),
        Scenario::new("resources::runs_of_executables_tell_what_they_used", || uses(native())),
        Scenario::new("resources::stem_cells_are_told_from_new_containers", stem_cells)
            .needing(Language::Nodejs.need()),
        Scenario::new("resources::processor_time_is_not_told_where_it_is_shared", shared)
            .needing(Language::Nodejs.need()),
        Scenario::new("resources::sequences_and_compositions_tell_what_their_steps_used", sessions)
            .needing(Language::Nodejs.need()),
        Scenario::new("resources::imported_images_tell_what_they_used", image).needing(Need::StaticProxy),
        Scenario::new("resources::containers_of_an_engine_tell_what_they_used", engine)
            .needing(Need::Engine)
            .needing(Need::StaticProxy),
        Scenario::new("resources::memory_that_ran_out_is_named_for_nodejs", || {
            runs_out(Function::nodejs(
                "hoard",
                "function main() { for (const hoard = [];;) hoard.push(Buffer.alloc(1 << 20, 1)); }",
            ))
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("resources::memory_that_ran_out_is_named_for_python", || {
            runs_out(Function::python(
                "hoard",
                "def main(args):\n  hoard = []\n  while True: hoard.append(b'x' * (1 << 20))\n",
            ))
        })
        .needing(Language::Python.need()),
        Scenario::new("resources::memory_that_ran_out_is_named_for_executables", || {
            runs_out(Function::native("hoard", "#!/bin/sh\nexec tail -n 1 /dev/zero\n"))
        }),
        Scenario::new("resources::memory_that_ran_out_at_the_start_is_named", start_runs_out)
            .needing(Language::Python.need()),
        Scenario::new("resources::a_process_that_was_ended_for_memory_is_named", child_runs_out)
            .needing(Language::Python.need()),
    ]
}

/// Takes [`TAKEN`] and burns more than [`BURNT`] if asked to, else naps as long.
fn nodejs() -> Function {
    let code = "const kept = []; async function main({ burn }) {\n\
        if (!burn) { await new Promise((go) => setTimeout(go, 300)); return {} }\n\
        kept.push(Buffer.alloc(100 << 20, 1));\n\
        const begun = process.cpuUsage();\n\
        for (;;) { const { user, system } = process.cpuUsage(begun); if (user + system > 300e3) return {} }\n}";
    Function::nodejs("uses", code)
}

fn python() -> Function {
    let code = "import time\nkept = []\ndef main(args):\n    \
        if not args.get('burn'):\n        time.sleep(0.3)\n        return {}\n    \
        kept.append(b'x' * (100 << 20))\n    begun = time.process_time()\n    \
        while time.process_time() - begun < 0.3: pass\n    return {}\n";
    Function::python("uses", code)
}

/// A shell with children: what they use is the container's, too.
fn native() -> Function {
    let code = "#!/bin/sh\ncase \"$1\" in *true*) ;; *) sleep 0.3; echo '{}'; exit;; esac\n\
        head -c 104857600 /dev/zero > /tmp/kept\n\
        i=0; while [ $i -lt 5 ]; do sha512sum /tmp/kept > /tmp/sum; i=$((i + 1)); done\necho '{}'\n";
    Function::native("uses", code)
}

/// What a record says of its cost.
#[derive(Debug)]
struct Cost {
    start_kind: Option<String>,
    /// Milliseconds.
    run_time: f64,
    /// Milliseconds.
    cpu_time: Option<f64>,
    /// Bytes.
    peak: Option<u64>,
    out_of_memory: bool,
}

fn cost(record: &Value) -> Cost {
    let of = |key: &str| annotation(record, key).clone();
    let cost = Cost {
        start_kind: of("startKind").as_str().map(str::to_owned),
        run_time: of("runTime").as_f64().unwrap_or_default(),
        cpu_time: of("cpuTime").as_f64(),
        peak: of("peakMemory").as_u64(),
        out_of_memory: of("outOfMemory") == json!(true),
    };
    if cost.start_kind.is_some() {
        let is_cold = cost.start_kind.as_deref() != Some("warm");
        assert_eq!(of("initTime").is_u64(), is_cold, "{record}");
    }
    cost
}

/// Calls it, first to burn, then to rest, and says what the second call cost.
async fn burn_and_rest(client: &Client, name: &str, first: &str) {
    let burnt = call(client, name, &json!({"burn": true})).await;
    assert_eq!(burnt.result(), &json!({}));
    let (text, burnt) = (burnt.text.clone(), cost(&burnt.record));
    assert_eq!(burnt.start_kind.as_deref(), Some(first), "{text}");
    assert!(burnt.cpu_time.is_some_and(|time| time > BURNT), "{text}");
    assert!(burnt.run_time > BURNT, "{text}");
    assert!(burnt.peak.is_some_and(|peak| (TAKEN..=256 << 20).contains(&peak)), "{text}");
    assert!(!burnt.out_of_memory, "{text}");
    let rested = call(client, name, &json!({"burn": false})).await;
    let (text, rested) = (rested.text.clone(), cost(&rested.record));
    assert_eq!(rested.start_kind.as_deref(), Some("warm"), "{text}");
    assert!(rested.cpu_time.is_some() && rested.cpu_time < burnt.cpu_time, "{text}");
    assert!(rested.run_time > BURNT, "{text}");
    assert!(rested.peak >= burnt.peak, "it is the container's: {text}");
}

async fn uses(function: Function) {
    let node = node().start();
    let client = node.client();
    function.put(&client).await;
    burn_and_rest(&client, "uses", "cold").await;
}

async fn forked() {
    let node = node().set("sandbox.fork-server", "true").start();
    let client = node.client();
    python().put(&client).await;
    burn_and_rest(&client, "uses", "cold").await;
}

async fn stem_cells() {
    let node = node().start();
    let client = node.client();
    let code = "function main() { return {} }";
    let mut number = 0;
    let kind = async || {
        number += 1;
        let name = format!("one{number}");
        Function::nodejs(&name, code).put(&client).await;
        let called = call(&client, &name, &json!({})).await;
        called.result();
        cost(&called.record).start_kind.unwrap()
    };
    let mut kind = kind;
    assert_eq!(kind().await, "cold", "an idle node keeps none before a kind is used");
    eventually("a later function finds a stem cell", async || (kind().await == "stem").then_some(())).await;
}

async fn shared() {
    let node = node().set("limits.action-concurrency-max", "10").start();
    let client = node.client();
    nodejs().limit("concurrency", 10).put(&client).await;
    let called = call(&client, "uses", &json!({"burn": true})).await;
    let cost = cost(&called.record);
    assert_eq!(cost.cpu_time, None, "{}", called.text);
    assert!(cost.peak.is_some_and(|peak| peak >= TAKEN) && cost.run_time > BURNT, "{}", called.text);
}

async fn sessions() {
    let node = node().start();
    let client = node.client();
    nodejs().put(&client).await;
    Function::nodejs("light", "function main() { return { burn: true } }").put(&client).await;
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/_/light", "/_/uses"]}});
    let put = client.put("/api/v1/namespaces/_/actions/both", &sequence).await.unwrap();
    assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    let conductor = "function main({ done }) { return done ? {} : \
        { action: '/_/both', state: { done: true } } }";
    Function::nodejs("conductor", conductor).annotation("conductor", json!(true)).put(&client).await;
    for name in ["both", "conductor"] {
        let called = call(&client, name, &json!({})).await;
        let whole = cost(&called.record);
        let mut steps = Vec::new();
        for id in called.record["logs"].as_array().unwrap() {
            steps.push(cost(&record(&client, id.as_str().unwrap()).await));
        }
        assert!(steps.len() >= 2, "{}", called.text);
        assert_eq!(whole.peak, steps.iter().map(|step| step.peak).max().unwrap(), "{steps:?}");
        let sum: f64 = steps.iter().filter_map(|step| step.cpu_time).sum();
        assert!((whole.cpu_time.unwrap() - sum).abs() < 0.01, "{} of {steps:?}", called.text);
        assert!(sum > BURNT && whole.start_kind.is_none(), "{}", called.text);
    }
    let trigger = client.put("/api/v1/namespaces/_/triggers/t", &json!({})).await.unwrap();
    assert_eq!(trigger.status.as_u16(), 200);
    let action = json!({"trigger": "/_/t", "action": "/_/light"});
    assert_eq!(client.put("/api/v1/namespaces/_/rules/r", &action).await.unwrap().status.as_u16(), 200);
    let fired = client.post("/api/v1/namespaces/_/triggers/t", &json!({})).await.unwrap().json();
    let fired = record(&client, fired["activationId"].as_str().unwrap()).await;
    assert_eq!(fired["annotations"], json!([]), "a fire runs nothing itself");
}

/// The shell function of [`native`], as images get it.
fn of_image(reference: &str) -> Function {
    let code = "#!/bin/sh\nread -r args\ncase \"$args\" in *true*) ;; *) sleep 0.3; echo '{}'; exit;; esac\n\
        head -c 104857600 /dev/zero > /tmp/kept\n\
        i=0; while [ $i -lt 5 ]; do sha512sum /tmp/kept > /tmp/sum; i=$((i + 1)); done\necho '{}'\n";
    Function::of_image("uses", reference, Some(code))
}

async fn image() {
    const SHELL: &str = "chasen-test/resources:1";
    let node = node().start();
    let client = node.client();
    import(&node, &of_shell(SHELL).expect("its parts are there"));
    of_image(SHELL).put(&client).await;
    burn_and_rest(&client, "uses", "cold").await;
    let hoard = "#!/bin/sh\nread -r args\nexec tail -n 1 /dev/zero\n";
    Function::of_image("hoard", SHELL, Some(hoard)).put(&client).await;
    ran_out(&client, "hoard").await;
}

async fn engine() {
    const SHELL: &str = "chasen-e2e/resources:1";
    let daemon = docker::engine().unwrap();
    daemon.load(&of_shell(SHELL).expect("its parts are there").docker_archive());
    let node = node()
        .set("docker.socket", &daemon.socket().display().to_string())
        .set("docker.network", NETWORK)
        .set("docker.pull", "missing")
        .start();
    let client = node.client();
    // What it writes is on the engine's disk: memory is what its processes hold.
    let code = "#!/bin/sh\nread -r args\ncase \"$args\" in *true*) ;; *) sleep 0.3; echo '{}'; exit;; esac\n\
        head -c 104857600 /dev/zero | tail -n 1 > /dev/null\n\
        i=0; while [ $i -lt 5 ]; do head -c 104857600 /dev/zero | sha512sum > /dev/null; i=$((i + 1)); done\necho '{}'\n";
    Function::of_image("uses", SHELL, Some(code)).put(&client).await;
    burn_and_rest(&client, "uses", "cold").await;
    let hoard = "#!/bin/sh\nread -r args\nexec tail -n 1 /dev/zero\n";
    Function::of_image("hoard", SHELL, Some(hoard)).limit("memory", 128).put(&client).await;
    ran_out(&client, "hoard").await;
}

/// Calls what takes memory without end.
async fn ran_out(client: &Client, name: &str) {
    let called = call(client, name, &json!({})).await;
    assert_eq!(called.failure(), ("action developer error", OUT_OF_MEMORY.to_owned()));
    named(client, &called, true).await;
}

/// The record says that memory ran out, with the limit and the peak; its log says so once, before the notice if it ended
/// in an error.
async fn named(client: &Client, called: &Called, has_notice: bool) {
    let limit = called.annotation("limits")["memory"].as_u64().unwrap();
    let cost = cost(&called.record);
    assert!(cost.out_of_memory, "{}", called.text);
    let lines = logs(client, called.id()).await;
    let named: Vec<&String> = lines.iter().filter(|line| line.contains("Memory ran out")).collect();
    let peak = (cost.peak.unwrap_or_default() + (1 << 19)) >> 20;
    let expected = format!(
        "stderr: Memory ran out and a process of the action was ended: limit {limit} MB, peak {peak} MB."
    );
    assert!(named.len() == 1 && named[0].ends_with(&expected), "{expected}: {lines:?}");
    assert!((limit - 1..=limit).contains(&peak), "{}", called.text);
    assert_eq!(lines.len() > 1 && lines[lines.len() - 1].contains("did not initialize or run"), has_notice);
}

async fn runs_out(function: Function) {
    let node = node().start();
    let client = node.client();
    let name = function.name().to_owned();
    function.limit("memory", 128).put(&client).await;
    ran_out(&client, &name).await;
}

async fn start_runs_out() {
    let node = node().start();
    let client = node.client();
    let code = "hoard = []\nwhile True: hoard.append(b'x' * (1 << 20))\n";
    Function::python("hoard", code).limit("memory", 128).put(&client).await;
    ran_out(&client, "hoard").await;
}

/// The function lives on without the process, or goes with it: as the machine's control groups have it.
async fn child_runs_out() {
    let node = node().start();
    let client = node.client();
    let code = "import subprocess\ndef main(args):\n    \
        if args.get('fail'): raise SystemExit(1)\n    \
        if args.get('hoard'): return {'code': subprocess.call(['tail', '-n', '1', '/dev/zero'])}\n    \
        return {'code': 0}\n";
    Function::python("parent", code).limit("memory", 128).put(&client).await;
    let hoards = call(&client, "parent", &json!({"hoard": true})).await;
    let survives = hoards.status == 200;
    if survives {
        assert_eq!(hoards.result(), &json!({"code": -9}));
    } else {
        assert_eq!(hoards.failure().1, OUT_OF_MEMORY);
    }
    named(&client, &hoards, !survives).await;
    let rests = call(&client, "parent", &json!({})).await;
    assert_eq!(cost(&rests.record).start_kind.as_deref(), Some(if survives { "warm" } else { "cold" }));
    assert!(!cost(&rests.record).out_of_memory, "it is told once: {}", rests.text);
    let fails = call(&client, "parent", &json!({"fail": true})).await;
    assert_ne!(fails.failure().1, OUT_OF_MEMORY, "the end has another cause: {}", fails.text);
    assert!(!cost(&fails.record).out_of_memory, "{}", fails.text);
}

//! What it costs to lose nothing: durable accepts beside the disk's own pace, a restart with much work that is due, and the
//! death of a sandbox.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chasen_testkit::{Signal, children, descendants, signal};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::http::{self, Client, GUEST};
use crate::ledger::Ledger;
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report, grouped};
use crate::stats::{best, millis, most};
use crate::{Failure, kinds};

const REPETITIONS: usize = 3;
/// Clients that ask for durable work, and how long a burst is.
const CLIENTS: u32 = 64;
const BURST: Duration = Duration::from_secs(10);

/// Activations that wait while no node runs, and for how long they are put off: longer than it takes to ask for them.
const PENDING: u64 = 100_000;
const PUT_OFF: Duration = Duration::from_secs(60);
/// Requests that are sent without waiting for answers.
const TOGETHER: usize = 500;
/// Longest wait for what takes seconds, and pause between two looks.
const PATIENCE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(20);

/// B15: calls that nobody waits for, on the disk before they are answered.
pub(crate) fn accept(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[("limits.concurrent-invocations", "unlimited")])?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    let request = [http::invocation(&node.host, "stub", "", GUEST)?];
    let mut ledger = Ledger::open(&mut client)?;
    let pressure = Pressure::begin();
    let (mut rates, mut p99, mut drains, mut syncs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        syncs.push(bare_syncs(node.data())?);
        let run = ledger.enter(load::closed(CLIENTS, BURST, &request)?)?;
        rates.push(run.rate());
        p99.push(load::at(&run, 0.99));
        drains.push(ledger.settled(&mut client)?.as_secs_f64());
    }
    let what =
        "calls accepted of a native stub, synced before the answer, bursts of 10 s with the work behind them";
    report.judge(
        &format!("{what}, {CLIENTS} clients"),
        &Measured::rate(most(&rates)),
        Bound::at_least(10_000.0).stretch(30_000.0),
    );
    report.judge("their answers, p99", &Measured::millis(best(&p99)), Bound::at_most(15.0).stretch(5.0));
    report.beside(
        "a bare `fdatasync` of 1 kB after another, same disk",
        format!("{}/s", grouped(most(&syncs), 0)),
    );
    report.beside("until the backlog was drained", Measured::seconds(best(&drains)));
    report.beside("meanwhile", pressure.share());
    ledger.close(&mut client, report)
}

/// How often a second the disk keeps a record's worth of bytes, one after the other.
fn bare_syncs(folder: &Path) -> Result<f64, Failure> {
    const COUNT: u32 = 500;
    let path = folder.join("bare-syncs");
    let file = File::create(&path)?;
    let begun = Instant::now();
    for number in 0..COUNT {
        file.write_all_at(&[b'x'; 1000], u64::from(number) * 1000)?;
        file.sync_data()?;
    }
    let rate = f64::from(COUNT) / begun.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// B16: a node that was killed starts again, and much work has become due meanwhile.
pub(crate) fn restart(report: &mut Report) -> Result<(), Failure> {
    let mut node = chasen_testkit::node().set("limits.concurrent-invocations", "unlimited").start();
    let connect = |node: &chasen_testkit::Node| Client::connect(node.base().trim_start_matches("http://"));
    let mut client = connect(&node)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    let before = client.records()?;
    let begun = Instant::now();
    // All at one moment: what is due one after the other is not resumed any faster than that.
    let due = Timestamp::now() + SignedDuration::try_from(PUT_OFF)?;
    let path = format!("/actions/stub?at={due:.3}");
    for _ in 0..PENDING / TOGETHER as u64 {
        client.send_many("POST", &path, b"{}", TOGETHER)?;
    }
    node.kill();
    let Some(rest) = PUT_OFF.checked_sub(begun.elapsed()) else {
        return Err(format!("{PENDING} activations were not asked for within {PUT_OFF:?}").into());
    };
    thread::sleep(rest + Duration::from_secs(1));
    let pressure = Pressure::begin();
    let begun = Instant::now();
    node.restart();
    let ready = begun.elapsed();
    let mut client = connect(&node)?;
    let all = before + PENDING;
    while client.records()? < all {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} records of {all}", client.records()?).into());
        }
        thread::sleep(LOOK);
    }
    let resumed = PENDING as f64 / (begun.elapsed() - ready).as_secs_f64();
    let what = format!(
        "a node that was killed, {} activations pending and due: to ready",
        grouped(PENDING as f64, 0)
    );
    report.judge(&what, &Measured::seconds(ready.as_secs_f64()), Bound::at_most(3.0));
    report.judge("the same: resumed, to their records", &Measured::rate(resumed), Bound::at_least(2_000.0));
    report.beside("meanwhile", pressure.share());
    Ok(())
}

/// B17: a sandbox is killed with a call in it.
pub(crate) fn death(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    let code = "#!/bin/sh\nsleep 60\necho '{}'\n";
    let exec = json!({"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": code});
    client.put_action("sleeper", &exec, 128)?;
    let mut resolved = Vec::new();
    for _ in 0..REPETITIONS {
        let host = node.host.clone();
        let call = thread::spawn(move || -> Result<Instant, String> {
            let mut client = Client::connect(&host).map_err(|error| error.to_string())?;
            client.invoke("sleeper").map_err(|error| error.to_string())?;
            Ok(Instant::now())
        });
        let first = first_of_sandbox(node.pid(), "sleep")?;
        let killed = Instant::now();
        signal(first, Signal::KILL);
        let answered = call.join().map_err(|_| "a client panicked")??;
        resolved.push(millis(answered.saturating_duration_since(killed)));
    }
    let what = "a sandbox is killed: until the call in it is answered, longest of three";
    report.judge(what, &Measured::millis(most(&resolved)), Bound::at_most(1000.0));
    Ok(())
}

/// The first process of the sandbox in which a program runs, once it does.
fn first_of_sandbox(node: u32, program: &str) -> Result<u32, Failure> {
    let begun = Instant::now();
    loop {
        let below = descendants(node);
        if let Some((pid, _)) = below.iter().find(|(_, name)| name == program) {
            // What the helper itself has started is the first of a sandbox.
            let of_helpers: Vec<u32> = children(node).into_iter().flat_map(children).collect();
            let mut found = *pid;
            while !of_helpers.contains(&found) {
                found = parent(found)?;
            }
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("'{program}' does not run").into());
        }
        thread::sleep(LOOK);
    }
}

fn parent(pid: u32) -> Result<u32, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
    Ok(after.and_then(|parent| parent.parse().ok()).filter(|parent| *parent > 1).ok_or("it has no parent")?)
}

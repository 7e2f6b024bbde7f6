//! A soak: a node works for long, at everything at once; what it holds when all is gone must be what it held before.

pub mod levels;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chasen_client::Client;
use chasen_testkit::{GUEST, PATIENCE, Process, internet};

use crate::random::Random;
use levels::Levels;
use work::Work;

/// The same work before the first look, so that what is kept for good is there: caches, pools, prepared cells.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long the node may take to be at rest again.
const REST: Duration = Duration::from_secs(240);
/// Time between two looks at it, and between two lines about it.
const LOOK: Duration = Duration::from_secs(2);
const PROGRESS: Duration = Duration::from_secs(30);

/// Settings: nothing is refused by a limit, and what is kept is kept for a short time.
const SETTINGS: [&str; 8] = [
    "limits.invocations-per-minute=unlimited",
    "limits.fires-per-minute=unlimited",
    "limits.concurrent-invocations=unlimited",
    "node.memory=1 GB",
    "docker.enabled=false",
    "log.filter=error",
    "sandbox.idle-container=5 s",
    "activations.retention=20 s",
];

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long the node works.
    pub time: Duration,
    /// What everything random follows from.
    pub seed: u64,
    /// The node's binary.
    pub program: PathBuf,
}

/// Runs it; true if every level is back where it was, and nothing was answered that may not be.
///
/// # Panics
/// When the machine does not let a node be started.
#[must_use]
pub fn run(plan: &Plan) -> bool {
    let mut is_good = false;
    internet::on_a_machine(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        is_good = runtime.expect("a runtime can be made").block_on(soak(plan));
    });
    is_good
}

async fn soak(plan: &Plan) -> bool {
    println!("seed {}; {} minutes", plan.seed, plan.time.as_secs() / 60);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");
    let (mut process, client) = start(plan, folder.path());
    let mut random = Random::new(plan.seed, 0);

    let mut work = Work::default();
    load(&mut work, &client, &mut random, WARM_UP, process.pid()).await;
    work.remove_all(&client).await;
    let before = at_rest(process.pid(), &data, None).await;
    println!("before: {before}");

    let mut work = Work::default();
    load(&mut work, &client, &mut random, plan.time, process.pid()).await;
    work.remove_all(&client).await;
    let after = at_rest(process.pid(), &data, Some(&before)).await;
    println!("after:  {after}\n{work}");

    let higher = after.higher_than(&before);
    higher.iter().for_each(|level| println!("NOT MET: {level}"));
    let wrong = work.wrong();
    wrong.iter().for_each(|answer| println!("NOT MET: {answer}"));
    let has_died = process.has_ended();
    if has_died {
        println!("NOT MET: the node has died");
    } else {
        process.signal(chasen_testkit::Signal::TERM);
        process.wait(PATIENCE);
    }
    let left = internet::network_remains();
    if !left.is_empty() {
        println!("NOT MET: links are left when the node is gone: {left:?}");
    }
    higher.is_empty() && wrong.is_empty() && !has_died && left.is_empty()
}

fn start(plan: &Plan, folder: &std::path::Path) -> (Process, Client) {
    const READY: &str = "chasen ready on ";
    let mut command = std::process::Command::new(&plan.program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data"));
    command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
    let log = folder.join("log");
    let mut process = Process::start(command, &log);
    while let Some(line) = process.line() {
        if let Some(base) = line.strip_prefix(READY) {
            return (process, Client::new(base).with_credentials(GUEST));
        }
    }
    panic!("the node did not become ready:\n{}", std::fs::read_to_string(&log).unwrap_or_default());
}

/// Works for this time, and tells of it.
async fn load(work: &mut Work, client: &Client, random: &mut Random, time: Duration, pid: u32) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        let round = PROGRESS.min(time.saturating_sub(begun.elapsed()));
        work.go_on(client, random, round).await;
        eprintln!(
            "{:>5.0} s: {}, {:.1} MB",
            begun.elapsed().as_secs_f64(),
            work.summary(),
            levels::resident(pid)
        );
    }
}

/// Waits until the levels are no higher than these, or do not change any more.
async fn at_rest(pid: u32, data: &std::path::Path, wanted: Option<&Levels>) -> Levels {
    let begun = Instant::now();
    let mut last = Levels::read(pid, data);
    let mut same = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = Levels::read(pid, data);
        same = if now.is_like(&last) { same + 1 } else { 0 };
        let is_done = match wanted {
            Some(wanted) => now.higher_than(wanted).is_empty(),
            // As long as records and idle containers are kept, and a little.
            None => same * LOOK.as_secs() >= 40,
        };
        if is_done || begun.elapsed() > REST {
            return now;
        }
        last = now;
    }
}

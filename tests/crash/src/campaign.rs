//! A campaign: lanes side by side until so many nodes have died, and the verdict.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chasen_testkit::internet;

use crate::lane::{Campaign, Lane, Manner};
use crate::node::Place;
use crate::oracle::Sort;
use crate::tally::Tally;
use crate::witness::Witness;

/// Longest time from a restart until everything has ended, back-off of what is tried again included.
const PATIENCE: Duration = Duration::from_secs(180);
/// The same where the outcome is known to be bad.
const IMPATIENCE: Duration = Duration::from_secs(10);
/// Deaths that a log which says yes before it has written survives at most without being found out.
const SABOTAGED: u64 = 10;
/// Least share of deaths that must hit work under way, in percent.
const HITS: f64 = 80.0;
/// Time between two words about how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Deaths.
    pub kills: u64,
    /// What everything random follows from.
    pub seed: u64,
    /// The binary that is shipped.
    pub program: PathBuf,
    /// The same with faults to be switched on.
    pub faulty: Option<PathBuf>,
    /// What is asked for.
    pub sorts: Vec<Sort>,
}

/// Runs it; true if nothing was lost, and the harness has shown that it would have noticed.
///
/// # Panics
/// When the machine does not let nodes be started.
#[must_use]
pub fn run(plan: &Plan) -> bool {
    let begun = Instant::now();
    println!("seed {}; {} deaths", plan.seed, plan.kills);
    if let Some(faulty) = plan.faulty.as_ref().filter(|faulty| !has_faults(faulty)) {
        println!("NOT MET: {} is no build with faults", faulty.display());
        return false;
    }
    let notices = plan.faulty.is_none() || notices_sabotage(plan);
    let mut lanes = vec![(Manner::Kill, plan.program.clone())];
    match &plan.faulty {
        Some(faulty) => {
            lanes.extend([Manner::AtWrites, Manner::PowerCut].map(|manner| (manner, faulty.clone())))
        }
        None => {
            println!(
                "skipped: deaths at writes, power cuts and the sabotaged log: no binary with faults was given"
            );
            lanes.push((Manner::Kill, plan.program.clone()));
        }
    }
    let tally = side_by_side(plan, lanes, plan.kills, PATIENCE);
    println!("{tally}\nit took {:.0} s", begun.elapsed().as_secs_f64());
    tally.violations.iter().for_each(|violation| println!("WRONG: {violation}"));
    let hits = tally.hits();
    println!("deaths that hit work under way: {hits:.1} % of {} (must: {HITS} %)", tally.casualties.len());
    let is_good = notices && tally.violations.is_empty() && hits >= HITS;
    println!("{}", if is_good { "nothing was lost" } else { "NOT MET" });
    is_good
}

/// True if a binary says that it has faults.
fn has_faults(program: &Path) -> bool {
    let said = Command::new(program).arg("--version").output();
    said.is_ok_and(|said| String::from_utf8_lossy(&said.stdout).contains("faults"))
}

/// A node that acknowledges before it writes must be found out.
fn notices_sabotage(plan: &Plan) -> bool {
    let faulty = plan.faulty.clone().unwrap_or_default();
    let tally = side_by_side(plan, vec![(Manner::Sabotaged, faulty)], SABOTAGED, IMPATIENCE);
    match tally.violations.first() {
        Some(first) => println!("a log that says yes before it has written is found out: {first}"),
        None => println!("NOT MET: a log that says yes before it has written was not found out"),
    }
    !tally.violations.is_empty()
}

/// Runs a lane for each of these, on a machine of their own.
fn side_by_side(plan: &Plan, lanes: Vec<(Manner, PathBuf)>, deaths: u64, patience: Duration) -> Tally {
    let witness = Witness::default();
    let left = Arc::new(AtomicU64::new(deaths));
    let campaign =
        Campaign { left: left.clone(), witness: witness.clone(), sorts: plan.sorts.clone(), patience };
    let mut whole = Tally::default();
    let seed = plan.seed;
    internet::on_a_machine_beside(
        move || witness.listen(),
        || {
            let running: Vec<_> = lanes
                .into_iter()
                .zip(1..)
                .map(|((manner, program), number)| {
                    let campaign = campaign.clone();
                    thread::spawn(move || live(campaign, manner, program, seed, number))
                })
                .collect();
            let mut told = Instant::now();
            while running.iter().any(|lane| !lane.is_finished()) {
                thread::sleep(Duration::from_millis(50));
                if told.elapsed() > PROGRESS {
                    told = Instant::now();
                    eprintln!("{} of {deaths} deaths are due", left.load(Ordering::Relaxed));
                }
            }
            for lane in running {
                match lane.join() {
                    Ok(tally) => whole.merge(tally),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        },
    );
    whole
}

/// A lane on a thread of its own; its folder is kept where something was wrong.
fn live(campaign: Campaign, manner: Manner, program: PathBuf, seed: u64, number: u64) -> Tally {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let place = Place { program, folder: folder.path().to_owned() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let lane = Lane::new(campaign, manner, place, seed, number);
    let tally = runtime.expect("a runtime can be made").block_on(lane.run());
    if !tally.violations.is_empty() && manner != Manner::Sabotaged {
        println!("{manner:?}: the data lies in {}", folder.keep().display());
    }
    tally
}

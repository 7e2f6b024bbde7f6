//! Runs a plan: a thread per share of its connections, and this one, which puts together what they measure.

mod connection;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use self::worker::{Told, Worker};
use crate::measure::{Collector, Latencies, Measured, Tally, Tick};
use crate::plan::{Pace, Plan, PlanError};
use crate::profile::Profile;
use crate::target::{Authority, Unreachable};
use crate::wire::Place;

/// How often progress is told and figures over time are taken.
const SLICE: Duration = Duration::from_secs(1);
const SHORTEST_SLICE: Duration = Duration::from_millis(100);
/// Slices of a run, at least, where it is long enough.
const SLICES: u32 = 20;
/// Significant digits of durations.
const DIGITS: u8 = 3;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A server does not accept connections; nothing was sent.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The machine refuses what the run needs.
    #[error(
        "the run cannot go on: {0}; fewer clients, or a higher limit of open files (ulimit -n), may help"
    )]
    System(String),
}

/// Ends a run early. Clones share the switch.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<AtomicBool>);

impl Halt {
    /// Sends nothing more and gives up what is under way; [`run`] returns what was measured until then.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once somebody has stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What all threads of a run look at.
struct Shared<'a> {
    plan: &'a Plan,
    profile: Profile,
    requests: Vec<Rendered>,
    places: Vec<Place>,
    /// Bounds of the weights: target `i` is meant below the bound `i`.
    weights: Vec<u64>,
    begin: Instant,
    /// When sending ends.
    end: Instant,
    slice: Duration,
    empty: Latencies,
    /// Requests that may still be begun, where the plan has a bound.
    left: Option<AtomicU64>,
    halt: &'a Halt,
}

/// A target's request.
struct Rendered {
    bytes: Vec<u8>,
    /// Which of the places.
    place: usize,
    is_head: bool,
}

/// Carries out a plan on this and other threads and returns when all replies are in, or are too late. `progress` is
/// told each second, or more often where the run is short.
pub fn run(plan: &Plan, halt: &Halt, progress: impl FnMut(&Tick)) -> Result<Measured, RunError> {
    plan.check()?;
    let system = |error: &dyn std::fmt::Display| RunError::System(error.to_string());
    let empty: Latencies = Histogram::new(DIGITS).map_err(|error| system(&error))?;
    let (mut places, mut requests): (Vec<(Authority, Place)>, Vec<Rendered>) = Default::default();
    for target in &plan.targets {
        let place = match places.iter().position(|(authority, _)| authority == target.authority()) {
            Some(known) => known,
            None => {
                places.push((target.authority().clone(), target.authority().reach(plan.tls.as_ref())?));
                places.len() - 1
            }
        };
        let bytes = target.render(plan.keep_alive);
        requests.push(Rendered { bytes, place, is_head: target.method() == "HEAD" });
    }
    let weights = plan.targets.iter().scan(0, |sum, target| {
        *sum += u64::from(target.weight);
        Some(*sum)
    });
    let length = plan.length();
    let (profile, begin) = (plan.profile(), Instant::now());
    let shared = Shared {
        end: begin + profile.length(),
        profile,
        requests,
        places: places.into_iter().map(|(_, place)| place).collect(),
        weights: weights.collect(),
        begin,
        slice: (length / SLICES).clamp(SHORTEST_SLICE, SLICE),
        empty,
        left: plan.requests.map(AtomicU64::new),
        halt,
        plan,
    };
    measure(&shared, length, progress)
}

fn measure(
    shared: &Shared<'_>,
    length: Duration,
    mut progress: impl FnMut(&Tick),
) -> Result<Measured, RunError> {
    let threads = shared.plan.threads.min(shared.plan.pace.clients() as usize).max(1);
    let mut collector = Collector::new(threads, length, shared.slice, &shared.empty);
    let (sender, told) = sync_channel::<Told>(threads * 4);
    let counted_from = shared.begin + shared.plan.warm_up;
    let failure = Mutex::new(None);
    let mut tallies: Vec<Tally> = Vec::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let (sender, failure) = (sender.clone(), &failure);
                scope.spawn(move || {
                    let worked = Worker::new(shared, number, threads, sender).and_then(Worker::run);
                    worked.unwrap_or_else(|error| {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                        // The others end too; whoever reads the error sees no figures.
                        shared.halt.stop();
                        Tally::new(0, &shared.empty)
                    })
                })
            })
            .collect();
        drop(sender);
        for Told { index, count } in told {
            for tick in collector.add(index, count) {
                // The end of a run cuts its last slice short, which then says nothing of the pace.
                if counted_from + tick.slice.begin + tick.slice.length <= Instant::now() {
                    progress(&tick);
                }
            }
        }
        tallies.extend(workers.into_iter().filter_map(|worker| worker.join().ok()));
    });
    if let Some(why) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(RunError::System(why));
    }
    let stopped = shared.halt.is_stopped();
    let is_bounded = shared.plan.requests.is_some();
    let length = if stopped || is_bounded {
        let until = tallies.iter().map(|tally| tally.active).max().unwrap_or_default();
        until.min(length)
    } else {
        length
    };
    Ok(collector.finish(tallies, length, stopped))
}

impl Shared<'_> {
    fn is_open(&self) -> bool {
        matches!(self.plan.pace, Pace::Open { .. })
    }

    /// Takes one of the requests that may be begun; false if there are no more.
    fn take(&self) -> bool {
        self.left.as_ref().is_none_or(|left| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        })
    }
}

//! Load from a few clients that share the machine with the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chasen_loadgen::{Halt, Measured, Pace, Plan, Target};

use crate::Failure;
use crate::http::Client;
use crate::stats::Samples;

/// One worker's calls: it gets its client and the number of the call.
type Call<'a> = &'a (dyn Fn(&mut Client, u64) -> Result<(), Failure> + Sync);

/// Closed loop: every client sends its next request when it has the answer to the last one; those that are under way
/// when the time is over are waited for. Requests are drawn by their weights.
pub(crate) fn closed(clients: u32, time: Duration, requests: &[Target]) -> Result<Measured, Failure> {
    run(Pace::closed(clients), time, requests, &Halt::default())
}

/// Open loop: requests are due at a rate, whatever became of those before, as long as one of the clients is free;
/// latencies count from when they were due.
pub(crate) fn open(
    clients: u32,
    rate: f64,
    time: Duration,
    requests: &[Target],
) -> Result<Measured, Failure> {
    run(Pace::Open { stages: Vec::new(), rate, clients }, time, requests, &Halt::default())
}

/// The same until it is halted, which must be before the time is over.
pub(crate) fn run(pace: Pace, time: Duration, requests: &[Target], halt: &Halt) -> Result<Measured, Failure> {
    let mut plan = Plan::new(requests.to_vec(), pace, time);
    plan.collect_ids = true;
    plan.per_target = false;
    Ok(chasen_loadgen::run(&plan, halt, |_| {})?)
}

/// Fails if anything but success was answered, or nothing.
pub(crate) fn all_succeeded(measured: Measured) -> Result<Measured, Failure> {
    if measured.errors() == 0 {
        return Ok(measured);
    }
    let Measured { statuses, failures, examples, .. } = measured;
    Err(format!("not every call succeeded: {statuses:?} {failures:?} {examples:?}").into())
}

/// A latency that this share of the calls stays below, in milliseconds.
pub(crate) fn at(measured: &Measured, quantile: f64) -> f64 {
    measured.latencies.value_at_quantile(quantile) as f64 / 1e6
}

/// Calls from `clients` connections until `stop` says so, each on a schedule of its own where there is a `rate`
/// (calls per second of all together). Returns the latencies, counted from when a call was due.
pub(crate) fn until(
    host: &str,
    clients: u32,
    rate: Option<f64>,
    stop: &AtomicBool,
    call: Call<'_>,
) -> Result<Samples, Failure> {
    let worker = |first: u32| -> Result<Samples, Failure> {
        let mut client = Client::connect(host)?;
        let mut samples = Samples::new()?;
        let begun = Instant::now();
        for round in 0u32.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = u64::from(round) * u64::from(clients) + u64::from(first);
            let due = match rate {
                Some(rate) => begun + Duration::from_secs_f64(number as f64 / rate),
                None => Instant::now(),
            };
            thread::sleep(due.saturating_duration_since(Instant::now()));
            call(&mut client, number)?;
            samples.record(due.elapsed());
        }
        Ok(samples)
    };
    together(clients, worker, Samples::new()?, |all, own| all.merge(&own))
}

/// `total` calls from `clients` connections as fast as they go.
pub(crate) fn times(host: &str, clients: u32, total: u64, call: Call<'_>) -> Result<Samples, Failure> {
    let worker = |first: u32| -> Result<Samples, Failure> {
        let mut client = Client::connect(host)?;
        let mut samples = Samples::new()?;
        for number in (u64::from(first)..total).step_by(clients as usize) {
            let begun = Instant::now();
            call(&mut client, number)?;
            samples.record(begun.elapsed());
        }
        Ok(samples)
    };
    together(clients, worker, Samples::new()?, |all, own| all.merge(&own))
}

/// What all clients measured, each in a thread of its own; the worker gets the client's number.
fn together<T: Send>(
    clients: u32,
    worker: impl Fn(u32) -> Result<T, Failure> + Sync,
    mut all: T,
    merge: impl Fn(&mut T, T),
) -> Result<T, Failure> {
    let worker = &worker;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|first| {
                // Many clients, each of which needs little.
                let builder = thread::Builder::new().stack_size(1 << 18);
                builder.spawn_scoped(scope, move || worker(first).map_err(|error| error.to_string()))
            })
            .collect::<Result<_, _>>()?;
        for worker in workers {
            merge(&mut all, worker.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })
}

/// Time that something waited for a processor, as the kernel counts it.
pub(crate) struct Pressure {
    begun: Instant,
    before: Option<f64>,
}

impl Pressure {
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), before: Self::waited() }
    }

    /// Share of the time since the beginning, in percent.
    pub(crate) fn share(&self) -> String {
        match (self.before, Self::waited()) {
            (Some(before), Some(now)) => {
                format!("CPU pressure {:.0} %", (now - before) / self.begun.elapsed().as_secs_f64() * 100.0)
            }
            _ => "CPU pressure is not told by this kernel".to_owned(),
        }
    }

    /// Seconds since the machine's start.
    fn waited() -> Option<f64> {
        let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
        let total = text.split_whitespace().find_map(|word| word.strip_prefix("total="))?;
        Some(total.parse::<f64>().ok()? / 1e6)
    }
}

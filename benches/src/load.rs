//! Load from a few clients that share the machine with the node.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::{Client, Id};
use crate::stats::Samples;

/// One worker's calls: it gets its client and the number of the call.
type Call<'a> = &'a (dyn Fn(&mut Client, u64) -> Result<(), Failure> + Sync);

/// What came of a run.
pub(crate) struct Run {
    /// Latencies of answers that say success.
    pub(crate) samples: Samples,
    /// Answers of each status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Ids of activations that were answered with success.
    pub(crate) ids: Vec<Id>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Run {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            samples: Samples::new()?,
            statuses: BTreeMap::new(),
            ids: Vec::new(),
            took: Duration::ZERO,
        })
    }

    /// Successes a second.
    pub(crate) fn rate(&self) -> f64 {
        self.samples.count() as f64 / self.took.as_secs_f64()
    }

    /// Fails if anything but success was answered.
    pub(crate) fn all_succeeded(self) -> Result<Self, Failure> {
        match self.statuses.iter().find(|(status, _)| !is_success(**status)) {
            Some((status, count)) => Err(format!("{count} calls were answered with status {status}").into()),
            None => Ok(self),
        }
    }

    fn merge(&mut self, other: Self) {
        self.samples.merge(&other.samples);
        self.ids.extend(other.ids);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Closed loop: every client sends its next request when it has the answer to the last one; those that are under way
/// when the time is over are waited for. `requests` are drawn by their weights.
pub(crate) fn closed(
    host: &str,
    clients: u32,
    time: Duration,
    requests: &[(Vec<u8>, f64)],
) -> Result<Run, Failure> {
    let begun = Instant::now();
    drawn(host, clients, requests, |_| {
        let now = Instant::now();
        (now < begun + time).then_some(now)
    })
}

/// Open loop: requests are due at a fixed rate, whatever became of those before, as long as a client is free;
/// latencies count from when they were due.
pub(crate) fn open(
    host: &str,
    clients: u32,
    rate: f64,
    time: Duration,
    requests: &[(Vec<u8>, f64)],
) -> Result<Run, Failure> {
    let begun = Instant::now();
    drawn(host, clients, requests, |number| {
        let due = Duration::from_secs_f64(number as f64 / rate);
        (due < time).then_some(begun + due)
    })
}

/// Requests from clients until `due` says no more of the number of a request.
fn drawn(
    host: &str,
    clients: u32,
    requests: &[(Vec<u8>, f64)],
    due: impl Fn(u64) -> Option<Instant> + Sync,
) -> Result<Run, Failure> {
    let mut sum = 0.0;
    let upto: Vec<f64> = requests
        .iter()
        .map(|(_, weight)| {
            sum += weight;
            sum
        })
        .collect();
    let begun = Instant::now();
    let mut all = together(
        clients,
        |first| {
            let (mut client, mut run) = (Client::connect(host)?, Run::new()?);
            let mut random = Random(u64::from(first) + 1);
            let mut number = u64::from(first);
            while let Some(due) = due(number) {
                let place = upto.partition_point(|upto| *upto <= random.unit() * sum);
                let (request, _) = requests.get(place).ok_or("no such request")?;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let reply = client.exchange(request)?;
                *run.statuses.entry(reply.status).or_default() += 1;
                if is_success(reply.status) {
                    run.samples.record(due.elapsed());
                    run.ids.extend(reply.activation_id);
                }
                number += u64::from(clients);
            }
            Ok(run)
        },
        Run::new()?,
        Run::merge,
    )?;
    all.took = begun.elapsed();
    Ok(all)
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    /// In 0..1
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_repeatable() {
        let draw = |seed| -> Vec<f64> {
            let mut random = Random(seed);
            (0..10_000).map(|_| random.unit()).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0.48..0.52).contains(&(draw(1).iter().sum::<f64>() / 10_000.0)));
        assert!(draw(1).iter().all(|unit| (0.0..1.0).contains(unit)));
    }
}

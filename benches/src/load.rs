//! Load from a few clients that share the machine with the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::Client;
use crate::stats::Samples;

/// One worker's calls: it gets its client and the number of the call.
type Call<'a> = &'a (dyn Fn(&mut Client, u64) -> Result<(), Failure> + Sync);

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
    together(clients, worker)
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
    together(clients, worker)
}

/// What all clients measured, each in a thread of its own; the worker gets the client's number.
fn together(
    clients: u32,
    worker: impl Fn(u32) -> Result<Samples, Failure> + Sync,
) -> Result<Samples, Failure> {
    let worker = &worker;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|first| scope.spawn(move || worker(first).map_err(|error| error.to_string())))
            .collect();
        let mut all = Samples::new()?;
        for worker in workers {
            all.merge(&worker.join().map_err(|_| "a client panicked")??);
        }
        Ok(all)
    })
}

/// Share of the last ten seconds in which something waited for a processor, as the kernel tells it.
pub(crate) fn cpu_pressure() -> String {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let share = text.split_whitespace().find_map(|word| word.strip_prefix("avg10="));
    share.map_or_else(|| "not told by this kernel".to_owned(), |share| format!("{share} %"))
}

//! Benchmarks of the platform, each beside a reference of the same minute: `cargo xtask bench [NAME]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a measuring program for terminals"
)]

mod accept;
mod budget;
mod cold;
mod concurrency;
mod direct;
mod docker;
mod durable;
mod entities;
mod eviction;
mod http;
mod idle;
mod kinds;
mod ledger;
mod load;
mod loadgen;
mod many;
mod neighbour;
mod node;
mod node_http;
mod overlap;
mod overload;
mod peers;
mod plain;
mod ready;
mod records;
mod report;
mod sequence;
mod smoke;
mod starts;
mod stats;
mod stem;
mod throughput;
mod warm;
mod web;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use report::Report;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A benchmark; either name asks for it.
struct Bench {
    /// What its rows begin with.
    id: &'static str,
    name: &'static str,
    run: fn(&mut Report) -> Result<(), Failure>,
}

const fn bench(id: &'static str, name: &'static str, run: fn(&mut Report) -> Result<(), Failure>) -> Bench {
    Bench { id, name, run }
}

/// In the order of a whole run. What is not listed here runs only when it is asked for.
const BENCHES: [Bench; 25] = [
    bench("B1", "warm", warm::run),
    bench("B2", "throughput", throughput::run),
    bench("B3", "many", many::run),
    bench("B4", "node-http", node_http::run),
    bench("B5", "overlap", overlap::run),
    bench("B6", "concurrency", concurrency::run),
    bench("B7", "accept", accept::run),
    bench("B8", "neighbour", neighbour::run),
    bench("B9", "overload", overload::run),
    bench("B10", "starts", starts::run),
    bench("B11", "web", web::run),
    bench("B12", "sequence", sequence::run),
    bench("B13", "idle", idle::run),
    bench("B14", "eviction", eviction::run),
    bench("B15", "durable", durable::accept),
    bench("B16", "restart", durable::restart),
    bench("B17", "death", durable::death),
    bench("ready", "ready", ready::run),
    bench("cold", "cold", cold::run),
    bench("stem", "stem", stem::run),
    bench("docker", "docker", docker::run),
    bench("records", "records", records::run),
    bench("entities", "entities", entities::run),
    bench("fire", "fire", entities::fire),
    bench("loadgen", "loadgen", loadgen::compare),
];

/// Others, for comparison: what is installed for it is no part of the project.
const PEERS: Bench = bench("peers", "peers", peers::run);
/// Short forms that fail only when something is grossly wrong.
const SMOKE: Bench = bench("smoke", "smoke", smoke::run);
/// Needs a node under callgrind.
const BUDGET: Bench = bench("budget", "budget", budget::run);

impl Bench {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.id.eq_ignore_ascii_case(name)
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|word| word == plain::SERVE) {
        return plain::serve();
    }
    let on_demand = [&PEERS, &SMOKE, &BUDGET];
    let known = || BENCHES.iter().chain(on_demand);
    if let Some(unknown) = wanted.iter().find(|name| !known().any(|bench| bench.is_called(name))) {
        let known: Vec<String> = known().map(|bench| format!("{} ({})", bench.name, bench.id)).collect();
        eprintln!("there is no benchmark '{unknown}'; there are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    let chosen: Vec<&Bench> = if wanted.is_empty() {
        BENCHES.iter().collect()
    } else {
        known().filter(|bench| wanted.iter().any(|name| bench.is_called(name))).collect()
    };
    let mut report = Report::begin();
    let begun = Instant::now();
    for (number, bench) in chosen.iter().enumerate() {
        eprintln!(
            "[{:>4.0} s] {}/{} {} {}",
            begun.elapsed().as_secs_f64(),
            number + 1,
            chosen.len(),
            bench.id,
            bench.name
        );
        report.belongs_to(bench.id);
        // What starts nodes and engines fails by panicking, and says so on stderr; the benchmarks that follow go on.
        let outcome = catch_unwind(AssertUnwindSafe(|| (bench.run)(&mut report)));
        match outcome.map_err(|_| "it panicked".into()).flatten() {
            Ok(()) => {}
            Err(why) => report.failed(&why.to_string()),
        }
    }
    eprintln!("[{:>4.0} s] done", begun.elapsed().as_secs_f64());
    for line in report.missed() {
        eprintln!("not met: {line}");
    }
    if report.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Benchmarks of the platform, each beside a reference of the same minute: `cargo xtask bench [NAME]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a measuring program for terminals"
)]

mod cold;
mod concurrency;
mod direct;
mod docker;
mod entities;
mod http;
mod kinds;
mod load;
mod node;
mod ready;
mod records;
mod stats;
mod stem;
mod throughput;
mod warm;

use std::process::ExitCode;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

type Bench = (&'static str, fn() -> Result<(), Failure>);
const BENCHES: [Bench; 10] = [
    ("ready", ready::run),
    ("cold", cold::run),
    ("stem", stem::run),
    ("docker", docker::run),
    ("warm", warm::run),
    ("throughput", throughput::run),
    ("concurrency", concurrency::run),
    ("records", records::run),
    ("entities", entities::run),
    ("fire", entities::fire),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name)) {
        let known: Vec<&str> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no benchmark '{unknown}'; there are {}", known.join(", "));
        return ExitCode::FAILURE;
    }
    println!("| what | measured | must |\n|---|---|---|");
    let mut code = ExitCode::SUCCESS;
    for (name, bench) in
        BENCHES.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        if let Err(why) = bench() {
            eprintln!("{name}: {why}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

/// One row of the table.
pub(crate) fn report(what: &str, measured: &str, must: &str) {
    println!("| {what} | {measured} | {must} |");
}

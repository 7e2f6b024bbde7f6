//! The proxy as platforms see it: over HTTP, with real processes behind it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and one that is skipped says so"
)]

mod actionloop;
mod compile;
mod container;
mod harness;
mod hostile;
mod knative;
mod languages;
mod skeleton;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let suites = [
        ("actionloop", actionloop::ALL),
        ("compile", compile::ALL),
        ("container", container::ALL),
        ("hostile", hostile::ALL),
        ("knative", knative::ALL),
        ("skeleton", skeleton::ALL),
    ];
    let mut trials: Vec<Trial> = suites
        .into_iter()
        .flat_map(|(suite, tests)| {
            tests.iter().map(move |(name, test)| trial(&format!("{suite}::{name}"), *test))
        })
        .collect();
    trials.extend(languages::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok::<(), Failed>(())
    })
}

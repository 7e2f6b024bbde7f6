//! End-to-end scenarios against the real binary: one module per capability, each listing its scenarios.
//!
//! `cargo build -p chasen-server && cargo test -p chasen-e2e [NAME]`. What the machine lacks is reported as
//! ignored, with the reason.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod actions;
mod admin;
mod languages;
mod quickstart;
mod run;
mod scenario;
mod serve;
mod settings;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let scenarios = [
        actions::scenarios(),
        admin::scenarios(),
        languages::scenarios(),
        quickstart::scenarios(),
        run::scenarios(),
        serve::scenarios(),
        settings::scenarios(),
    ];
    let trials = scenarios.into_iter().flatten().map(scenario::Scenario::trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

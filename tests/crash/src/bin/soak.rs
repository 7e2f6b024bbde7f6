//! `soak`: a node works for long, and gives back what it took; see `cargo xtask soak`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chasen_crash::node::default_program;
use chasen_crash::soak::{Plan, run};
use clap::Parser;

/// Has a node work at everything at once, and looks whether it gives back what it took.
#[derive(Debug, Parser)]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// What everything random follows from; another one each time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The node's binary.
    #[arg(long)]
    program: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        time: Duration::from_secs(options.minutes * 60),
        seed: options.seed.unwrap_or_else(chasen_crash::now),
        program: options.program.unwrap_or_else(default_program),
    };
    if run(&plan) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

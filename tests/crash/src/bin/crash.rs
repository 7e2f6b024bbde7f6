//! `crash`: kills nodes and looks at what is lost; see `cargo xtask crash`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for terminals")]

use std::path::PathBuf;
use std::process::ExitCode;

use chasen_crash::campaign::{Plan, run};
use chasen_crash::node::{can_cut_power, default_program};
use chasen_crash::oracle::Sort;
use clap::Parser;

/// Kills nodes under load, and looks whether anything that was acknowledged is lost or doubled.
#[derive(Debug, Parser)]
struct Options {
    /// Nodes that die.
    #[arg(long, default_value_t = 1000)]
    kills: u64,
    /// What everything random follows from; another one each time if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The node's binary.
    #[arg(long)]
    program: Option<PathBuf>,
    /// The same, built with the features `faults` and `open-walls`.
    #[arg(long)]
    faulty: Option<PathBuf>,
    /// What is asked for, of once, again, chain-once, chain-again, composition, fire, delayed, keyed and blocking.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(unknown) = options.only.iter().find(|name| Sort::ALL.iter().all(|sort| sort.name() != **name))
    {
        eprintln!("nothing is called '{unknown}'");
        return ExitCode::FAILURE;
    }
    if options.faulty.is_some() && !can_cut_power() {
        eprintln!("built without the feature `power-loss`: use `cargo xtask crash`");
        return ExitCode::FAILURE;
    }
    let is_wanted =
        |sort: &Sort| options.only.is_empty() || options.only.iter().any(|name| name == sort.name());
    let plan = Plan {
        kills: options.kills,
        seed: options.seed.unwrap_or_else(chasen_crash::now),
        program: options.program.unwrap_or_else(default_program),
        faulty: options.faulty,
        sorts: Sort::ALL.into_iter().filter(is_wanted).collect(),
    };
    if run(&plan) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

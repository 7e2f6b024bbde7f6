//! The simulator's command line: arguments in, tables or JSON out.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for terminals")]

use std::process::ExitCode;

use chasen_simulator::cli::{self, Arguments};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Hidden where the error stream is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} {wide_bar} {human_pos} of {human_len} calls, {eta} left")
    {
        bar.set_style(style);
    }
    let done = cli::run(&arguments, &mut |what, calls, expected| {
        bar.set_prefix(what.to_owned());
        bar.set_length(expected.max(calls));
        bar.set_position(calls);
    });
    bar.finish_and_clear();
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("chasen-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

//! The task front: `cargo xtask fmt|lint|test|fuzz|crash|soak|schemathesis|proxy|bench|budget|simulate|guest|run`. `test` is the one command that CI runs.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to a terminal")]

mod budget;
mod fuzz;
mod guest;
mod harness;
mod shell;
mod tasks;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK [ARGS]

  fmt                     format every Rust file
  lint                    format check, tidy rules, clippy, dependency rules
  test [FILTER]           everything: tools, lint, unit, room, launcher and end-to-end tests, a moment of fuzzing
  fuzz NAME [SECONDS]     one fuzz target of tests/fuzz, by default for ten minutes
  crash [--kills N]       nodes that die under load, at any moment and write of their log: by default 1 000 of them;
                          [--seed S] repeats a run
  soak [--minutes N]      mixed load for half an hour; what a node holds afterwards must be what it held before
  schemathesis [SECONDS]  the node against its own documents, by default for ten minutes
  proxy                   the proxy as it is shipped in images: target/proxy/chasen-proxy
  bench [NAME]            benchmarks of docs/benchmarks.md, optimised build
  budget                  what a warm call costs, in instructions, against benches/budget.toml, and a few short benchmarks
  simulate [ARGS]         scheduling policies under traces in virtual time: docs/simulator.md
  guest COMMAND           a command in a virtual machine with control groups of version 2
  run [ARGS]              the node, optimised build: chasen ARGS (default: quickstart)";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    let done = match task.as_str() {
        "fmt" => tasks::fmt(),
        "lint" => tasks::lint(),
        "test" => tasks::test(&rest),
        "fuzz" => fuzz::task(&rest),
        "crash" => harness::crash(&rest),
        "soak" => harness::soak(&rest),
        "schemathesis" => tasks::schemathesis(&rest),
        "proxy" => tasks::proxy().map(|program| println!("{}", program.display())),
        "bench" => tasks::bench(&rest),
        "budget" => budget::task(),
        "simulate" => tasks::simulate(&rest),
        "guest" => match guest::task(&rest) {
            Ok(code) => return ExitCode::from(code),
            Err(why) => Err(why),
        },
        "run" => tasks::run(&rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

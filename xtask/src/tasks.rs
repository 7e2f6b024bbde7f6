//! The tasks.

use crate::shell::{self, output, run_with, target};
use crate::{tidy, tools};

pub(crate) fn fmt() -> Result<(), String> {
    shell::run("cargo", ["fmt", "--all"])
}

pub(crate) fn lint() -> Result<(), String> {
    shell::run("cargo", ["fmt", "--all", "--check"])?;
    tidy::check()?;
    shell::run("cargo", ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    shell::run("cargo", ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

pub(crate) fn test(filter: &[String]) -> Result<(), String> {
    tools::install()?;
    lint()?;
    shell::run("cargo", ["build", "--locked", "--package", "chasen-server"])?;
    let chasen = target().join("debug/chasen");
    let args = ["test", "--workspace", "--locked", "--no-fail-fast", "--"];
    run_with("cargo", args.into_iter().chain(filter.iter().map(String::as_str)), &[("CHASEN_BIN", &chasen)])?;
    launchers()
}

/// The cases of the language launchers, on the interpreters that are here.
fn launchers() -> Result<(), String> {
    if output("python3", &["--version"]).is_none() {
        println!("skipped: the launchers' cases need python3 to drive them");
        return Ok(());
    }
    shell::run("python3", ["runtimes/check.py"])
}

pub(crate) fn bench(names: &[String]) -> Result<(), String> {
    shell::run("cargo", ["build", "--release", "--locked", "--package", "chasen-server", "--package", "chasen-benches"])?;
    let chasen = target().join("release/chasen");
    let benches = target().join("release/chasen-benches");
    run_with(&benches.to_string_lossy(), names, &[("CHASEN_BIN", &chasen)])
}

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let quickstart = ["quickstart".to_owned()];
    let args = if args.is_empty() { &quickstart } else { args };
    let front = ["run", "--release", "--locked", "--package", "chasen-server", "--"];
    shell::run("cargo", front.into_iter().chain(args.iter().map(String::as_str)))
}

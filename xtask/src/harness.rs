//! Harnesses that try to make a node lose something, and the build with faults that they and the tests use.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, output, run, target};

/// Deaths in an ordinary test run.
const SMOKE: &str = "54";
/// What the build with faults has and no other.
pub(crate) const FEATURES: &str = "chasen-server/faults,chasen-server/open-walls,chasen-crash/power-loss";

/// Programs of the build with faults, where no other build replaces them.
pub(crate) struct Faulty {
    /// The node.
    pub(crate) chasen: PathBuf,
    /// The harness, which knows how to cut the power.
    crash: PathBuf,
}

/// `cargo xtask crash [--kills N] [--seed S]`
pub(crate) fn crash(args: &[String]) -> Result<(), String> {
    let faulty = faulty()?;
    kill(&faulty, &plain()?, args.iter().map(OsStr::new))
}

/// A few deaths.
pub(crate) fn smoke(faulty: &Faulty, chasen: &Path) -> Result<(), String> {
    if output("id", &["-u"]).as_deref() != Some("0") {
        println!("skipped: the crash harness: sandboxes need root here");
        return Ok(());
    }
    kill(faulty, chasen, ["--kills", SMOKE].map(OsStr::new).into_iter())
}

/// `cargo xtask soak [--minutes N]`
pub(crate) fn soak(args: &[String]) -> Result<(), String> {
    run(
        "cargo",
        ["build", "--release", "--locked", "--package", "chasen-server", "--package", "chasen-crash"],
    )?;
    let chasen = target().join("release/chasen");
    let program = ["--program".as_ref(), chasen.as_os_str()];
    let args = program.into_iter().chain(args.iter().map(OsStr::new));
    run(&target().join("release/soak").to_string_lossy(), args)
}

/// The node and the harness with faults. They are built where all is built, and moved: what comes next there has none.
pub(crate) fn faulty() -> Result<Faulty, String> {
    let packages = ["build", "--locked", "--package", "chasen-server", "--package", "chasen-crash"];
    run("cargo", packages.into_iter().chain(["--features", FEATURES]))?;
    let debug = target().join("debug");
    let harness = debug.join("harness");
    fs::create_dir_all(&harness).map_err(|error| format!("{}: {error}", harness.display()))?;
    let faulty = Faulty { chasen: debug.join("chasen-faults"), crash: harness.join("crash") };
    keep(&debug.join("chasen"), &faulty.chasen)?;
    keep(&debug.join("crash"), &faulty.crash)?;
    keep(&debug.join("witnessed"), &harness.join("witnessed"))?;
    Ok(faulty)
}

fn kill<'a>(
    faulty: &'a Faulty,
    chasen: &'a Path,
    args: impl Iterator<Item = &'a OsStr>,
) -> Result<(), String> {
    let programs = [OsStr::new("--program"), chasen.as_os_str(), OsStr::new("--faulty")];
    let all = programs.into_iter().chain([faulty.chasen.as_os_str()]).chain(args);
    shell::run(&faulty.crash.to_string_lossy(), all)
}

/// The node as it is.
fn plain() -> Result<PathBuf, String> {
    run("cargo", ["build", "--locked", "--package", "chasen-server"])?;
    Ok(target().join("debug/chasen"))
}

/// Copies a program in the place of an older one, which may be running.
fn keep(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{} to {}: {error}", from.display(), to.display());
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => fs::copy(from, to).map_err(failed)?,
    };
    Ok(())
}

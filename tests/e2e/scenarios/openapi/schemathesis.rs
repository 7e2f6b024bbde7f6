//! schemathesis: a tool that reads the document and sends what follows from it, and what does not.
//!
//! It is installed into a folder of the user's cache, in the versions that `requirements.txt` pins.
#![allow(clippy::print_stdout, reason = "what is skipped is said where the test runs")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_testkit::{GUEST, node};

use super::script;

const REQUIREMENTS: &str = include_str!("requirements.txt");
const CONFIGURATION: &str = include_str!("schemathesis.toml");
/// Seconds of an ordinary test run, and the seed that makes its requests the same each time.
const ORDINARY: [&str; 4] = ["--max-time", "60", "--seed", "4"];
/// Sets another number of seconds; the seed is then a new one, which the tool names.
const SECONDS: &str = "CHASEN_SCHEMATHESIS_SECONDS";

pub(super) async fn run() {
    let python = match install() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: schemathesis cannot be had: {why}");
            return;
        }
    };
    let node = node().start();
    script::populate(&node.client()).await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("schemathesis.toml"), CONFIGURATION).unwrap();
    let mut command = Command::new(python);
    command.current_dir(folder.path()).args(["-m", "schemathesis.cli", "run", "--no-color"]);
    match std::env::var(SECONDS) {
        Ok(seconds) => command.args(["--max-time", &seconds]),
        Err(_) => command.args(ORDINARY),
    };
    command.args(["--auth", GUEST]);
    command.arg(format!("{}/api/v1/api-docs", node.base()));
    let output = command.output().expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Installs the tool unless it is there; the interpreter that runs it.
fn install() -> Result<PathBuf, String> {
    let version =
        REQUIREMENTS.lines().find_map(|line| line.strip_prefix("schemathesis==")).ok_or("no version")?;
    let folder = cache()?.join(format!("schemathesis-{version}"));
    let python = folder.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    // Made beside its place and renamed into it: whole or absent, however many runs install at once.
    let partial = folder.with_extension(format!("partial-{}", std::process::id()));
    fs::create_dir_all(&partial).map_err(|why| format!("{}: {why}", partial.display()))?;
    let requirements = partial.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).map_err(|why| format!("{}: {why}", requirements.display()))?;
    let made = succeed(Command::new("python3").args(["-m", "venv"]).arg(&partial)).and_then(|()| {
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        succeed(Command::new(partial.join("bin/python")).args(install).arg(&requirements))
    });
    if made.is_ok() && (fs::rename(&partial, &folder).is_ok() || python.exists()) {
        return Ok(python);
    }
    let _ = fs::remove_dir_all(&partial);
    made.and_then(|()| Err(format!("{} cannot be made", folder.display())))
}

fn cache() -> Result<PathBuf, String> {
    let own = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    Ok(own.or_else(home).ok_or("neither XDG_CACHE_HOME nor HOME is set")?.join("chasen"))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

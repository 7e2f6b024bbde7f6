//! The cases of every language, over HTTP: `runtimes/check.py` plays them with the proxy under test.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::harness::program;

/// Families whose launchers are built in.
const FAMILIES: [&str; 4] = ["nodejs", "php", "python", "ruby"];

pub(crate) fn trials() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    if !has_python {
        println!("skipped: the languages' cases need python3 to play them");
    }
    FAMILIES
        .iter()
        .map(|family| {
            Trial::test(format!("languages::{family}"), || check(family)).with_ignored_flag(!has_python)
        })
        .collect()
}

fn check(family: &str) -> Result<(), Failed> {
    let runtimes = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("python3")
        .args(["-B", "check.py", "--proxy"])
        .arg(program())
        .arg(family)
        .current_dir(runtimes)
        .output()
        .map_err(|error| Failed::from(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    if output.status.success() { Ok(()) } else { Err(Failed::from(text)) }
}

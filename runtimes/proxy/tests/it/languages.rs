//! The cases of every language, over HTTP: `runtimes/check.py` plays them with the proxy under test.

use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

use crate::harness::{Proxy, answer, program};

/// Families whose launchers are built in, two whose launchers are built beside the modules of the others, two that
/// are compiled, and executables.
const FAMILIES: [&str; 9] = ["dotnet", "go", "java", "native", "nodejs", "php", "python", "ruby", "rust"];
/// Names the folder of what functions find installed, where there is one.
const MODULES: &str = "CHASEN_LAUNCHER_MODULES";

pub(crate) fn trials() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    if !has_python {
        println!("skipped: the languages' cases need python3 to play them");
    }
    let cases = FAMILIES.iter().map(|family| {
        Trial::test(format!("languages::{family}"), || check(family)).with_ignored_flag(!has_python)
    });
    cases.chain([Trial::test("languages::nodejs_runs_at_once", nodejs_runs_at_once)]).collect()
}

fn check(family: &str) -> Result<(), Failed> {
    let runtimes = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("python3")
        .args(["-B", "check.py", "--proxy"])
        .arg(program())
        .args(std::env::var_os(MODULES).into_iter().flat_map(|folder| ["--modules".into(), folder]))
        .args(std::env::var_os("CI").filter(|value| !value.is_empty()).map(|_| "--all"))
        .arg(family)
        .current_dir(runtimes)
        .output()
        .map_err(|error| Failed::from(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    if output.status.success() { Ok(()) } else { Err(Failed::from(text)) }
}

/// Runs that all wait for each other, where the operator allows that.
fn nodejs_runs_at_once() -> Result<(), Failed> {
    const RUNS: usize = 120;
    if Command::new("node").arg("--version").output().is_err() {
        println!("skipped: nodejs_runs_at_once: no node");
        return Ok(());
    }
    let code = format!(
        "const waiting = [];
         function main(args) {{
           console.log('one of many');
           return new Promise((resolve) => {{
             waiting.push(() => resolve(args));
             if (waiting.length === {RUNS}) waiting.forEach((go) => go());
           }});
         }}"
    );
    let proxy = Proxy::start("nodejs", &[("__OW_ALLOW_CONCURRENT", "True")]);
    assert_eq!(proxy.init(code.as_bytes(), false, &Value::Null).0, 200);
    let body = |n: usize| json!({ "value": { "n": n } }).to_string();
    let sent: Vec<_> = (0..RUNS).map(|n| proxy.send("POST", "/run", "", body(n).as_bytes())).collect();
    for (n, stream) in sent.into_iter().enumerate() {
        let answer = answer(stream).ok_or("no answer")?;
        assert_eq!((answer.status, answer.body), (200, json!({ "n": n }).to_string()));
    }
    let logs = proxy.stop();
    assert_eq!((logs.stdout.lines().count(), logs.sentinels), (RUNS, [RUNS, RUNS]));
    assert!(logs.marks_are_together(), "all had printed before the first was let go");
    Ok(())
}

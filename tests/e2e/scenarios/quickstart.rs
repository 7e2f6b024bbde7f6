//! The first minute: a table of working functions and a command that can be pasted.

use std::process::Command;

use chasen_testkit::{PATIENCE, Process, Signal, chasen, run};

use crate::dotnet;
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::blocking("quickstart::every_sample_that_can_run_here_answers", every_sample),
        Scenario::blocking("quickstart::the_sample_of_dotnet_is_compiled_and_answers", compiled)
            .needing(Need::DotNet),
        Scenario::blocking("quickstart::the_printed_command_can_be_pasted", pasted)
            .needing(Need::command("curl")),
    ]
}

fn every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = chasen();
    command.args(["quickstart", "--exit", "--data"]).arg(folder.path());
    let finished = run(command);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("hello-native"), "{finished:?}");
    assert!(finished.stdout.contains("Hello, "), "{finished:?}");
    assert!(!finished.stdout.contains('\u{1b}'), "no colours where there is no terminal: {finished:?}");
}

fn compiled() {
    let folder = tempfile::tempdir().unwrap();
    dotnet::lend(folder.path());
    let mut command = chasen();
    command.args(["quickstart", "--exit", "--data"]).arg(folder.path());
    let finished = run(command);
    let row = finished.stdout.lines().find(|line| line.starts_with("hello-dotnet"));
    assert!(row.is_some_and(|row| row.contains("Hello, Chasen!")), "{finished:?}");
}

fn pasted() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = chasen();
    command.args(["quickstart", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let mut process = Process::start(command, &folder.path().join("log"));
    let mut printed = String::new();
    while !printed.contains("curl ") || printed.trim_end().ends_with('\\') {
        printed.push_str(&process.line_after_work().expect("quickstart goes on until it is stopped"));
        printed.push('\n');
    }
    let (_, curl) = printed.split_once("curl ").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("curl -sSf {curl}")]);
    let answer = run(shell);
    assert_eq!(answer.stdout.trim(), r#"{"greeting":"Hello, you!"}"#, "{answer:?}");
    process.signal(Signal::TERM);
    assert!(process.wait(PATIENCE).success());
}

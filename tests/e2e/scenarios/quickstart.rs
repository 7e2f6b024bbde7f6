//! The first minute: a table of working functions and a command that can be pasted.

use chasen_testkit::{chasen, run};

use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::blocking("quickstart::every_sample_that_can_run_here_answers", every_sample)]
}

fn every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = chasen();
    command.args(["quickstart", "--exit", "--data"]).arg(folder.path());
    let finished = run(command);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("hello-native"), "{finished:?}");
    assert!(finished.stdout.contains("Hello, "), "{finished:?}");
    assert!(finished.stdout.contains("curl "), "{finished:?}");
    assert!(!finished.stdout.contains('\u{1b}'), "no colours where there is no terminal: {finished:?}");
}

//! `chasen run`: one file, one invocation, exit codes.

use chasen_testkit::{Finished, chasen, run};

use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::blocking("run::native_files_answer_with_their_result_and_code", native),
        Scenario::blocking("run::nodejs_files_answer_with_their_result_and_code", nodejs)
            .needing(Need::command("node")),
        Scenario::blocking("run::usage_is_checked_before_anything_starts", usage).needing_nothing(),
    ]
}

/// Runs a file of this name and text.
fn run_file(name: &str, code: &str, arguments: &[&str]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, code).unwrap();
    let mut command = chasen();
    command.arg("run").arg(file).args(arguments);
    run(command)
}

fn native() {
    let echo = run_file(
        "echo.sh",
        "#!/bin/sh\necho seen\nprintf '%s' \"$1\"\n",
        &["--param", "n", "4", "--param", "s", "x y"],
    );
    assert_eq!((echo.code, echo.stdout.as_str()), (Some(0), "{\"n\":4,\"s\":\"x y\"}\n"), "{echo:?}");
    assert!(echo.stderr.contains("seen"), "{echo:?}");
    // Terminals take none of it for commands.
    let loud = run_file("loud.sh", "#!/bin/sh\nprintf '\\033[2Jseen\\n{\"s\":\"\\302\\233\"}'\n", &[]);
    assert_eq!(loud.stdout, "{\"s\":\"\\u009b\"}\n", "{loud:?}");
    assert!(loud.stderr.contains("\\u001b[2Jseen"), "{loud:?}");
    let error = run_file("error.sh", "#!/bin/sh\necho '{\"error\":\"no\"}'\n", &[]);
    assert_eq!((error.code, error.stdout.as_str()), (Some(1), "{\"error\":\"no\"}\n"), "{error:?}");
    let silent = run_file("silent.sh", "#!/bin/sh\n", &[]);
    assert_eq!(silent.code, Some(2), "{silent:?}");
}

fn nodejs() {
    let code = "exports.other = (args) => ({ sum: args.a + args.b });";
    let sum = run_file("sum.js", code, &["--main", "other", "--param", "a", "1", "--param", "b", "2"]);
    assert_eq!((sum.code, sum.stdout.as_str()), (Some(0), "{\"sum\":3}\n"), "{sum:?}");
    let broken = run_file("broken.js", "function main( {", &[]);
    assert_eq!(broken.code, Some(2), "{broken:?}");
}

fn usage() {
    let mut missing = chasen();
    missing.args(["run", "/nonexistent/file.js"]);
    let missing = run(missing);
    assert_eq!(missing.code, Some(3), "{missing:?}");
    assert!(missing.stderr.contains("/nonexistent/file.js"), "{missing:?}");
    let archive = run_file("code.zip", "PK", &[]);
    assert_eq!(archive.code, Some(3), "{archive:?}");
    assert!(archive.stderr.contains("--kind"), "{archive:?}");
}

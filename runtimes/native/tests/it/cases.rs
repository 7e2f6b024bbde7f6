//! What executables may do, and what comes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use chasen_entity::frame::FrameKind::{DeveloperError, Initialized, Result};

use crate::launcher::{KEEP, Launcher};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("arguments_reach_argv_and_stdin_untouched", arguments_reach_argv_and_stdin_untouched),
    ("long_arguments_reach_stdin_only", long_arguments_reach_stdin_only),
    (
        "environment_is_of_the_process_the_action_and_the_run",
        environment_is_of_the_process_the_action_and_the_run,
    ),
    ("the_last_line_is_the_result", the_last_line_is_the_result),
    ("no_dictionary_is_a_developer_error", no_dictionary_is_a_developer_error),
    ("bad_arguments_are_refused", bad_arguments_are_refused),
    ("without_code_a_stub_answers", without_code_a_stub_answers),
    ("what_is_no_executable_is_refused", what_is_no_executable_is_refused),
    ("a_second_initialisation_is_refused", a_second_initialisation_is_refused),
    ("too_long_a_result_is_counted_whole", too_long_a_result_is_counted_whole),
    ("a_flood_before_the_result_passes", a_flood_before_the_result_passes),
    ("nothing_survives_a_run", nothing_survives_a_run),
    ("a_process_that_closes_its_output_is_waited_for", a_process_that_closes_its_output_is_waited_for),
    ("what_cannot_start_says_why", what_cannot_start_says_why),
];

fn arguments_reach_argv_and_stdin_untouched() {
    let mut launcher = Launcher::with_script("#!/bin/sh\nread -r line\nprintf '[%s,%s]' \"$1\" \"$line\"");
    let (kind, text) = launcher.run("{\"value\":{\"b\":1.00,\r\n\"a\":1e400},\"deadline\":\"5\"}");
    assert_eq!((kind, text.as_str()), (Result, r#"[{"b":1.00,"a":1e400},{"b":1.00,"a":1e400}]"#));
    assert_eq!(launcher.run(r#"{"value":[1]}"#).1, "[[1],[1]]");
}

fn long_arguments_reach_stdin_only() {
    let mut launcher = Launcher::with_script("#!/bin/sh\nprintf '{\"argv\":%d,\"stdin\":%d}' $# $(wc -c)");
    for (length, argv) in [(131_071, 1), (131_072, 0), (900_000, 0)] {
        let value = format!("[\"{}\"]", "x".repeat(length - 4));
        let (_, text) = launcher.run(&format!(r#"{{"value":{value}}}"#));
        assert_eq!(text, format!(r#"{{"argv":{argv},"stdin":{length}}}"#));
    }
    // Nobody reads: no harm.
    let mut launcher = Launcher::with_script("#!/bin/sh\nexec <&-\necho '{}'");
    assert_eq!(launcher.run(&format!(r#"{{"value":["{}"]}}"#, "x".repeat(900_000))).1, "{}");
}

fn environment_is_of_the_process_the_action_and_the_run() {
    let script = "#!/bin/sh\nprintf '{\"v\":\"%s/%s/%s/%s/%s/%s\"}' \"$KEPT\" \"$A\" \"$N\" \"$__OW_ACTIVATION_ID\" \"$__OW_API_KEY\" \"$(pwd)\"";
    let mut launcher = Launcher::with_script(script);
    let folder = launcher.folder();
    let (_, text) = launcher.run(r#"{"activation_id":"one","api_key":"key"}"#);
    assert_eq!(text, format!(r#"{{"v":"by the process/1/2/one/key/{folder}"}}"#));
    let (_, text) = launcher.run(r#"{"activation_id":"two"}"#);
    assert_eq!(text, format!(r#"{{"v":"by the process/1/2/two//{folder}"}}"#), "no key of an earlier run");
}

fn the_last_line_is_the_result() {
    let mut launcher = Launcher::with_script(
        "#!/bin/sh\necho one\necho two\necho err >&2\necho '{\"r\": 1.0}'\necho\nexit 3",
    );
    assert_eq!(launcher.run("{}"), (Result, r#"{"r": 1.0}"#.to_owned()));
    assert_eq!(launcher.close(), ("one\ntwo\n".to_owned(), "err\n".to_owned()));
}

fn no_dictionary_is_a_developer_error() {
    let refusal =
        (DeveloperError, r#"{"error":"The action did not return a dictionary or array."}"#.to_owned());
    for (print, log) in
        [("hello", "hello\n"), ("'\"text\"'", "\"text\"\n"), ("1", "1\n"), ("'{} {}'", "{} {}\n"), ("", "")]
    {
        let mut launcher = Launcher::with_script(&format!("#!/bin/sh\necho {print}"));
        assert_eq!(launcher.run("{}"), refusal, "{print}");
        assert_eq!(launcher.close().0, log, "{print}");
    }
}

fn bad_arguments_are_refused() {
    let mut launcher = Launcher::with_script("#!/bin/sh\necho '{}'");
    let text = r#"{"error":"The action did not receive a dictionary or array as an argument."}"#;
    assert_eq!(launcher.run(r#"{"value":"A"}"#), (DeveloperError, text.to_owned()));
    assert_eq!(launcher.run("no json"), (Result, "{}".to_owned()));
}

fn without_code_a_stub_answers() {
    let mut launcher = Launcher::start();
    let stub = r#"{ "error": "This is a stub action. Replace it with custom logic." }"#;
    assert_eq!(launcher.run("{}").1, stub);
    assert_eq!(launcher.init("null").0, Initialized);
    assert_eq!(launcher.run("{}"), (Result, stub.to_owned()));
    assert_eq!(launcher.close().0.lines().count(), 2, "a notice each time");
}

fn what_is_no_executable_is_refused() {
    let refusal = "The action failed to generate or locate a binary. See logs for details.";
    let mut launcher = Launcher::start();
    fs::create_dir(launcher.exec()).unwrap();
    let (kind, text) = launcher.init("{}");
    assert_eq!((kind, text), (DeveloperError, format!(r#"{{"error":"{refusal}"}}"#)));
    let (_, text) =
        launcher.ask(chasen_entity::frame::FrameKind::Init, r#"{"value":{"binary":true,"path":"/nowhere"}}"#);
    assert!(text.contains(refusal));
    let (_, log) = launcher.close();
    assert!(log.contains("is not a regular file") && log.contains("is not there"), "{log}");
}

fn a_second_initialisation_is_refused() {
    let mut launcher = Launcher::with_script("#!/bin/sh\necho '{}'");
    assert!(
        launcher.exec().metadata().unwrap().permissions().mode() & 0o111 != 0,
        "text code is made executable"
    );
    let (kind, text) = launcher.init("{}");
    assert_eq!(
        (kind, text.as_str()),
        (DeveloperError, r#"{"error":"Cannot initialize the action more than once."}"#)
    );
    assert_eq!(launcher.run("{}").0, Result);
    assert!(launcher.close().1.contains("Cannot initialize the action more than once."));
}

fn too_long_a_result_is_counted_whole() {
    let length = 3 * KEEP + 5;
    let mut launcher = Launcher::with_script(&format!("#!/bin/sh\nhead -c {length} /dev/zero | tr '\\0' x"));
    let (kind, text) = launcher.run("{}");
    assert_eq!((kind, text.len()), (Result, length));
    assert!(text.starts_with(&"x".repeat(KEEP)));
    assert_eq!(launcher.run("{}").1.len(), length, "still in step");
}

fn a_flood_before_the_result_passes() {
    let script = "#!/bin/sh\nhead -c 30000000 /dev/zero\nhead -c 3000000 /dev/zero | tr '\\0' '\\n'\necho x\necho '{}'";
    let mut launcher = Launcher::with_script(script);
    let mut stdout = launcher.process.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()).unwrap());
    assert_eq!(launcher.run("{}"), (Result, "{}".to_owned()));
    drop(launcher.close());
    // The endless line is cut, the short ones are all there.
    assert!(reader.join().unwrap() > 3_000_000 + KEEP as u64);
}

fn nothing_survives_a_run() {
    let script = "#!/bin/sh\nsleep 1000 &\nsetsid sleep 1000 &\n(setsid sh -c 'sleep 1000 & sleep 1000' &)\necho \"[$$]\"";
    let mut launcher = Launcher::with_script(script);
    let started = Instant::now();
    assert_eq!(launcher.run("{}").0, Result);
    assert!(started.elapsed() < Duration::from_secs(50), "nobody waits for what was left running");
    let own = launcher.process.id().to_string();
    let children = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // Behind the state: parent, group and session.
        let kin = |rest: &str| rest.split_whitespace().skip(1).take(3).any(|number| number == own);
        stat.rsplit_once(')').is_some_and(|(_, rest)| kin(rest))
    });
    assert_eq!(children.filter(|entry| entry.file_name().to_str() != Some(own.as_str())).count(), 0);
}

fn a_process_that_closes_its_output_is_waited_for() {
    let mut launcher = Launcher::start();
    let done = launcher.exec().with_file_name("done");
    launcher.write_exec(&format!("#!/bin/sh\necho '{{}}'\nexec >&-\nsleep 0.2\ntouch {}", done.display()));
    assert_eq!(launcher.init("{}").0, Initialized);
    assert_eq!(launcher.run("{}").1, "{}");
    assert!(done.exists());
}

fn what_cannot_start_says_why() {
    let mut launcher = Launcher::with_script("#!/no/such/interpreter\n");
    let (kind, text) = launcher.run("{}");
    assert_eq!(kind, DeveloperError);
    assert!(text.contains("cannot start action: "), "{text}");
    assert!(launcher.close().1.contains("/no/such/interpreter"));
}

//! Executables that speak lines: what OpenWhisk's own proxy does with them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Proxy, error, script, zip_of};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("before_an_action_there_is_none", before_an_action_there_is_none),
    ("scripts_and_archives_run_and_their_log_is_marked", scripts_and_archives_run_and_their_log_is_marked),
    ("what_does_not_start_says_so", what_does_not_start_says_so),
    ("a_second_initialisation_is_refused_without_a_mark", a_second_initialisation_is_refused_without_a_mark),
    ("initialising_again_is_for_debugging", initialising_again_is_for_debugging),
    ("compilers_speak_in_the_answer_or_in_the_log", compilers_speak_in_the_answer_or_in_the_log),
    ("compilers_make_executables", compilers_make_executables),
    ("acknowledgements_are_awaited_where_asked_for", acknowledgements_are_awaited_where_asked_for),
    ("code_for_another_image_is_refused", code_for_another_image_is_refused),
    ("the_environment_is_the_platforms_and_the_actions", the_environment_is_the_platforms_and_the_actions),
    ("a_process_that_ends_is_told", a_process_that_ends_is_told),
    ("answers_are_objects_or_arrays", answers_are_objects_or_arrays),
    ("a_line_without_an_end_is_ended_before_the_mark", a_line_without_an_end_is_ended_before_the_mark),
    ("large_arguments_come_back", large_arguments_come_back),
    ("requests_are_one_json_value", requests_are_one_json_value),
    ("unknown_paths_are_empty", unknown_paths_are_empty),
    ("connections_are_kept_for_callers_who_keep_them", connections_are_kept_for_callers_who_keep_them),
    ("bad_archives_are_refused", bad_archives_are_refused),
];

/// Answers every line with itself, logging on both streams.
const ECHO: &str = "#!/bin/bash\nwhile read -r line; do echo out; echo err >&2; echo \"$line\" >&3; done\n";

fn before_an_action_there_is_none() {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    if !has_python {
        println!("skipped: before_an_action_there_is_none, with a launcher: no python3");
    }
    for kind in ["actionloop", "python"].into_iter().take(if has_python { 2 } else { 1 }) {
        let proxy = Proxy::start(kind, &[]);
        assert_eq!(proxy.post("/init", "{}"), (403, error("Missing main/no code to execute.")), "{kind}");
        let bad = "Error unmarshaling request: invalid character 'X' looking for beginning of value";
        assert_eq!(proxy.post("/init", "XXX"), (400, error(bad)), "{kind}");
        for body in ["{}", "XXX"] {
            assert_eq!(proxy.post("/run", body), (500, error("no action defined yet")), "{kind}");
        }
        assert_eq!(proxy.post("/init", r#"{"value":{"code":null,"env":null}}"#).0, 403, "{kind}");
        assert_eq!(proxy.stop().sentinels, [0, 0], "{kind}");
    }
}

fn scripts_and_archives_run_and_their_log_is_marked() {
    for code in [ECHO.as_bytes().to_vec(), zip_of(&[("exec", ECHO), ("lib/x", "")])] {
        let proxy = Proxy::start("actionloop", &[]);
        assert_eq!(proxy.init(&code, true, &Value::Null), (200, "{\"ok\":true}\n".to_owned()));
        let body = "{\"value\":{\"b\":1.00,\r\n\"a\":1e400},\"deadline\":\"5\"}";
        let line = "{\"value\":{\"b\":1.00,\"a\":1e400},\"deadline\":\"5\"}\n";
        assert_eq!(proxy.post("/run", body), (200, line.to_owned()));
        assert_eq!(proxy.post("/run", "{}").0, 200);
        let logs = proxy.stop();
        assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("out\nout\n", "err\nerr\n"));
        assert_eq!(logs.sentinels, [2, 2]);
    }
    // Plain text is a script as well.
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(ECHO.as_bytes(), false, &Value::Null).0, 200);
}

fn what_does_not_start_says_so() {
    for code in ["#!/bin/sh\nexit 3\n", "def main(): pass", "#!/no/such\n"] {
        let proxy = Proxy::start("actionloop", &[]);
        let refusal = (502, error("cannot start action: command exited"));
        assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null), refusal, "{code}");
        assert_eq!(proxy.post("/run", "{}"), (500, error("no action defined yet")));
        assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 200, "a second attempt is welcome");
        assert!(!proxy.folder.path().join("action/2").exists(), "the number of what failed is free again");
        assert_eq!(proxy.stop().sentinels, [0, 0]);
    }
    let proxy = Proxy::start("actionloop", &[("OW_LOG_INIT_ERROR", "1")]);
    let refusal = (502, error("Cannot start action. Check logs for details."));
    assert_eq!(proxy.init(b"#!/no/such\n", true, &Value::Null), refusal);
    let logs = proxy.stop();
    assert_eq!(logs.sentinels, [1, 1]);
    assert!(logs.stderr.contains("No such file") && logs.stderr.contains("command exited"), "{logs:?}");
}

fn a_second_initialisation_is_refused_without_a_mark() {
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 200);
    let refusal = (403, error("Cannot initialize the action more than once."));
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null), refusal);
    assert_eq!(proxy.run(&json!({})).0, 200);
    let logs = proxy.stop();
    assert_eq!(logs.sentinels, [1, 1]);
    assert!(logs.stderr.contains("Cannot initialize the action more than once."));
}

fn initialising_again_is_for_debugging() {
    let mut command = Command::new(crate::harness::program());
    command.arg("-debug");
    let proxy = Proxy::spawn(command, &[]);
    for number in ["1", "2"] {
        let code = format!("#!/bin/bash\nwhile read -r line; do echo '[{number}]' >&3; done\n");
        assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
        assert_eq!(proxy.run(&json!({})), (200, format!("[{number}]\n")));
    }
    assert_eq!(proxy.init(b"#!/bin/false\n", true, &Value::Null).0, 502);
    assert_eq!(proxy.run(&json!({})).1, "[2]\n", "what does not start replaces nothing");
    assert!(proxy.folder.path().join("action/3/bin/exec").exists(), "kept for inspection");
}

fn compilers_speak_in_the_answer_or_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("compiler");
    let path = compiler.to_str().unwrap();
    script(&compiler, "#!/bin/sh\necho \"$1 is no program\"\necho second >&2\n");
    let proxy = Proxy::start("actionloop", &[("OW_COMPILER", path)]);
    let refusal = (502, error("main is no program\nsecond\n"));
    assert_eq!(proxy.init(b"source", false, &Value::Null), refusal);
    assert_eq!(proxy.stop().sentinels, [0, 0]);

    let proxy = Proxy::start("actionloop", &[("OW_COMPILER", path), ("OW_LOG_INIT_ERROR", "1")]);
    let text = "The action failed to generate or locate a binary. See logs for details.";
    assert_eq!(proxy.init(b"source", false, &Value::Null), (502, error(text)));
    let logs = proxy.stop();
    assert_eq!((logs.stderr.as_str(), logs.sentinels), ("main is no program\nsecond\n", [1, 1]));

    for silent in ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nexit 0\n"] {
        script(&compiler, silent);
        let proxy = Proxy::start("actionloop", &[("OW_COMPILER", path)]);
        assert_eq!(proxy.init(b"source", false, &Value::Null), (502, error("cannot compile")));
    }
}

fn compilers_make_executables() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = folder.path().join("compiler");
    script(&compiler, "#!/bin/sh\n{ echo '#!/bin/bash'; cat \"$2/exec\"; } > \"$3/exec\"\n");
    let proxy = Proxy::start("actionloop", &[("OW_COMPILER", compiler.to_str().unwrap())]);
    let source = "while read -r line; do echo \"[\\\"$A\\\"]\" >&3; done\n";
    assert_eq!(proxy.init(source.as_bytes(), false, &json!({ "A": "env" })).0, 200);
    assert_eq!(proxy.run(&json!({})), (200, "[\"env\"]\n".to_owned()));
}

fn acknowledgements_are_awaited_where_asked_for() {
    for (code, refusal) in [
        ("#!/bin/sh\nexit 1\n", Some("Command exited abruptly during initialization.")),
        (
            "#!/bin/sh\necho bad ack >&3\nsleep 100\n",
            Some("invalid character 'b' looking for beginning of value"),
        ),
        ("#!/bin/sh\necho '{}' >&3\nsleep 100\n", Some("The action did not initialize properly.")),
        (
            "#!/bin/bash\nsleep 0.1\necho '{ \"ok\": true }' >&3\nread -r line\necho \"[\\\"$__OW_WAIT_FOR_ACK\\\"]\" >&3\n",
            None,
        ),
    ] {
        let proxy = Proxy::start("actionloop", &[("OW_WAIT_FOR_ACK", "1")]);
        let answer = proxy.init(code.as_bytes(), true, &Value::Null);
        match refusal {
            Some(text) => assert_eq!(answer, (502, error(&format!("cannot start action: {text}")))),
            None => {
                assert_eq!(answer.0, 200);
                assert_eq!(proxy.run(&json!({})).1, "[\"true\"]\n");
            }
        }
    }
}

fn code_for_another_image_is_refused() {
    let proxy = Proxy::start("actionloop", &[("OW_EXECUTION_ENV", "test/1")]);
    let archive = |env: &str| zip_of(&[("exec", ECHO), ("exec.env", env)]);
    let text = "cannot start action: Execution environment version mismatch. See logs for details.";
    assert_eq!(proxy.init(&archive("other"), true, &Value::Null), (502, error(text)));
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null), (502, error(text)));
    assert_eq!(proxy.init(&archive(" test/1\n"), true, &Value::Null).0, 200);
    let logs = proxy.stop();
    assert!(
        logs.stdout.starts_with("Expected exec.env should start with test/1\nActual value: other\n"),
        "{logs:?}"
    );
}

fn the_environment_is_the_platforms_and_the_actions() {
    let code = "#!/bin/bash\nwhile read -r line; do echo \"[\\\"$(env -0 | sort -z | tr '\\0' ' ')\\\"]\" >&3; done\n";
    let proxy = Proxy::start("actionloop", &[("__OW_API_HOST", "https://x?a=b=c"), ("SECRET", "s")]);
    let env = json!({ "LIST": [1, 2, 3], "TEXT": "string", "NUMBER": 123, "__OW_API_KEY": "k" });
    assert_eq!(proxy.init(code.as_bytes(), true, &env).0, 200);
    let text = proxy.run(&json!({})).1;
    for variable in [
        "LIST=[1,2,3] ",
        "NUMBER=123 ",
        "TEXT=string ",
        "__OW_API_HOST=https://x?a=b=c ",
        "__OW_API_KEY=k ",
        "PATH=",
    ] {
        assert!(text.contains(variable), "{variable} in {text}");
    }
    assert!(!text.contains("SECRET"), "{text}");
}

fn a_process_that_ends_is_told() {
    let proxy = Proxy::start("actionloop", &[]);
    let code = "#!/bin/bash\nread -r line\necho last words\nexit 7\n";
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    assert_eq!(proxy.run(&json!({})), (400, error("command exited")));
    assert_eq!(proxy.run(&json!({})), (500, error("no action defined yet")));
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 403, "it has been initialised");
    let logs = proxy.stop();
    assert_eq!((logs.stdout.as_str(), logs.sentinels), ("last words\n", [1, 1]));

    // Between two runs.
    let proxy = Proxy::start("actionloop", &[]);
    let code = "#!/bin/bash\nread -r line\necho \"[$$]\" >&3\nread -r -t 0.05 line\nexit 0\n";
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    let pid = proxy.run(&json!({})).1.trim_matches(['[', ']', '\n']).to_owned();
    let gone = format!("/proc/{pid}");
    while std::path::Path::new(&gone).exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(proxy.run(&json!({})), (500, error("command exited")));
    assert_eq!(proxy.run(&json!({})), (500, error("no action defined yet")));
}

fn answers_are_objects_or_arrays() {
    let code = "#!/bin/bash\nfor answer in '[1, 2]' null 1 '\"text\"' 'no json' '{} {}'; do read -r line; echo \"$answer\" >&3; done\nread -r line\n";
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    assert_eq!(proxy.run(&json!({})), (200, "[1, 2]\n".to_owned()));
    assert_eq!(proxy.run(&json!({})), (200, "null\n".to_owned()));
    for _ in 0..4 {
        let refusal = (502, error("The action did not return a dictionary or array."));
        assert_eq!(proxy.run(&json!({})), refusal);
    }
    assert_eq!(proxy.stop().sentinels, [6, 6]);
}

fn a_line_without_an_end_is_ended_before_the_mark() {
    let code = "#!/bin/bash\nwhile read -r line; do printf half; printf HALF >&2; echo '{}' >&3; done\n";
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    assert_eq!(proxy.run(&json!({})).0, 200);
    let logs = proxy.stop();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str(), logs.sentinels), ("half\n", "HALF\n", [1, 1]));
}

fn large_arguments_come_back() {
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(b"#!/bin/sh\nexec cat >&3\n", true, &Value::Null).0, 200);
    let arguments = json!({ "arg": "a".repeat(1_048_561) });
    let (status, body) = proxy.run(&arguments);
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), json!({ "value": arguments }));
}

fn requests_are_one_json_value() {
    let proxy = Proxy::start("actionloop", &[]);
    let (status, text) = proxy.post("/init", r#"{"value":"code"}"#);
    assert_eq!((status, text), (400, error("Error unmarshaling request: not an object")));
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 200);
    let unreadable = |text: &str| (400, error(&format!("Error unmarshaling request: {text}")));
    assert_eq!(proxy.post("/run", "XXX"), unreadable("invalid character 'X' looking for beginning of value"));
    assert_eq!(proxy.post("/run", ""), unreadable("unexpected end of JSON input"));
    assert_eq!(proxy.post("/run", r#"{"value":{}"#), unreadable("unexpected end of JSON input"));
    let (status, text) = proxy.post("/run", r#"{"value":{}}{"value":{}}"#);
    assert!(status == 400 && text.contains("trailing characters"), "{text}");
    assert_eq!(proxy.post("/run", "{\r\n\"value\":\n[1]}\n"), (200, "{\"value\":[1]}\n".to_owned()));
    assert_eq!(proxy.stop().sentinels, [1, 1]);
}

fn unknown_paths_are_empty() {
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.post("/health", ""), (200, String::new()));
}

fn connections_are_kept_for_callers_who_keep_them() {
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 200);
    let closing = proxy.try_post("/run", "{}").unwrap();
    assert!(
        closing.head.contains("connection: close") && !closing.head.contains("keep-alive"),
        "{closing:?}"
    );
    let mut stream = proxy.connect();
    for number in 0..3 {
        let body = format!("{{\"value\":[{number}]}}");
        let length = body.len();
        write!(stream, "POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut reader = BufReader::new(&stream);
        let lines = reader.by_ref().lines().map(Result::unwrap);
        let head: Vec<String> =
            lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase()).collect();
        assert!(head.contains(&"connection: keep-alive".to_owned()), "{head:?}");
        assert_eq!(reader.lines().next().unwrap().unwrap(), body);
    }
}

fn bad_archives_are_refused() {
    let proxy = Proxy::start("actionloop", &[]);
    for (code, part) in [
        (zip_of(&[("../../escaped", "x")]), "illegal name"),
        (zip_of(&[("/etc/escaped", "x")]), "illegal name"),
        (b"PK\x03\x04garbage".to_vec(), "damaged"),
    ] {
        let (status, text) = proxy.init(&code, true, &Value::Null);
        assert_eq!(status, 400);
        assert!(text.contains("cannot decode the request: ") && text.contains(part), "{text}");
    }
    let body = r#"{"value":{"code":"no base64!","binary":true}}"#;
    let refusal = "cannot decode the request: illegal base64 data at input byte 2";
    assert_eq!(proxy.post("/init", body), (400, error(refusal)));
    assert!(!proxy.folder.path().join("escaped").exists());
    assert_eq!(proxy.init(ECHO.as_bytes(), true, &Value::Null).0, 200);
}

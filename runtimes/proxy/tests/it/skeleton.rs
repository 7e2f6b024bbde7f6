//! Executables that are started anew for every run.

use serde_json::{Value, json};

use crate::harness::{Proxy, zip_of};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("without_code_a_stub_answers", without_code_a_stub_answers),
    ("the_last_line_is_the_result", the_last_line_is_the_result),
    ("bad_arguments_are_not_found", bad_arguments_are_not_found),
    ("what_is_no_program_is_refused_with_a_mark", what_is_no_program_is_refused_with_a_mark),
    ("the_image_may_bring_the_program", the_image_may_bring_the_program),
    ("initialising_again_is_a_setting", initialising_again_is_a_setting),
];

const STUB: &str = r#"{ "error": "This is a stub action. Replace it with custom logic." }"#;

fn without_code_a_stub_answers() {
    let proxy = Proxy::start("blackbox", &[]);
    assert_eq!(proxy.post("/run", "{}"), (200, STUB.to_owned()));
    assert_eq!(proxy.post("/init", "{}"), (200, "OK".to_owned()));
    assert_eq!(proxy.post("/run", "no json"), (200, STUB.to_owned()));
    let (status, body) = proxy.post("/run", "null");
    assert_eq!(
        (status, body.as_str()),
        (502, r#"{"error":"The action did not return a dictionary or array."}"#)
    );
    assert_eq!(proxy.stop().sentinels, [3, 3]);
}

fn the_last_line_is_the_result() {
    let text = "#!/bin/bash\nread -r line\necho one\necho err >&2\necho \"{\\\"in\\\":$line,\\\"arg\\\":$1,\\\"pwd\\\":\\\"$PWD\\\",\\\"id\\\":\\\"$__OW_ACTIVATION_ID\\\"}\"\nexit 3\n";
    for code in [text.as_bytes().to_vec(), zip_of(&[("exec", text), ("other", "x")])] {
        let binary = code.starts_with(b"PK");
        let proxy = Proxy::start("native", &[]);
        assert_eq!(proxy.init(&code, binary, &Value::Null), (200, "OK".to_owned()));
        let (status, body) = proxy.post("/run", r#"{"value":{"a":1.00},"activation_id":"id"}"#);
        let folder = proxy.folder.path().canonicalize().unwrap().join("action");
        let expected =
            format!(r#"{{"in":{{"a":1.00}},"arg":{{"a":1.00}},"pwd":"{}","id":"id"}}"#, folder.display());
        assert_eq!((status, body), (200, expected));
        let logs = proxy.stop();
        assert_eq!((logs.stdout.as_str(), logs.stderr.as_str(), logs.sentinels), ("one\n", "err\n", [1, 1]));
    }
}

fn bad_arguments_are_not_found() {
    let proxy = Proxy::start("blackbox", &[]);
    let (status, body) = proxy.run(&json!("A"));
    assert_eq!(status, 404);
    assert_eq!(body, r#"{"error":"The action did not receive a dictionary or array as an argument."}"#);
    assert_eq!(proxy.init(b"#!/bin/sh\necho no json\n", false, &Value::Null).0, 200);
    let (status, body) = proxy.run(&json!({}));
    assert_eq!(status, 502);
    assert_eq!(body, r#"{"error":"The action did not return a dictionary or array."}"#);
    let logs = proxy.stop();
    assert_eq!((logs.stdout.as_str(), logs.sentinels), ("no json\n", [2, 2]));
}

fn what_is_no_program_is_refused_with_a_mark() {
    let proxy = Proxy::start("blackbox", &[]);
    let (status, body) = proxy.init(&zip_of(&[("other", "x")]), true, &Value::Null);
    assert_eq!(status, 502);
    assert_eq!(
        body,
        r#"{"error":"The action failed to generate or locate a binary. See logs for details."}"#
    );
    let body = r#"{"value":{"code":"no base64!","binary":true}}"#;
    assert_eq!(proxy.post("/init", body).0, 502);
    assert_eq!(proxy.init(b"neither archive nor program", true, &Value::Null).0, 502);
    let logs = proxy.stop();
    assert_eq!(logs.sentinels, [3, 3]);
    assert!(logs.stderr.contains("neither an archive nor a program"), "{logs:?}");
}

fn the_image_may_bring_the_program() {
    let proxy = Proxy::start("blackbox", &[]);
    let folder = proxy.folder.path().join("action");
    std::fs::create_dir(&folder).unwrap();
    crate::harness::script(&folder.join("exec"), "#!/bin/sh\necho '{\"from\":\"image\"}'\n");
    assert_eq!(proxy.post("/init", "{}").0, 200);
    assert_eq!(proxy.run(&json!({})).1, r#"{"from":"image"}"#);
}

fn initialising_again_is_a_setting() {
    let script = |number: u32| format!("#!/bin/sh\necho '[{number}]'\n");
    let proxy = Proxy::start("blackbox", &[]);
    assert_eq!(proxy.init(script(1).as_bytes(), false, &Value::Null).0, 200);
    assert_eq!(proxy.init(script(2).as_bytes(), false, &Value::Null).0, 403);
    assert_eq!(proxy.run(&json!({})).1, "[1]");
    let proxy = Proxy::start("blackbox", &[("PROXY_ALLOW_REINIT", "1")]);
    for number in 1..=2 {
        assert_eq!(proxy.init(script(number).as_bytes(), false, &Value::Null).0, 200);
        assert_eq!(proxy.run(&json!({})).1, format!("[{number}]"));
    }
}

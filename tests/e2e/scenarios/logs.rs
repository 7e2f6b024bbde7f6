//! Logs: what a function prints, in the record of the activation that printed it.

use chasen_testkit::{Client, node};
use serde_json::{Value, json};

use crate::functions::{Function, Language, call, logs, record, start};
use crate::scenario::Scenario;

/// Columns of the time.
const TIME: usize = 30;
const AFTER_DEVELOPER_ERROR: &str =
    "stderr: The action did not initialize or run as expected. Log data might be missing.";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("logs::nodejs_lines_have_time_stream_and_order", || lines(Language::Nodejs))
            .needing(Language::Nodejs.need()),
        Scenario::new("logs::python_lines_have_time_stream_and_order", || lines(Language::Python))
            .needing(Language::Python.need()),
        Scenario::new("logs::lines_of_executables_have_time_stream_and_order", || lines(Language::Native)),
        Scenario::new("logs::each_activation_has_its_own_lines_only", own_lines),
        Scenario::new("logs::limits_cut_logs_and_say_so", limits),
        Scenario::new("logs::developer_errors_end_logs_with_a_notice", notices),
        Scenario::new("logs::what_was_printed_before_the_time_limit_is_kept", timed_out),
        Scenario::new("logs::functions_that_print_without_end_are_stopped", endless)
            .needing(Language::Nodejs.need()),
        Scenario::new("logs::lines_that_end_the_logs_of_others_are_lines", marks),
    ]
}

/// Stream and text of each line; fails on a time that is none.
fn texts(lines: &[String]) -> Vec<&str> {
    let text = |line: &'_ String| -> usize {
        let time = line[..TIME].trim_end();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let fraction = shape.strip_prefix("0000-00-00T00:00:00.").and_then(|rest| rest.strip_suffix('Z'));
        assert!(
            fraction.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|d| d == b'0')),
            "{line}"
        );
        assert_eq!(line.as_bytes()[TIME], b' ', "{line}");
        TIME + 1
    };
    lines.iter().map(|line| &line[text(line)..]).collect()
}

async fn lines(language: Language) {
    let code = match language {
        Language::Nodejs => {
            "function main() { console.log('one'); console.error('oops ☃'); console.log('');\n\
             console.log('two ❄'); process.stdout.write('no end'); return {}; }"
        }
        Language::Python => {
            "import sys\ndef main(args):\n    print('one'); print('oops ☃', file=sys.stderr); print('')\n    \
             print('two ❄'); sys.stdout.write('no end')\n    return {}\n"
        }
        Language::Native => {
            "#!/bin/sh\necho one; echo 'oops ☃' >&2; echo; echo 'two ❄'; echo 'no end'; echo '{}'\n"
        }
    };
    let node = node().start();
    let client = node.client();
    Function::new("prints", language, code).put(&client).await;
    let called = call(&client, "prints", &json!({})).await;
    assert_eq!(called.record["logs"], json!([]), "a blocking answer has no logs: {}", called.text);
    let lines = logs(&client, called.id()).await;
    let texts = texts(&lines);
    let stream =
        |name: &str| -> Vec<&str> { texts.iter().filter_map(|text| text.strip_prefix(name)).collect() };
    assert_eq!(stream("stdout: "), ["one", "", "two ❄", "no end"], "{lines:?}");
    assert_eq!(stream("stderr: "), ["oops ☃"], "{lines:?}");
    let mut sorted = lines.clone();
    sorted.sort_by_key(|line| line[..TIME].to_owned());
    assert_eq!(sorted, lines, "lines are in the order of time");
    let path = format!("/api/v1/namespaces/_/activations/{}/logs", called.id());
    assert_eq!(client.get(&path).await.unwrap().json(), json!({"logs": lines}));
}

async fn own_lines() {
    let node = node().start();
    let client = node.client();
    let code = "function main({ n }) { console.log('call', n); setTimeout(() => console.log('late', n), 1); return {}; }";
    Function::nodejs("prints", code).put(&client).await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(start(&client, "prints", &json!({"n": n})).await);
    }
    for (n, id) in ids.iter().enumerate() {
        let lines = logs(&client, id).await;
        let calls: Vec<String> =
            texts(&lines).iter().filter(|text| text.contains("call")).map(ToString::to_string).collect();
        assert_eq!(calls, [format!("stdout: call {n}")], "{lines:?}");
    }
}

async fn limits() {
    let node = node().start();
    let client = node.client();
    let code = "function main({ lines }) { for (let n = 0; n < lines; n++) console.log('x'.repeat(959)); return {}; }";
    Function::nodejs("prints", code).limit("logs", 1).put(&client).await;
    let few = logs(&client, call(&client, "prints", &json!({"lines": 1000})).await.id()).await;
    assert_eq!(few.len(), 1000);
    let many = logs(&client, call(&client, "prints", &json!({"lines": 2000})).await.id()).await;
    let last = many.last().unwrap();
    let notice =
        "stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.";
    assert_eq!(texts(std::slice::from_ref(last)), [notice]);
    assert!(
        many[..many.len() - 1].iter().all(|line| line.contains("stdout: x")),
        "the notice is the only one"
    );
    let again = logs(&client, call(&client, "prints", &json!({"lines": 1})).await.id()).await;
    assert_eq!(again.len(), 1, "each activation has the whole limit");

    Function::nodejs("silent", code).limit("logs", 0).put(&client).await;
    let none = call(&client, "silent", &json!({"lines": 2000})).await;
    assert_eq!(record(&client, none.id()).await["logs"], json!([]), "{}", none.text);
}

async fn notices() {
    let node = node().start();
    let client = node.client();
    for (name, code, arguments) in [
        ("throws", "function main() { console.log('before'); throw new Error('no'); }", json!({})),
        ("exits", "function main() { console.log('before'); process.exit(1); }", json!({})),
        ("breaks", "console.log('before'); throw new Error('no');", json!({})),
        ("answers", "function main() { console.log('before'); return 7; }", json!({})),
    ] {
        Function::nodejs(name, code).put(&client).await;
        let lines = logs_of_failure(&client, name, &arguments).await;
        let texts = texts(&lines);
        assert_eq!(
            (texts.first(), texts.last()),
            (Some(&"stdout: before"), Some(&AFTER_DEVELOPER_ERROR)),
            "{name}: {lines:?}"
        );
    }
    Function::nodejs("fails", "function main() { console.log('before'); return { error: 'no' }; }")
        .put(&client)
        .await;
    let lines = logs_of_failure(&client, "fails", &json!({})).await;
    assert_eq!(texts(&lines), ["stdout: before"], "application errors have no notice");
}

async fn logs_of_failure(client: &Client, name: &str, arguments: &Value) -> Vec<String> {
    let called = call(client, name, arguments).await;
    assert_eq!(called.status, 502, "{}", called.text);
    let lines = logs(client, called.id()).await;
    assert!(lines.is_sorted_by_key(|line| &line[..TIME]), "lines are in the order of time: {lines:?}");
    lines
}

async fn timed_out() {
    let node = node().start();
    let client = node.client();
    let code = "import time\ndef main(args):\n    print('before')\n    time.sleep(600)\n";
    Function::python("sleeps", code).limit("timeout", 3000).put(&client).await;
    let lines = logs_of_failure(&client, "sleeps", &json!({})).await;
    assert_eq!(texts(&lines), ["stdout: before", AFTER_DEVELOPER_ERROR]);
}

async fn endless() {
    let node = node().start();
    let client = node.client();
    let code = "function main() { for (;;) console.log('heavy '.repeat(20)); }";
    Function::nodejs("prints", code).limit("timeout", 5000).limit("logs", 1).put(&client).await;
    let lines = logs_of_failure(&client, "prints", &json!({})).await;
    let texts = texts(&lines);
    let cut = "stderr: Logs were truncated because the total bytes size exceeds the limit of 1048576 bytes.";
    assert_eq!(texts[texts.len() - 2..], [cut, AFTER_DEVELOPER_ERROR]);
    assert!(texts[..texts.len() - 2].iter().all(|text| text.starts_with("stdout: heavy")));
}

/// Runtimes elsewhere print a mark at the end of each activation. Nothing waits for it here, and nothing is lost.
async fn marks() {
    let node = node().start();
    let client = node.client();
    let code = "#!/bin/sh\nfor line in before XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX after; do echo $line; done\necho '{}'\n";
    Function::native("prints", code).put(&client).await;
    let lines = logs(&client, call(&client, "prints", &json!({})).await.id()).await;
    let mark = "stdout: XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
    assert_eq!(texts(&lines), ["stdout: before", mark, "stdout: after"]);
}

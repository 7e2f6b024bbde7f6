//! `chasen load`: every sort of target against a real node, what it says of errors, and ctrl-C in the middle.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use chasen_testkit::{Finished, GUEST, Node, PATIENCE, Process, Signal, chasen, node, run};
use serde_json::{Value, json};

use crate::functions::{Function, HELLO};
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("load::blocking_calls_are_measured_and_every_record_is_found", blocking),
        Scenario::new("load::calls_that_do_not_wait_are_followed_to_their_records", non_blocking),
        Scenario::new("load::web_actions_and_fires_are_asked_too", web_and_fires),
        Scenario::new("load::a_file_mixes_targets_by_weight_in_an_open_loop", file),
        Scenario::new("load::errors_and_bounds_decide_the_exit_code", errors),
        Scenario::blocking("load::ctrl_c_in_the_middle_tells_what_was_measured", interrupted)
            .needing_nothing(),
        Scenario::blocking("load::a_second_ctrl_c_ends_at_once", interrupted_twice).needing_nothing(),
        Scenario::blocking("load::what_cannot_be_asked_is_told_up_front", bad_input).needing_nothing(),
    ]
    .into_iter()
    .map(|scenario| scenario.needing(Need::command("sh")))
    .collect()
}

/// `chasen load` that knows of no properties but those it is given.
fn load() -> Command {
    let mut command = chasen();
    command.arg("load").env("WSK_CONFIG_FILE", "/nonexistent/properties");
    command
}

/// Loads a node with the guest's key.
fn at(node: &Node, words: &[&str]) -> Finished {
    let mut command = load();
    command.args(words).args(["--apihost", node.base(), "--auth", GUEST]);
    run(command)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

async fn blocking() {
    let node = node().start();
    Function::native("hello", HELLO).put(&node.client()).await;
    let folder = tempfile::tempdir().unwrap();
    let [json, html, compared] =
        ["run.json", "run.html", "compared.html"].map(|name| folder.path().join(name));
    let paths = [&json, &html].map(|path| path.to_str().unwrap());
    let words = ["--action", "hello", "--requests", "60", "--clients", "3", "--check"];
    let finished = at(&node, &[&words[..], &["--json", paths[0], "--html", paths[1]]].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("60 of 60 found") && finished.stdout.contains("p99.99"), "{finished:?}");
    let report = read(&json);
    assert_eq!((&report["successes"], &report["errors"]), (&json!(60), &json!(0)), "{report}");
    assert_eq!(report["records"]["missing"], 0);
    let page = fs::read_to_string(&html).unwrap();
    assert!(page.contains("<svg") && !page.contains("<script") && !page.contains("src="), "{page}");
    let secret = GUEST.split_once(':').unwrap().1;
    for text in [&finished.stdout, &finished.stderr, &page, &report.to_string()] {
        assert!(!text.contains(secret) && !text.contains("Basic "), "{text}");
    }

    let mut compare = load();
    compare.args(["compare", paths[0], paths[0], "--html"]).arg(&compared);
    let finished = run(compare);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("after ÷ before") && finished.stdout.contains("1.000"), "{finished:?}");
    assert!(fs::read_to_string(&compared).unwrap().contains("<svg"));
}

async fn non_blocking() {
    let node = node().start();
    Function::native("hello", HELLO).put(&node.client()).await;
    // Host and key from the properties file, as the classic tool has them.
    let folder = tempfile::tempdir().unwrap();
    let properties = folder.path().join("properties");
    fs::write(&properties, format!("APIHOST={}\nAUTH={GUEST}\n", node.base())).unwrap();
    let mut command = load();
    command.env("WSK_CONFIG_FILE", &properties);
    command.args(["--action", "hello", "--non-blocking", "--requests", "30", "--clients", "2", "--check"]);
    let finished = run(command);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.stdout.contains("202: 30") && finished.stdout.contains("30 of 30 found"),
        "{finished:?}"
    );
}

async fn web_and_fires() {
    let node = node().start();
    let client = node.client();
    let body = "#!/bin/sh\necho '{\"body\":{\"hello\":true}}'\n";
    Function::native("page", body).annotation("web-export", true.into()).put(&client).await;
    let web =
        at(&node, &["--web", "guest/default/page.http", "--requests", "20", "--clients", "2", "--check"]);
    assert_eq!(web.code, Some(0), "{web:?}");
    assert!(web.stdout.contains("200: 20") && web.stdout.contains("20 of 20 found"), "{web:?}");

    let path = "/api/v1/namespaces/_";
    client.put(&format!("{path}/triggers/tick"), &json!({})).await.unwrap();
    let rule = json!({"trigger": "/_/tick", "action": "/_/page"});
    client.put(&format!("{path}/rules/tock"), &rule).await.unwrap();
    let fires = at(&node, &["--trigger", "tick", "--requests", "10", "--clients", "2", "--check"]);
    assert_eq!(fires.code, Some(0), "{fires:?}");
    assert!(fires.stdout.contains("202: 10") && fires.stdout.contains("10 of 10 found"), "{fires:?}");
}

async fn file() {
    let node = node().start();
    Function::native("echo", "#!/bin/sh\nprintf '%s\\n' \"$1\"\n").put(&node.client()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load.json");
    fs::write(folder.path().join("body.json"), r#"{"from": "file"}"#).unwrap();
    let file = json!({
        "targets": [
            {"name": "inline", "action": "echo", "body": {"a": 1}, "weight": 3},
            {"name": "from file", "action": "echo", "bodyFile": "body.json", "blocking": false},
            {"name": "ping", "url": format!("{}/ping", node.base()), "weight": 4},
        ],
        "stages": [{"duration": "0s", "rate": 20}, {"duration": "2s", "rate": 60}],
        "maxErrorRate": 0,
    });
    fs::write(&path, file.to_string()).unwrap();
    let report = folder.path().join("run.json");
    let finished = at(&node, &[path.to_str().unwrap(), "--check", "--json", report.to_str().unwrap()]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let report = read(&report);
    let counts: Vec<u64> = report["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["successes"].as_u64().unwrap())
        .collect();
    // The area below the ramp: two seconds at forty a second.
    assert_eq!(counts.iter().sum::<u64>(), 80, "{report}");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    assert_eq!(report["records"]["checked"].as_u64().unwrap(), counts[0] + counts[1]);
}

async fn errors() {
    let node = node().start();
    Function::native("hello", HELLO).put(&node.client()).await;
    let missing = at(&node, &["--action", "none", "--requests", "5"]);
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stdout.contains("404: 5") && missing.stdout.contains("does not exist"), "{missing:?}");
    let slow = at(&node, &["--action", "hello", "--requests", "5", "--max-p99", "1us"]);
    assert!(slow.code == Some(1) && slow.stdout.contains("NOT held"), "{slow:?}");
    let allowed = at(&node, &["--action", "hello", "--requests", "5", "--max-error-rate", "0.5"]);
    assert!(allowed.code == Some(0) && allowed.stdout.contains("held"), "{allowed:?}");
    let mut stranger = load();
    stranger.args(["--action", "hello", "--requests", "3", "--apihost", node.base(), "--auth", "a:b"]);
    let refused = run(stranger);
    assert!(refused.code == Some(1) && refused.stdout.contains("401: 3"), "{refused:?}");
}

/// A server that tells which paths it is asked, and answers as `answer` says, or never.
fn server(answer: fn(&str) -> Option<&'static str>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, paths) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = asked.clone();
            std::thread::spawn(move || serve(&stream, &asked, answer));
        }
    });
    (url, paths)
}

fn serve(mut stream: &TcpStream, asked: &Sender<String>, answer: fn(&str) -> Option<&'static str>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        // Requests of these scenarios have no body.
        let _ = lines.by_ref().find(String::is_empty);
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let reply = answer(&path);
        let _ = asked.send(path);
        if reply.is_some_and(|reply| stream.write_all(reply.as_bytes()).is_err()) {
            return;
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
const ACCEPTED: &str = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\
                        X-OpenWhisk-Activation-Id: 0123456789abcdef0123456789abcdef\r\n\r\n";

fn interrupted() {
    let (url, paths) = server(|_| Some(OK));
    let folder = tempfile::tempdir().unwrap();
    let [log, json, html] = ["log", "run.json", "run.html"].map(|name| folder.path().join(name));
    let mut command = load();
    command.args(["--target", &url, "--duration", "1h", "--clients", "2", "--json"]).arg(&json);
    command.arg("--html").arg(&html);
    let mut process = Process::start(command, &log);
    // Some answers are measured once a connection asks again and again.
    for _ in 0..100 {
        paths.recv_timeout(PATIENCE).unwrap();
    }
    process.signal(Signal::INT);
    let mut printed = String::new();
    while let Some(line) = process.line() {
        printed.push_str(&line);
        printed.push('\n');
    }
    assert_eq!(process.wait(PATIENCE).code(), Some(0), "{printed}");
    assert!(printed.contains("stopped after") && printed.contains("successes/s"), "{printed}");
    let report = read(&json);
    assert!(report["stopped"] == true && report["successes"].as_u64().unwrap() >= 90, "{report}");
    assert!(fs::read_to_string(&html).unwrap().contains("stopped before its time"));
}

fn interrupted_twice() {
    // Accepts activations and never says what became of them.
    let (url, paths) = server(|path| if path.contains("/activations/") { None } else { Some(ACCEPTED) });
    let folder = tempfile::tempdir().unwrap();
    let mut command = load();
    command.args(["--target", &url, "--requests", "3", "--check", "--auth", "a:b"]);
    let mut process = Process::start(command, &folder.path().join("log"));
    while !paths.recv_timeout(PATIENCE).unwrap().contains("/activations/") {}
    // Two signals of one sort may become one: until it ends, it is asked to.
    let begun = Instant::now();
    while !process.has_ended() && begun.elapsed() < PATIENCE {
        process.signal(Signal::INT);
        std::thread::yield_now();
    }
    assert_eq!(process.wait(PATIENCE).code(), Some(130));
}

fn bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let [misspelt, idle, bodiless, endless] = [
        file("misspelt.json", "{\"targets\": [{\"url\": \"http://h/\",\n \"wieght\": 2}]}"),
        file("idle.json", r#"[{"url": "http://h/", "weight": 0}]"#),
        file("bodiless.json", r#"[{"url": "http://h/", "bodyFile": "none"}]"#),
        "/dev/zero".to_owned(),
    ];
    let target = ["--target", "http://127.0.0.1:1/"];
    for (words, text) in [
        (&[misspelt.as_str()][..], "no field 'wieght' (line 2, column 9); did you mean 'weight'?"),
        (&[idle.as_str()], "target 1: weight 0 is out of bounds"),
        (&[bodiless.as_str()], "none cannot be read: No such file"),
        (&[endless.as_str()], "more than"),
        (&[], "--target"),
        (&["--action", "hello"], "there is no key"),
        (&["--target", "ftp://h/"], "begins neither with"),
        (&[target[0], target[1], "--rate", "-1"], "out of bounds"),
        (&[target[0], target[1], "--duration", "30"], "30s"),
        (&[target[0], target[1], "--clients", "99999999"], "out of bounds"),
        (&[target[0], target[1], "--json", "/nonexistent/run.json"], "cannot be written"),
        (&["compare", misspelt.as_str(), idle.as_str()], "is no report of a run"),
    ] {
        let mut command = load();
        let finished = run({
            command.args(words);
            command
        });
        assert_eq!(finished.code, Some(2), "{words:?}: {finished:?}");
        assert!(finished.stderr.contains(text) && finished.stdout.is_empty(), "{words:?}: {finished:?}");
    }
    let mut command = load();
    command.args(target).args(["--duration", "1h"]);
    let finished = run(command);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains("cannot be reached") && finished.stderr.lines().count() == 1,
        "{finished:?}"
    );
}

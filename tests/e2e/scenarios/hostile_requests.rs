//! Requests that are wrong, too large, too slow or too many: clear answers, and the node goes on.

use std::time::{Duration, Instant};

use chasen_testkit::{Client, Node, PATIENCE, node};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::functions::{Function, call, path};
use crate::scenario::Scenario;

/// Connections held open at the same time.
const CONNECTIONS: usize = 5000;
/// What a node may grow by while it refuses something huge.
const GROWTH: u64 = 128 << 20;
/// Longest time that a slow client may hold a connection, by the node's rules and some slack.
const SLOW: Duration = Duration::from_secs(90);

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("hostile_requests::each_mistake_has_its_answer", mistakes),
        Scenario::new("hostile_requests::huge_bodies_are_refused_unread", huge_bodies),
        Scenario::new("hostile_requests::bodies_that_ask_first_are_answered_first", expectations),
        Scenario::new("hostile_requests::garbage_on_a_connection_ends_that_connection_only", garbage),
        Scenario::new("hostile_requests::slow_clients_are_cut_off_and_disturb_nobody", slow_clients),
        Scenario::new("hostile_requests::five_thousand_idle_connections_leave_room_for_calls", connections),
    ]
}

const EXEC: &str = r#"{"exec":{"kind":"blackbox","image":"openwhisk/dockerskeleton","code":"x"}}"#;

/// One request: method, path, extra headers, body, then expected status and a part of the expected body.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, u16, &'a str);

const GUEST: &str = "Authorization: Basic $GUEST\r\n";
const JSON: &str = "Authorization: Basic $GUEST\r\nContent-Type: application/json\r\n";
const UNKNOWN: &str = "Authorization: Basic MjNiYzQ2YjEtNzFmNi00ZWQ1LThjNTQtODE2YWE0ZjhjNTAyOkFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\r\n";

const ROWS: &[Row<'_>] = &[
    (
        "GET",
        "namespaces",
        "",
        "",
        401,
        "The resource requires authentication, which was not supplied with the request",
    ),
    ("GET", "namespaces", "Authorization: Bearer x\r\n", "", 401, "which was not supplied with the request"),
    ("GET", "namespaces", "Authorization: Basic !!!\r\n", "", 401, "which was not supplied with the request"),
    (
        "GET",
        "namespaces",
        "Authorization: Basic Z3Vlc3Q=\r\n",
        "",
        401,
        "The supplied authentication is invalid",
    ),
    ("GET", "namespaces", UNKNOWN, "", 401, "The supplied authentication is invalid"),
    ("GET", "nowhere", "", "", 401, "which was not supplied with the request"),
    ("GET", "nowhere", GUEST, "", 404, "The requested resource could not be found."),
    ("PUT", "namespaces", GUEST, "", 404, "The requested resource could not be found."),
    (
        "GET",
        "namespaces/other/actions",
        GUEST,
        "",
        403,
        "The supplied authentication is not authorized to access 'other'.",
    ),
    ("PUT", "namespaces/other/actions/a", JSON, EXEC, 403, "not authorized to access 'other/a'."),
    ("POST", "namespaces/other/actions/a", JSON, "{}", 403, "not authorized to access 'other/a'."),
    ("GET", "namespaces/other/activations", GUEST, "", 403, "not authorized to access 'other'."),
    ("GET", "namespaces/_/actions/missing", GUEST, "", 404, "The requested resource does not exist."),
    ("POST", "namespaces/_/actions/missing", JSON, "{}", 404, "The requested resource does not exist."),
    ("DELETE", "namespaces/_/actions/missing", GUEST, "", 404, "The requested resource does not exist."),
    ("PUT", "namespaces/_/actions/a", JSON, "{", 400, r"The request content was malformed:\n"),
    ("PUT", "namespaces/_/actions/a", JSON, "", 400, r"The request content was malformed:\n"),
    ("PUT", "namespaces/_/actions/a", JSON, "[]", 400, r"The request content was malformed:\n"),
    (
        "PUT",
        "namespaces/_/actions/a",
        JSON,
        "{\"exec\":{\"kind\":\"\u{fffd}",
        400,
        r"The request content was malformed:\n",
    ),
    ("PUT", "namespaces/_/actions/a", JSON, "{}", 400, "exec undefined"),
    (
        "PUT",
        "namespaces/_/actions/a",
        JSON,
        r#"{"exec":{"kind":"cobol:85","code":"x"}}"#,
        400,
        "The specified runtime 'cobol:85' is not supported by this platform. Valid values are: ",
    ),
    (
        "PUT",
        "namespaces/_/actions/a",
        JSON,
        r#"{"exec":{"kind":"nodejs:default"}}"#,
        400,
        "'code' must be a string or attachment object defined in 'exec' for 'nodejs:20' actions",
    ),
    (
        "PUT",
        "namespaces/_/actions/a",
        JSON,
        r#"{"exec":{"kind":"blackbox","code":"x"}}"#,
        400,
        "'image' must be a string defined in 'exec' for 'blackbox' actions",
    ),
    (
        "PUT",
        "namespaces/_/actions/a",
        GUEST,
        EXEC,
        415,
        "The request's Content-Type [application/octet-stream] is not supported. Expected:\\napplication/json",
    ),
    (
        "PUT",
        "namespaces/_/actions/a=b",
        JSON,
        EXEC,
        400,
        "The name of the entity contains illegal characters.",
    ),
    (
        "PUT",
        "namespaces/_/actions/%2Fetc%2Fpasswd",
        JSON,
        EXEC,
        400,
        "The name of the entity contains illegal characters.",
    ),
    (
        "PUT",
        "namespaces/_/actions/gr%C3%BCn",
        JSON,
        EXEC,
        400,
        "The name of the entity contains illegal characters.",
    ),
    (
        "PUT",
        "namespaces/_/actions/..",
        JSON,
        EXEC,
        400,
        "The name of the entity contains illegal characters.",
    ),
    ("GET", "namespaces/a=b/actions", GUEST, "", 400, "The namespace contains illegal characters."),
    (
        "PUT",
        "namespaces/_/actions/a?overwrite=maybe",
        JSON,
        EXEC,
        400,
        r"The query parameter 'overwrite' was malformed:\n'maybe' is not a valid Boolean value",
    ),
    (
        "GET",
        "namespaces/_/actions?limit=201",
        GUEST,
        "",
        400,
        "The value '201' is not in the range of 0 to 200 for actions.",
    ),
    ("GET", "namespaces/_/activations/xyz", GUEST, "", 400, "Activation id length is 3 but must be 32."),
    (
        "POST",
        "namespaces/_/actions/canary?blocking=true",
        JSON,
        "[1]",
        400,
        r"The request content was malformed:\nJSON object expected",
    ),
    (
        "POST",
        "namespaces/_/actions/canary?blocking=true",
        JSON,
        "{\"a\":",
        400,
        r"The request content was malformed:\n",
    ),
    (
        "POST",
        "namespaces/_/actions/canary?timeout=60001",
        JSON,
        "{}",
        400,
        "Timeout must be number of milliseconds up to 60000.",
    ),
    (
        "POST",
        "namespaces/_/actions/canary?timeout=0",
        JSON,
        "{}",
        400,
        "Timeout must be number of milliseconds up to 60000.",
    ),
];

async fn stage() -> (Node, Client) {
    let node = node().start();
    let client = node.client();
    Function::native("canary", "#!/bin/sh\necho '{\"sings\":true}'\n").put(&client).await;
    (node, client)
}

async fn sings(client: &Client) {
    let called = call(client, "canary", &json!({})).await;
    assert_eq!(called.result(), &json!({"sings": true}), "{}", called.text);
}

fn address(node: &Node) -> String {
    node.base().trim_start_matches("http://").to_owned()
}

/// Sends text and gives all that comes back until the node closes.
async fn exchange(node: &Node, text: &str) -> String {
    let mut stream = TcpStream::connect(address(node)).await.unwrap();
    // The node may have heard enough, and answered, before the end of it.
    let _ = stream.write_all(text.as_bytes()).await;
    rest(&mut stream).await
}

/// All that comes until the connection is closed, or reset.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    drop(read.expect("the node closes the connection"));
    String::from_utf8_lossy(&answer).into_owned()
}

fn guest() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(chasen_testkit::GUEST)
}

async fn mistakes() {
    let (node, client) = stage().await;
    let mut wrong = Vec::new();
    for (method, path, headers, body, status, part) in ROWS {
        let headers = headers.replace("$GUEST", &guest());
        let request = format!(
            "{method} /api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&node, &request).await;
        let json = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let whole = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
        let explained = whole["error"].is_string() && whole["code"].is_string();
        if !answer.starts_with(&format!("HTTP/1.1 {status} ")) || !answer.contains(part) || !explained {
            wrong.push(format!("{method} {path} {body:?}: expected {status} {part:?}, got {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let code = "x".repeat((48 << 20) + 1 - "openwhisk/dockerskeleton".len());
    let reply = Function::native("large", &code).offer(&client).await;
    let text = "exec larger than allowed: 50331649 > 50331648 bytes.";
    assert_eq!((reply.status.as_u16(), reply.json()["error"].as_str()), (413, Some(text)));
    let large = json!({"text": "x".repeat((1 << 20) - 10)});
    let length = large.to_string().len();
    let reply = client.post(&path("canary"), &large).await.unwrap();
    let text = format!("Request larger than allowed: {length} > 1048576 bytes.");
    assert_eq!((reply.status.as_u16(), reply.json()["error"].as_str()), (413, Some(text.as_str())));
    sings(&client).await;
}

async fn huge_bodies() {
    const HUGE: usize = 100 << 20;
    let (node, client) = stage().await;
    let before = node.memory_peak();
    let head = format!("PUT /api/v1/namespaces/_/actions/a HTTP/1.1\r\nHost: x\r\n{JSON}")
        .replace("$GUEST", &guest());
    for (framing, piece) in [
        (format!("Content-Length: {HUGE}"), "x".repeat(1 << 16)),
        ("Transfer-Encoding: chunked".to_owned(), format!("10000\r\n{}\r\n", "x".repeat(1 << 16))),
    ] {
        let mut stream = TcpStream::connect(address(&node)).await.unwrap();
        stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let sender = tokio::spawn(async move {
            for _ in 0..HUGE >> 16 {
                if writer.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let mut answer = vec![0; 4096];
        let count =
            tokio::time::timeout(PATIENCE, reader.read(&mut answer)).await.expect("an answer").unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing}: {answer}");
        assert!(answer.to_lowercase().contains("content-type: text/plain"), "{framing}: {answer}");
        assert!(answer.ends_with("Request too large"), "{framing}: {answer}");
        sender.abort();
    }
    let after = node.memory_peak();
    assert!(after < before + GROWTH, "the node grew from {before} to {after} bytes");
    sings(&client).await;
}

/// A client that waits for leave before it sends a body.
async fn expectations() {
    let (node, client) = stage().await;
    let head = format!(
        "POST /api/v1/namespaces/_/actions/canary?blocking=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}"
    );
    let head = head.replace("$GUEST", &guest());
    let mut stream = TcpStream::connect(address(&node)).await.unwrap();
    stream
        .write_all(format!("{head}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let huge =
        exchange(&node, &format!("{head}Expect: 100-continue\r\nContent-Length: 104857600\r\n\r\n")).await;
    assert!(huge.starts_with("HTTP/1.1 400 "), "{huge}");
    sings(&client).await;
}

async fn garbage() {
    let (node, client) = stage().await;
    let ping = "GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let long = "x".repeat(200_000);
    for (text, answers) in [
        (format!("{ping}{ping}GARBAGE\0\u{7f}\u{fffd}\r\n\r\n"), ["200", "200", "400"]),
        (format!("{ping}{ping}GET / HTTP/9.9\r\nHost: x\r\n\r\n"), ["200", "200", ""]),
        (
            format!("{ping}{ping}GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
            ["200", "200", "400"],
        ),
        (format!("{ping}{ping}GET / HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n"), ["200", "200", "431"]),
    ] {
        let received = exchange(&node, &text).await;
        let shown: String = text.chars().take(200).collect();
        let statuses: Vec<&str> =
            received.match_indices("HTTP/1.1 ").map(|(at, _)| &received[at + 9..at + 12]).collect();
        let expected: Vec<&str> = answers.into_iter().filter(|status| !status.is_empty()).collect();
        assert!(statuses.starts_with(&expected), "{shown}: {received}");
    }
    sings(&client).await;
}

async fn slow_clients() {
    let (node, client) = stage().await;
    let post = format!(
        "POST /api/v1/namespaces/_/actions/canary HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 1000\r\n\r\n"
    );
    let post = post.replace("$GUEST", &guest());
    let begun = Instant::now();
    let mut clients = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(address(&node)).await.unwrap();
        let head = if number % 2 == 0 { "GET /ping HTTP/1.1\r\nX-Slow: " } else { post.as_str() };
        stream.write_all(head.as_bytes()).await.unwrap();
        clients.push(tokio::spawn(dribble(stream)));
    }
    let mut calls = 0;
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        sings(&client).await;
        calls += 1;
        assert!(begun.elapsed() < SLOW, "slow clients still hold connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(calls > 1);
    for (number, client) in clients.into_iter().enumerate() {
        let answer = client.await.unwrap();
        assert!(number % 2 == 0 || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
}

/// Sends a byte a second and never enough; gives what the node said before it closed.
async fn dribble(stream: TcpStream) -> String {
    let (mut reader, mut writer) = stream.into_split();
    let sender = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let mut answer = Vec::new();
    drop(reader.read_to_end(&mut answer).await);
    sender.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connections() {
    chasen_testkit::allow_many_files();
    let (node, client) = stage().await;
    let mut held = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(address(&node)).await.unwrap();
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        held.push(stream);
    }
    let mut answer = [0; 12];
    for stream in &mut held {
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    sings(&client).await;
    // Every one of them is still there.
    for stream in &mut held {
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    }
    sings(&client).await;
}

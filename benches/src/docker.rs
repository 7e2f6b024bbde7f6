//! A cold call of an image through the node against the same container by hand: created, started, inspected,
//! initialised and run through the engine's socket and port 8080.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use chasen_test_images::of_shell;
use chasen_testkit::docker::{Daemon, NETWORK};
use serde_json::{Value, json};

use crate::Failure;
use crate::http::Client;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};

const REPETITIONS: usize = 3;
const CALLS: usize = 9;
const IMAGE: &str = "chasen-bench/shell:1";
const CODE: &str = "#!/bin/sh\necho '{}'\n";
const MEMORY: u32 = 128;
/// Longest start of an image, and pause between two looks.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(1);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let daemon = match Daemon::start() {
        Ok(daemon) => daemon,
        Err(why) => {
            report.beside("cold call of an image in an engine", format!("skipped, {why}"));
            return Ok(());
        }
    };
    let image = of_shell(IMAGE).ok_or("the parts of the image are missing")?;
    daemon.load(&image.docker_archive());
    let socket = daemon.socket();
    let node = Node::with(&[
        ("docker.socket", &socket.display().to_string()),
        ("docker.network", NETWORK),
        ("docker.pull", "missing"),
        // Each side has the engine to itself while it is measured.
        ("sandbox.pause-grace", "10 min"),
    ])?;
    let (mut platform, mut by_hand) = (Vec::new(), Vec::new());
    for repetition in 0..REPETITIONS {
        let (mut ours, mut reference) = (Samples::new()?, Samples::new()?);
        for call in 0..CALLS {
            reference.record(direct(&socket)?);
            clear(&daemon);
            ours.record(through(&node, &format!("cold-{repetition}-{call}"))?);
            clear(&daemon);
        }
        platform.push(millis(ours.at(0.5)));
        by_hand.push(millis(reference.at(0.5)));
    }
    let (ours, reference) = (best(&platform), best(&by_hand));
    report.judge(
        "cold call of an image ÷ its container by hand, p50",
        &Measured::ratio(ours / reference).with(format!("{ours:.0} ÷ {reference:.0} ms")),
        Bound::at_most(1.3),
    );
    Ok(())
}

fn through(node: &Node, name: &str) -> Result<Duration, Failure> {
    let mut client = Client::connect(&node.host)?;
    client.put_action(name, &json!({"kind": "blackbox", "image": IMAGE, "code": CODE}), MEMORY)?;
    let begun = Instant::now();
    client.invoke(name)?.expect(200)?;
    Ok(begun.elapsed())
}

/// With the bounds that matter for the time of a start.
fn direct(socket: &Path) -> Result<Duration, Failure> {
    let bytes = u64::from(MEMORY) << 20;
    let container = json!({"Image": IMAGE, "HostConfig": {"NetworkMode": NETWORK, "Memory": bytes,
        "MemorySwap": bytes, "PidsLimit": 1024, "LogConfig": {"Type": "none"}}});
    let engine = |method: &str, path: &str, body: &Value| -> Result<Value, Failure> {
        ask(UnixStream::connect(socket)?, method, path, body)
    };
    let begun = Instant::now();
    engine("POST", "/containers/create?name=by-hand", &container)?;
    engine("POST", "/containers/by-hand/start", &Value::Null)?;
    let inspected = engine("GET", "/containers/by-hand/json", &Value::Null)?;
    let address = inspected.pointer(&format!("/NetworkSettings/Networks/{NETWORK}/IPAddress"));
    let address = format!("{}:8080", address.and_then(Value::as_str).ok_or("no address")?);
    let connection = loop {
        match TcpStream::connect(&address) {
            Ok(connection) => break connection,
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(LOOK),
        }
    };
    ask(
        connection,
        "POST",
        "/init",
        &json!({"value": {"name": "a", "main": "main", "code": CODE, "binary": false}}),
    )?;
    ask(TcpStream::connect(&address)?, "POST", "/run", &json!({"value": {}}))?;
    Ok(begun.elapsed())
}

/// One request on a connection of its own; what was answered, `null` if that is no JSON.
fn ask(mut connection: impl Read + Write, method: &str, path: &str, body: &Value) -> Result<Value, Failure> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(format!("{method} {path}: {answer}").into());
    }
    // In chunks or not: a document is one line.
    let document = body.lines().find(|line| line.starts_with('{')).unwrap_or("null");
    Ok(serde_json::from_str(document).unwrap_or_default())
}

/// Removes all containers, outside of what is measured.
fn clear(daemon: &Daemon) {
    for name in daemon.containers("") {
        // The node may be removing it at the same time.
        let _ = daemon.ask("DELETE", &format!("/containers/{name}?force=true"), None);
    }
}

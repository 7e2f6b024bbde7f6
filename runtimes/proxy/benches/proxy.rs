//! What the proxy costs: its size, its start, its memory, and a warm `/run` over one without it.
//!
//! Beside each other in one run: `cat` behind the proxy, and `cat` spoken to directly.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark talks to a terminal"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 3000;
const STARTS: usize = 50;
const BODY: &str = r#"{"value":{"name":"tea"},"activation_id":"0123456789abcdef0123456789abcdef"}"#;

fn main() {
    let program = std::env::var_os("CHASEN_PROXY_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_chasen-proxy").into(), PathBuf::from);
    println!("size {} KB", program.metadata().unwrap().len() / 1024);
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let child = Command::new(&program)
            .args(["--listen", "stdin"])
            .current_dir(folder.path())
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        (child, address)
    };
    let starts = (0..STARTS).map(|_| {
        let begun = Instant::now();
        let (mut child, address) = serve();
        post(&mut TcpStream::connect(address).unwrap(), "/nothing", "");
        let took = begun.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        took
    });
    show("start to first answer", &mut starts.collect::<Vec<_>>());

    let (mut cat, direct) = direct();
    let (mut child, address) = serve();
    let init = r##"{"value":{"code":"#!/bin/sh\nexec cat >&3\n"}}"##;
    post(&mut TcpStream::connect(address).unwrap(), "/init", init);
    let mut kept = TcpStream::connect(address).unwrap();
    kept.set_nodelay(true).unwrap();
    let anew = || post(&mut TcpStream::connect(address).unwrap(), "/run", BODY);
    let keep = || post(&mut kept, "/run", BODY);
    let [bare, anew, keep] = beside(direct, anew, keep);
    println!("over the bare process: {:?} with a connection each, {:?} on one", anew - bare, keep - bare);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
    for child in [&mut child, &mut cat] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// `cat` without anything in between.
fn direct() -> (Child, impl FnMut()) {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let ask = move || {
        input.write_all(BODY.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
    };
    (child, ask)
}

/// Medians of three things done in turns, so that the machine's moods hit all alike.
fn beside(mut a: impl FnMut(), mut b: impl FnMut(), mut c: impl FnMut()) -> [Duration; 3] {
    let mut took = [const { Vec::new() }; 3];
    for _ in 0..RUNS {
        let parts: [&mut dyn FnMut(); 3] = [&mut a, &mut b, &mut c];
        for (part, took) in parts.into_iter().zip(&mut took) {
            let begun = Instant::now();
            part();
            took.push(begun.elapsed());
        }
    }
    let [a, b, c] = &mut took;
    [
        show("bare process", a),
        show("through the proxy, a connection each", b),
        show("through the proxy, one connection", c),
    ]
}

fn show(what: &str, took: &mut [Duration]) -> Duration {
    took.sort();
    let median = took[took.len() / 2];
    println!("{what}: median {median:?}, p99 {:?}", took[took.len() * 99 / 100]);
    median
}

fn post(stream: &mut TcpStream, path: &str, body: &str) {
    let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        answer.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if rest.len() == length.parse::<usize>().unwrap() {
                return;
            }
        }
        assert!(count > 0, "the answer ends early");
    }
}

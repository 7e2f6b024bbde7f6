//! A server of any manners: answers `/init` and `/run` on port 8080 as its arguments say.
//!
//! `listen=late:MILLIS|never|ADDRESS`, `init=MANNER`, `run=MANNER`, `marks` (end marks after every run). What each manner
//! does is beside its name below; the default is `ok`. As the first process of a container it ignores SIGTERM, as every
//! program without a handler does.
#![allow(
    clippy::exit,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a program for tests, which ends as it is told"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
const FOREVER: Duration = Duration::from_secs(1_000_000);

#[derive(Clone)]
struct Manners {
    init: String,
    run: String,
    marks: bool,
}

fn main() {
    let mut manners = Manners { init: "ok".to_owned(), run: "ok".to_owned(), marks: false };
    let mut address = "0.0.0.0:8080".to_owned();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=').unwrap_or((&argument, "")) {
            ("init", manner) => manners.init = manner.to_owned(),
            ("run", manner) => manners.run = manner.to_owned(),
            ("marks", _) => manners.marks = true,
            ("listen", "never") => sleep(FOREVER),
            ("listen", when) => match when.strip_prefix("late:") {
                Some(millis) => sleep(Duration::from_millis(millis.parse().unwrap())),
                None => address = when.to_owned(),
            },
            _ => {
                eprintln!("'{argument}' is no manner");
                exit(2);
            }
        }
    }
    let listener = TcpListener::bind(address).unwrap();
    let manners = Arc::new(manners);
    for stream in listener.incoming().flatten() {
        let manners = Arc::clone(&manners);
        std::thread::spawn(move || serve(stream, &manners));
    }
}

/// Takes requests from a connection until it ends.
fn serve(stream: TcpStream, manners: &Manners) {
    let mut reader = BufReader::new(stream);
    while let Some((path, body)) = request(&mut reader) {
        let manner = if path == "/init" { &manners.init } else { &manners.run };
        let goes_on = answer(reader.get_mut(), manner, &body);
        if manners.marks && path == "/run" {
            println!("{SENTINEL}");
            eprintln!("{SENTINEL}");
        }
        if !goes_on {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.split(' ').nth(1)?.to_owned(), body))
}

/// Answers one request; false if the connection is not used again.
fn answer(stream: &mut TcpStream, manner: &str, body: &[u8]) -> bool {
    let (name, argument) = manner.split_once(':').unwrap_or((manner, ""));
    let done = match name {
        "ok" => whole(stream, "200 OK", b"{\"ok\":true}"),
        // What came in.
        "echo" => whole(stream, "200 OK", body),
        // Any status, with an error.
        "status" => whole(stream, &format!("{argument} Said"), b"{\"error\":\"as told\"}"),
        // Shutting down.
        "decline" => whole(stream, "503 Unavailable", b"{\"error\":\"shutting down\"}"),
        // Something that is no JSON.
        "text" => whole(stream, "200 OK", b"good morning"),
        // No body at all.
        "nothing" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
        // Bytes that are no HTTP.
        "garbage" => stream.write_all(b"\x16\x03\x01 this is not the protocol\r\n\r\n"),
        // Twenty megabytes.
        "huge" => whole(stream, "200 OK", format!("{{\"x\":\"{}\"}}", "x".repeat(20 << 20)).as_bytes()),
        // No length, but chunks.
        "chunked" => stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"ok\":\r\n5\r\ntrue}\r\n0\r\n\r\n",
        ),
        // No length, but an end.
        "unbounded" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"ok\":true}");
            return false;
        }
        // A byte at a time, for longer than anybody waits.
        "drip" => drip(stream),
        // The connection ends before the answer does.
        "close" => return false,
        "half" => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"ok\":");
            return false;
        }
        // The process ends instead of an answer.
        "exit" => exit(argument.parse().unwrap_or(3)),
        // Nothing happens.
        "hang" => {
            sleep(FOREVER);
            return false;
        }
        // A line on each stream.
        "say" => {
            println!("said");
            eprintln!("complained");
            whole(stream, "200 OK", b"{\"ok\":true}")
        }
        // Twenty megabytes of log.
        "flood" => {
            let line = "0123456789abcdef".repeat(8);
            for _ in 0..(20 << 20) / (line.len() + 1) {
                println!("{line}");
            }
            whole(stream, "200 OK", b"{\"ok\":true}")
        }
        // More memory than there is.
        "grow" => {
            let mut held = Vec::new();
            loop {
                held.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&held);
            }
        }
        _ => whole(stream, "500 Unknown", b"{\"error\":\"no such manner\"}"),
    };
    done.is_ok()
}

fn whole(stream: &mut TcpStream, status: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}

fn drip(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
    for _ in 0..1_000_000 {
        stream.write_all(b" ")?;
        sleep(Duration::from_millis(20));
    }
    Ok(())
}

//! Images of every kind of manners, played by a task that speaks HTTP byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chasen_entity::error_text::runtime::SENTINEL;
use chasen_entity::frame::Stream;
use chasen_entity::response::Answer;
use chasen_entity::{ByteSize, ExecutableAction, Invocation, ResourceUse, error_text};
use chasen_spi::container_factory::{Container, InitCode, RunReply};
use chasen_spi::memory::invocation;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};

use super::{Dial, Engine, HttpContainer, Output, Settings};
use crate::meter::Reading;

const KEEP: u64 = 1000;

/// A container without one: a listener of ours, and switches.
struct Played {
    address: SocketAddr,
    exited: watch::Sender<bool>,
    oom: AtomicBool,
    /// What its counters say; by default there are none.
    reading: Mutex<Reading>,
    kills: AtomicU32,
    dials: AtomicU32,
}

#[async_trait]
impl Dial for Played {
    async fn dial(&self) -> io::Result<TcpStream> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        self.address.dial().await
    }
}

#[async_trait]
impl Engine for Played {
    fn name(&self) -> &str {
        "played"
    }

    async fn freeze(&self) -> io::Result<()> {
        Ok(())
    }

    async fn thaw(&self) -> io::Result<()> {
        Ok(())
    }

    async fn exited(&self) {
        let _ = self.exited.subscribe().wait_for(|exited| *exited).await;
    }

    async fn oom_killed(&self) -> bool {
        self.oom.load(Ordering::Relaxed)
    }

    fn reading(&self, _limit: ByteSize) -> Reading {
        *self.reading.lock()
    }

    async fn kill(&self) {
        self.kills.fetch_add(1, Ordering::Relaxed);
        self.exited.send_replace(true);
    }

    async fn stop(&self) {
        self.exited.send_replace(true);
    }
}

struct World {
    container: Arc<HttpContainer<Played>>,
    output: Arc<Output>,
    action: Arc<ExecutableAction>,
}

fn world(address: SocketAddr, change: impl FnOnce(&mut Settings)) -> World {
    let engine = Played {
        address,
        exited: watch::Sender::new(false),
        oom: AtomicBool::new(false),
        reading: Mutex::default(),
        kills: AtomicU32::new(0),
        dials: AtomicU32::new(0),
    };
    let output = Arc::new(Output::default());
    let mut settings = Settings {
        memory: ByteSize::mb(256),
        keep: ByteSize::bytes(KEEP),
        sentinelled: false,
        quiet: Duration::ZERO,
    };
    change(&mut settings);
    let container = Arc::new(HttpContainer::new(engine, Arc::clone(&output), settings));
    let mut action = ExecutableAction::clone(&invocation("guest", "hello", "blackbox", "{}").action);
    action.limits.timeout = 60_000;
    World { container, output, action: Arc::new(action) }
}

impl World {
    fn within(mut self, millis: u32) -> Self {
        let mut action = ExecutableAction::clone(&self.action);
        action.limits.timeout = millis;
        self.action = Arc::new(action);
        self
    }

    fn invocation(&self) -> Invocation {
        Invocation {
            action: Arc::clone(&self.action),
            ..invocation("guest", "hello", "blackbox", r#"{"n":1}"#)
        }
    }

    async fn init(&self) -> RunReply {
        let code = InitCode { action: Arc::clone(&self.action), text: None };
        self.container.init(&self.invocation(), code).await
    }

    /// The reply, and whether anything was sent.
    async fn run(&self) -> (RunReply, bool) {
        let sent = AtomicBool::new(false);
        let told = || assert!(!sent.swap(true, Ordering::Relaxed), "told once");
        let reply = self.container.run(&self.invocation(), 7, &told).await;
        (reply, sent.load(Ordering::Relaxed))
    }
}

/// Reads one request; `None` at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.unwrap().parse().unwrap() {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}

/// An image that answers every request with these bytes, then closes the connection or not.
async fn image(answer: impl Into<Vec<u8>>, closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer: Arc<[u8]> = answer.into().into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                while request(&mut stream).await.is_some() {
                    if stream.write_all(&answer).await.is_err() || closes {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A port where nobody listens, and that nobody else gets.
fn not_listening() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn answers_mean_what_the_contract_says() {
    let long = "x".repeat(2000);
    let cut = |length| Answer::TooLong { length, kept: vec![b'x'; 1000] };
    for (answer, expected) in [
        (http("200 OK", "{}"), Answer::Ok(b"{}".to_vec())),
        (http("200 OK", ""), Answer::Ok(Vec::new())),
        (http("200 OK", "no JSON"), Answer::Ok(b"no JSON".to_vec())),
        (http("502 Bad", r#"{"error":"x"}"#), Answer::Refused(br#"{"error":"x"}"#.to_vec())),
        (http("404 No", ""), Answer::Refused(Vec::new())),
        (http("200 OK", &long), cut(2000)),
        (http("500 No", &long), cut(2000)),
        (http("503 Unavailable", "later"), Answer::Declined),
        ("HTTP/1.1 204 No Content\r\n\r\n".to_owned(), Answer::Gone),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(),
            Answer::Ok(b"{}".to_vec()),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_owned(),
            Answer::Ok(b"[]".to_vec()),
        ),
        ("220 mail.example ESMTP\r\n".to_owned(), Answer::Gone),
        ("\0\0\0\x15\x01garbage".to_owned(), Answer::Gone),
    ] {
        let world = world(image(answer.clone(), false).await, |_| {});
        let (reply, sent) = world.run().await;
        assert_eq!((reply.answer, sent), (expected, true), "{answer:?}");
    }
}

#[tokio::test]
async fn answers_may_end_with_the_connection_but_not_before_their_end() {
    for (answer, expected) in [
        ("HTTP/1.0 200 OK\r\n\r\n{\"a\":1}", Answer::Ok(br#"{"a":1}"#.to_vec())),
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"a\":1}", Answer::Gone),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n", Answer::Gone),
        ("HTTP/1.1 20", Answer::Gone),
        ("", Answer::Gone),
    ] {
        let world = world(image(answer, true).await, |_| {});
        // A process that closed early and ended, so that nobody looks for a cause for long.
        world.container.engine().exited.send_replace(expected == Answer::Gone);
        assert_eq!(world.run().await.0.answer, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_of_twenty_megabytes_is_counted() {
    let world = world(image(http("200 OK", &"x".repeat(20 << 20)), false).await, |_| {});
    let expected = Answer::TooLong { length: 20 << 20, kept: vec![b'x'; 1000] };
    assert_eq!(world.run().await.0.answer, expected);
}

#[tokio::test]
async fn connections_are_used_again_where_the_image_keeps_them() {
    let kept = "HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\n{}";
    for (answer, closes, dials) in [(kept.to_owned(), false, 1), (http("200 OK", "{}"), true, 20)] {
        let world = world(image(answer, closes).await, |_| {});
        for _ in 0..20 {
            assert_eq!(world.run().await.0.answer, Answer::Ok(b"{}".to_vec()));
        }
        assert_eq!(world.container.engine().dials.load(Ordering::Relaxed), dials, "closes: {closes}");
    }
    let world = world(image(kept, false).await, |_| {});
    world.run().await;
    world.container.freeze().await.unwrap();
    world.container.thaw().await.unwrap();
    world.run().await;
    assert_eq!(world.container.engine().dials.load(Ordering::Relaxed), 2, "none outlives a freeze");
}

#[tokio::test]
async fn an_image_that_listens_late_is_waited_for() {
    let (silent, address) = not_listening();
    let world = Arc::new(world(address, |_| {}));
    let (reply, sent) = world.run().await;
    assert_eq!((reply.answer, sent), (Answer::Gone, false), "a run is not tried again, and was not sent");
    let starting = Arc::clone(&world);
    let init = tokio::spawn(async move { starting.init().await });
    while world.container.engine().dials.load(Ordering::Relaxed) < 4 {
        tokio::task::yield_now().await;
    }
    let listener = silent.listen(16).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let text = request(&mut stream).await.unwrap();
    assert!(text.starts_with("POST /init HTTP/1.1\r\n"), "{text}");
    for header in ["content-type: application/json", "accept: application/json"] {
        assert!(text.contains(header), "{text}");
    }
    stream.write_all(http("200 OK", "OK").as_bytes()).await.unwrap();
    assert_eq!(init.await.unwrap().answer, Answer::Ok(b"OK".to_vec()));
}

#[tokio::test]
async fn an_image_that_never_listens_runs_out_of_time_or_ends() {
    let (_silent, address) = not_listening();
    let late = world(address, |_| {}).within(100);
    assert_eq!(late.init().await.answer, Answer::TimedOut);
    assert_eq!(late.container.engine().kills.load(Ordering::Relaxed), 1);
    let ended = world(address, |_| {});
    ended.container.engine().exited.send_replace(true);
    assert_eq!(ended.init().await.answer, Answer::Gone);
    let killed = world(address, |_| {});
    killed.container.engine().exited.send_replace(true);
    killed.container.engine().oom.store(true, Ordering::Relaxed);
    assert_eq!(killed.init().await.answer, Answer::OutOfMemory);
}

#[tokio::test]
async fn drips_and_silence_run_out_of_time() {
    for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let world = world(image(answer, false).await, |_| {}).within(1000);
        let (reply, sent) = world.run().await;
        assert_eq!((&reply.answer, sent), (&Answer::TimedOut, true), "{answer:?}");
        assert!(reply.duration >= Duration::from_secs(1));
        assert_eq!(world.container.engine().kills.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test]
async fn the_end_of_the_process_ends_the_wait_and_its_cause_is_told() {
    for (oom, expected) in [(false, Answer::Gone), (true, Answer::OutOfMemory)] {
        let world = Arc::new(world(image("", false).await, |_| {}));
        let (running, sent) = (Arc::clone(&world), Arc::new(Notify::new()));
        let told = Arc::clone(&sent);
        let run = tokio::spawn(async move {
            running.container.run(&running.invocation(), 7, &|| told.notify_one()).await.answer
        });
        sent.notified().await;
        world.container.engine().oom.store(oom, Ordering::Relaxed);
        world.container.engine().exited.send_replace(true);
        assert_eq!(run.await.unwrap(), expected);
    }
    let world = world(image(http("400 Bad", r#"{"error":"command exited"}"#), false).await, |_| {});
    world.container.engine().oom.store(true, Ordering::Relaxed);
    assert_eq!(world.run().await.0.answer, Answer::OutOfMemory, "of a process behind the server");
}

#[tokio::test]
async fn counters_tell_what_was_used_and_whose_end_was_for_memory() {
    let count = |world: &World, ms, kills| {
        let (peak_memory, cpu_time) = (Some(ByteSize::mb(9)), Some(Duration::from_millis(ms)));
        *world.container.engine().reading.lock() = Reading { peak_memory, cpu_time, kills: Some(kills) };
    };
    let world = world(image(http("200 OK", "{}"), true).await, |_| {});
    count(&world, 40, 0);
    assert_eq!(world.init().await.used, ResourceUse::default(), "that of a start is the first run's");
    for (ms, kills, millis, out_of_memory) in [(100, 0, 60, false), (103, 1, 3, true), (103, 1, 0, false)] {
        count(&world, ms, kills);
        let cpu_time = Some(Duration::from_millis(millis));
        let expected = ResourceUse { peak_memory: Some(ByteSize::mb(9)), cpu_time, out_of_memory };
        assert_eq!(world.run().await.0.used, expected);
    }
    let refuses = self::world(image(http("400 Bad", r#"{"error":"no"}"#), true).await, |_| {});
    refuses.container.engine().oom.store(true, Ordering::Relaxed);
    count(&refuses, 0, 0);
    let reply = refuses.run().await.0;
    assert!(matches!(reply.answer, Answer::Refused(_)), "counters know better: {reply:?}");
    count(&refuses, 0, 1);
    let reply = refuses.run().await.0;
    assert_eq!((reply.answer, reply.used.out_of_memory), (Answer::OutOfMemory, true));
}

fn texts(reply: &RunReply) -> Vec<&str> {
    reply.logs.iter().map(|line| &line[31..]).collect()
}

#[tokio::test]
async fn logs_end_at_their_marks() {
    let world =
        Arc::new(world(image(http("200 OK", "{}"), false).await, |settings| settings.sentinelled = true));
    let say = |stream, text: &str| world.output.add(stream, text.as_bytes(), Timestamp::now());
    say(Stream::Stdout, "loading\n");
    assert!(world.init().await.logs.is_empty(), "belongs to the first run");
    let running = Arc::clone(&world);
    let run = tokio::spawn(async move { running.run().await.0 });
    while world.container.engine().dials.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    say(Stream::Stderr, &format!("late\n{SENTINEL}\n"));
    say(Stream::Stdout, &format!("{SENTINEL}\n"));
    assert_eq!(texts(&run.await.unwrap()), ["stdout: loading", "stderr: late"]);
}

#[tokio::test]
async fn a_runtime_that_marks_without_being_asked_is_waited_for() {
    let world = Arc::new(world(image(http("200 OK", "{}"), false).await, |_| {}));
    let say = |stream, text: &str| world.output.add(stream, text.as_bytes(), Timestamp::now());
    let mark = format!("{SENTINEL}\n");
    say(Stream::Stdout, &mark);
    say(Stream::Stderr, &mark);
    world.run().await;
    let (running, sent) = (Arc::clone(&world), Arc::new(Notify::new()));
    let told = Arc::clone(&sent);
    let run =
        tokio::spawn(
            async move { running.container.run(&running.invocation(), 7, &|| told.notify_one()).await },
        );
    sent.notified().await;
    say(Stream::Stdout, &format!("late\n{mark}"));
    say(Stream::Stderr, &mark);
    assert_eq!(texts(&run.await.unwrap()), ["stdout: late"]);
}

#[tokio::test]
async fn a_log_without_its_marks_says_that_it_may_not_be_whole() {
    let world =
        world(image(http("200 OK", "{}"), false).await, |settings| settings.sentinelled = true).within(1000);
    world.output.add(Stream::Stdout, b"no end", Timestamp::now());
    let begun = Instant::now();
    let (reply, _) = world.run().await;
    assert_eq!(texts(&reply), ["stdout: no end", &format!("stderr: {}", error_text::LOGS_INCOMPLETE)]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn where_no_marks_are_expected_a_moment_of_silence_ends_a_log() {
    let quiet = |settings: &mut Settings| settings.quiet = Duration::from_millis(5);
    for (answer, sentinelled) in [(http("200 OK", "{}"), false), (http("502 Bad", "{}"), true)] {
        let world = world(image(answer, false).await, |settings| {
            quiet(settings);
            settings.sentinelled = sentinelled;
        });
        world.output.add(Stream::Stdout, b"one\n", Timestamp::now());
        assert_eq!(texts(&world.run().await.0), ["stdout: one"]);
    }
}

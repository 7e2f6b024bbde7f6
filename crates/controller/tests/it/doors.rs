//! Attacks on the door: requests that two readers may read differently, floods, slow readers, guessed keys.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::client::{Connection, Request, SOON, basic};
use crate::world::{World, alice, eventually, guest};

/// What is sent after every attack: whether, and as what, it is answered shows where the attack ended for the node.
const NEXT: &str = "GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends text and the next request; the statuses that come back until the connection ends, and a 0 if it does not.
async fn answers(world: &World, attack: &str) -> Vec<u16> {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    // Who is refused may find the connection closed.
    let _ = stream.write_all(format!("{attack}{NEXT}").as_bytes()).await;
    let mut received = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut received)).await;
    let text = String::from_utf8_lossy(&received).into_owned();
    let statuses = text.match_indices("HTTP/1.").map(|(at, _)| text[at + 9..at + 12].parse().unwrap());
    statuses.chain(read.is_err().then_some(0)).collect()
}

#[tokio::test]
async fn no_request_is_read_in_two_ways() {
    let world = World::with(|config| config.body_timeout = Duration::from_millis(500)).await;
    world.create("hello", "").await;
    let post = format!(
        "POST /api/v1/namespaces/_/actions/hello?blocking=true HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Type: application/json\r\n",
        basic(&guest())
    );
    let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
    let get = "GET /ping HTTP/1.1\r\n";
    let bomb = "x".repeat(40_000);
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let rows: Vec<(&str, String, &[u16])> = vec![
        ("a length", format!("{post}Content-Length: 2\r\n\r\n{{}}"), &[200, 200]),
        ("chunks", format!("{chunked}2\r\n{{}}\r\n0\r\n\r\n"), &[200, 200]),
        (
            "chunks in capitals",
            format!("{post}Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[200, 200],
        ),
        ("a length twice", format!("{post}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"), &[200, 200]),
        ("two lengths", format!("{post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"), &[400]),
        ("a list of lengths", format!("{post}Content-Length: 2, 2\r\n\r\n{{}}"), &[400]),
        ("a signed length", format!("{post}Content-Length: +2\r\n\r\n{{}}"), &[400]),
        ("a negative length", format!("{post}Content-Length: -2\r\n\r\n{{}}"), &[400]),
        ("a length in hexadecimal", format!("{post}Content-Length: 0x2\r\n\r\n{{}}"), &[400]),
        ("no length in the header", format!("{post}Content-Length: \r\n\r\n{{}}"), &[400]),
        (
            "a length beyond numbers",
            format!("{post}Content-Length: 99999999999999999999\r\n\r\n{{}}"),
            &[400],
        ),
        // The chunks count, and the connection ends: what would be left over is nobody's next request.
        (
            "length, then chunks",
            format!("{post}Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[200],
        ),
        (
            "chunks, then length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[200],
        ),
        (
            "chunks inside",
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "something around chunks",
            format!("{post}Transfer-Encoding: identity, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[501],
        ),
        ("a coding", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"), &[501]),
        ("almost chunks", format!("{post}Transfer-Encoding: xchunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        (
            "quoted chunks",
            format!("{post}Transfer-Encoding: \"chunked\"\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunks with a tab in front",
            format!("{post}Transfer-Encoding: \u{b}chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "chunks twice",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
            &[501],
        ),
        (
            "chunks and another line",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            ),
            &[400],
        ),
        (
            "a space before the colon",
            format!("{post}Transfer-Encoding : chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "a folded line",
            format!("{post}Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &[400],
        ),
        ("a header on two lines", format!("{get}Host: x\r\nX-A: b\r\n c\r\n\r\n"), &[400]),
        ("a line without a colon", format!("{get}Host: x\r\nContent-Length\r\n\r\n"), &[400]),
        ("a space before a header", format!("{get} Host: x\r\n\r\n"), &[400]),
        ("chunks of HTTP/1.0", chunked.replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n", &[400]),
        ("a zero byte in a header", format!("{get}Host: x\r\nX-A: b\0c\r\n\r\n"), &[400]),
        ("a zero byte in a name", format!("{get}Host: x\r\nX-\0A: b\r\n\r\n"), &[400]),
        ("a zero byte in a path", "GET /pi\0ng HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("a lone CR in a header", format!("{get}Host: x\r\nX-A: b\rX-B: c\r\n\r\n"), &[400]),
        ("a lone CR as line end", format!("{get}Host: x\rX-B: c\r\n\r\n"), &[400]),
        ("lone LFs, one request", "GET /ping HTTP/1.1\nHost: x\n\n".to_owned(), &[200, 200]),
        ("empty lines before", format!("\r\n\r\n{get}Host: x\r\n\r\n"), &[200, 200]),
        ("two spaces in the line", "GET  /ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("something behind the version", "GET /ping HTTP/1.1 x\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("a version of our own", "GET /ping HTTP/1.2\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[]),
        ("no host", format!("{get}\r\n"), &[400]),
        (
            "no host in HTTP/1.0",
            "GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            &[200, 200],
        ),
        ("two hosts", format!("{get}Host: x\r\nHost: x\r\n\r\n"), &[400]),
        ("a target with its host", "GET http://x/ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[200, 200]),
        ("a target with another host", "GET http://y/ping HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &[400]),
        ("a tunnel", "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n".to_owned(), &[405, 200]),
        ("a chunk that is no number", format!("{chunked}z\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a chunk of negative size", format!("{chunked}-2\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a chunk beyond numbers", format!("{chunked}fffffffffffffffff\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a chunk of all memory", format!("{chunked}ffffffffffffffff\r\n{{}}"), &[408]),
        ("a chunk with a lone LF", format!("{chunked}2\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a chunk longer than it says", format!("{chunked}1\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a chunk with an extension", format!("{chunked}2;a=b\r\n{{}}\r\n0\r\n\r\n"), &[200, 200]),
        ("an extension with a lone LF", format!("{chunked}2;a\nb\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a bomb of extensions", format!("{chunked}2;{bomb}\r\n{{}}\r\n0\r\n\r\n"), &[400]),
        ("a trailer", format!("{chunked}2\r\n{{}}\r\n0\r\nX-A: b\r\n\r\n"), &[200, 200]),
        ("a bomb of trailers", format!("{chunked}2\r\n{{}}\r\n0\r\nX-A: {bomb}{bomb}\r\n\r\n"), &[400]),
        (
            "something behind the body",
            format!("{post}Content-Length: 2\r\n\r\n{{}}GARBAGE\r\n\r\n"),
            &[200, 400],
        ),
        ("too many headers", format!("{get}Host: x\r\n{many}\r\n"), &[431]),
        ("one long header", format!("{get}Host: x\r\nX-A: {bomb}{bomb}\r\n\r\n"), &[431]),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(9000)), &[414]),
        ("a very long path", format!("GET /{bomb}{bomb} HTTP/1.1\r\nHost: x\r\n\r\n"), &[431]),
    ];
    let mut wrong = Vec::new();
    for (what, attack, expected) in &rows {
        let got = answers(&world, attack).await;
        if got != *expected {
            wrong.push(format!("{what}: expected {expected:?}, got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(world.send(Request::new("GET /ping")).await.status, 200);
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_requests() {
    let world = World::new().await;
    let mut connection = Connection::open(world.address).await;
    let paths = ["/ping", "/nowhere", "/api/v1/namespaces", "/ping"];
    let requests: Vec<u8> =
        paths.iter().flat_map(|path| Request::new(&format!("GET {path}")).bytes()).collect();
    connection.write(&requests).await;
    for status in [200, 405, 401, 200] {
        assert_eq!(connection.receive(false).await.unwrap().status, status);
    }
}

/// A connection from another address of the machine's own network.
async fn from(last: u8, world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, last], 0).into()).unwrap();
    socket.connect(world.address).await.unwrap()
}

async fn ping(stream: &mut TcpStream) -> Option<u16> {
    stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
    let mut answer = vec![0; 512];
    let length =
        tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("an answer or an end").ok()?;
    String::from_utf8_lossy(&answer[..length]).get(9..12)?.parse().ok()
}

/// True once the other end has closed.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(tokio::time::timeout(SOON, stream.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn whoever_floods_makes_room_for_others() {
    let world = World::with(|config| config.max_connections = 200).await;
    let mut early = from(3, &world).await;
    assert_eq!(ping(&mut early).await, Some(200));
    let mut flood = Vec::new();
    for number in 0..400 {
        let mut stream = from(2, &world).await;
        if number % 2 == 0 {
            // Some are silent, others never come to an end of their head.
            let _ = stream.write_all(b"GET /ping HTTP/1.1\r\nX: ").await;
        }
        flood.push(stream);
    }
    for _ in 0..20 {
        let mut late = from(4, &world).await;
        assert_eq!(ping(&mut late).await, Some(200));
    }
    assert_eq!(ping(&mut early).await, Some(200), "who was there before the flood stays");
    assert!(is_closed(&mut flood[1]).await, "the oldest of the flood went");
}

#[tokio::test]
async fn an_address_has_no_more_than_its_share() {
    let world = World::with(|config| config.max_connections_per_address = 5).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut stream = from(2, &world).await;
        assert_eq!(ping(&mut stream).await, Some(200));
        open.push(stream);
    }
    assert!(is_closed(&mut from(2, &world).await).await);
    assert_eq!(ping(&mut from(3, &world).await).await, Some(200));
    for stream in &mut open {
        assert_eq!(ping(stream).await, Some(200));
    }
}

#[tokio::test]
async fn who_does_not_take_an_answer_is_cut() {
    let world = World::with(|config| {
        // The rest of the test is not to be taken for slow.
        config.idle_timeout = Duration::from_secs(2);
        config.max_parameters = chasen_entity::ByteSize::mb(20);
    })
    .await;
    let large = format!(r#","parameters":[{{"key":"a","value":"{}"}}]"#, "x".repeat(15 << 20));
    world.create("large", &large).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = Request::new("GET /api/v1/namespaces/_/actions/large").auth(&guest());
    stream.write_all(&request.bytes()).await.unwrap();
    // A sip now and then buys next to nothing; the buffers of the machine take some megabytes at once.
    let begun = Instant::now();
    let mut taken = 0;
    while begun.elapsed() < SOON {
        let mut sip = [0; 16];
        match stream.read(&mut sip).await {
            Ok(0) | Err(_) => return,
            Ok(length) => taken += length,
        }
        if taken > 16 * 150 {
            // From here on the rest of what was sent shows how it ended.
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest).await;
            assert!(ended.is_err() || rest.len() < 15 << 20, "all of it was sent");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection is still open");
}

#[tokio::test]
async fn guesses_are_slow_and_right_keys_are_not() {
    let world = World::new().await;
    let wrong = |id: &str, n: usize| format!("{id}:{n:064}");
    let asked = async |credentials: &str| {
        let begun = Instant::now();
        let response = world.send(Request::new("GET /api/v1/namespaces").auth(credentials)).await;
        (response.status, response.error(), begun.elapsed())
    };
    for n in 0..10 {
        let (status, text, took) = asked(&wrong("guest-id", n)).await;
        assert_eq!((status, text.as_str()), (401, "The supplied authentication is invalid"));
        let least = Duration::from_millis(10 << n.saturating_sub(3));
        assert!(took >= least, "{n}: {took:?}");
    }
    let slow = Duration::from_millis(1280);
    for credentials in [guest(), alice()] {
        let took = fastest(async || {
            let (status, _, took) = asked(&credentials).await;
            assert_eq!(status, 200);
            took
        });
        assert!(took.await < slow, "right keys do not wait");
    }
    assert!(asked(&wrong("nobody", 1)).await.2 >= slow, "the address is known, whatever the id");
    let web = Request::new("GET /api/v1/web/guest/default/none.json").auth(&wrong("guest-id", 1));
    let begun = Instant::now();
    world.send(web).await;
    assert!(begun.elapsed() >= slow, "web actions are no way around");
    let own = Request::new("GET /api/v1/web/guest/default/none.json").auth("user:password");
    let took = fastest(async || {
        let begun = Instant::now();
        assert_eq!(world.send(own.clone()).await.status, 404);
        begun.elapsed()
    });
    assert!(took.await < slow, "what an action asks for itself is no guess");
}

/// The shortest of some times: a busy machine makes some of them long, and a wait all of them.
async fn fastest(time: impl AsyncFn() -> Duration) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        fastest = fastest.min(time().await);
    }
    fastest
}

#[tokio::test]
async fn unknown_ids_take_as_long_as_wrong_keys() {
    let world = World::new().await;
    // What is known about an id is in memory from here on.
    assert_eq!(world.send(Request::new("GET /api/v1/namespaces").auth(&guest())).await.status, 200);
    let took = async |id: &str| {
        let begun = Instant::now();
        let wrong = Request::new("GET /api/v1/namespaces").auth(&format!("{id}:{}", "x".repeat(64)));
        assert_eq!(world.send(wrong).await.status, 401);
        begun.elapsed()
    };
    // The delay of each answer is the same for both, and all that is looked up happens within it.
    for least in [10, 10, 20] {
        let (known, unknown) = (took("guest-id").await, took("nobody").await);
        assert!(known.min(unknown) >= Duration::from_millis(least), "{known:?} {unknown:?}");
    }
}

#[tokio::test]
async fn a_door_that_is_full_of_work_lets_the_next_one_wait() {
    let world = World::with(|config| config.max_connections = 2).await;
    world.create("slow", "").await;
    let call = Request::new("POST /api/v1/namespaces/_/actions/slow?blocking=true").auth(&guest());
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(world.address).await;
        connection.write(&call.bytes()).await;
        busy.push(connection);
    }
    eventually("both calls wait", || world.invoker.taken.lock().len() == 2).await;
    let mut waiting = Connection::open(world.address).await;
    waiting.write(&Request::new("GET /ping").bytes()).await;
    let early = tokio::time::timeout(Duration::from_millis(150), waiting.receive(false)).await;
    assert!(early.is_err(), "nobody who is served makes room");
    world.invoker.release.notify_waiters();
    assert_eq!(busy[0].receive(false).await.unwrap().status, 200);
    assert_eq!(waiting.receive(false).await.unwrap().status, 200, "who was served and is silent does");
}

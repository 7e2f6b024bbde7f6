//! Connections: slow, silent, many, too many, and at the end.

use std::time::Duration;

use crate::client::{Connection, Request, SOON};
use crate::world::{World, eventually, guest};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_head_that_drips_is_cut() {
    let world = World::with(|config| config.header_timeout = SHORT).await;
    let mut connection = Connection::open(world.address).await;
    let begin = tokio::time::Instant::now();
    for byte in b"GET /ping HTTP/1.1\r\nhost: ".iter().chain(std::iter::repeat_n(&b'x', 10_000)) {
        if connection.write(&[*byte]).await == 0 || begin.elapsed() > SOON {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.closed().await;
    assert!(begin.elapsed() < SOON / 2, "every byte prolongs it");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_a_408() {
    let world = World::with(|config| config.body_timeout = SHORT).await;
    world.create("hello", "").await;
    let mut connection = Connection::open(world.address).await;
    let head = Request::new("POST /api/v1/namespaces/_/actions/hello")
        .auth(&guest())
        .header("content-type", "application/json")
        .header("content-length", "100");
    connection.write(&head.bytes()).await;
    let response = connection.receive(false).await.unwrap();
    assert_eq!(
        (response.status, response.error().as_str()),
        (408, "The server timed out waiting for the request.")
    );
    assert_eq!(response.header("connection"), Some("close"));
    connection.closed().await;
}

#[tokio::test]
async fn an_answer_before_a_long_body_says_that_the_connection_ends() {
    let world = World::new().await;
    let refused = |length: &str| {
        Request::new("PUT /api/v1/namespaces/_/actions/hello").header("content-length", length)
    };
    let mut connection = Connection::open(world.address).await;
    connection.write(&refused("1000000").bytes()).await;
    let response = connection.receive(false).await.unwrap();
    assert_eq!((response.status, response.header("connection")), (401, Some("close")));
    connection.closed().await;

    let mut connection = Connection::open(world.address).await;
    connection.write(&[&refused("5").bytes()[..], b"short"].concat()).await;
    let response = connection.receive(false).await.unwrap();
    assert_eq!((response.status, response.header("connection")), (401, None));
    assert_eq!(connection.send(&Request::new("GET /ping")).await.status, 200, "a short body is skipped");
}

#[tokio::test]
async fn a_silent_connection_is_closed_and_a_busy_one_is_not() {
    let world = World::with(|config| config.idle_timeout = SHORT).await;
    world.create("slow", "").await;
    let mut silent = Connection::open(world.address).await;
    assert_eq!(silent.send(&Request::new("GET /ping")).await.status, 200);
    let mut busy = Connection::open(world.address).await;
    busy.write(&Request::new("POST /api/v1/namespaces/_/actions/slow?blocking=true").auth(&guest()).bytes())
        .await;
    silent.closed().await;
    eventually("the call waits", || world.invoker.taken.lock().len() == 1).await;
    tokio::time::sleep(SHORT * 2).await;
    world.invoker.release.notify_one();
    assert_eq!(busy.receive(false).await.unwrap().status, 200);
}

#[tokio::test]
async fn header_bombs_are_bounded() {
    let world = World::new().await;
    let one = Request::new("GET /ping").header("x", &"y".repeat(200_000));
    let many = (0..5000)
        .fold(Request::new("GET /ping"), |request, number| request.header(&format!("x{number}"), "y"));
    for request in [one, many] {
        let mut connection = Connection::open(world.address).await;
        connection.write(&request.bytes()).await;
        if let Some(response) = connection.receive(false).await {
            assert_eq!(response.status, 431);
        }
        connection.closed().await;
    }
    assert_eq!(world.send(Request::new("GET /ping")).await.status, 200);
}

#[tokio::test]
async fn garbage_is_a_400_or_a_close() {
    let world = World::with(|config| config.header_timeout = SHORT).await;
    for garbage in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut connection = Connection::open(world.address).await;
        connection.write(garbage.as_bytes()).await;
        connection.write(b"\r\n\r\n").await;
        if let Some(response) = connection.receive(false).await {
            assert!((400..600).contains(&response.status), "{garbage:?}: {response:?}");
        }
    }
    assert_eq!(world.send(Request::new("GET /ping")).await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_many_requests_pipelined_too() {
    let world = World::new().await;
    world.create("hello", "").await;
    let mut connection = Connection::open(world.address).await;
    let call = Request::new("POST /api/v1/namespaces/_/actions/hello?blocking=true&result=true")
        .auth(&guest())
        .json("{}");
    for _ in 0..100 {
        assert_eq!(connection.send(&call).await.text(), "{}");
    }
    connection.write(&[call.bytes(), call.bytes(), call.bytes()].concat()).await;
    for _ in 0..3 {
        assert_eq!(connection.receive(false).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn many_connections_live_side_by_side_up_to_the_bound() {
    let world = World::with(|config| config.max_connections = 300).await;
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut connection = Connection::open(world.address).await;
        assert_eq!(connection.send(&Request::new("GET /ping")).await.status, 200);
        open.push(connection);
    }
    for connection in &mut open {
        assert_eq!(connection.send(&Request::new("GET /ping")).await.status, 200);
    }
    let mut another = Connection::open(world.address).await;
    assert_eq!(another.send(&Request::new("GET /ping")).await.status, 200);
    open.swap_remove(0).closed().await;
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_waits_for_requests() {
    let world = World::new().await;
    world.create("slow", "").await;
    let mut idle = Connection::open(world.address).await;
    assert_eq!(idle.send(&Request::new("GET /ping")).await.status, 200);
    let mut busy = Connection::open(world.address).await;
    busy.write(&Request::new("POST /api/v1/namespaces/_/actions/slow?blocking=true").auth(&guest()).bytes())
        .await;
    eventually("the call waits", || world.invoker.taken.lock().len() == 1).await;
    world.stop();
    idle.closed().await;
    world.invoker.release.notify_one();
    let response = busy.receive(false).await.unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    let address = world.address;
    world.wait_for_end().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "no more connections are taken");
}

#[tokio::test]
async fn one_controller_serves_several_listeners() {
    let world = World::new().await;
    let second = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = second.local_addr().unwrap();
    let serving = tokio::spawn(world.controller.clone().serve(second, std::future::pending()));
    world.create("hello", "").await;
    let call =
        Request::new("POST /api/v1/namespaces/_/actions/hello?blocking=true&result=true").auth(&guest());
    assert_eq!(Connection::open(address).await.send(&call).await.status, 200);
    serving.abort();
}

#[tokio::test]
async fn a_sandbox_gets_no_more_than_its_share() {
    let world = World::with(|config| config.max_connections_per_sandbox = 2).await;
    let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    let serving = tokio::spawn(world.controller.clone().serve_sandboxes(door, std::future::pending()));
    let ping = Request::new("GET /ping");
    let (mut first, mut second) = (Connection::open(address).await, Connection::open(address).await);
    assert_eq!((first.send(&ping).await.status, second.send(&ping).await.status), (200, 200));
    Connection::open(address).await.closed().await;
    assert_eq!(first.send(&ping).await.status, 200);
    assert_eq!(world.send(ping).await.status, 200, "another listener has room");
    serving.abort();
}

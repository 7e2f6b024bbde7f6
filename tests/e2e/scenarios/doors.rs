//! The doors as attackers find them: administration apart from the API, floods, and who else gets in meanwhile.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use chasen_testkit::{Client, GUEST, Node, node};
use http::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::scenario::Scenario;

/// Connections that the small door has, and those of whoever floods it.
const PLACES: usize = 64;
const FLOOD: usize = 500;

/// What administrators can do, as requests of the other door.
const ADMIN: [(Method, &str); 14] = [
    (Method::GET, "/invokers"),
    (Method::GET, "/invokers/ready"),
    (Method::GET, "/nodes"),
    (Method::GET, "/activation"),
    (Method::GET, "/runtimes"),
    (Method::PUT, "/runtimes"),
    (Method::POST, "/disable"),
    (Method::POST, "/enable"),
    (Method::POST, "/whois"),
    (Method::GET, "/users/guest"),
    (Method::DELETE, "/users/guest"),
    (Method::PUT, "/users/guest/namespaces/guest"),
    (Method::GET, "/namespaces/guest/limits"),
    (Method::GET, "/db/subjects"),
];

/// What users can do, as requests of the administrators' door.
const API: [(Method, &str); 6] = [
    (Method::GET, "/api/v1"),
    (Method::GET, "/api/v1/namespaces"),
    (Method::GET, "/api/v1/namespaces/_/actions"),
    (Method::PUT, "/api/v1/namespaces/_/actions/a"),
    (Method::POST, "/api/v1/namespaces/_/actions/a"),
    (Method::GET, "/api/v1/web/guest/default/a.json"),
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("doors::administration_has_a_door_of_its_own", apart),
        Scenario::new("doors::a_flood_of_one_address_keeps_nobody_else_out", flood),
    ]
}

/// Where the administrators' door is, and its credentials.
fn admin(node: &Node) -> (SocketAddr, String) {
    let text = std::fs::read_to_string(node.data().join("admin.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    (text("address").parse().unwrap(), text("credentials"))
}

async fn apart() {
    let node = node().listen("0.0.0.0:0").set("server.allow-guest", "true").start();
    let (address, credentials) = admin(&node);
    let port = node.base().rsplit(':').next().unwrap();
    let api = Client::new(&format!("http://127.0.0.1:{port}"));
    let door = Client::new(&format!("http://{address}"));
    let status = async |client: &Client, (method, path): &(Method, &str)| {
        client.request(method.clone(), path, None).await.unwrap().status.as_u16()
    };
    for route in &ADMIN {
        for client in
            [api.clone(), api.clone().with_credentials(GUEST), api.clone().with_credentials(&credentials)]
        {
            assert_eq!(status(&client, route).await, 405, "{route:?}: nothing is there");
        }
        for client in [door.clone(), door.clone().with_credentials(GUEST)] {
            assert_eq!(status(&client, route).await, 401, "{route:?}: not for users");
        }
    }
    for route in &API {
        for client in
            [door.clone(), door.clone().with_credentials(GUEST), door.clone().with_credentials(&credentials)]
        {
            assert_eq!(status(&client, route).await, 405, "{route:?}: nothing is there");
        }
    }
    let namespaces = (Method::GET, "/api/v1/namespaces");
    assert_eq!(status(&api.clone().with_credentials(&credentials), &namespaces).await, 401);
    assert_eq!(status(&api.clone().with_credentials(GUEST), &namespaces).await, 200);
    let invokers = (Method::GET, "/invokers");
    assert_eq!(status(&door.clone().with_credentials(&credentials), &invokers).await, 200);

    // The API is reached from other machines, administration is not.
    assert!(address.ip().is_loopback(), "{address}");
    if let Some(own) = own_address() {
        let beyond = SocketAddr::new(own, address.port());
        assert!(TcpStream::connect(beyond).await.is_err(), "{beyond}");
        let outside = Client::new(&format!("http://{own}:{port}"));
        assert_eq!(status(&outside, &(Method::GET, "/ping")).await, 200);
    }
}

/// An address of this machine that others reach, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|own| !own.is_loopback())
}

/// A connection from another address of the machine's own network.
async fn from(last: u8, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, last], 0).into())?;
    socket.connect(to).await
}

async fn flood() {
    chasen_testkit::allow_many_files();
    let node = node().set("server.connections", &PLACES.to_string()).start();
    let address: SocketAddr = node.base().trim_start_matches("http://").parse().unwrap();
    let flooding = tokio::spawn(async move {
        let mut held = Vec::new();
        for number in 0..FLOOD {
            let Ok(mut stream) = from(2, address).await else { continue };
            // Some say nothing, others begin and never end.
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /ping HTTP/1.1\r\nX-A: ").await;
            }
            held.push(stream);
        }
        held
    });
    let mut served = 0;
    while !flooding.is_finished() || served < 20 {
        let mut stream = from(3, address).await.unwrap();
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?} after {served}");
        served += 1;
    }
    drop(flooding.await.unwrap());
    let reply = node.client().get("/ping").await.unwrap();
    assert_eq!(reply.status.as_u16(), 200);
}

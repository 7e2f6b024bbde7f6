//! A controller over stores in memory, behind a real connection, whose functions echo their arguments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chasen_controller::{Controller, ControllerConfig, Parts};
use chasen_entity::{AuthKey, EntityName, Manifest, Subject};
use chasen_spi::memory::{
    MemoryArtifactStore, MemoryAttachmentStore, MemoryDeadLetterStore, MemoryEventLog,
    MemoryIdempotencyStore, MemorySubjectStore,
};
use chasen_spi::{NoGrants, NoLock, Runtimes, SubjectDocument, SubjectNamespace, SubjectStore};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::echo::Echo;

/// Requests after which everything begins anew, so that what inputs create does not pile up.
const LIFE: u32 = 500;

/// Longest that an answer to bytes takes whose end is known.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every front has: path below the namespace, document.
const ENTITIES: [(&str, &str); 9] = [
    ("actions/a", r#"{"exec":{"kind":"nodejs:20","code":"x"}}"#),
    ("packages/p", r#"{"publish":true,"parameters":[{"key":"k","value":1}]}"#),
    (
        "actions/p/b",
        r#"{"exec":{"kind":"nodejs:20","code":"x"},"annotations":[{"key":"final","value":true},{"key":"web-export","value":true}]}"#,
    ),
    ("packages/q", r#"{"binding":{"namespace":"_","name":"p"}}"#),
    ("actions/s", r#"{"exec":{"kind":"sequence","components":["/_/a","/_/q/b"]}}"#),
    ("triggers/t", r#"{"parameters":[{"key":"k","value":1}]}"#),
    ("rules/r", r#"{"trigger":"/_/t","action":"/_/a"}"#),
    (
        "actions/web",
        r#"{"exec":{"kind":"nodejs:20","code":"x"},"annotations":[{"key":"web-export","value":true}]}"#,
    ),
    (
        "actions/raw",
        r#"{"exec":{"kind":"nodejs:20","code":"x"},"annotations":[{"key":"web-export","value":true},{"key":"raw-http","value":true},{"key":"web-custom-options","value":true}]}"#,
    ),
];

/// The front and one connection to it.
pub(crate) struct Front {
    runtime: Runtime,
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
    credentials: String,
    left: u32,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Front {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let credentials = format!("guest-id:{}", "g".repeat(64));
        let address = runtime.block_on(serve(&credentials));
        let mut front = Self { runtime, address, connection: None, credentials, left: LIFE };
        for (path, document) in ENTITIES {
            let uri = format!("/api/v1/namespaces/_/{path}");
            let answer = front.send(Request::put(uri).body(Bytes::from(document)).unwrap());
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
        }
        front
    }

    /// True if it has served so many requests that a new one should take its place.
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Sends a request as the guest and with a JSON body, unless its headers say otherwise.
    pub(crate) fn send(&mut self, mut request: Request<Bytes>) -> Answer {
        self.left = self.left.saturating_sub(1);
        let headers = request.headers_mut();
        headers.insert(HOST, "localhost".parse().unwrap());
        if !headers.contains_key(AUTHORIZATION) {
            let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &self.credentials);
            headers.insert(AUTHORIZATION, format!("Basic {encoded}").parse().unwrap());
        }
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
        }
        let (address, kept) = (self.address, self.connection.take());
        let (answer, connection) = self.runtime.block_on(async move {
            let kept = match kept {
                Some(kept) => still_open(kept).await,
                None => None,
            };
            let mut connection = match kept {
                Some(kept) => kept,
                None => connect(address).await,
            };
            let response = connection.send_request(request.map(Full::new)).await.expect("an answer");
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a whole answer").to_bytes();
            (Answer { status: head.status, headers: head.headers, body }, connection)
        });
        self.connection = Some(connection);
        answer
    }

    /// Sends these bytes on a connection of their own, and nothing after them; all that is answered.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.left = self.left.saturating_sub(1);
        let address = self.address;
        let exchange = async {
            let mut stream = TcpStream::connect(address).await.expect("the front listens");
            // It may have refused and closed before all was said.
            if stream.write_all(bytes).await.is_ok() {
                let _ = stream.shutdown().await;
            }
            let mut answers = Vec::new();
            let _ = stream.read_to_end(&mut answers).await;
            answers
        };
        let answers = self.runtime.block_on(async { timeout(PATIENCE, exchange).await });
        answers.expect("a connection whose client is done is closed")
    }
}

async fn still_open(mut kept: SendRequest<Full<Bytes>>) -> Option<SendRequest<Full<Bytes>>> {
    kept.ready().await.ok().map(|()| kept)
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("the front listens");
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn serve(credentials: &str) -> SocketAddr {
    let subjects = Arc::new(MemorySubjectStore::default());
    let auth_key = AuthKey::parse(credentials).unwrap();
    let namespaces = vec![SubjectNamespace { name: EntityName::new("guest").unwrap(), auth_key }];
    let subject = SubjectDocument { subject: Subject::new("guest").unwrap(), blocked: false, namespaces };
    subjects.put(&subject).await.unwrap();
    let log = Arc::new(MemoryEventLog::default());
    let manifest = include_str!("../../../runtimes/runtimes.json");
    let controller = Controller::new(Parts {
        artifacts: Arc::new(MemoryArtifactStore::default()),
        attachments: Arc::new(MemoryAttachmentStore::default()),
        subjects,
        activations: log.clone(),
        invoke: Arc::new(Echo::new(log)),
        dead_letters: Arc::new(MemoryDeadLetterStore::default()),
        idempotency: Arc::new(MemoryIdempotencyStore::default()),
        entitlement: Arc::new(NoGrants),
        parameter_lock: Arc::new(NoLock),
        runtimes: Runtimes::new(Manifest::parse(manifest).unwrap()),
        config: ControllerConfig::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(controller.serve(listener, std::future::pending()));
    address
}

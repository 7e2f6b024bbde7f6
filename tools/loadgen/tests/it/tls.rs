//! Servers at `https`: the same figures, and nothing is sent to one that is not trusted.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use chasen_loadgen::{Halt, Pace, Plan, RecordCheck, RunError, Target, check_records, run};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::server::{reply, request};

/// A server with a certificate of its own.
struct Encrypted {
    base: String,
    requests: Arc<AtomicU64>,
    certificate: CertificateDer<'static>,
}

impl Encrypted {
    /// One that answers a body of this length to everything.
    fn start(length: usize) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let (config, requests) = (Arc::new(config), Arc::new(AtomicU64::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let asked = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, asked) = (config.clone(), asked.clone());
                thread::spawn(move || {
                    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    let mut held = Vec::new();
                    let answer = reply("200 OK", "", &"x".repeat(length));
                    while request(&mut stream, &mut held).is_some() {
                        asked.fetch_add(1, Ordering::SeqCst);
                        if std::io::Write::write_all(&mut stream, answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { base, requests, certificate }
    }

    /// What handshakes with it are made with.
    fn trusted(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }

    fn plan(&self, body: usize) -> Plan {
        let target = Target::new("POST", &format!("{}/x", self.base)).unwrap();
        let target = target.body("y".repeat(body)).unwrap();
        let mut plan = Plan::new(vec![target], Pace::closed(3), Duration::from_secs(120));
        plan.tls = Some(self.trusted());
        plan.requests = Some(60);
        plan
    }
}

#[test]
fn small_and_large_messages_are_counted_once_on_kept_connections() {
    for (body, answer) in [(0, 5), (1 << 20, 5), (5, 1 << 20), (300_000, 300_000)] {
        let server = Encrypted::start(answer);
        let measured = run(&server.plan(body), &Halt::default(), |_| {}).unwrap();
        assert_eq!((measured.successes(), measured.errors()), (60, 0), "{body} {answer}: {measured:?}");
        assert_eq!(server.requests.load(Ordering::SeqCst), 60);
        // Where the others were quicker, a client has nothing left to connect for.
        assert!((1..=3).contains(&measured.connections), "{}", measured.connections);
    }
}

#[test]
fn records_are_looked_for_there_too() {
    let server = Encrypted::start(5);
    let check = RecordCheck {
        api: server.base.clone(),
        authorization: "Basic abc".to_owned(),
        wait: Duration::ZERO,
        connections: 2,
        tls: Some(server.trusted()),
    };
    let ids: Vec<u128> = (1..=50).collect();
    let checked = check_records(&check, &ids, &Halt::default(), |_| {}).unwrap();
    assert_eq!((checked.found, checked.missing.len()), (50, 0));
}

#[test]
fn whoever_speaks_no_tls_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Until the other side has read it and leaves.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut plan = Encrypted::start(5).plan(0);
    plan.targets = vec![Target::new("GET", &base).unwrap()];
    let error = run(&plan, &Halt::default(), |_| {}).unwrap_err().to_string();
    assert!(error.contains("what it answers is no TLS; http:// may be meant"), "{error}");
    server.join().unwrap();
}

#[test]
fn nothing_is_sent_to_whom_nobody_vouches_for() {
    let (server, other) = (Encrypted::start(5), Encrypted::start(5));
    for tls in [Some(other.trusted()), None] {
        let plan = Plan { tls, ..server.plan(0) };
        let error = run(&plan, &Halt::default(), |_| {}).unwrap_err();
        assert!(matches!(error, RunError::Unreachable(_)), "{error}");
    }
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
}

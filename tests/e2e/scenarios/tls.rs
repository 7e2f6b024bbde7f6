//! TLS at the door: the operator's own certificate, changed under way, and one that an authority gives.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chasen_testkit::{Client, Node, PATIENCE, Process, Signal, Trust, chasen, node, run};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::functions::{Function, HELLO, call, eventually};
use crate::scenario::{Need, Scenario};

/// Longest time that a handshake may take, by the node's rules and some slack.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Times that ports are chosen for the authority, which others may take meanwhile.
const ATTEMPTS: usize = 5;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("tls::the_door_speaks_tls_with_the_operators_certificate", own),
        Scenario::new("tls::certificates_change_under_way_and_bad_ones_change_nothing", changed),
        Scenario::blocking("tls::bad_certificates_are_told_at_the_start", bad).needing_nothing(),
        Scenario::new("tls::an_authority_gives_certificates", given).needing(Need::command("pebble")),
    ]
}

/// Files of a certificate and its key.
struct Pair {
    folder: TempDir,
}

impl Pair {
    fn new() -> Self {
        let pair = Self { folder: tempfile::tempdir().unwrap() };
        pair.renew();
        pair
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Puts a new certificate in place of the old one.
    fn renew(&self) {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        put(&self.key(), &made.signing_key.serialize_pem());
        put(&self.certificate(), &made.cert.pem());
    }

    /// Who trusts in it and in nothing else.
    fn trust(&self) -> Trust {
        Trust::Authorities(std::fs::read(self.certificate()).unwrap())
    }

    fn node(&self) -> Node {
        let path = |path: PathBuf| path.display().to_string();
        node()
            .set("server.tls.certificate", &path(self.certificate()))
            .set("server.tls.key", &path(self.key()))
            .start()
    }
}

/// Replaces a file as a whole.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn client(node: &Node, trust: &Trust) -> Client {
    Client::trusting(node.base(), trust).unwrap().with_credentials(chasen_testkit::GUEST)
}

async fn answers(node: &Node, trust: &Trust) -> bool {
    client(node, trust).get("/ping").await.is_ok_and(|reply| reply.status.as_u16() == 200)
}

fn address(node: &Node) -> String {
    node.base().trim_start_matches("https://").to_owned()
}

async fn own() {
    let pair = Pair::new();
    let node = pair.node();
    assert!(node.base().starts_with("https://"), "{}", node.base());
    // Who connects and says nothing is cut off; it is looked at in the end.
    let mut silent = TcpStream::connect(address(&node)).await.unwrap();

    let client = client(&node, &pair.trust());
    Function::native("hello", HELLO).put(&client).await;
    assert_eq!(call(&client, "hello", &json!({})).await.result(), &json!({"hello": true}));
    assert!(answers(&node, &Trust::Anybody).await);
    for (flags, code) in [
        (&["--insecure"][..], 0),
        (&["--cacert", &pair.certificate().display().to_string()], 0),
        (&["--cacert", &Pair::new().certificate().display().to_string()], 1),
        (&[], 1),
    ] {
        let mut list = chasen();
        list.args(["activation", "list", "--apihost", node.base(), "--auth", chasen_testkit::GUEST])
            .args(flags);
        let listed = run(list);
        assert_eq!(listed.code, Some(code), "{flags:?} {listed:?}");
    }
    assert!(!answers(&node, &Pair::new().trust()).await, "another certificate is not believed");
    for (flags, code) in [
        (&["--insecure"][..], 0),
        (&["--cacert", &pair.certificate().display().to_string()], 0),
        (&["--cacert", &Pair::new().certificate().display().to_string()], 1),
    ] {
        let mut load = chasen();
        load.args([
            "load",
            "--action",
            "hello",
            "--requests",
            "20",
            "--check",
            "--quiet",
            "--apihost",
            node.base(),
        ])
        .args(["--auth", chasen_testkit::GUEST])
        .args(flags);
        let measured = run(load);
        assert_eq!(measured.code, Some(code), "{flags:?} {measured:?}");
        assert_eq!(measured.stdout.contains("20 of 20 found"), code == 0, "{measured:?}");
        assert_eq!(measured.stderr.contains("name its authority"), code == 1, "{measured:?}");
    }

    let mut plain = TcpStream::connect(address(&node)).await.unwrap();
    plain.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));

    let mut byte = [0];
    let ended = tokio::time::timeout(HANDSHAKE, silent.read(&mut byte)).await.expect("an end in time");
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert!(answers(&node, &pair.trust()).await);
}

async fn changed() {
    let pair = Pair::new();
    let node = pair.node();
    let first = pair.trust();
    let open = client(&node, &first);
    assert_eq!(open.get("/ping").await.unwrap().status.as_u16(), 200);
    pair.renew();
    let second = pair.trust();
    eventually("the new certificate is shown", async || answers(&node, &second).await.then_some(())).await;
    assert!(!answers(&node, &first).await, "the old one is not, to new connections");
    assert_eq!(open.get("/ping").await.unwrap().status.as_u16(), 200, "a connection lives on");

    // A certificate of another key.
    let other = Pair::new();
    put(&pair.certificate(), &std::fs::read_to_string(other.certificate()).unwrap());
    eventually("the operator is told", async || {
        node.log().contains("cannot be used with its key").then_some(())
    })
    .await;
    assert!(answers(&node, &second).await, "what works stays");
    put(&pair.certificate(), "nonsense");
    node.signal(Signal::HUP);
    eventually("the operator is told", async || node.log().contains("holds no certificate").then_some(()))
        .await;
    assert!(answers(&node, &second).await);
    put(&pair.key(), &std::fs::read_to_string(other.key()).unwrap());
    put(&pair.certificate(), &std::fs::read_to_string(other.certificate()).unwrap());
    node.signal(Signal::HUP);
    eventually("it is shown", async || answers(&node, &other.trust()).await.then_some(())).await;
    assert!(!node.log().contains("PRIVATE KEY"));
}

fn bad() {
    let (pair, other) = (Pair::new(), Pair::new());
    let path = |path: PathBuf| path.display().to_string();
    for (certificate, key, text) in [
        (path(pair.certificate()), path(other.key()), "cannot be used with its key"),
        (path(pair.key()), path(pair.key()), "holds no certificate"),
        (path(pair.certificate()), path(pair.certificate()), "holds no private key"),
        ("/nonexistent.pem".to_owned(), path(pair.key()), "/nonexistent.pem cannot be read"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut serve = chasen();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data.path());
        serve.args(["--set", &format!("server.tls.certificate={certificate}")]);
        serve.args(["--set", &format!("server.tls.key={key}")]);
        let refused = run(serve);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(text) && refused.stderr.contains("server.tls"), "{refused:?}");
    }
    for (settings, text) in [
        (&["server.tls.key=/k"][..], "go together"),
        (
            &["server.tls.key=/k", "server.tls.certificate=/c", "server.tls.acme.domains=a"],
            "exclude each other",
        ),
        (&["server.tls.acme.domains=*.example.org"], "server.tls.acme.domains"),
        (&["server.tls.acme.directory=http://a"], "https://"),
        (&["server.connections=1"], "server.connections"),
        (&["scheduler.cpu-pressure=101"], "scheduler.cpu-pressure"),
    ] {
        let mut config = chasen();
        config.arg("config");
        config.args(settings.iter().flat_map(|setting| ["--set", *setting]));
        let refused = run(config);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(text), "{refused:?}");
    }
}

/// An authority that is run here.
struct Authority {
    process: Process,
    folder: TempDir,
}

impl Authority {
    /// Begins to listen at a port and looks for proofs at another one; `None` if it cannot listen.
    fn start(own: &Pair, port: u16, proofs: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": "127.0.0.1:0",
            "certificate": own.certificate(),
            "privateKey": own.key(),
            "httpPort": 1,
            "tlsPort": proofs,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let path = folder.path().join("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-config").arg(path).env("PEBBLE_VA_NOSLEEP", "1");
        let mut process = Process::start(command, &folder.path().join("log"));
        loop {
            match std::net::TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) if !process.has_ended() => return Some(Self { process, folder }),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused && !process.has_ended() => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => return None,
            }
        }
    }
}

async fn given() {
    let pair = Pair::new();
    for _ in 0..ATTEMPTS {
        // The node comes first, so that the authority knows where to look; it asks again until somebody answers.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut node = node()
            .set("server.tls.acme.domains", "127.0.0.1, localhost")
            .set("server.tls.acme.contact", "operator@example.org")
            .set("server.tls.acme.directory", &format!("https://127.0.0.1:{port}/dir"))
            .set("server.tls.acme.ca", &pair.certificate().display().to_string())
            .start();
        assert!(!answers(&node, &Trust::Anybody).await, "there is no certificate yet");
        let own = node.base().rsplit(':').next().unwrap().parse().unwrap();
        let Some(authority) = Authority::start(&pair, port, own) else { continue };
        eventually("the authority gives a certificate", async || {
            answers(&node, &Trust::Anybody).await.then_some(())
        })
        .await;
        assert!(!answers(&node, &Trust::Machine).await && !answers(&node, &pair.trust()).await);
        kept(&node);
        assert!(!node.log().contains("PRIVATE KEY") && !node.log().contains("key_pkcs8"));

        // What was given outlives node and authority.
        let Authority { process, folder } = authority;
        drop((process, folder));
        node.stop();
        node.restart();
        assert!(answers(&node, &Trust::Anybody).await, "{}", node.log());
        return;
    }
    panic!("no port was free {ATTEMPTS} times, within {PATIENCE:?} each");
}

/// Account and certificate are the node's alone.
fn kept(node: &Node) {
    let folder = node.data().join("acme");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
}

//! Administration: of a running node through its own door, and of a data folder that no node runs on.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chasen_testkit::{Client, Finished, Node, PATIENCE, binary, chasen, node, run};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::blocking("admin::a_subject_lives_from_create_to_delete", life).needing_nothing(),
        Scenario::blocking("admin::a_key_can_come_from_stdin", piped).needing_nothing(),
        Scenario::blocking("admin::mistakes_are_named_and_counted", mistakes).needing_nothing(),
        Scenario::blocking("admin::subjects_are_found_listed_and_blocked", found).needing_nothing(),
        Scenario::blocking("admin::limits_are_set_shown_and_deleted", limits).needing_nothing(),
        Scenario::blocking("admin::databases_are_dumped_without_a_node", dumped).needing_nothing(),
        Scenario::new("admin::a_running_node_sees_changes", running),
        Scenario::new("admin::everything_goes_through_the_door_of_a_running_node", through_the_door),
        Scenario::new("admin::a_node_that_died_leaves_no_door_behind", left_behind),
        Scenario::new("admin::the_door_survives_hostile_input", hostile),
    ]
}

fn user(data: &Path, arguments: &[&str]) -> Finished {
    admin(data, &[&["user"], arguments].concat())
}

pub(crate) fn admin(data: &Path, arguments: &[&str]) -> Finished {
    let mut command = chasen();
    // Flags before what they belong to: the last may take any number of values.
    let (group, rest) = arguments.split_at(2);
    command.arg("admin").args(group).arg("--data").arg(data).args(rest);
    run(command)
}

/// What a command says that must succeed.
#[track_caller]
pub(crate) fn said(data: &Path, arguments: &[&str]) -> String {
    let finished = admin(data, arguments);
    assert_eq!(finished.code, Some(0), "{arguments:?} {finished:?}");
    finished.stdout
}

fn life() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let key = user(data, &["create", "whisker"]);
    assert_eq!(key.code, Some(0), "{key:?}");
    assert_eq!(key.stdout.trim().split_once(':').unwrap().1.len(), 64);
    assert_eq!(user(data, &["get", "whisker"]).stdout, key.stdout);
    let other = user(data, &["create", "whisker", "-ns", "other"]);
    assert_eq!(user(data, &["get", "whisker", "-ns", "other"]).stdout, other.stdout);
    let all = user(data, &["get", "whisker", "-a"]).stdout;
    assert_eq!(all, format!("whisker\t{}other\t{}", key.stdout, other.stdout));
    let renewed = user(data, &["create", "whisker", "-r"]);
    assert_eq!((renewed.code, renewed.stdout == key.stdout), (Some(0), false), "{renewed:?}");
    assert_eq!(user(data, &["delete", "whisker", "-ns", "other"]).stdout, "Namespace deleted\n");
    assert_eq!(user(data, &["delete", "whisker"]).stdout, "Subject deleted\n");
    assert_eq!(user(data, &["get", "whisker"]).code, Some(1));
}

fn piped() {
    let folder = tempfile::tempdir().unwrap();
    let key = format!("23bc46b1-71f6-4ed5-8c54-816aa4f8c503:{}", "k".repeat(64));
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"printf '%s\n' "$1" | "$0" admin user create whisker -u - --data "$2""#]);
    shell.arg(binary()).arg(&key).arg(folder.path());
    let created = run(shell);
    assert_eq!((created.code, created.stdout.trim()), (Some(0), key.as_str()), "{created:?}");
}

fn mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    assert_eq!(user(data, &["create", "whisker"]).code, Some(0));
    for (arguments, code, text) in [
        (&["create", "abcd"][..], 1, "Subject name must be at least 5 characters"),
        (&["create", "whisker"], 1, "Namespace already exists"),
        (&["create", "other", "-u", "nonsense:x"], 1, "authorization id is not a valid UUID"),
        (
            &["create", "other", "-u", "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:short"],
            1,
            "authorization key must be at least 64 characters long",
        ),
        (&["destroy", "whisker"], 2, "destroy"),
    ] {
        let finished = user(data, arguments);
        assert_eq!(finished.code, Some(code), "{arguments:?} {finished:?}");
        assert!(format!("{}{}", finished.stdout, finished.stderr).contains(text), "{finished:?}");
    }
}

fn found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let whisker = said(data, &["user", "create", "whisker", "-ns", "shared"]);
    let another = said(data, &["user", "create", "another", "-ns", "shared"]);
    assert_eq!(said(data, &["user", "list", "shared", "-k"]), another, "one unless more are asked for");
    assert_eq!(said(data, &["user", "list", "shared", "-p", "2", "-k"]), format!("{another}{whisker}"));
    assert_eq!(
        said(data, &["user", "list", "shared", "-a"]),
        format!("{}\tanother\n{}\twhisker\n", another.trim(), whisker.trim())
    );
    assert_eq!(said(data, &["user", "list", "nobody"]), "no identities found for namespace \"nobody\"\n");
    assert_eq!(said(data, &["user", "whois", whisker.trim()]), "subject: whisker\nnamespace: shared\n");
    let blocked = admin(data, &["user", "block", "whisker", "nobody", "neither", "another"]);
    assert_eq!(blocked.code, Some(2), "as many as failed: {blocked:?}");
    assert_eq!(blocked.stdout, "\"whisker\" blocked successfully\n\"another\" blocked successfully\n");
    let unknown = admin(data, &["user", "whois", whisker.trim()]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("Subject id is not recognized"), "{unknown:?}");
    let edited = admin(data, &["user", "create", "whisker"]);
    assert!(edited.stderr.contains("The subject you want to edit is blocked"), "{edited:?}");
    assert_eq!(said(data, &["user", "unblock", "whisker"]), "\"whisker\" unblocked successfully\n");
    let made_up = said(data, &["user", "create", "whisker", "-g"]);
    assert_ne!(made_up, whisker);
    assert_eq!(said(data, &["user", "get", "whisker", "-ns", "shared"]), whisker, "nothing was stored");
}

fn limits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let none = "No limits found, default system limits apply\n";
    assert_eq!(said(data, &["limits", "get", "guest"]), none);
    let set = ["limits", "set", "guest", "--invocationsPerMinute", "1", "--firesPerMinute", "2"];
    assert_eq!(said(data, &set), "Limits successfully set for \"guest\"\n");
    said(data, &["limits", "set", "guest", "--concurrentInvocations", "3", "--firesPerMinute", "4"]);
    let shown = "invocationsPerMinute = 1\nconcurrentInvocations = 3\nfiresPerMinute = 4\n";
    assert_eq!(said(data, &["limits", "get", "guest"]), shown);
    for (arguments, text) in [
        (&["--firesPerMinute", "-1"][..], "unexpected argument"),
        (&["--firesPerMinute", "soon"], "firesPerMinute"),
        (&["--firesPerHour", "1"], "firesPerHour"),
        (&["--maxPayloadSize", "1 XB"], "Size Unit not supported."),
        (&[], "name at least one limit"),
    ] {
        let finished = admin(data, &[&["limits", "set", "guest"], arguments].concat());
        assert_eq!(finished.code, Some(2), "{arguments:?} {finished:?}");
        assert!(finished.stderr.contains(text), "{finished:?}");
        assert_eq!(said(data, &["limits", "get", "guest"]), shown, "nothing changed");
    }
    assert_eq!(said(data, &["limits", "delete", "guest"]), "Limits deleted\n");
    assert_eq!(said(data, &["limits", "get", "guest"]), none);
    said(
        data,
        &["limits", "set", "guest", "--allowedKinds", "nodejs:20", "blackbox", "--storeActivations", "false"],
    );
    let shown = "allowedKinds = ['nodejs:20', 'blackbox']\nstoreActivations = False\n";
    assert_eq!(said(data, &["limits", "get", "guest"]), shown);
}

fn dumped() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    for name in ["whisker", "another"] {
        said(data, &["user", "create", name]);
    }
    let rows = |arguments: &[&str]| -> Value {
        let text = said(data, &[&["db", "get"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let subjects = rows(&["subjects", "--docs"]);
    assert_eq!(subjects["total_rows"], 2);
    assert_eq!(subjects["rows"][0]["doc"]["_id"], "another");
    assert_eq!(rows(&["whisks"]), json!({"offset": 0, "rows": [], "total_rows": 0}));
    assert_eq!(rows(&["activations"])["total_rows"], 0);
    let unknown = admin(data, &["db", "get", "nosuch"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
}

/// The operator's door of a node, with its credentials.
pub(crate) fn door(node: &Node) -> Client {
    let text = std::fs::read_to_string(node.data().join("admin.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let base = format!("http://{}", file["address"].as_str().unwrap());
    Client::new(&base).with_credentials(file["credentials"].as_str().unwrap())
}

async fn through_the_door() {
    let node = node().set("limits.invocations-per-minute", "1000").start();
    let data = node.data();
    let key = said(data, &["user", "create", "whisker"]);
    assert_eq!(said(data, &["user", "get", "whisker", "-a"]), format!("whisker\t{key}"));
    let mut open = KeepAlive::open(&node, key.trim()).await;
    assert_eq!(open.status("/api/v1/namespaces").await, 200);
    said(data, &["user", "block", "whisker"]);
    assert_eq!(open.status("/api/v1/namespaces").await, 401, "from the next request on");
    said(data, &["user", "unblock", "whisker"]);
    assert_eq!(open.status("/api/v1/namespaces").await, 200);
    said(data, &["limits", "set", "whisker", "--invocationsPerMinute", "0", "--maxPayloadSize", "1 KB"]);
    assert!(open.get("/api/v1/namespaces/_/limits").await.contains("\"invocationsPerMinute\":0"));
    assert_eq!(
        said(data, &["limits", "get", "whisker"]),
        "invocationsPerMinute = 0\nmaxPayloadSize = 1 KB\n"
    );
    let client = node.anonymous().with_credentials(key.trim());
    let throttled = client.invoke("any", &json!({}), false).await.unwrap();
    assert_eq!(throttled.status.as_u16(), 429, "{}", throttled.text());
    said(data, &["limits", "delete", "whisker"]);
    assert_eq!(client.invoke("any", &json!({}), false).await.unwrap().status.as_u16(), 404);
    let taken = admin(data, &["user", "create", "whisker"]);
    assert_eq!(taken.code, Some(1));
    assert_eq!(taken.stderr, "chasen: Namespace already exists\n", "in the words of a folder without a node");

    crate::functions::Function::native("hello", crate::functions::HELLO).put(&node.client()).await;
    let dump: Value = serde_json::from_str(&said(data, &["db", "get", "whisks", "--docs"])).unwrap();
    assert_eq!((&dump["total_rows"], &dump["rows"][0]["id"]), (&json!(1), &json!("guest/hello")));
    assert_eq!(dump["rows"][0]["value"]["entityType"], "action");
    crate::functions::call(&node.client(), "hello", &json!({})).await;
    let dump: Value = serde_json::from_str(&said(data, &["db", "get", "activations", "--docs"])).unwrap();
    assert_eq!((&dump["total_rows"], &dump["rows"][0]["doc"]["name"]), (&json!(1), &json!("hello")));
    said(data, &["user", "delete", "whisker"]);
    assert_eq!(open.status("/api/v1/namespaces").await, 401);
    assert!(!node.log().contains(key.trim().split_once(':').unwrap().1), "no key in the log");
}

async fn left_behind() {
    let mut node = node().start();
    let data = node.data().to_owned();
    let file = data.join("admin.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let first = std::fs::read_to_string(&file).unwrap();
    node.kill();
    assert!(file.exists(), "a crash leaves it");
    let key = said(&data, &["user", "create", "whisker"]);
    node.restart();
    assert_ne!(std::fs::read_to_string(&file).unwrap(), first, "the password is new at every start");
    assert_eq!(said(&data, &["user", "get", "whisker"]), key);
    assert_eq!(door(&node).get("/invokers").await.unwrap().json(), json!({"invoker0/0": "up"}));
    node.stop();
    assert!(!file.exists());
}

/// Whatever comes, the door answers, and the next one gets in.
async fn hostile() {
    let node = node().start();
    let door = door(&node);
    let address = door.base().trim_start_matches("http://").to_owned();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /users/%00%ff/namespaces/%2e%2e HTTP/1.1\r\nhost: x\r\nauthorization: Basic \xff\r\n\r\n",
        b"PUT /runtimes HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"PUT /runtimes HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /disable HTTP/1.1\r\nhost: x\r\nauthorization: Basic\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.expect("an answer or an end").unwrap();
        let status: Option<u16> =
            answer.get(9..12).and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let long = format!("{{\"runtimes\":{{\"k\":[{}]}}}}", "{},".repeat(200_000));
    assert_eq!(door.put_text("/runtimes", long).await.unwrap().status.as_u16(), 400);
    let ready = door.get("/invokers/ready").await.unwrap();
    assert_eq!(ready.json(), json!({"healthy": "1/1"}));
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

/// One connection, kept open between requests.
struct KeepAlive {
    stream: TcpStream,
    credentials: String,
}

impl KeepAlive {
    async fn open(node: &Node, credentials: &str) -> Self {
        let stream = TcpStream::connect(node.base().trim_start_matches("http://")).await.unwrap();
        use base64::Engine;
        Self { stream, credentials: base64::engine::general_purpose::STANDARD.encode(credentials) }
    }

    /// The whole answer of a `GET`, whose body is small.
    async fn get(&mut self, path: &str) -> String {
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {}\r\n\r\n", self.credentials);
        self.stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = self.stream.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "the connection stays open");
            answer.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return text;
            }
        }
    }

    async fn status(&mut self, path: &str) -> u16 {
        self.get(path).await[9..12].parse().unwrap()
    }
}

async fn running() {
    let node = node().start();
    let created = user(node.data(), &["create", "whisker"]);
    assert_eq!(created.code, Some(0), "{created:?}");
    let client = node.anonymous().with_credentials(created.stdout.trim());
    assert_eq!(status_becomes(&client, 200).await, 200);
    assert_eq!(client.get("/api/v1/namespaces").await.unwrap().text(), "[\"whisker\"]");
    assert_eq!(user(node.data(), &["delete", "whisker"]).code, Some(0));
    assert_eq!(status_becomes(&client, 401).await, 401);
}

/// Asks until the answer has this status, or for too long.
async fn status_becomes(client: &chasen_testkit::Client, status: u16) -> u16 {
    let begun = std::time::Instant::now();
    loop {
        let now = client.get("/api/v1/namespaces").await.unwrap().status.as_u16();
        if now == status || begun.elapsed() > PATIENCE {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

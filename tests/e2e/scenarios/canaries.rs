//! Secrets that are planted everywhere, and then looked for everywhere else.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chasen_testkit::{Client, Node, PATIENCE, Signal, Trust, chasen, descendants, node, run};
use http::{Method, Request};
use serde_json::json;

use crate::admin::said;
use crate::archives::{Entry, zip};
use crate::functions::{Function, Language, call, eventually};
use crate::scenario::{Need, Scenario};
use crate::secrets::{contains, files_below};

const PARAMETER: &str = "canary-of-a-parameter-h2WqT5";
const LOCKED: &str = "canary-of-an-environment-m7RkX1";
const ARGUMENT: &str = "canary-of-an-argument-p9LsD3";
const ADMIN: &str = "canary-of-the-operator-b4NcV8";
const REGISTRY: &str = "canary-of-a-registry-y6JgF2";
const IDEMPOTENT: &str = "canary-of-a-request-key-k3ZtQ0";
const AES: &str = "canary-of-thirty-two-bytes-e5Uw!";

/// An action that is slow enough to be seen, and that says nothing of what it got. Executables get their arguments on
/// the command line, as they always have; nothing else may be there.
const WATCHED: &str = "import time\ndef main(args):\n    time.sleep(1)\n    return {'done': True}\n";

/// An action whose dependencies are installed, slowly enough to be seen too: builds are given nothing of what it gets.
const BUILT: [Entry<'_>; 3] = [
    Entry::File(
        "package.json",
        br#"{"name":"built","dependencies":{"nothing":"file:./nothing"},"scripts":{"preinstall":"sleep 1"}}"#,
    ),
    Entry::File("nothing/package.json", br#"{"name":"nothing","version":"1.0.0"}"#),
    Entry::File("index.js", b"exports.main = () => ({ done: true })"),
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("canaries::planted_secrets_are_found_nowhere_else", planted)
            .needing(Language::Python.need())
            .needing(Language::Nodejs.need())
            .needing(Need::command("npm")),
    ]
}

/// A secret, as whoever looks for it might find it.
struct Canary {
    name: &'static str,
    forms: Vec<String>,
}

impl Canary {
    fn new(name: &'static str, secret: &str) -> Self {
        Self { name, forms: vec![secret.to_owned(), BASE64.encode(secret)] }
    }

    /// The files that hold it. What the log has made room for is large: a program that was made for it looks.
    fn files_below(&self, folder: &Path) -> Vec<String> {
        let mut grep = Command::new("grep");
        grep.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings"]);
        grep.args(self.forms.iter().flat_map(|form| ["-e", form])).arg(folder);
        let begun = Instant::now();
        loop {
            let found = grep.output().expect("grep is there");
            // Files of a node at work come and go: one that went while it looked was none to look into.
            if found.status.code().is_some_and(|code| code < 2) {
                return String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect();
            }
            assert!(begun.elapsed() < PATIENCE, "{found:?}");
        }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(bytes, form.as_bytes()))
    }
}

/// Looks for all of them and says where one is.
#[track_caller]
fn clean(place: &str, bytes: &[u8], canaries: &[Canary]) {
    let found: Vec<&str> =
        canaries.iter().filter(|canary| canary.is_in(bytes)).map(|canary| canary.name).collect();
    assert!(found.is_empty(), "{place} holds {found:?}");
}

async fn planted() {
    let home = tempfile::tempdir().unwrap();
    let tls = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = [
        ("certificate.pem", tls.cert.pem()),
        ("key.pem", tls.signing_key.serialize_pem()),
        (
            "registry.json",
            json!({"auths": {"r.example": {"auth": BASE64.encode(format!("u:{REGISTRY}"))}}}).to_string(),
        ),
    ];
    for (name, text) in &files {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    let path = |name: &str| home.path().join(name).display().to_string();
    let mut node = node()
        .set("log.filter", "trace")
        .set("server.tls.certificate", &path("certificate.pem"))
        .set("server.tls.key", &path("key.pem"))
        .set("docker.credentials", &path("registry.json"))
        .set("parameter-storage.current", "aes-256")
        .environment("CHASEN_PARAMETER_STORAGE__AES_256", &BASE64.encode(AES))
        .environment("CHASEN_ADMIN__CREDENTIALS", &format!("operator:{ADMIN}"))
        .start();
    let credentials = said(node.data(), &["user", "create", "whisker"]).trim().to_owned();
    let (_, key) = credentials.split_once(':').unwrap();
    let client = Client::trusting(node.base(), &Trust::Authorities(files[0].1.clone().into_bytes())).unwrap();
    let client = client.with_credentials(&credentials);

    let key_line = files[1].1.lines().nth(1).unwrap().to_owned();
    let mut canaries = vec![
        Canary::new("the key of a user", key),
        Canary::new("a parameter", PARAMETER),
        Canary::new("an initial parameter", LOCKED),
        Canary::new("the operator's password", ADMIN),
        Canary::new("a registry's password", REGISTRY),
        Canary::new("a key of parameters", AES),
        Canary { name: "the key of TLS", forms: vec![key_line] },
    ];
    canaries[0].forms.push(BASE64.encode(&credentials));
    canaries[4].forms.push(BASE64.encode(format!("u:{REGISTRY}")));

    use_everything(&client, &node, &canaries).await;
    // What arguments are kept for is running them; nobody is told what they were.
    canaries.push(Canary::new("an argument", ARGUMENT));
    canaries.push(Canary::new("the key of a request", IDEMPOTENT));
    clean("the log", node.log().as_bytes(), &canaries);
    canaries.truncate(canaries.len() - 2);
    for canary in &canaries {
        let found = canary.files_below(node.data());
        // The one file whose purpose is to hold a secret of those that are planted: it is for the node's user alone.
        let is_there =
            |file: &String| file.ends_with("admin.json") && canary.name == "the operator's password";
        let elsewhere: Vec<&String> = found.iter().filter(|file| !is_there(file)).collect();
        assert!(elsewhere.is_empty(), "{elsewhere:?} hold {}", canary.name);
    }
    let door = canaries.iter().find(|canary| canary.name == "the operator's password").unwrap();
    assert_eq!(door.files_below(node.data()).len(), 1, "what is there is found");
    printed(&node, &canaries);
    backed_up(&node, &canaries);
    died(&mut node, home.path());
}

/// Makes the node use what was planted, and looks at all that it answers and at what runs below it.
async fn use_everything(client: &Client, node: &Node, canaries: &[Canary]) {
    let path = "/api/v1/namespaces/_/actions/watched";
    let path_of_built = "/api/v1/namespaces/_/actions/built";
    for (path, exec) in [
        (path, json!({"kind": "python:default", "code": WATCHED})),
        (path_of_built, json!({"kind": "nodejs:default", "code": zip(&BUILT), "binary": true})),
    ] {
        let action = json!({
            "exec": exec,
            "parameters": [{"key": "a", "value": PARAMETER}, {"key": "WORD", "value": LOCKED, "init": true}],
            "annotations": [{"key": "web-export", "value": true}],
        });
        let put = client.put(path, &action).await.unwrap();
        assert_eq!(put.status.as_u16(), 200, "{}", put.text());
    }
    let body = json!({"text": ARGUMENT}).to_string();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", client.base()))
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", IDEMPOTENT)
        .body(body.into())
        .unwrap();
    let accepted = client.send(request).await.unwrap();
    assert_eq!(accepted.status.as_u16(), 202, "{}", accepted.text());
    let built = client.post(path_of_built, &json!({"text": ARGUMENT})).await.unwrap();
    assert_eq!(built.status.as_u16(), 202, "{}", built.text());
    let records = [&accepted, &built].map(|reply| {
        let body = reply.json();
        format!("/api/v1/namespaces/_/activations/{}", body["activationId"].as_str().unwrap())
    });
    let mut seen = BTreeSet::new();
    eventually("they run", async || {
        let line = std::fs::read(format!("/proc/{}/cmdline", node.pid())).unwrap_or_default();
        for (pid, name) in descendants(node.pid()) {
            look_at(pid, &line, canaries);
            seen.insert(name);
        }
        clean("the command line of the node", &line, canaries);
        for record in &records {
            if client.get(record).await.unwrap().status.as_u16() != 200 {
                return None;
            }
        }
        Some(())
    })
    .await;
    let is_seen = |part: &str| seen.iter().any(|name| name.contains(part));
    assert!(is_seen("python") && is_seen("npm"), "what runs and what builds are looked at: {seen:?}");
    Function::native("fails", "#!/bin/sh\nexit 3\n").put(client).await;
    call(client, "fails", &json!({"text": ARGUMENT})).await;
    for path in [
        "/api/v1/namespaces/_/actions",
        "/api/v1/namespaces/_/activations?docs=true",
        "/api/v1/namespaces/_/limits",
        "/api/v1/namespaces",
        "/api/v1/namespaces/_/nowhere",
        "/api/v1",
        "/",
    ] {
        clean(path, &client.get(path).await.unwrap().body, canaries);
    }
    let wrong = client.put(path, &json!({"exec": {"kind": PARAMETER.len()}})).await.unwrap();
    clean("an error", &wrong.body, canaries);
}

/// A process below the node, whose own command line is this: neither its command line nor its environment, as whoever
/// lists processes may see them.
fn look_at(pid: u32, of_the_node: &[u8], canaries: &[Canary]) {
    let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
    let line = read("cmdline");
    // What has not become a program of its own yet is the node, memory and all.
    if line == of_the_node {
        return;
    }
    clean(&format!("the command line of {pid}"), &line, canaries);
    clean(&format!("the environment of {pid}"), &read("environ"), canaries);
}

/// What commands print that do not have the purpose of printing a secret.
fn printed(node: &Node, canaries: &[Canary]) {
    for arguments in [&["db", "get", "whisks", "--docs"][..], &["db", "get", "activations", "--docs"]] {
        clean(arguments[2], said(node.data(), arguments).as_bytes(), canaries);
    }
    let mut config = chasen();
    config.arg("config");
    config.env("CHASEN_PARAMETER_STORAGE__AES_256", BASE64.encode(AES));
    config.env("CHASEN_ADMIN__CREDENTIALS", format!("operator:{ADMIN}"));
    let shown = run(config);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    clean("chasen config", format!("{}{}", shown.stdout, shown.stderr).as_bytes(), canaries);
    let mut typed = chasen();
    typed.args(["config", "--set", &format!("admin.credentials=operator:{ADMIN}")]);
    let refused = run(typed);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    clean("a refusal", format!("{}{}", refused.stdout, refused.stderr).as_bytes(), canaries);
}

/// A backup that leaves out the keys leaves out whatever they open.
fn backed_up(node: &Node, canaries: &[Canary]) {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("backup.tar");
    let mut backup = chasen();
    backup.args(["admin", "backup", "--without-keys"]).arg(&archive).arg("--data").arg(node.data());
    let finished = run(backup);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    clean("what is said of a backup", format!("{}{}", finished.stdout, finished.stderr).as_bytes(), canaries);
    for canary in canaries {
        assert_eq!(canary.files_below(folder.path()), Vec::<String>::new(), "{}", canary.name);
    }
}

/// A node that crashes leaves no memory behind.
fn died(node: &mut Node, folder: &Path) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "1").count(), 2, "{core}");
    node.signal(Signal::ABORT);
    let status = node.wait();
    assert!(status.signal().is_some() && !status.core_dumped(), "{status:?}");
    assert!(files_below(folder).iter().all(|file| !file.display().to_string().contains("core")));
}

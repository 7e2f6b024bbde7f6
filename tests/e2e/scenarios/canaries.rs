//! Secrets that are planted everywhere, and then looked for everywhere else.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chasen_testkit::{Client, Node, Signal, Trust, chasen, children, descendants, node, run};
use http::{Method, Request};
use serde_json::json;

use crate::admin::said;
use crate::functions::{Function, Language, call, eventually};
use crate::scenario::Scenario;
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

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("canaries::planted_secrets_are_found_nowhere_else", planted)
            .needing(Language::Python.need()),
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
        let found = grep.output().expect("grep is there");
        assert!(found.status.code().is_some_and(|code| code < 2), "{found:?}");
        String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
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
    died(&mut node, home.path());
}

/// Makes the node use what was planted, and looks at all that it answers and at what runs below it.
async fn use_everything(client: &Client, node: &Node, canaries: &[Canary]) {
    let action = json!({
        "exec": {"kind": "python:default", "code": WATCHED},
        "parameters": [{"key": "a", "value": PARAMETER}, {"key": "WORD", "value": LOCKED, "init": true}],
        "annotations": [{"key": "web-export", "value": true}],
    });
    let path = "/api/v1/namespaces/_/actions/watched";
    assert_eq!(client.put(path, &action).await.unwrap().status.as_u16(), 200);
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
    let id = accepted.json()["activationId"].as_str().unwrap().to_owned();
    let path_of_record = format!("/api/v1/namespaces/_/activations/{id}");
    let mut seen = BTreeSet::new();
    eventually("it runs", async || {
        for pid in descendants(node.pid()).iter().map(|(pid, _)| *pid).chain([node.pid()]) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            clean(&format!("the command line of {pid}"), &line, canaries);
            seen.insert(pid);
        }
        (client.get(&path_of_record).await.unwrap().status.as_u16() == 200).then_some(())
    })
    .await;
    assert!(seen.len() > 2, "the node, its helper and what runs are looked at");
    for pid in children(node.pid()) {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        clean(&format!("the environment of {pid}"), &environment, canaries);
    }
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

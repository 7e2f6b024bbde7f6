//! Secrets of the node and its users: not in logs, not on disk as they are, not for other users of the machine.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chasen_testkit::{chasen, node, run};
use serde_json::json;

use crate::functions::{Function, call, eventually, record};
use crate::scenario::Scenario;

const ARGUMENT: &str = "an-argument-that-is-nobodys-business";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::new("secrets::keys_and_arguments_stay_where_they_belong", secrets)]
}

async fn secrets() {
    let node = node().set("log.filter", "trace").start();
    let mut create = chasen();
    create.args(["admin", "user", "create", "whisker", "--data"]).arg(node.data());
    let created = run(create);
    let credentials = created.stdout.trim();
    let (_, key) = credentials.split_once(':').unwrap_or_else(|| panic!("{created:?}"));
    let client = node.anonymous().with_credentials(credentials);
    eventually("the node knows the user", async || {
        (client.get("/api/v1/namespaces").await.unwrap().status.as_u16() == 200).then_some(())
    })
    .await;
    let code = "#!/bin/sh\nprintf '{\"length\":%d}' ${#__OW_API_KEY}\n";
    Function::native("measures", code).annotation("provide-api-key", json!(true)).put(&client).await;
    let called = call(&client, "measures", &json!({"text": ARGUMENT})).await;
    assert_eq!(called.result(), &json!({"length": credentials.len()}));
    record(&client, called.id()).await;

    let log = node.log();
    assert!(!log.is_empty(), "there is a log to look into");
    assert!(!log.contains(key) && !log.contains(ARGUMENT), "{log}");
    for file in files_below(node.data()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!contains(&bytes, key.as_bytes()), "{} holds a key", file.display());
    }
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(node.data()) & 0o077, 0, "the data folder is the node's alone");
    assert_eq!(mode(&node.data().join("node.key")), 0o600);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    // Segments of the log are large and mostly zeros.
    let begins = bytes.iter().enumerate().filter(|(_, byte)| Some(*byte) == part.first());
    begins.map(|(at, _)| at).any(|at| bytes[at..].starts_with(part))
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

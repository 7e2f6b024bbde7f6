//! Administration of subjects, beside a running node and without one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chasen_testkit::{Finished, PATIENCE, binary, chasen, node, run};

use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::blocking("admin::a_subject_lives_from_create_to_delete", life).needing_nothing(),
        Scenario::blocking("admin::a_key_can_come_from_stdin", piped).needing_nothing(),
        Scenario::blocking("admin::mistakes_are_named_and_counted", mistakes).needing_nothing(),
        Scenario::new("admin::a_running_node_sees_changes", running),
    ]
}

fn user(data: &Path, arguments: &[&str]) -> Finished {
    let mut command = chasen();
    command.args(["admin", "user"]).args(arguments).arg("--data").arg(data);
    run(command)
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

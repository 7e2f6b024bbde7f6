//! The data folder as a whole: who may open it, and what other processes change in it.

use std::fs;
use std::time::{Duration, Instant};

use chasen_embedded::{Embedded, OpenError, Subjects};
use chasen_entity::{AuthKey, EntityName, Event, Subject, UserLimits};
use chasen_spi::{SubjectDocument, SubjectNamespace, SubjectStore};

use crate::fixture::{SECRET, config, eventually, files, invocation, open};

fn alice() -> SubjectDocument {
    SubjectDocument {
        subject: Subject::new("alice").unwrap(),
        blocked: false,
        namespaces: vec![SubjectNamespace {
            name: EntityName::new("alice").unwrap(),
            auth_key: AuthKey { uuid: "id".into(), key: SECRET.into() },
        }],
    }
}

#[tokio::test]
async fn a_second_node_is_refused_and_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    node.announce("127.0.0.1:3233").unwrap();
    let error = Embedded::open(config(folder.path())).err().unwrap();
    let holder = format!("process {}, listening on 127.0.0.1:3233", std::process::id());
    assert!(matches!(error, OpenError::Locked { .. }) && error.to_string().contains(&holder), "{error}");
    node.close().await;
    open(folder.path()).close().await;
}

#[tokio::test]
async fn subjects_changed_beside_a_running_node_are_seen_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let admin = Subjects::open_shared(&folder.path().join("data")).unwrap();
    admin.put(&alice()).await.unwrap();
    let node = open(&folder.path().join("data"));
    let subjects = node.subject_store();
    let key = alice().namespaces[0].auth_key.clone();
    assert_eq!(subjects.identity(&key).await.unwrap().unwrap().limits, UserLimits::default());

    let mut limits = UserLimits::default();
    // The quickest of some, for busy machines.
    let mut fastest = Duration::MAX;
    for number in 1..=5 {
        let seen = subjects.generation();
        limits.invocations_per_minute = Some(number);
        admin.set_limits("alice", Some(&limits)).await.unwrap();
        let changed = Instant::now();
        eventually("the change is seen", async || subjects.generation() != seen).await;
        fastest = fastest.min(changed.elapsed());
    }
    assert!(fastest < Duration::from_millis(1500), "{fastest:?}");
    assert_eq!(subjects.identity(&key).await.unwrap().unwrap().limits, limits);
    admin.set_limits("alice", None).await.unwrap();
    assert_eq!(subjects.limits("alice").await, Ok(None));
    node.close().await;
    assert!(admin.delete("alice").await.unwrap());
}

#[tokio::test]
async fn two_subjects_cannot_have_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let subjects = Subjects::open_shared(folder.path()).unwrap();
    subjects.put(&alice()).await.unwrap();
    subjects.put(&alice()).await.unwrap();
    let bob = SubjectDocument { subject: Subject::new("bobby").unwrap(), ..alice() };
    assert_eq!(subjects.put(&bob).await, Err(chasen_spi::StoreError::Conflict));
    assert_eq!(subjects.get("bobby").await, Ok(None), "nothing of it was written");
}

#[tokio::test]
async fn secrets_are_nowhere_in_clear_and_only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let node = open(&data);
    node.subject_store().put(&alice()).await.unwrap();
    node.event_log().append(&Event::Accepted(invocation("{}"))).unwrap();
    for file in [files(&data, ""), files(&data.join("events"), "")].concat() {
        if file.is_file() {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
            let bytes = fs::read(&file).unwrap();
            assert!(!bytes.windows(64).any(|part| part == SECRET.as_bytes()), "{}", file.display());
        }
    }
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    node.close().await;
}

#[tokio::test]
async fn a_lost_key_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().await;
    fs::remove_file(folder.path().join("node.key")).unwrap();
    let error = Embedded::open(config(folder.path())).err().unwrap();
    assert!(
        matches!(error, OpenError::MissingKey { .. }) && error.to_string().contains("node.key"),
        "{error}"
    );
}

#[tokio::test]
async fn data_of_a_newer_release_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    node.event_log().append(&crate::fixture::events("{}", 1)[2]).unwrap();
    node.close().await;
    let activations = files(&folder.path().join("activations"), ".db").remove(0);
    for file in [folder.path().join("entities.db"), activations] {
        let older = fs::read(&file).unwrap();
        let mut newer = older.clone();
        // The user version of an SQLite file.
        newer[60..64].copy_from_slice(&99u32.to_be_bytes());
        fs::write(&file, newer).unwrap();
        let error = Embedded::open(config(folder.path())).err().unwrap();
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
        fs::write(&file, older).unwrap();
    }
    open(folder.path()).close().await;
}

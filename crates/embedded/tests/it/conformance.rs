//! What every implementation of the sockets must do.

use chasen_spi::conformance;
use chasen_spi::idempotency_store::KEPT;

use crate::fixture::open;

#[tokio::test]
async fn the_embedded_engines_conform() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let node = open(folder.path());
        if round == 0 {
            conformance::artifact_store(&*node.artifact_store()).await;
            conformance::event_log(&*node.event_log(), &*node.activation_store()).await;
        }
        conformance::attachment_store(&*node.attachment_store()).await;
        conformance::subject_store(&*node.subject_store()).await;
        conformance::dead_letter_store(&*node.dead_letter_store()).await;
        // Keys of the first life are kept: the second one comes days later.
        conformance::idempotency_store(&*node.idempotency_store(), 1_000_000 + round * 10 * KEPT).await;
        node.close().await;
    }
}

#[tokio::test]
async fn the_next_life_takes_up_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let left = conformance::leave_work(&*node.event_log());
    node.close().await;
    let node = open(folder.path());
    conformance::taken_up_work(&*node.event_log(), &left);
    node.close().await;
}

#[tokio::test]
async fn closed_stores_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let (log, subjects) = (node.event_log(), node.subject_store());
    node.close().await;
    let [accepted, ..] = crate::fixture::events("{}", 1);
    assert!(log.append(&accepted).unwrap_err().to_string().contains("closed"));
    assert!(subjects.delete("nobody").await.unwrap_err().to_string().contains("closed"));
    let left = std::fs::read_dir(folder.path().join("events")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["checkpoint", "era"], "no segment is left");
}

//! Records go by age and by size, whole files at a time.

use std::time::Duration;

use chasen_embedded::{Embedded, EmbeddedConfig};
use chasen_entity::{ActivationId, ByteSize, Event};

use crate::fixture::{config, eventually, files, newest, record};

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn records_go_when_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { retention: Duration::from_secs(2), ..config(folder.path()) };
    let node = Embedded::open(config).unwrap();
    let (old, store) = (ActivationId::generate(), node.activation_store());
    // As if the clock were ahead: on a busy machine it may take a while until it is filed.
    node.event_log().append(&Event::Finished(record(old, now() + 6000))).unwrap();
    assert!(store.get("guest", &old).await.unwrap().is_some());
    let activations = folder.path().join("activations");
    eventually("the record is filed", async || !files(&activations, ".db").is_empty()).await;
    let file = files(&activations, ".db").remove(0);
    eventually("the record is gone", async || store.get("guest", &old).await.unwrap().is_none()).await;
    eventually("its file is gone", async || !file.exists()).await;
    assert_eq!(store.count(&newest(0)).await, Ok(0));

    let young = ActivationId::generate();
    node.event_log().append(&Event::Finished(record(young, now() + 3_600_000))).unwrap();
    eventually("a new file is begun", async || !files(&activations, ".db").is_empty()).await;
    assert!(store.get("guest", &young).await.unwrap().is_some());
    node.close().await;
}

#[tokio::test]
async fn the_oldest_records_go_when_there_is_too_much() {
    let folder = tempfile::tempdir().unwrap();
    let bound = 3 << 20;
    let config = EmbeddedConfig { max_bytes: ByteSize::bytes(bound), ..config(folder.path()) };
    let node = Embedded::open(config).unwrap();
    let activations = folder.path().join("activations");
    let size = || -> u64 {
        files(&activations, "").iter().filter_map(|file| file.metadata().ok()).map(|data| data.len()).sum()
    };
    let text = "x".repeat(2000);
    let mut ids = Vec::new();
    for start in 0..8000 {
        let mut record = chasen_entity::Activation::clone(&record(ActivationId::generate(), start));
        record.logs = vec![text.clone()];
        ids.push(record.activation_id);
        node.event_log().append(&Event::Finished(record.into())).unwrap();
    }
    let store = node.activation_store();
    eventually("the oldest is gone", async || store.get("guest", &ids[0]).await.unwrap().is_none()).await;
    assert!(store.get("guest", ids.last().unwrap()).await.unwrap().is_some(), "the newest stays");
    eventually("the rest fits", async || size() <= bound + (5 << 20)).await;
    let kept = store.list(&newest(10_000)).await.unwrap();
    assert!(kept.iter().map(|record| record.start).eq((0..8000).rev().take(kept.len())), "a suffix is kept");
    node.close().await;
}

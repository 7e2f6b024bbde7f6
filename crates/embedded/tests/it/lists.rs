//! Lists and counts across the log and many files, against the in-memory reference.

use std::sync::Arc;
use std::time::Duration;

use chasen_embedded::{Embedded, EmbeddedConfig};
use chasen_entity::{Activation, ActivationId, EntityName, EntityPath, Event};
use chasen_spi::memory::MemoryEventLog;
use chasen_spi::{ActivationQuery, ActivationStore, EventLog};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{config, record};

/// Files span a sixteenth of this: the records below come to lie in several.
fn many_files(folder: &std::path::Path) -> EmbeddedConfig {
    EmbeddedConfig { retention: Duration::from_secs(3600 * 24 * 365 * 100), ..config(folder) }
}

fn some_record(namespace: u32, name: u32, start: u64) -> Arc<Activation> {
    let path = ["guest", "other"][namespace as usize % 2];
    Arc::new(Activation {
        namespace: EntityPath::parse(path).unwrap(),
        name: EntityName::new(&format!("action{}", name % 3)).unwrap(),
        annotations: chasen_entity::Parameters::new(),
        ..Activation::clone(&record(ActivationId::generate(), start))
    })
}

fn any_query() -> impl Strategy<Value = ActivationQuery> {
    let time = || prop::option::of(0..1100u64);
    let name = prop::option::of((0..4u32).prop_map(|name| format!("action{name}")));
    let namespace = prop::sample::select(vec!["guest", "other", "nobody"]);
    (namespace, name, time(), time(), 0..700u64, 0..300u64).prop_map(
        |(namespace, name, since, upto, skip, limit)| ActivationQuery {
            namespace: namespace.to_owned(),
            name,
            cause: None,
            since,
            upto,
            skip,
            limit,
        },
    )
}

#[tokio::test]
async fn pages_are_those_of_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let reference = MemoryEventLog::default();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let mut node: Option<Embedded> = None;
    for life in 0..4 {
        // Records of earlier lives are in files, those of this one partly in the log only.
        let records = prop::collection::vec((any::<u32>(), any::<u32>(), 0..1000u64), 500..501);
        let open = node.insert(Embedded::open(many_files(folder.path())).unwrap());
        for (namespace, name, start) in records.new_tree(&mut runner).unwrap().current() {
            let event = Event::Finished(some_record(namespace, name, start));
            reference.append(&event).unwrap();
            open.event_log().append(&event).unwrap();
        }
        let store = open.activation_store();
        for _ in 0..60 {
            let query = any_query().new_tree(&mut runner).unwrap().current();
            let (page, expected) = (store.list(&query).await.unwrap(), reference.list(&query).await.unwrap());
            assert_eq!(page, expected, "life {life}: {query:?}");
            assert_eq!(store.count(&query).await, reference.count(&query).await, "life {life}: {query:?}");
        }
        if let Some(open) = node.take() {
            open.close().await;
        }
    }
}

#[tokio::test]
async fn paging_through_while_records_move_meets_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let node = Embedded::open(many_files(folder.path())).unwrap();
    let total = 3000u64;
    for start in 0..total {
        node.event_log().append(&Event::Finished(some_record(0, 0, start))).unwrap();
    }
    let store = node.activation_store();
    for _ in 0..5 {
        let mut starts = Vec::new();
        while (starts.len() as u64) < total {
            let query = ActivationQuery {
                namespace: "guest".to_owned(),
                skip: starts.len() as u64,
                limit: 200,
                ..ActivationQuery::default()
            };
            let page = store.list(&query).await.unwrap();
            assert!(!page.is_empty());
            starts.extend(page.iter().map(|record| record.start));
        }
        assert!(starts.iter().rev().copied().eq(0..total), "newest first, none twice, none missing");
    }
    node.close().await;
}

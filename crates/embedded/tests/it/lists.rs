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

/// Records start within this many milliseconds: several spans of the tallies.
const TIME: u64 = 300_000;
const LIVES: usize = 4;
/// Most of them in one namespace: enough for lists that jump.
const RECORDS: usize = 1500;

fn cause(number: u32) -> Option<ActivationId> {
    (number < 4).then(|| ActivationId::from_bytes([u8::try_from(number).unwrap(); 16]))
}

fn some_record(namespace: u32, name: u32, caused: u32, start: u64) -> Arc<Activation> {
    let path = if namespace.is_multiple_of(8) { "other" } else { "guest" };
    Arc::new(Activation {
        namespace: EntityPath::parse(path).unwrap(),
        name: EntityName::new(&format!("action{}", name % 3)).unwrap(),
        annotations: chasen_entity::Parameters::new(),
        cause: cause(caused),
        ..Activation::clone(&record(ActivationId::generate(), start))
    })
}

fn any_query() -> impl Strategy<Value = ActivationQuery> {
    let time = || prop::option::weighted(0.4, 0..TIME + 1000);
    let name = prop::option::weighted(0.4, (0..4u32).prop_map(|name| format!("action{name}")));
    let namespace = prop::sample::select(vec!["guest", "guest", "other", "nobody"]);
    let cause = prop::option::weighted(0.2, 0..4u32).prop_map(|number| number.and_then(cause));
    let skip = prop_oneof![0..700u64, 0..(LIVES * RECORDS) as u64];
    (namespace, name, cause, time(), time(), skip, 0..300u64).prop_map(
        |(namespace, name, cause, since, upto, skip, limit)| ActivationQuery {
            namespace: namespace.to_owned(),
            name,
            cause,
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
    for life in 0..LIVES {
        // Records of earlier lives are in files, those of this one partly in the log only.
        let record = (any::<u32>(), any::<u32>(), 0..20u32, 0..TIME);
        let records = prop::collection::vec(record, RECORDS..=RECORDS);
        let open = node.insert(Embedded::open(many_files(folder.path())).unwrap());
        for (namespace, name, caused, start) in records.new_tree(&mut runner).unwrap().current() {
            let event = Event::Finished(some_record(namespace, name, caused, start));
            reference.append(&event).unwrap();
            open.event_log().append(&event).unwrap();
        }
        let store = open.activation_store();
        for _ in 0..80 {
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
        node.event_log().append(&Event::Finished(some_record(1, 0, 9, start))).unwrap();
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

/// Pages of a walk that holds on to its beginning (`upto`), while newer records keep coming and all of them move
/// from the log into files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_with_a_fixed_beginning_neither_repeats_nor_loses_while_records_come() {
    let folder = tempfile::tempdir().unwrap();
    let node = Embedded::open(many_files(folder.path())).unwrap();
    let (log, store) = (node.event_log(), node.activation_store());
    let mut expected = Vec::new();
    // Ten start in the same millisecond: pages end in the middle of them.
    for number in 0..12_000u64 {
        let record = some_record(1, 0, 9, number / 10 * 40);
        expected.push((record.start, record.activation_id));
        log.append(&Event::Finished(record)).unwrap();
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let upto = expected[0].0;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let newer = std::thread::spawn(move || {
        let mut number = upto + 1;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            log.append(&Event::Finished(some_record(1, 0, 9, number))).unwrap();
            number += 1;
            if number % 16 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        number - upto
    });
    for size in [200, 77] {
        let mut met = Vec::new();
        loop {
            let query = ActivationQuery {
                namespace: "guest".to_owned(),
                upto: Some(upto),
                skip: met.len() as u64,
                limit: size,
                ..ActivationQuery::default()
            };
            let page = store.list(&query).await.unwrap();
            met.extend(page.iter().map(|record| (record.start, record.activation_id)));
            assert_eq!(store.count(&query).await, Ok(12_000));
            if (page.len() as u64) < size {
                break;
            }
        }
        assert!(met == expected, "pages of {size}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(newer.join().unwrap() > 100, "they did come");
    node.close().await;
}

//! The log while it runs and from one life to the next.

use std::collections::HashSet;
use std::sync::Arc;

use chasen_entity::{ActivationId, Event};
use chasen_spi::{Position, StoreError};

use crate::fixture::{SECRET, events, eventually, files, invocation, newest, open, record, take_up_all};

fn started(activation_id: ActivationId, attempt: u32) -> Event {
    Event::Started { activation_id, attempt, at: 7 }
}

#[tokio::test]
async fn what_is_unfinished_is_known_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let log = node.event_log();
    let work: Vec<_> = (0..4).map(|_| invocation(r#"{"n":1.0e400,"ü":"\u00fc"}"#)).collect();
    for one in &work {
        log.append(&Event::Accepted(one.clone())).unwrap();
    }
    for attempt in [1, 3, 2] {
        log.append(&started(work[1].activation_id, attempt)).unwrap();
    }
    log.append(&started(work[2].activation_id, 1)).unwrap();
    log.append(&Event::Finished(record(work[2].activation_id, 1))).unwrap();
    assert!(log.inherited().is_empty(), "only an earlier life's work counts");
    node.close().await;

    for _ in 0..2 {
        let node = open(folder.path());
        let unfinished = take_up_all(&*node.event_log());
        let found: Vec<_> = unfinished.iter().map(|open| (&open.invocation, open.started)).collect();
        assert_eq!(
            found,
            [(&work[0], None), (&work[1], Some(3)), (&work[3], None)],
            "oldest first, untouched"
        );
        node.close().await;
    }
    let node = open(folder.path());
    for open in take_up_all(&*node.event_log()) {
        node.event_log().append(&Event::Finished(record(open.invocation.activation_id, 2))).unwrap();
    }
    assert!(node.event_log().inherited().is_empty());
    node.close().await;
    let node = open(folder.path());
    assert!(node.event_log().inherited().is_empty());
    assert_eq!(node.activation_store().count(&newest(0)).await, Ok(4));
    node.close().await;
}

#[tokio::test]
async fn keys_of_callers_are_not_in_clear_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let position = node.event_log().append(&Event::Accepted(invocation("{}"))).unwrap();
    node.event_log().sync(position).await.unwrap();
    for file in files(&folder.path().join("events"), ".log") {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()));
    }
    node.close().await;
}

#[tokio::test]
async fn appends_of_many_threads_all_arrive_and_positions_grow() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let mut threads = Vec::new();
    for _ in 0..8 {
        let log = node.event_log();
        threads.push(std::thread::spawn(move || {
            let mut last = Position(0);
            (0..200u64)
                .map(|start| {
                    let events = events(r#"{"payload":"xxxxxxxxxxxxxxxx"}"#, start);
                    for event in &events {
                        let position = log.append(event).unwrap();
                        assert!(position > last);
                        last = position;
                    }
                    events[0].activation_id()
                })
                .collect::<Vec<_>>()
        }));
    }
    let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ids.len(), 1600);
    let records = node.activation_store();
    for id in &ids {
        assert!(records.get("guest", id).await.unwrap().is_some());
    }
    assert_eq!(records.count(&newest(0)).await, Ok(1600));
    node.close().await;
    let node = open(folder.path());
    assert_eq!(node.activation_store().list(&newest(2000)).await.unwrap().len(), 1600);
    node.close().await;
}

#[tokio::test]
async fn an_event_larger_than_a_segment_gets_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    node.event_log().append(&Event::Accepted(invocation("{}"))).unwrap();
    let accepted = invocation(&large);
    let position = node.event_log().append(&Event::Accepted(accepted.clone())).unwrap();
    let after = node.event_log().append(&Event::Accepted(invocation("{}"))).unwrap();
    assert!(after > position);
    node.event_log().sync(after).await.unwrap();
    node.close().await;
    let node = open(folder.path());
    let unfinished = take_up_all(&*node.event_log());
    assert_eq!(unfinished.len(), 3);
    assert!(unfinished[1].invocation == accepted);
    node.close().await;
}

#[tokio::test]
async fn segments_go_when_their_work_is_done_even_if_some_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let log = node.event_log();
    let stays = invocation(r#"{"stays":true}"#);
    log.append(&Event::Accepted(stays.clone())).unwrap();
    log.append(&started(stays.activation_id, 2)).unwrap();
    let events_folder = folder.path().join("events");
    for round in 0..4000 {
        for event in events(r#"{"payload":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#, round) {
            log.append(&event).unwrap();
        }
    }
    // About forty segments were filled: the active one, the spare and a few for the open work remain.
    eventually("segments are removed", async || files(&events_folder, ".log").len() <= 6).await;
    let again = invocation("{}");
    log.append(&Event::Accepted(again.clone())).unwrap();
    node.close().await;
    let node = open(folder.path());
    let unfinished = take_up_all(&*node.event_log());
    let found: Vec<_> = unfinished.iter().map(|open| (&open.invocation, open.started)).collect();
    assert_eq!(found, [(&stays, Some(2)), (&again, None)], "moved, not lost");
    assert_eq!(node.activation_store().count(&newest(0)).await, Ok(4000));
    node.close().await;
}

#[tokio::test]
async fn work_that_ends_without_a_record_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let log = node.event_log();
    let inherited = invocation("{}");
    log.append(&Event::Accepted(inherited.clone())).unwrap();
    node.close().await;

    let node = open(folder.path());
    let log = node.event_log();
    let events_folder = folder.path().join("events");
    let mut ended = Vec::new();
    for round in 0..4000 {
        let [accepted, started, _] = events(r#"{"payload":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#, round);
        ended.push(accepted.activation_id());
        for event in [accepted, started, Event::Ended(ended[ended.len() - 1])] {
            log.append(&event).unwrap();
        }
        if round == 2000 {
            assert_eq!(log.open(10).unwrap().len(), 1, "of the earlier life");
            log.append(&Event::Ended(inherited.activation_id)).unwrap();
        }
    }
    assert!(log.inherited().is_empty() && log.open_count() == 0);
    eventually("segments are removed", async || files(&events_folder, ".log").len() <= 3).await;
    assert_eq!(node.activation_store().get("guest", &ended[0]).await, Ok(None));
    assert_eq!(node.activation_store().count(&newest(0)).await, Ok(0));
    node.close().await;
    let node = open(folder.path());
    assert!(node.event_log().inherited().is_empty(), "in the next life too");
    node.close().await;
}

#[tokio::test]
async fn what_is_under_way_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let log = node.event_log();
    let work: Vec<_> = (0..5).map(|_| invocation("{}")).collect();
    for one in &work {
        log.append(&Event::Accepted(one.clone())).unwrap();
    }
    log.append(&Event::Finished(record(work[0].activation_id, 1))).unwrap();
    log.append(&Event::Ended(work[3].activation_id)).unwrap();
    assert_eq!(log.open_count(), 3);
    let open: Vec<_> =
        log.open(2).unwrap().into_iter().map(|open| (open.activation_id, open.to_string())).collect();
    let text = "guest/hello@0.0.1".to_owned();
    assert_eq!(open, [(work[1].activation_id, text.clone()), (work[2].activation_id, text)], "oldest first");
    node.close().await;
}

#[tokio::test]
async fn a_record_written_again_replaces_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let id = ActivationId::generate();
    for (round, line) in ["first", "second", "third"].into_iter().enumerate() {
        let node = open(folder.path());
        let mut with_logs = chasen_entity::Activation::clone(&record(id, 5));
        with_logs.logs = vec![line.to_owned()];
        node.event_log().append(&Event::Finished(Arc::new(with_logs))).unwrap();
        let logs = async |node: &chasen_embedded::Embedded| {
            node.activation_store().get("guest", &id).await.unwrap().unwrap().logs.clone()
        };
        assert_eq!(logs(&node).await, [line]);
        assert_eq!(node.activation_store().count(&newest(0)).await, Ok(1), "round {round}");
        node.close().await;
    }
}

#[tokio::test]
async fn commits_of_many_waiters_are_shared() {
    let folder = tempfile::tempdir().unwrap();
    let node = open(folder.path());
    let log = node.event_log();
    let waiters: Vec<_> = (0..500)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move {
                let position = log.append(&Event::Accepted(invocation("{}")))?;
                log.sync(position).await
            })
        })
        .collect();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok::<(), StoreError>(()));
    }
    log.sync(Position(0)).await.unwrap();
    node.close().await;
}

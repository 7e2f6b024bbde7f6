//! What every event log and activation store must do.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};

use chasen_entity::{Activation, ActivationId, Event, Invocation, RawJson};

use crate::memory::{activation, invocation};
use crate::{ActivationQuery, ActivationStore, EventLog, TakenUp};

fn of_guest() -> ActivationQuery {
    ActivationQuery { namespace: "guest".to_owned(), limit: 10, ..ActivationQuery::default() }
}

fn starts(found: Vec<Arc<Activation>>) -> Vec<u64> {
    found.iter().map(|record| record.start).collect()
}

/// Records: visible at once, newest first, filters and pages; and what the log knows to be open.
pub async fn event_log(log: &dyn EventLog, records: &dyn ActivationStore) {
    under_way(log, records).await;
    let mut ids = Vec::new();
    for (name, start) in [("a", 10), ("b", 20), ("a", 30)] {
        let record = Arc::new(activation("guest", name, start));
        ids.push(record.activation_id);
        let position = log.append(&Event::Finished(record.clone())).unwrap();
        assert_eq!(
            records.get("guest", &record.activation_id).await.unwrap(),
            Some(record),
            "readable at once"
        );
        log.sync(position).await.unwrap();
    }
    assert_eq!(records.get("other", &ids[0]).await.unwrap(), None, "another namespace sees nothing");
    let query = of_guest();
    assert_eq!(starts(records.list(&query).await.unwrap()), [30, 20, 10]);
    let named = ActivationQuery { name: Some("a".to_owned()), ..query.clone() };
    assert_eq!(starts(records.list(&named).await.unwrap()), [30, 10]);
    assert_eq!(records.count(&named).await, Ok(2));
    let between = ActivationQuery { since: Some(20), upto: Some(20), ..query.clone() };
    assert_eq!(starts(records.list(&between).await.unwrap()), [20]);
    assert_eq!(records.count(&between).await, Ok(1));
    let page = ActivationQuery { skip: 1, limit: 1, ..query.clone() };
    assert_eq!(starts(records.list(&page).await.unwrap()), [20]);
    assert_eq!(records.count(&page).await, Ok(3));
    visited(records).await;
    caused_ones(log, records).await;
    triggers(log, records).await;
    assert!(log.inherited().is_empty());
}

/// What a life of a node leaves open.
pub struct LeftWork {
    session: Arc<Invocation>,
    step: Arc<Invocation>,
    dropped: ActivationId,
    recorded: ActivationId,
}

/// Leaves work open, for [`taken_up_work`].
pub fn leave_work(log: &dyn EventLog) -> LeftWork {
    let work =
        |cause| Arc::new(Invocation { cause, ..invocation("guest", "a", "memory:1", r#"{"n":1.0e400}"#) });
    let session = work(None);
    let [step, dropped, recorded] = [(); 3].map(|()| work(Some(session.activation_id)));
    let progress = |state: &str| Event::Progress {
        activation_id: session.activation_id,
        state: RawJson::parse(state.as_bytes()).unwrap(),
    };
    let started = |attempt| Event::Started { activation_id: step.activation_id, attempt, at: 1 };
    let record = Activation { activation_id: recorded.activation_id, ..activation("guest", "a", 1) };
    for event in [
        Event::Accepted(session.clone()),
        progress(r#"{"at":1}"#),
        Event::Accepted(step.clone()),
        started(1),
        started(2),
        Event::Accepted(dropped.clone()),
        Event::Ended(dropped.activation_id),
        Event::Accepted(recorded.clone()),
        Event::Finished(Arc::new(record)),
        progress(r#"{"at": 2}"#),
    ] {
        log.append(&event).unwrap();
    }
    LeftWork { session, step, dropped: dropped.activation_id, recorded: recorded.activation_id }
}

/// The next life finds what was left, and gives each to one who asks.
pub fn taken_up_work(log: &dyn EventLog, left: &LeftWork) {
    let LeftWork { session, step, dropped, recorded } = left;
    assert_eq!(
        log.inherited(),
        [session.activation_id, step.activation_id],
        "what lies in others after them"
    );
    assert_eq!(log.accepted(&step.activation_id), Ok(Some(step.clone())));
    assert_eq!(log.accepted(recorded), Ok(None));
    let taken = |work: &Arc<Invocation>| match log.take_up(&work.activation_id).unwrap() {
        TakenUp::Taken(found) => {
            assert_eq!(found.invocation, *work);
            (found.started, found.progress.map(|state| state.as_str().to_owned()))
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(session), (None, Some(r#"{"at": 2}"#.to_owned())));
    assert_eq!(taken(step), (Some(2), None));
    for one in [session, step] {
        assert!(matches!(log.take_up(&one.activation_id), Ok(TakenUp::Elsewhere)));
    }
    let is_ended = |id: &ActivationId| matches!(log.take_up(id), Ok(TakenUp::Ended));
    let is_unknown = |id: &ActivationId| matches!(log.take_up(id), Ok(TakenUp::Unknown));
    assert!(is_ended(dropped) && is_ended(recorded) && is_unknown(&ActivationId::generate()));
    log.append(&Event::Ended(step.activation_id)).unwrap();
    assert!(is_ended(&step.activation_id));
    log.append(&Event::Ended(session.activation_id)).unwrap();
    assert!(
        is_unknown(&session.activation_id) && is_unknown(dropped) && is_unknown(recorded),
        "what it was a step of is over"
    );
}

/// Visitors see pages, and no further than they want to.
async fn visited(records: &dyn ActivationStore) {
    for (skip, limit, enough, expected) in
        [(0, 10, 10, vec![30, 20, 10]), (1, 1, 10, vec![20]), (0, 10, 2, vec![30, 20]), (3, 10, 10, vec![])]
    {
        let (shown, seen) = mpsc::channel();
        let mut count = 0;
        let visitor = Box::new(move |record: &Activation| {
            shown.send(record.start).unwrap();
            count += 1;
            if count < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        records.visit(&ActivationQuery { skip, limit, ..of_guest() }, visitor).await.unwrap();
        assert_eq!(seen.iter().collect::<Vec<_>>(), expected, "the visitor is gone");
    }
}

/// Work is under way from its accepted event to its end, with a record or without.
async fn under_way(log: &dyn EventLog, records: &dyn ActivationStore) {
    assert_eq!(log.open_count(), 0);
    let work = ["kept", "dropped", "open"].map(|name| Arc::new(invocation("guest", name, "memory:1", "{}")));
    for one in &work {
        log.append(&Event::Accepted(one.clone())).unwrap();
    }
    let [kept, dropped, open] = &work;
    log.append(&Event::Started { activation_id: dropped.activation_id, attempt: 1, at: 1 }).unwrap();
    let told: Vec<_> =
        log.open(10).unwrap().iter().map(|open| (open.activation_id, open.to_string())).collect();
    let expected = work.each_ref().map(|one| {
        let action = &one.action;
        (one.activation_id, format!("{}@{}", action.name, action.version))
    });
    assert_eq!(told, expected, "oldest first");
    assert_eq!((log.open(2).unwrap().len(), log.open_count()), (2, 3));

    let record = Activation { activation_id: kept.activation_id, ..activation("elsewhere", "kept", 1) };
    log.append(&Event::Finished(Arc::new(record))).unwrap();
    let position = log.append(&Event::Ended(dropped.activation_id)).unwrap();
    log.sync(position).await.unwrap();
    assert_eq!(log.open(10).unwrap()[0].activation_id, open.activation_id);
    assert_eq!((log.open(10).unwrap().len(), log.open_count()), (1, 1));
    assert!(records.get("elsewhere", &kept.activation_id).await.unwrap().is_some());
    assert_eq!(records.get("guest", &dropped.activation_id).await, Ok(None), "it has no record");
    log.append(&Event::Ended(open.activation_id)).unwrap();
    assert_eq!(log.open_count(), 0);
    assert_eq!(records.count(&of_guest()).await, Ok(0));
}

/// The steps of a sequence, by what caused them.
async fn caused_ones(log: &dyn EventLog, records: &dyn ActivationStore) {
    let (sequence, other) = (ActivationId::generate(), ActivationId::generate());
    for (cause, name, start) in
        [(Some(sequence), "x", 50), (Some(other), "x", 51), (None, "x", 52), (Some(sequence), "y", 53)]
    {
        let record = Activation { cause, ..activation("guest", name, start) };
        log.append(&Event::Finished(Arc::new(record))).unwrap();
    }
    let steps = ActivationQuery { cause: Some(sequence), ..of_guest() };
    assert_eq!(starts(records.list(&steps).await.unwrap()), [53, 50]);
    assert_eq!(records.count(&steps).await, Ok(2));
    let named = ActivationQuery { name: Some("x".to_owned()), ..steps.clone() };
    assert_eq!(starts(records.list(&named).await.unwrap()), [50]);
    assert_eq!(records.count(&named).await, Ok(1));
    let late = ActivationQuery { since: Some(51), ..steps.clone() };
    assert_eq!(starts(records.list(&late).await.unwrap()), [53]);
    assert_eq!(records.count(&late).await, Ok(1));
    let elsewhere = ActivationQuery { namespace: "elsewhere".to_owned(), ..steps };
    assert_eq!(records.count(&elsewhere).await, Ok(0));
}

/// Records without an end lie where they started.
async fn triggers(log: &dyn EventLog, records: &dyn ActivationStore) {
    let fired = Arc::new(Activation { end: 0, ..activation("guest", "trigger", 40) });
    log.append(&Event::Finished(fired.clone())).unwrap();
    let between = ActivationQuery { since: Some(35), upto: Some(50), ..of_guest() };
    assert_eq!(starts(records.list(&between).await.unwrap()), [50, 40]);
    assert_eq!(records.count(&between).await, Ok(2));
    assert_eq!(records.get("guest", &fired.activation_id).await, Ok(Some(fired)));
}

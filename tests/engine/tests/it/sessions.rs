//! Work that its opener does itself: the scheduler's books of it, and drains in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{
    Activation, Event, Invocation, Outcome, Parameters, RawJson, Response, Role, error_text,
};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::memory::activation;
use chasen_spi::{Invoke, Rejection};
use tokio::time::Instant;

use crate::bench::{bench, bench_with, call, outcome, result, told, until};

/// A sequence that somebody asks for.
fn sequence() -> Arc<Invocation> {
    Arc::new(Invocation { role: Role::Sequence, ..call("guest", "steps", "{}") })
}

/// A step of it.
fn step(of: &Invocation, arguments: &str) -> Invocation {
    Invocation { cause: Some(of.activation_id), ..call("guest", "step", arguments) }
}

/// Its record.
fn record(of: &Invocation) -> Activation {
    Activation { activation_id: of.activation_id, ..activation("guest", "steps", 1) }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_inside_until_it_has_its_record() {
    let bench = bench(512);
    let whole = sequence();
    let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
    assert_eq!((told(&bench, whole.activation_id), bench.scheduler.in_flight()), (vec!["accepted"], 1));
    session.started();
    let first = bench.run(step(&whole, r#"{"a":1}"#)).await;
    assert_eq!(first.cause, Some(whole.activation_id));
    let kept = session.finish(record(&whole));
    assert_eq!(kept.activation_id, whole.activation_id);
    assert_eq!(told(&bench, whole.activation_id), ["accepted", "started", "finished"]);
    assert_eq!(bench.scheduler.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_ends_in_a_record_that_says_so() {
    let bench = bench(512);
    for ends in ["dropped", "cancelled", "panics"] {
        let whole = sequence();
        let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
        let work = tokio::spawn(async move {
            session.started();
            match ends {
                "dropped" => drop(session),
                "cancelled" => std::future::pending::<()>().await,
                _ => panic!("on purpose"),
            }
        });
        until("begun", || told(&bench, whole.activation_id).len() > 1).await;
        work.abort();
        assert_eq!(work.await.is_ok(), ends == "dropped");
        let found = bench.log.events().into_iter().find_map(|event| match event {
            Event::Finished(record) if record.activation_id == whole.activation_id => Some(record),
            _ => None,
        });
        let found = found.unwrap();
        assert_eq!(outcome(&found), Outcome::WhiskError, "{ends}");
        assert_eq!(result(&found), RawJson::error(error_text::INTERRUPTED).as_str());
    }
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_its_opener_does_is_not_run_by_containers() {
    let bench = bench(512);
    let fire = Role::Fire { beneath: Parameters::new() };
    for (role, name) in [(Role::Sequence, "sequence"), (Role::Composition, "composition"), (fire, "trigger")]
    {
        let one = Invocation { role, ..call("guest", "steps", "{}") };
        match bench.scheduler.invoke(one) {
            Err(Rejection::NoDomain(kind)) => assert_eq!(kind, name),
            other => panic!("{:?}", other.err()),
        }
    }
    assert_eq!(bench.log.events().len(), 0);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_node_opens_nothing_new_but_goes_on() {
    let bench = bench_with(512, SchedulerConfig { max_queued_node: 1, ..SchedulerConfig::default() });
    let whole = sequence();
    let first = bench.scheduler.open(Arc::clone(&whole)).unwrap();
    let second = bench.scheduler.open(sequence()).unwrap();
    assert!(matches!(bench.scheduler.open(sequence()), Err(Rejection::Overloaded)));
    let nested = Invocation { role: Role::Sequence, ..step(&whole, "{}") };
    drop(bench.scheduler.open(Arc::new(nested)).unwrap());
    drop((first, second));
    drop(bench.scheduler.open(sequence()).unwrap());
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_a_session_between_two_of_its_steps() {
    let bench = bench(512);
    let whole = sequence();
    let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
    session.started();
    bench.run(step(&whole, "{}")).await;
    let begun = Instant::now();
    let drain = bench.scheduler.drain(Instant::now() + Duration::from_secs(30));
    let opener = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(bench.scheduler.is_draining());
        assert!(matches!(bench.scheduler.open(sequence()), Err(Rejection::Draining)));
        assert!(matches!(bench.scheduler.invoke(call("guest", "new", "{}")), Err(Rejection::Draining)));
        let nested = Arc::new(Invocation { role: Role::Sequence, ..step(&whole, "{}") });
        let inner = bench.scheduler.open(Arc::clone(&nested)).unwrap();
        let last = bench.run(step(&nested, r#"{"do":"sleep","ms":1000}"#)).await;
        assert_eq!(outcome(&last), Outcome::Success);
        drop(inner.finish(record(&nested)));
        session.finish(record(&whole))
    };
    let (cut, _) = tokio::join!(drain, opener);
    assert_eq!((cut, begun.elapsed().as_secs()), (0, 6));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn the_cut_ends_a_session_with_its_step() {
    let bench = bench(512);
    let whole = sequence();
    let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
    session.started();
    let opener = async {
        let cut_off = bench.run(step(&whole, r#"{"do":"sleep","ms":50000}"#)).await;
        assert_eq!(result(&cut_off), RawJson::error(error_text::INTERRUPTED).as_str());
        assert!(matches!(bench.scheduler.invoke(step(&whole, "{}")), Err(Rejection::Draining)));
        let nested = Arc::new(Invocation { role: Role::Sequence, ..step(&whole, "{}") });
        assert!(matches!(bench.scheduler.open(nested), Err(Rejection::Draining)));
        session.finish(record(&whole))
    };
    let begun = Instant::now();
    let (cut, _) = tokio::join!(bench.scheduler.drain(Instant::now() + Duration::from_secs(2)), opener);
    assert_eq!(cut, 2, "the session and its step");
    assert!(begun.elapsed() < Duration::from_secs(4));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn records_are_kept_as_the_level_says_and_answers_are_given_all_the_same() {
    use chasen_entity::StoreLevel::{
        StoreAlways, StoreFailures, StoreFailuresNotApplicationErrors, StoreNever,
    };
    let bench = bench(512);
    for (store, success, failure) in [
        (StoreAlways, "finished", "finished"),
        (StoreFailures, "ended", "finished"),
        (StoreFailuresNotApplicationErrors, "ended", "finished"),
        (StoreNever, "ended", "ended"),
    ] {
        for (arguments, expected) in [(r#"{"a":1}"#, success), (r#"{"do":"die"}"#, failure)] {
            let one = Invocation { store, ..call("guest", "hello", arguments) };
            let id = one.activation_id;
            let record = bench.run(one).await;
            assert_eq!(outcome(&record) == Outcome::Success, arguments.contains("\"a\""));
            assert_eq!(told(&bench, id).last(), Some(&expected), "{store:?} {arguments}");
        }
        let whole = Arc::new(Invocation { store, ..Invocation::clone(&sequence()) });
        let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
        let response = Response::error(Outcome::ApplicationError, "x");
        drop(session.finish(Activation { response, ..record(&whole) }));
        let kept = store.keeps(Outcome::ApplicationError);
        assert_eq!(told(&bench, whole.activation_id).last() == Some(&"finished"), kept, "{store:?}");
        drop(bench.scheduler.open(Arc::new(Invocation { store, ..Invocation::clone(&sequence()) })));
    }
    bench.assert_sound();
}

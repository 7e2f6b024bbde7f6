//! What a drain cuts off: it goes on in the next life of the node unless somebody waits, who is told then.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{
    Activation, Delivery, Durability, Invocation, Outcome, Parameters, RawJson, Role, error_text,
};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::memory::activation;
use chasen_spi::{Invoke, Rejection, Resumed, Session};
use tokio::time::Instant;

use crate::bench::{Bench, bench, call, next_life, outcome, result, told, until};
use crate::durable::{SlowDisk, synced};

/// A session that nobody waits for.
fn session(role: Role, cause: Option<&Invocation>) -> Arc<Invocation> {
    let cause = cause.map(|cause| cause.activation_id);
    // Steps are waited for, by what they are steps of.
    Arc::new(Invocation { role, cause, blocking: cause.is_some(), ..call("guest", "steps", "{}") })
}

fn step(of: &Invocation, arguments: &str) -> Invocation {
    Invocation { cause: Some(of.activation_id), ..call("guest", "step", arguments) }
}

fn record(of: &Invocation) -> Activation {
    Activation { activation_id: of.activation_id, ..activation("guest", "steps", 1) }
}

/// Opens it as an opener does.
fn open(bench: &Bench, whole: &Arc<Invocation>, state: &str) -> Session {
    let session = bench.scheduler.open(Arc::clone(whole)).unwrap();
    session.progress(RawJson::from_value(&state)).unwrap();
    session.started();
    session
}

/// Lets the node drain until it is cut, while this goes on; the number of those that were cut off.
async fn drained<T>(bench: &Bench, meanwhile: impl Future<Output = T>) -> (usize, T) {
    tokio::join!(bench.scheduler.drain(Instant::now() + Duration::from_secs(2)), meanwhile)
}

/// What the next life is given of the sessions that were left: by id, how far each had come.
async fn taken_up(second: &Bench, count: usize) -> Vec<(Session, chasen_spi::event_log::Unfinished)> {
    second.recover();
    until("the sessions are there", || second.opener.count() == count).await;
    second.opener.take()
}

const NOTED: [&str; 3] = ["accepted", "progress", "started"];

#[tokio::test(start_paused = true)]
async fn a_session_whose_step_is_refused_at_the_cut_goes_on_in_the_next_life() {
    let first = bench(512);
    let whole = session(Role::Sequence, None);
    let nested = session(Role::Composition, Some(&whole));
    let (outer, inner) = (open(&first, &whole, "outer"), open(&first, &nested, "inner"));
    let (cut, ()) = drained(&first, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(matches!(first.scheduler.invoke(step(&nested, "{}")), Err(Rejection::Draining)));
        assert!(inner.progress(RawJson::from_value(&"it failed")).is_err(), "nothing follows from it");
        drop(inner.finish(record(&nested)));
        assert!(outer.progress(RawJson::from_value(&"it failed")).is_err());
        drop(outer.finish(record(&whole)));
    })
    .await;
    assert_eq!(cut, 2);
    assert_eq!(
        (told(&first, whole.activation_id), told(&first, nested.activation_id)),
        (NOTED.into(), NOTED.into())
    );

    let second = next_life(&first, SchedulerConfig::default(), false);
    let (outer, left) = taken_up(&second, 1).await.remove(0);
    assert_eq!(left.progress, Some(RawJson::from_value(&"outer")));
    let Ok(Resumed::Session(inner, left)) = second.scheduler.take_up(&nested.activation_id) else {
        panic!("it is there")
    };
    assert_eq!(left.progress, Some(RawJson::from_value(&"inner")));
    assert_eq!(outcome(second.run(step(&nested, "{}")).await.as_ref()), Outcome::Success);
    drop(inner.finish(record(&nested)));
    drop(outer.finish(record(&whole)));
    second.rest().await;
}

#[tokio::test(start_paused = true)]
async fn steps_that_never_began_or_may_run_again_stay_with_their_sessions() {
    const LONG: &str = r#"{"do":"sleep","ms":50000}"#;
    let first = bench(512);
    let [waiting, lost, ended] = [(); 3].map(|()| session(Role::Sequence, None));
    let sessions = [&waiting, &lost, &ended].map(|whole| open(&first, whole, "here"));
    let again = Invocation { delivery: Delivery::AtLeastOnce, ..step(&lost, LONG) };
    let runs = Invocation { cause: Some(ended.activation_id), ..call("guest", "other", LONG) };
    let waits = Invocation { cause: Some(waiting.activation_id), ..call("guest", "third", "{}") };
    let ids = [waits.activation_id, again.activation_id, runs.activation_id];
    let steps = [again, runs].map(|step| tokio::spawn(first.scheduler.invoke(step).unwrap()));
    until("both run", || ids[1..].iter().all(|id| told(&first, *id).contains(&"started"))).await;
    let waits = tokio::spawn(first.scheduler.invoke(waits).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(told(&first, ids[0]), ["accepted"], "there is no more memory");
    drained(&first, async {
        for step in steps.into_iter().chain([waits]) {
            let told = step.await.unwrap();
            assert!(result(&told).contains(error_text::INTERRUPTED));
        }
        for (whole, session) in [&waiting, &lost, &ended].into_iter().zip(sessions) {
            drop(session.finish(record(whole)));
        }
    })
    .await;
    assert_eq!(told(&first, ids[0]), ["accepted"]);
    assert_eq!(told(&first, ids[1]), ["accepted", "started"]);
    assert_eq!(told(&first, ids[2]), ["accepted", "started", "finished"], "it must not run again");
    assert_eq!(told(&first, ended.activation_id).last(), Some(&"finished"), "it went as its step did");

    let second = next_life(&first, SchedulerConfig::default(), false);
    let sessions = taken_up(&second, 2).await;
    let [waits, again] = [ids[0], ids[1]].map(|id| match second.scheduler.take_up(&id) {
        Ok(Resumed::Action(ticket)) => tokio::spawn(ticket),
        _ => panic!("{id} is there"),
    });
    assert_eq!(outcome(&waits.await.unwrap()), Outcome::Success);
    assert_eq!(outcome(&again.await.unwrap()), Outcome::Success);
    for (session, left) in sessions {
        drop(session.finish(record(&left.invocation)));
    }
    second.rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_fire_whose_rule_is_refused_at_the_cut_goes_on_in_the_next_life() {
    let first = bench(512);
    let fires = [(); 2].map(|()| session(Role::Fire { beneath: Parameters::new() }, None));
    let [cut_off, done] = fires.each_ref().map(|fire| open(&first, fire, "reactions"));
    let reaction = |of: &Invocation| Invocation {
        blocking: false,
        fire: Some(of.activation_id),
        ..call("guest", "hello", "{}")
    };
    drained(&first, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.scheduler.invoke(reaction(&fires[1])).unwrap().detach();
        let stranger = Invocation { fire: Some(step(&fires[0], "{}").activation_id), ..reaction(&fires[1]) };
        assert!(
            matches!(first.scheduler.invoke(stranger), Err(Rejection::Draining)),
            "no fire of it is open"
        );
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(matches!(first.scheduler.invoke(reaction(&fires[0])), Err(Rejection::Draining)));
        drop(cut_off.finish(record(&fires[0])));
        drop(done.finish(record(&fires[1])));
    })
    .await;
    assert_eq!(told(&first, fires[0].activation_id), NOTED);
    assert_eq!(told(&first, fires[1].activation_id).last(), Some(&"finished"), "nothing of it was refused");
    let second = next_life(&first, SchedulerConfig::default(), false);
    for (session, left) in taken_up(&second, 1).await {
        assert_eq!(left.invocation.activation_id, fires[0].activation_id);
        drop(session.finish(record(&left.invocation)));
    }
    second.rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_session_does_not_go_on() {
    let first = bench(512);
    let whole = session(Role::Sequence, None);
    let session = open(&first, &whole, "here");
    let namespace = whole.identity.namespace.name.clone();
    drained(&first, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(first.scheduler.invoke(step(&whole, "{}")).is_err());
        let cancelled = first.scheduler.cancel(&namespace, &whole.activation_id);
        let ended = async {
            session.cancelled().await;
            session.finish(record(&whole))
        };
        let (cancelled, _) = tokio::join!(cancelled, ended);
        assert!(cancelled.is_ok());
    })
    .await;
    assert_eq!(told(&first, whole.activation_id).last(), Some(&"finished"));
}

#[tokio::test(start_paused = true)]
async fn who_is_told_that_it_was_interrupted_does_not_see_it_run_later() {
    let disk = SlowDisk::new(Duration::from_millis(5));
    let bench = disk.bench();
    bench.scheduler.invoke(synced("{}")).unwrap().await;
    disk.fail(true);
    let [asked, left] = [true, false].map(|blocking| Invocation { blocking, ..synced("{}") });
    assert_eq!((asked.durability, asked.delivery), (Durability::Synced, Delivery::AtMostOnce));
    let ids = [asked.activation_id, left.activation_id];
    let asked = tokio::spawn(bench.scheduler.invoke(asked).unwrap());
    bench.scheduler.invoke(left).unwrap().detach();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(ids.iter().all(|id| told(&bench, *id) == ["accepted", "progress"]), "they wait for the disk");
    drained(&bench, async {
        let told = asked.await.unwrap();
        assert!(result(&told).contains(error_text::INTERRUPTED));
    })
    .await;
    assert_eq!(told(&bench, ids[0]), ["accepted", "progress", "finished"]);
    assert_eq!(told(&bench, ids[1]), ["accepted", "progress"], "nobody waits: it runs in the next life");
}

//! Activations that somebody wants to end: those that are not due, that wait, that run, and sessions.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{Activation, EntityName, Invocation, Outcome, Role, error_text};
use chasen_spi::memory::activation;
use chasen_spi::{Cancelled, Invoke};
use tokio::time::Instant;

use crate::bench::{Bench, bench, call, outcome, result, told, until, with_action};

fn guest() -> EntityName {
    EntityName::new("guest").unwrap()
}

async fn cancel(bench: &Bench, one: &Invocation) -> Arc<Activation> {
    let begun = Instant::now();
    match bench.scheduler.cancel(&guest(), &one.activation_id).await.unwrap() {
        Cancelled::Ended(record) => {
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
            assert_eq!(record.activation_id, one.activation_id);
            record
        }
        Cancelled::NotUnderWay => panic!("{} is under way", one.activation_id),
    }
}

fn assert_cancelled(record: &Activation) {
    assert_eq!(outcome(record), Outcome::ApplicationError);
    assert!(result(record).contains(error_text::CANCELLED), "{}", result(record));
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_ended_with_its_container() {
    let bench = bench(512);
    for what in [r#"{"do":"sleep","ms":50000}"#, r#"{"do":"stuck"}"#] {
        let one = call("guest", "hello", what);
        let running = tokio::spawn(bench.scheduler.invoke(one.clone()).unwrap());
        until("it runs", || told(&bench, one.activation_id).contains(&"started")).await;
        let record = cancel(&bench, &one).await;
        assert_cancelled(&record);
        assert_eq!(running.await.unwrap(), record, "whoever waits hears the same");
        until("its container is gone", || bench.factory.alive() == 0).await;
    }
    assert_eq!(outcome(bench.run(call("guest", "hello", "{}")).await.as_ref()), Outcome::Success);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_shares_a_container_is_let_go_of_and_the_others_go_on() {
    let bench = bench(512);
    let one = |arguments| {
        with_action(call("guest", "hello", arguments), |action| {
            action.limits.concurrency = 10;
            action.limits.instances = Some(1);
        })
    };
    bench.run(one("{}")).await;
    let (unwanted, other) = (one(r#"{"do":"sleep","ms":20000}"#), one(r#"{"do":"sleep","ms":5000}"#));
    let running = tokio::spawn(bench.scheduler.invoke(unwanted.clone()).unwrap());
    let others = tokio::spawn(bench.scheduler.invoke(other).unwrap());
    until("both run", || bench.factory.notes().runs.values().sum::<u64>() == 3).await;
    let record = cancel(&bench, &unwanted).await;
    assert_cancelled(&record);
    assert_eq!(running.await.unwrap(), record);
    assert_eq!(outcome(&others.await.unwrap()), Outcome::Success);
    assert_eq!(outcome(bench.run(one("{}")).await.as_ref()), Outcome::Success);
    assert_eq!(bench.factory.notes().created, 2, "the old container takes no more work");
    until("it ends when its runs are done", || bench.factory.notes().stopped == 1).await;
    until("and nothing is left of it", || bench.scheduler.in_flight() == 0).await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_waits_ends_at_once_and_the_rest_keeps_its_turn() {
    let bench = bench(256);
    let long =
        tokio::spawn(bench.scheduler.invoke(call("guest", "hello", r#"{"do":"sleep","ms":3000}"#)).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (unwanted, next) = (call("guest", "hello", "{}"), call("guest", "hello", "{}"));
    let waiting = tokio::spawn(bench.scheduler.invoke(unwanted.clone()).unwrap());
    let other = tokio::spawn(bench.scheduler.invoke(next).unwrap());
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_cancelled(cancel(&bench, &unwanted).await.as_ref());
    assert_cancelled(&waiting.await.unwrap());
    assert_eq!(told(&bench, unwanted.activation_id), ["accepted", "finished"]);
    assert_eq!(outcome(&long.await.unwrap()), Outcome::Success);
    assert_eq!(outcome(&other.await.unwrap()), Outcome::Success);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_and_its_record_says_so() {
    let bench = bench(512);
    let whole = Arc::new(Invocation { role: Role::Sequence, ..call("guest", "steps", "{}") });
    let session = bench.scheduler.open(Arc::clone(&whole)).unwrap();
    let wish = session.cancelled();
    let opener = tokio::spawn(async move {
        wish.await;
        let record = Activation { activation_id: whole.activation_id, ..activation("guest", "steps", 1) };
        (whole, session.finish(record))
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let id = bench.log.events()[0].activation_id();
    let Ok(Cancelled::Ended(record)) = bench.scheduler.cancel(&guest(), &id).await else { panic!("open") };
    assert_cancelled(&record);
    assert_eq!(opener.await.unwrap().1, record);
    let dropped = Arc::new(Invocation { role: Role::Sequence, ..call("guest", "steps", "{}") });
    let session = bench.scheduler.open(Arc::clone(&dropped)).unwrap();
    let wish = session.cancelled();
    tokio::spawn(async move {
        wish.await;
        drop(session);
    });
    assert_cancelled(cancel(&bench, &dropped).await.as_ref());
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn strangers_and_those_who_come_late_end_nothing() {
    let bench = bench(512);
    let one = call("guest", "hello", r#"{"do":"sleep","ms":1000}"#);
    let running = tokio::spawn(bench.scheduler.invoke(one.clone()).unwrap());
    let other = EntityName::new("other").unwrap();
    let not_theirs = bench.scheduler.cancel(&other, &one.activation_id).await;
    assert!(matches!(not_theirs, Ok(Cancelled::NotUnderWay)));
    assert_eq!(outcome(&running.await.unwrap()), Outcome::Success);
    let too_late = bench.scheduler.cancel(&guest(), &one.activation_id).await;
    assert!(matches!(too_late, Ok(Cancelled::NotUnderWay)));
    assert!(bench.scheduler.end_of(&one.activation_id).is_none());
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_is_told_of_the_end() {
    let bench = bench(512);
    let one = call("guest", "hello", r#"{"do":"sleep","ms":1000}"#);
    let never = Invocation { store: chasen_entity::StoreLevel::StoreNever, ..call("guest", "hello", "{}") };
    for one in [one, never] {
        let id = one.activation_id;
        let ticket = bench.scheduler.invoke(one).unwrap();
        let (first, second) = (bench.scheduler.end_of(&id).unwrap(), bench.scheduler.end_of(&id).unwrap());
        let (record, first, second) = tokio::join!(ticket, first, second);
        assert_eq!((&first, &second), (&record, &record));
        assert!(bench.scheduler.end_of(&id).is_none());
    }
    bench.assert_sound();
}

//! Work that runs when it is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_entity::{
    ActivationId, Durability, EntityName, Invocation, Millis, Outcome, Response, Role, error_text,
};
use chasen_scheduler::{SchedulerConfig, WallClock};
use chasen_spi::{Cancelled, Invoke, PendingQuery, Rejection};
use tokio::time::Instant;

use crate::bench::{Bench, bench_with, call, next_life, outcome, result, told, until, with_action};

const NOON: Millis = 1_700_000_000_000;

/// A wall clock that runs with the test's time and may be set.
struct Wall {
    begun: Instant,
    set: AtomicU64,
}

impl Wall {
    fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), set: AtomicU64::new(NOON) })
    }

    fn now(&self) -> Millis {
        self.set.load(Ordering::SeqCst) + u64::try_from(self.begun.elapsed().as_millis()).unwrap()
    }

    fn config(self: &Arc<Self>) -> SchedulerConfig {
        let wall = Arc::clone(self);
        SchedulerConfig { clock: WallClock::new(move || wall.now()), ..SchedulerConfig::default() }
    }
}

fn due(name: &str, at: Millis) -> Arc<Invocation> {
    Arc::new(Invocation { blocking: false, due: Some(at), ..call("guest", name, "{}") })
}

fn all() -> PendingQuery {
    let namespace = EntityName::new("guest").unwrap();
    PendingQuery { namespace, name: None, since: None, upto: None, skip: 0, limit: 100 }
}

fn listed(bench: &Bench, query: &PendingQuery) -> Vec<ActivationId> {
    let found = bench.scheduler.pending(query).unwrap();
    found.iter().map(|invocation| invocation.activation_id).collect()
}

#[tokio::test(start_paused = true)]
async fn work_runs_when_it_is_due_and_not_before() {
    let wall = Wall::new();
    let bench = bench_with(512, wall.config());
    let (late, soon) = (due("late", NOON + 15_000), due("soon", NOON + 5_000));
    for one in [&late, &soon] {
        bench.scheduler.schedule(Arc::clone(one)).unwrap();
    }
    assert_eq!(listed(&bench, &all()), [soon.activation_id, late.activation_id]);
    assert!(bench.scheduler.under_way(&all().namespace, &soon.activation_id).unwrap().unwrap().is_pending);
    assert_eq!(bench.scheduler.in_flight(), 0, "a drain does not wait for them");
    let end = bench.scheduler.end_of(&soon.activation_id).unwrap();
    tokio::time::sleep(Duration::from_millis(4_900)).await;
    assert_eq!(told(&bench, soon.activation_id), ["accepted"]);
    assert_eq!(outcome(end.await.as_ref()), Outcome::Success);
    assert!(wall.now() < NOON + 6_000, "{}", wall.now() - NOON);
    assert_eq!(listed(&bench, &all()), [late.activation_id]);
    until("the other runs, too", || bench.log.events().len() == 6).await;
    assert!(wall.now() >= NOON + 15_000 && wall.now() < NOON + 16_000);
    assert_eq!(bench.scheduler.pending_count(&all()), 0);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_a_namespace_put_off_does_not_run_once_it_is_blacklisted() {
    let wall = Wall::new();
    let first = bench_with(512, wall.config());
    let action = due("hello", NOON + 5_000);
    let sequence =
        Arc::new(Invocation { role: Role::Sequence, ..Invocation::clone(&due("s", NOON + 5_000)) });
    for one in [&action, &sequence] {
        first.scheduler.schedule(Arc::clone(one)).unwrap();
    }
    let begun = Arc::new(Invocation { blocking: false, ..call("guest", "begun", "{}") });
    first.leave(&begun, Some(1));
    let second = next_life(&first, wall.config(), false);
    second.opener.blacklists.store(true, Ordering::SeqCst);
    second.recover();
    second.rest().await;
    for (one, text) in [
        // It is not said of what has begun that it was never invoked.
        (&begun, error_text::INTERRUPTED),
        (&action, error_text::BLACKLISTED),
        (&sequence, error_text::BLACKLISTED),
    ] {
        let record = second.record(one.activation_id);
        assert_eq!(record.response, Response::error(outcome(&record), text));
        assert!(!told(&second, one.activation_id).contains(&"started") || text == error_text::INTERRUPTED);
    }
    assert!(wall.now() >= NOON + 5_000, "not before it is due");
    assert_eq!(second.opener.count(), 0);
    second.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_moves_what_is_due() {
    for (set, sooner) in [(NOON + 3_600_000, true), (NOON - 3_600_000, false)] {
        let wall = Wall::new();
        let bench = bench_with(512, wall.config());
        let one = due("hello", NOON + 1_800_000);
        bench.scheduler.schedule(Arc::clone(&one)).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        wall.set.store(set, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert_eq!(told(&bench, one.activation_id).len() > 1, sooner, "looked at within half a minute");
        bench.scheduler.cancel(&all().namespace, &one.activation_id).await.unwrap();
        bench.rest().await;
        bench.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn lists_have_pages_names_and_times() {
    let wall = Wall::new();
    let bench = bench_with(512, wall.config());
    let work: Vec<_> = (1..=6u64).map(|n| due(["a", "b"][n as usize % 2], NOON + n * 10_000)).collect();
    for one in work.iter().rev() {
        bench.scheduler.schedule(Arc::clone(one)).unwrap();
    }
    let stranger = Arc::new(Invocation { due: Some(NOON + 1), ..call("other", "a", "{}") });
    bench.scheduler.schedule(stranger).unwrap();
    let ids = |numbers: &[usize]| numbers.iter().map(|n| work[n - 1].activation_id).collect::<Vec<_>>();
    let named = PendingQuery { name: Some("a".to_owned()), ..all() };
    assert_eq!(listed(&bench, &named), ids(&[2, 4, 6]));
    let page = PendingQuery { skip: 1, limit: 2, ..all() };
    assert_eq!(listed(&bench, &page), ids(&[2, 3]));
    assert_eq!(bench.scheduler.pending_count(&page), 6);
    let between = PendingQuery { since: Some(NOON + 20_000), upto: Some(NOON + 40_000), ..all() };
    assert_eq!(listed(&bench, &between), ids(&[2, 3, 4]));
    assert_eq!(bench.scheduler.pending_count(&between), 3);
    assert_eq!(bench.scheduler.pending_count(&PendingQuery { name: Some("c".to_owned()), ..all() }), 0);
}

#[tokio::test(start_paused = true)]
async fn there_may_be_so_many() {
    let wall = Wall::new();
    let config = SchedulerConfig { max_pending_namespace: 2, max_pending_node: 3, ..wall.config() };
    let bench = bench_with(512, config);
    let of = |namespace| Arc::new(Invocation { due: Some(NOON + 60_000), ..call(namespace, "a", "{}") });
    for _ in 0..2 {
        bench.scheduler.schedule(of("guest")).unwrap();
    }
    let refused = bench.scheduler.schedule(of("guest")).unwrap_err();
    assert_eq!(refused, Rejection::TooManyPending { pending: 2, allowed: 2 });
    assert_eq!(refused.to_string(), error_text::too_many_pending(2, 2));
    bench.scheduler.schedule(of("second")).unwrap();
    assert_eq!(bench.scheduler.schedule(of("third")).unwrap_err(), Rejection::Overloaded);
    assert_eq!(bench.log.events().len(), 3, "what is refused is not accepted");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_due_can_be_cancelled() {
    let wall = Wall::new();
    let bench = bench_with(512, wall.config());
    let one = due("hello", NOON + 5_000);
    bench.scheduler.schedule(Arc::clone(&one)).unwrap();
    let ended = bench.scheduler.cancel(&all().namespace, &one.activation_id).await.unwrap();
    let Cancelled::Ended(record) = ended else { panic!("pending") };
    assert!(result(&record).contains(error_text::CANCELLED));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(told(&bench, one.activation_id), ["accepted", "finished"]);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_drain_and_a_crash_leave_it_pending() {
    let wall = Wall::new();
    let first = bench_with(512, wall.config());
    let (soon, late) = (due("hello", NOON + 5_000), due("hello", NOON + 50_000));
    let session =
        Arc::new(Invocation { role: Role::Sequence, ..Invocation::clone(&due("steps", NOON + 40_000)) });
    for one in [&soon, &late, &session] {
        first.scheduler.schedule(Arc::clone(one)).unwrap();
    }
    assert_eq!(first.scheduler.drain(Instant::now() + Duration::from_secs(1)).await, 0);
    assert_eq!(first.scheduler.schedule(due("x", NOON)).unwrap_err(), Rejection::Draining);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(first.log.events().len(), 3, "nothing runs any more");

    let second = next_life(&first, wall.config(), false);
    second.recover();
    until("what came due meanwhile runs", || told(&second, soon.activation_id).len() == 3).await;
    assert_eq!(listed(&second, &all()), [session.activation_id, late.activation_id]);
    assert_eq!(second.opener.count(), 0);
    until("the session is handed over", || second.opener.count() == 1).await;
    assert!(wall.now() >= NOON + 40_000);
    let (opened, work) = second.opener.take().remove(0);
    assert_eq!((work.invocation.activation_id, work.started), (session.activation_id, None));
    drop(opened);
    second.rest().await;
    assert!(wall.now() >= NOON + 50_000);
    second.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_life_left_is_listed_as_a_whole() {
    let wall = Wall::new();
    let first = bench_with(512, wall.config());
    for n in 0..300 {
        first.scheduler.schedule(due("hello", NOON + 60_000 + n)).unwrap();
    }
    let second = next_life(&first, wall.config(), false);
    second.scheduler.left_work_known().await.unwrap();
    second.recover();
    assert!(second.scheduler.pending_count(&all()) < 300, "it is looked at in the background");
    second.scheduler.left_work_known().await.unwrap();
    assert_eq!(second.scheduler.pending_count(&all()), 300);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_is_due_at_once_comes_in_turns() {
    let wall = Wall::new();
    let bench = bench_with(2048, SchedulerConfig { max_recovering: 4, ..wall.config() });
    for _ in 0..300 {
        bench.scheduler.schedule(due("hello", NOON + 1_000)).unwrap();
    }
    for _ in 0..2_000 {
        assert!(bench.scheduler.in_flight() <= 4);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench.rest().await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_has_begun_does_not_wait_again_because_the_clock_was_set_back() {
    let wall = Wall::new();
    let first = bench_with(1024, wall.config());
    let busy = Invocation { blocking: false, ..call("guest", "hello", r#"{"do":"sleep","ms":5000}"#) };
    let busy = with_action(busy, |action| action.limits.instances = Some(1));
    tokio::spawn(first.scheduler.invoke(busy).unwrap());
    let one = Invocation { durability: Durability::Synced, ..Invocation::clone(&due("hello", NOON)) };
    let id = one.activation_id;
    first.scheduler.schedule(Arc::new(one)).unwrap();
    until("its start is announced", || told(&first, id) == ["accepted", "progress"]).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let earlier =
        SchedulerConfig { clock: WallClock::new(|| NOON - 3_600_000), ..SchedulerConfig::default() };
    let second = next_life(&first, earlier, true);
    second.recover();
    second.rest().await;
    assert_eq!(outcome(&second.record(id)), Outcome::WhiskError, "it may have run before the power cut");
}

//! Bounds and the end: full queues, long waits, drains.

use std::time::Duration;

use chasen_entity::{Invocation, Outcome, error_text};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::{Invoke, Rejection};
use tokio::time::Instant;

use crate::bench::{bench, bench_with, call, outcome, result, until, with_action};

#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_and_the_next_is_told_at_once() {
    let bench = bench_with(1024, SchedulerConfig { max_queued: 10_000, ..SchedulerConfig::default() });
    let one = || {
        with_action(call("guest", "hello", r#"{"do":"sleep","ms":1}"#), |action| {
            action.limits.instances = Some(1);
        })
    };
    let tickets: Vec<_> = (0..10_000).map(|_| bench.scheduler.invoke(one()).unwrap()).collect();
    assert!(matches!(bench.scheduler.invoke(one()), Err(Rejection::Overloaded)));
    let tasks: Vec<_> = tickets.into_iter().map(tokio::spawn).collect();
    for task in tasks {
        assert_eq!(outcome(&task.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
    assert_eq!(bench.factory.notes().created, 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_time_waits_in_the_log_where_the_queue_is_full() {
    let config = SchedulerConfig { max_queued: 10, max_pending_namespace: 500, ..SchedulerConfig::default() };
    let bench = bench_with(1024, config);
    let one = |blocking| {
        let one = Invocation { blocking, ..call("guest", "hello", r#"{"do":"sleep","ms":1}"#) };
        with_action(one, |action| action.limits.instances = Some(1))
    };
    for _ in 0..510 {
        bench.scheduler.invoke(one(false)).unwrap().detach();
    }
    assert!(bench.scheduler.in_flight() <= 10, "the rest is an id each");
    for blocking in [true, false] {
        assert!(matches!(bench.scheduler.invoke(one(blocking)), Err(Rejection::Overloaded)));
    }
    bench.rest().await;
    assert_eq!(bench.factory.notes().created, 1);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn the_node_and_the_bytes_are_bounded_too() {
    let config =
        SchedulerConfig { max_queued_node: 10, max_queued_bytes: 100_000, ..SchedulerConfig::default() };
    let bench = bench_with(256, config);
    let tickets: Vec<_> = (0..10)
        .map(|number| bench.scheduler.invoke(call("guest", &format!("a{number}"), "{}")).unwrap())
        .collect();
    assert!(matches!(bench.scheduler.invoke(call("guest", "next", "{}")), Err(Rejection::Overloaded)));
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000));
    drop(tickets);
    until("room again", || bench.scheduler.in_flight() == 0).await;
    assert!(matches!(bench.scheduler.invoke(call("guest", "large", &large)), Err(Rejection::Overloaded)));
    until("no dead queue", || bench.scheduler.queues() <= 1).await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_so() {
    let bench = bench(256);
    let one = |blocking| {
        let arguments = r#"{"do":"sleep","ms":200000}"#;
        let call = Invocation { blocking, ..call("guest", "hello", arguments) };
        with_action(call, |action| {
            action.limits.instances = Some(1);
            action.limits.timeout = 300_000;
        })
    };
    let long = tokio::spawn(bench.scheduler.invoke(one(true)).unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let patient = tokio::spawn(bench.scheduler.invoke(one(false)).unwrap());
    let begun = Instant::now();
    let record = bench.run(one(true)).await;
    assert_eq!((outcome(&record), begun.elapsed().as_secs()), (Outcome::WhiskError, 60));
    assert!(result(&record).contains(error_text::NOT_PROVISIONED));
    assert_eq!(outcome(&long.await.unwrap()), Outcome::Success);
    assert_eq!(outcome(&patient.await.unwrap()), Outcome::Success, "nobody waits for it: it may wait longer");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn busy_actions_share_a_full_node_without_wearing_it_out() {
    let bench = bench(512);
    let mut tasks = Vec::new();
    for _ in 0..1000 {
        for namespace in ["alice", "bob", "carol"] {
            let one = call(namespace, "x", r#"{"do":"sleep","ms":10}"#);
            tasks.push(tokio::spawn(bench.scheduler.invoke(one).unwrap()));
        }
    }
    for task in tasks {
        assert_eq!(outcome(&task.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
    let created = bench.factory.notes().created;
    assert!(created < 200, "{created} containers for 3000 runs");
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_what_is_there() {
    let bench = bench(512);
    let running =
        tokio::spawn(bench.scheduler.invoke(call("guest", "a", r#"{"do":"sleep","ms":500}"#)).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let drain = bench.scheduler.drain(Instant::now() + Duration::from_secs(30));
    let late = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        matches!(bench.scheduler.invoke(call("guest", "a", "{}")), Err(Rejection::Draining))
    };
    let (cut, refused) = tokio::join!(drain, late);
    assert_eq!((cut, refused), (0, true));
    assert_eq!(outcome(&running.await.unwrap()), Outcome::Success);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_ends_in_a_record_all_the_same() {
    let bench = bench(1024);
    let mut tasks = Vec::new();
    for what in [r#"{"do":"stuck"}"#, r#"{"do":"hang"}"#, r#"{"do":"sleep","ms":50000}"#, "{}"] {
        for action in ["a", "b", "c"] {
            tasks.push(tokio::spawn(bench.scheduler.invoke(call("guest", action, what)).unwrap()));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let cut = bench.scheduler.drain(Instant::now() + Duration::from_secs(2)).await;
    assert!(begun.elapsed() < Duration::from_secs(4));
    let mut interrupted = 0;
    for task in tasks {
        let record = task.await.unwrap();
        if outcome(&record) == Outcome::WhiskError {
            assert!(result(&record).contains(error_text::INTERRUPTED));
            interrupted += 1;
        }
    }
    assert!(interrupted > 0 && interrupted == cut, "{interrupted} of {cut}");
    assert_eq!((bench.factory.alive(), bench.invoker.containers()), (0, 0));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn three_times_what_there_is_room_for_loses_nothing_of_it_and_is_over_soon() {
    let bench = bench(1024);
    let one = |blocking| {
        let call = Invocation { blocking, ..call("guest", "hello", r#"{"do":"sleep","ms":20}"#) };
        with_action(call, |action| {
            action.limits.instances = Some(2);
            action.limits.timeout = 1000;
        })
    };
    // Two slots of 20 ms are 100 calls a second; 300 are offered.
    let (mut tasks, mut refused) = (Vec::new(), 0);
    let begun = Instant::now();
    for number in 0..3000u32 {
        tokio::time::sleep_until(begun + Duration::from_secs(10) * number / 3000).await;
        match bench.scheduler.invoke(one(true)) {
            Ok(ticket) => tasks.push(tokio::spawn(ticket)),
            Err(rejection) => {
                assert!(
                    matches!(rejection, Rejection::OverOwnLimit { in_flight: 3.., allowed: 2 }),
                    "{rejection}"
                );
                refused += 1;
            }
        }
    }
    let end = Instant::now();
    let good = tasks.len();
    for task in tasks {
        assert_eq!(outcome(&task.await.unwrap()), Outcome::Success);
    }
    assert!(good >= 950 && refused > 1500, "{good} served, {refused} refused");
    assert!(end.elapsed() <= Duration::from_secs(2), "over after {:?}", end.elapsed());
    let begun = Instant::now();
    bench.run(one(true)).await;
    assert!(begun.elapsed() < Duration::from_millis(50));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_slots_of_its_own_does_not_feel_another_ones_flood() {
    let bench = bench(1024);
    let one = |namespace: &str| {
        let call = call(namespace, "hello", r#"{"do":"sleep","ms":20}"#);
        with_action(call, |action| action.limits.instances = Some(2))
    };
    let quiet = async || {
        let mut times = Vec::new();
        for _ in 0..100 {
            let begun = Instant::now();
            bench.run(one("quiet")).await;
            times.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        times.sort_unstable();
        times[98]
    };
    bench.run(one("quiet")).await;
    let alone = quiet().await;
    let flood: Vec<_> =
        (0..2000).map(|_| tokio::spawn(bench.scheduler.invoke(one("loud")).unwrap())).collect();
    let beside = quiet().await;
    assert!(beside <= alone * 2, "{beside:?} beside, {alone:?} alone");
    for one in flood {
        assert_eq!(outcome(&one.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn actions_that_are_called_in_turn_replace_one_another_at_once() {
    let bench = bench(1024);
    let begun = Instant::now();
    for turn in 0..80 {
        bench.run(call("guest", &format!("x{}", turn % 8), "{}")).await;
    }
    // 20 ms to make one, 5 ms to stop another one, and nothing else.
    let each = begun.elapsed() / 80;
    assert!(each <= Duration::from_millis(40), "{each:?}");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_finds_room_where_its_callers_have_filled_the_node() {
    let bench = bench(1024);
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let caller = call("guest", "caller", r#"{"do":"sleep","ms":5000}"#);
            tokio::spawn(bench.scheduler.invoke(caller).unwrap())
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(bench.invoker.memory_used().as_mb() >= 768, "they took what they could");
    let begun = Instant::now();
    let nested = bench.run(call("guest", "nested", "{}")).await;
    assert_eq!(outcome(&nested), Outcome::Success);
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    for caller in callers {
        assert_eq!(outcome(&caller.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
}

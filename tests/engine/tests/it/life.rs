//! The life of activations where nothing goes wrong, and where the action does.

use std::time::Duration;

use chasen_entity::{ByteSize, Event, Invocation, Outcome, RawJson, error_text};
use chasen_spi::{Invoke, Rejection};

use crate::bench::{KINDS, bench, call, outcome, result, until, with_action};

#[tokio::test(start_paused = true)]
async fn the_first_call_pays_for_the_container_and_the_next_finds_it() {
    let bench = bench(512);
    let cold = bench.run(call("guest", "hello", r#"{"a":1}"#)).await;
    assert_eq!((outcome(&cold), result(&cold)), (Outcome::Success, r#"{"a":1}"#));
    assert!(cold.annotations.get("initTime").is_some());
    let warm = bench.run(call("guest", "hello", r#"{"a":1}"#)).await;
    assert!(warm.annotations.get("initTime").is_none());
    let annotation = |key: &str| warm.annotations.get(key).unwrap().as_str().to_owned();
    assert_eq!(annotation("path"), r#""guest/hello""#);
    assert_eq!(annotation("kind"), r#""memory:1""#);
    assert_eq!(annotation("limits"), r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":1}"#);
    assert_eq!(annotation("timeout"), "false");
    assert!(annotation("waitTime").parse::<u64>().is_ok());
    assert_eq!(bench.factory.notes().created, 1);
    let started = bench.log.events().iter().filter(|event| matches!(event, Event::Started { .. })).count();
    assert_eq!(started, 2);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_ticket_ends_in_a_record() {
    let bench = bench(512);
    bench.scheduler.invoke(call("guest", "hello", r#"{"do":"sleep","ms":50}"#)).unwrap().detach();
    let given_up = bench.run(call("guest", "hello", r#"{"do":"sleep","ms":50}"#));
    assert!(tokio::time::timeout(Duration::from_millis(5), given_up).await.is_err());
    until("both are over", || bench.scheduler.in_flight() == 0).await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_action_are_its_own() {
    let bench = bench(512);
    for (what, text, timed_out) in [
        (r#"{"do":"die"}"#, error_text::RUN_EXITED.to_owned(), "false"),
        (r#"{"do":"die-unsent"}"#, error_text::RUN_EXITED.to_owned(), "false"),
        (r#"{"do":"decline"}"#, error_text::RUN_EXITED.to_owned(), "false"),
        (r#"{"do":"hang"}"#, error_text::run_timed_out(60_000), "true"),
        (r#"{"do":"stuck"}"#, error_text::run_timed_out(60_000), "true"),
    ] {
        let record = bench.run(call("guest", "hello", what)).await;
        assert_eq!(outcome(&record), Outcome::DeveloperError, "{what}");
        assert!(result(&record).contains(&text), "{what}: {}", result(&record));
        assert_eq!(record.annotations.get("timeout").unwrap().as_str(), timed_out);
        let line = record.logs.last().unwrap();
        assert!(line.ends_with(&format!(" stderr: {}", error_text::LOGS_AFTER_DEVELOPER_ERROR)), "{line}");
        assert_eq!(line.find("stderr"), Some(31), "{line}");
    }
    assert_eq!(outcome(bench.run(call("guest", "hello", "{}")).await.as_ref()), Outcome::Success);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn runtimes_that_take_one_run_get_one_whatever_the_action_allows() {
    let bench = bench(1024);
    let serial = |arguments| {
        with_action(call("guest", "hello", arguments), |action| {
            action.exec.kind = "serial:1".to_owned();
            action.limits.concurrency = 10;
            action.limits.timeout = 1000;
        })
    };
    let tickets: Vec<_> = (0..6)
        .map(|_| tokio::spawn(bench.scheduler.invoke(serial(r#"{"do":"sleep","ms":900}"#)).unwrap()))
        .collect();
    let hung = tokio::spawn(bench.scheduler.invoke(serial(r#"{"do":"hang"}"#)).unwrap());
    for ticket in tickets {
        let record = ticket.await.unwrap();
        assert_eq!(
            outcome(&record),
            Outcome::Success,
            "neither the wait nor the one that hangs is its fault"
        );
    }
    assert_eq!(result(&hung.await.unwrap()), RawJson::error(&error_text::run_timed_out(1000)).as_str());
    assert!(bench.factory.notes().peak_memory >= ByteSize::mb(512), "more containers share the load");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_initialisation_may_take_as_long_as_a_blocking_call_waits() {
    let bench = bench(512);
    let record = bench
        .run(with_action(Invocation { blocking: true, ..call("guest", "hello", "{}") }, |action| {
            action.exec.main = Some("hangs".to_owned());
            action.limits.timeout = 60_000;
        }))
        .await;
    let text =
        r#"{"error":"The action exceeded its time limits of 60000 milliseconds during initialization."}"#;
    assert_eq!((outcome(&record), result(&record)), (Outcome::DeveloperError, text));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_failed_initialisation_is_the_answer_to_everybody_who_waits() {
    let bench = bench(512);
    let refusing = |_| {
        let one = call("guest", "hello", "{}");
        with_action(one, |action| {
            action.exec.main = Some("refuses".to_owned());
            action.limits.instances = Some(1);
        })
    };
    let tickets: Vec<_> = (0..5).map(|n| bench.scheduler.invoke(refusing(n)).unwrap()).collect();
    for ticket in tickets {
        let record = ticket.await;
        assert_eq!((outcome(&record), result(&record)), (Outcome::DeveloperError, r#"{"error":"refused"}"#));
        assert!(record.annotations.get("initTime").is_some());
    }
    assert_eq!(bench.factory.notes().created, 1);
    assert_eq!(bench.scheduler.queues(), 0);
    assert_eq!(outcome(bench.run(refusing(0)).await.as_ref()), Outcome::DeveloperError);
    assert_eq!(bench.factory.notes().created, 2, "tried again for the next one");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_updated_action_runs_its_new_code_only() {
    let bench = bench(1024);
    let revision = |number| {
        with_action(call("guest", "hello", r#"{"do":"sleep","ms":10}"#), |action| action.revision = number)
    };
    let mut tickets = Vec::new();
    for number in [1, 1, 1, 3, 2, 1, 3] {
        tickets.push(tokio::spawn(bench.scheduler.invoke(revision(number)).unwrap()));
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    for ticket in tickets {
        assert_eq!(outcome(&ticket.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
    until("containers of old states are stopped", || bench.factory.notes().stopped > 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_nested_first_container_finds_room() {
    let bench = bench(1024);
    let outer: Vec<_> = (0..8)
        .map(|_| {
            let ticket = bench.scheduler.invoke(call("guest", "outer", r#"{"do":"sleep","ms":20000}"#));
            tokio::spawn(ticket.unwrap())
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.factory.alive(), 3, "all but the reserve");
    let inner = bench.run(call("guest", "inner", "{}"));
    let inner = tokio::time::timeout(Duration::from_millis(100), inner).await.expect("at once");
    assert_eq!(outcome(&inner), Outcome::Success);
    for ticket in outer {
        ticket.await.unwrap();
    }
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_action_that_waits_for_itself_gets_a_second_container() {
    let bench = bench(1024);
    for _ in 0..10 {
        bench.run(call("guest", "self", "{}")).await;
    }
    let outer =
        tokio::spawn(bench.scheduler.invoke(call("guest", "self", r#"{"do":"sleep","ms":30000}"#)).unwrap());
    let inner = bench.run(call("guest", "self", "{}"));
    let inner =
        tokio::time::timeout(Duration::from_secs(2), inner).await.expect("a wrong estimate is found out");
    assert_eq!(outcome(&inner), Outcome::Success);
    outer.await.unwrap();
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn everybody_gets_a_turn_on_a_full_node() {
    let bench = bench(512);
    let flood: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(bench.scheduler.invoke(call("alice", "a", r#"{"do":"sleep","ms":300}"#)).unwrap())
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let small = bench.run(call("bob", "b", "{}"));
    let small =
        tokio::time::timeout(Duration::from_secs(2), small).await.expect("not after a hundred others");
    assert_eq!(outcome(&small), Outcome::Success);
    for ticket in flood {
        assert_eq!(outcome(&ticket.await.unwrap()), Outcome::Success);
    }
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn dead_actions_leave_nothing_behind() {
    let bench = bench(1024);
    for number in 0..300 {
        bench.run(call("guest", &format!("action-{number}"), "{}")).await;
    }
    assert!(bench.scheduler.queues() <= 8, "{} queues", bench.scheduler.queues());
    tokio::time::sleep(Duration::from_secs(700)).await;
    until("all containers stopped", || bench.invoker.containers() == 0).await;
    until("all queues closed", || bench.scheduler.queues() == 0).await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn accepted_work_of_a_kind_that_is_gone_ends_in_a_record() {
    let bench = bench(256);
    let long =
        tokio::spawn(bench.scheduler.invoke(call("guest", "a", r#"{"do":"sleep","ms":500}"#)).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let queued = tokio::spawn(bench.scheduler.invoke(call("guest", "a", "{}")).unwrap());
    let waiting = tokio::spawn(bench.scheduler.invoke(call("guest", "b", "{}")).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others = KINDS.replace("memory:1", "memory:2");
    bench.runtimes.replace(chasen_entity::Manifest::parse(&others).unwrap());
    let refused = waiting.await.unwrap();
    assert_eq!(outcome(&refused), Outcome::DeveloperError);
    assert!(result(&refused).contains("The 'memory:1' runtime is not supported by this platform."));
    assert_eq!(outcome(&long.await.unwrap()), Outcome::Success, "what runs goes on to its end");
    assert_eq!(outcome(&queued.await.unwrap()), Outcome::Success, "and serves who was accepted");
    until("its containers go", || bench.factory.alive() == 0).await;
    until("its queues too", || bench.scheduler.queues() == 0).await;
    let late = bench.scheduler.invoke(call("guest", "a", "{}"));
    assert!(matches!(late, Err(Rejection::NoDomain(kind)) if kind == "memory:1"));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn unknown_kinds_and_missing_ones_differ() {
    let bench = bench(512);
    let unknown = with_action(call("guest", "a", "{}"), |action| action.exec.kind = "cobol:1".to_owned());
    assert!(matches!(bench.scheduler.invoke(unknown), Err(Rejection::NoDomain(kind)) if kind == "cobol:1"));
    let missing = with_action(call("guest", "b", "{}"), |action| action.exec.kind = "missing:1".to_owned());
    let record = bench.run(missing).await;
    assert_eq!(outcome(&record), Outcome::DeveloperError);
    assert!(result(&record).contains("install it"));
    let image = with_action(call("guest", "c", "{}"), |action| {
        action.exec.kind = "blackbox".to_owned();
        action.exec.image = Some("example/none".to_owned());
    });
    let record = bench.run(image).await;
    assert_eq!(outcome(&record), Outcome::DeveloperError);
    assert!(result(&record).contains("Failed to pull container image 'example/none'."));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_are_in_one_container_at_once() {
    let bench = bench(512);
    let one = || {
        with_action(call("guest", "hello", r#"{"do":"sleep","ms":1000}"#), |action| {
            action.limits.concurrency = 10_000;
            action.limits.instances = Some(1);
        })
    };
    bench.run(one()).await;
    let begun = tokio::time::Instant::now();
    let together: Vec<_> =
        (0..10_000).map(|_| tokio::spawn(bench.scheduler.invoke(one()).unwrap())).collect();
    for one in together {
        assert_eq!(outcome(&one.await.unwrap()), Outcome::Success);
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    assert_eq!(bench.factory.notes().created, 1);
    bench.assert_sound();
}

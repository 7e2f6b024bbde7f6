//! A fleet of nodes that differ: in memory, in labels, in whom they work for.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ByteSize, EntityName, Outcome, SchedulingPolicy};
use chasen_invoker::{InvokerConfig, NodeInvoker};
use chasen_scheduler::{Policies, SchedulerConfig};
use chasen_spi::{Invoke, Invoker as _, NoLock};
use tokio::time::Instant;

use crate::bench::{Bench, call, fleet, outcome, result, until, with_action};

fn node(id: &str, memory: u64) -> InvokerConfig {
    InvokerConfig { id: id.to_owned(), memory: ByteSize::mb(memory), ..InvokerConfig::default() }
}

fn labelled(id: &str, memory: u64, labels: &[&str]) -> InvokerConfig {
    InvokerConfig { labels: labels.iter().map(|label| (*label).to_owned()).collect(), ..node(id, memory) }
}

fn dedicated(id: &str, memory: u64, namespace: &str) -> InvokerConfig {
    InvokerConfig { dedicated: [EntityName::new(namespace).unwrap()].into(), ..node(id, memory) }
}

fn bench(nodes: Vec<InvokerConfig>) -> Bench {
    fleet(nodes, SchedulerConfig::default(), Arc::new(NoLock))
}

fn containers(bench: &Bench) -> Vec<usize> {
    bench.nodes.iter().map(NodeInvoker::containers).collect()
}

/// One call of an action that asks for these labels.
async fn run(bench: &Bench, namespace: &str, action: &str, labels: &str, strict: bool) -> String {
    let one = with_action(call(namespace, action, "{}"), |action| {
        action
            .annotations
            .set("invoker-resources", &serde_json::from_str::<serde_json::Value>(labels).unwrap());
        action.annotations.set("invoker-resources-strict-policy", &strict);
    });
    let record = bench.run(one).await;
    match outcome(&record) {
        Outcome::Success => "runs".to_owned(),
        other => format!("{other:?}: {}", result(&record)),
    }
}

#[tokio::test(start_paused = true)]
async fn actions_go_where_they_ask_to_and_where_they_may() {
    let bench = bench(vec![
        node("plain", 1024),
        labelled("gpu", 1024, &["gpu"]),
        labelled("both", 1024, &["gpu", "fast"]),
        dedicated("alice's", 1024, "alice"),
    ]);
    for (action, labels, strict, expected) in [
        ("none", "[]", true, [1, 0, 0, 0]),
        ("two", r#"["gpu","fast"]"#, true, [1, 0, 1, 0]),
        ("other", r#"["tpu"]"#, false, [2, 0, 1, 0]),
    ] {
        assert_eq!(run(&bench, "guest", action, labels, strict).await, "runs");
        assert_eq!(containers(&bench), expected, "{action}");
    }
    let begun = Instant::now();
    let refused = run(&bench, "guest", "strict", r#"["tpu","gpu"]"#, true).await;
    assert!(
        refused.contains("WhiskError")
            && refused.contains("no available invoker with the resources is found: tpu, gpu"),
        "{refused}"
    );
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    for number in 0..8 {
        assert_eq!(run(&bench, "alice", &format!("a{number}"), "[]", true).await, "runs");
    }
    assert!(containers(&bench)[3] > 0, "and hers is hers alone: {:?}", containers(&bench));
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_node_that_will_never_take_it() {
    let alone = bench(vec![dedicated("alice's", 1024, "alice"), node("small", 128)]);
    let begun = Instant::now();
    let refused = run(&alone, "guest", "hello", "[]", true).await;
    assert!(refused.contains("invoker(s) have not enough resources"), "{refused}");
    assert_eq!(run(&alone, "alice", "hello", "[]", true).await, "runs");
    let of_others = bench(vec![dedicated("alice's", 1024, "alice")]);
    let refused = run(&of_others, "guest", "hello", "[]", true).await;
    assert!(refused.contains("no available invoker is found"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(1), "at once");
    alone.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_burst_fills_the_fleet_and_who_waits_takes_what_gets_free_anywhere() {
    for policy in SchedulingPolicy::ALL {
        let policies = Arc::new(Policies::with_default(policy));
        let config = SchedulerConfig { policies, ..SchedulerConfig::default() };
        let nodes = vec![node("a", 1024), node("b", 2048), node("c", 512), node("d", 512)];
        let bench = fleet(nodes, config, Arc::new(NoLock));
        let mut tasks = Vec::new();
        for round in 0..20 {
            for number in 0..24 {
                let namespace = ["alice", "bob", "carol"][number % 3];
                let millis = 5 + 17 * (number + round) % 90;
                let arguments = format!(r#"{{"do":"sleep","ms":{millis}}}"#);
                let one = call(namespace, &format!("x{number}"), &arguments);
                tasks.push(tokio::spawn(bench.scheduler.invoke(one).unwrap()));
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
            assert!(bench.nodes.iter().all(|node| node.memory_used() <= ByteSize::mb(2048)));
        }
        for task in tasks {
            assert_eq!(outcome(&task.await.unwrap()), Outcome::Success, "{policy:?}");
        }
        assert!(containers(&bench).iter().all(|count| *count > 0), "{policy:?}: {:?}", containers(&bench));
        bench.assert_sound();
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_a_node_that_goes_away_runs_elsewhere() {
    let bench = bench(vec![node("a", 256), node("b", 256)]);
    let busy = |action: &str| {
        let one = call("guest", action, r#"{"do":"sleep","ms":2000}"#);
        tokio::spawn(bench.scheduler.invoke(one).unwrap())
    };
    let first = [busy("x"), busy("y")];
    until("both are full", || containers(&bench) == [1, 1]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting: Vec<_> = (0..4).map(|number| busy(&format!("z{number}"))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.nodes[0].close().await;
    let mut ended = Vec::new();
    for one in first.into_iter().chain(waiting) {
        ended.push(outcome(&one.await.unwrap()));
    }
    assert_eq!(
        ended.iter().filter(|outcome| **outcome == Outcome::Success).count(),
        5,
        "all but the one on it: {ended:?}"
    );
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn an_action_keeps_to_its_home_under_sharding_and_nobody_waits_for_a_slot() {
    let policies = Arc::new(Policies::with_default(SchedulingPolicy::Sharding));
    let config = SchedulerConfig { policies, ..SchedulerConfig::default() };
    let nodes = (0..5).map(|number| node(&format!("n{number}"), 2048)).collect();
    let bench = fleet(nodes, config, Arc::new(NoLock));
    // One is warm, and runs are short: the event-driven policy would have the others wait for it.
    bench.run(call("guest", "hello", r#"{"do":"sleep","ms":1}"#)).await;
    let together: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(bench.scheduler.invoke(call("guest", "hello", r#"{"do":"sleep","ms":1}"#)).unwrap())
        })
        .collect();
    for one in together {
        one.await.unwrap();
    }
    until("all are made", || containers(&bench).iter().sum::<usize>() == 4).await;
    assert_eq!(containers(&bench).iter().filter(|count| **count > 0).count(), 1, "{:?}", containers(&bench));
    bench.assert_sound();
}

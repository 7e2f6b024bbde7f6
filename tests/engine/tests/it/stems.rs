//! Stem cells on a node's own time: they grow with demand, and go when it has passed.

use std::time::Duration;

use chasen_entity::{ByteSize, Manifest};
use chasen_spi::Invoke;

use crate::bench::{Bench, KINDS, bench, call, until, with_action};

/// One stem cell of 256 MB and of 128 MB each; the first sort follows demand.
fn manifest() -> Manifest {
    let cells = r#"{"name":"m"},"stemCells":[
        {"initialCount":2,"memory":"256 MB",
         "reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":2,"increment":2}},
        {"initialCount":1,"memory":"128 MB"}]"#;
    Manifest::parse(&KINDS.replace(r#"{"name":"m"}"#, cells)).unwrap()
}

/// How often a node looks at the demand, by default.
const PERIOD: Duration = Duration::from_mins(10);

/// Memory of the node's stem cells, once that of the actions' containers is what is said.
async fn stems(bench: &Bench, what: &str, actions: u64, expected: u64) {
    until(what, || bench.invoker.memory_used() == ByteSize::mb(actions + expected)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.invoker.memory_used(), ByteSize::mb(actions + expected), "{what}: and it stays so");
}

#[tokio::test(start_paused = true)]
async fn they_grow_with_demand_and_shrink_without() {
    let bench = bench(8192);
    bench.runtimes.replace(manifest());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.invoker.containers(), 0, "a node that runs nothing keeps nothing");

    bench.run(call("guest", "first", "{}")).await;
    stems(&bench, "the initial ones", 256, 2 * 256 + 128).await;

    // Ten calls at once: two find stem cells, eight start cold, and replacements come.
    let together: Vec<_> = (0..10)
        .map(|n| {
            let one = call("guest", &format!("burst-{n}"), r#"{"do":"sleep","ms":100}"#);
            tokio::spawn(bench.scheduler.invoke(one).unwrap())
        })
        .collect();
    for one in together {
        one.await.unwrap();
    }
    let created = bench.factory.notes().created;
    stems(&bench, "what was taken is replaced", 11 * 256, 2 * 256 + 128).await;

    // Nine cold starts are four thresholds: eight wanted, four allowed. Those that are there are too old by then.
    // The actions' containers end in the same minute, of idleness.
    tokio::time::sleep(PERIOD).await;
    stems(&bench, "as many as may be", 0, 4 * 256 + 128).await;
    assert!(bench.factory.notes().created >= created + 4);

    // No demand since: only the least is left, and of the other memory what there always was.
    tokio::time::sleep(PERIOD).await;
    stems(&bench, "the least", 0, 256 + 128).await;

    // A taken one is replaced at once, whatever the demand.
    let small = with_action(call("guest", "small", "{}"), |action| action.limits.memory = 128);
    let created = bench.factory.notes().created;
    bench.run(small).await;
    until("one in its place", || bench.factory.notes().created == created + 1).await;
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn those_that_end_by_themselves_are_replaced() {
    let bench = bench(4096);
    bench.runtimes.replace(manifest());
    bench.run(call("guest", "first", "{}")).await;
    stems(&bench, "the initial ones", 256, 2 * 256 + 128).await;
    for which in 1..4 {
        let stopped = bench.factory.notes().stopped;
        bench.factory.kill(which);
        until("it is gone", || bench.factory.notes().stopped > stopped).await;
        stems(&bench, "another one in its place", 256, 2 * 256 + 128).await;
    }
    bench.assert_sound();
}

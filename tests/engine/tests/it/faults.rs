//! Containers that die at any moment: nothing is lost, nothing runs in the wrong place.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::Outcome;
use chasen_spi::Invoke;

use crate::bench::{Bench, bench, call, outcome, until, with_action};

/// A small generator, so that a run can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

async fn storm(bench: Arc<Bench>, seed: u64, activations: usize) {
    let mut random = Random(seed);
    let killer = tokio::spawn({
        let (bench, mut random) = (Arc::clone(&bench), Random(seed ^ 7));
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(3)).await;
                bench.factory.kill(random.below(64));
            }
        }
    });
    let mut tasks = Vec::new();
    let mut revisions = [1u64; 6];
    for _ in 0..activations {
        let which = random.below(6);
        if random.below(50) == 0 {
            revisions[which] += 1;
        }
        let arguments = match random.below(12) {
            0 => r#"{"do":"die"}"#.to_owned(),
            1 => r#"{"do":"refuse"}"#.to_owned(),
            2 => r#"{"do":"die-unsent"}"#.to_owned(),
            _ => format!(r#"{{"do":"sleep","ms":{}}}"#, random.below(10)),
        };
        let one = call(["a", "b", "c"][which % 3], &format!("x{which}"), &arguments);
        let one = with_action(one, |action| {
            action.revision = revisions[which];
            action.limits.concurrency = if which < 3 { 1 } else { 4 };
        });
        let ticket = bench.scheduler.invoke(one).unwrap();
        if random.below(10) == 0 {
            ticket.detach();
        } else {
            tasks.push(tokio::spawn(ticket));
        }
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut ends = [0; 4];
    for task in tasks {
        let record =
            tokio::time::timeout(Duration::from_secs(50), task).await.expect("nobody waits for ever");
        ends[usize::from(outcome(&record.unwrap()).code())] += 1;
    }
    until("the detached ones are over too", || bench.scheduler.in_flight() == 0).await;
    killer.abort();
    assert_eq!(ends[usize::from(Outcome::WhiskError.code())], 0, "no fault of the platform: {ends:?}");
    assert!(ends[0] > 0);
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn no_activation_is_lost_in_a_storm() {
    for seed in 1..=4 {
        storm(Arc::new(bench(1024)), seed, 400).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nor_on_several_threads() {
    storm(Arc::new(bench(2048)), 99, 600).await;
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_container_ends_what_is_in_it_within_a_second() {
    let bench = bench(512);
    let one = || {
        let one = call("guest", "hello", r#"{"do":"sleep","ms":50000}"#);
        with_action(one, |action| {
            action.limits.concurrency = 50;
            action.limits.instances = Some(1);
        })
    };
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(bench.scheduler.invoke(one()).unwrap())).collect();
    until("all run", || bench.factory.notes().runs.values().sum::<u64>() == 50).await;
    let begun = tokio::time::Instant::now();
    bench.factory.kill(0);
    for call in calls {
        assert_eq!(outcome(&call.await.unwrap()), Outcome::DeveloperError);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    bench.assert_sound();
}

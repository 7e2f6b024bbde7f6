//! What the scheduler itself costs on the warm path: invoke, run in the `null` domain, record.
//! Prints nanoseconds per activation; `cargo bench -p chasen-scheduler`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and may fail in any way")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chasen_entity::{ActivationId, Event, Invocation};
use chasen_scheduler::{KindRouter, NullDomain, Scheduler, SchedulerConfig};
use chasen_spi::memory::{MemoryDeadLetterStore, invocation};
use chasen_spi::{EventLog, Invoke, NoLock, OpenActivation, Position, StoreError, TakenUp};

const WARM_UP: u32 = 20_000;
const ROUNDS: u32 = 300_000;

/// A log that keeps nothing.
struct NoLog;

#[async_trait]
impl EventLog for NoLog {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        std::hint::black_box(event);
        Ok(Position(0))
    }

    async fn sync(&self, _position: Position) -> Result<(), StoreError> {
        Ok(())
    }

    fn inherited(&self) -> Vec<ActivationId> {
        Vec::new()
    }

    fn take_up(&self, _id: &ActivationId) -> Result<TakenUp, StoreError> {
        Ok(TakenUp::Unknown)
    }

    fn accepted(&self, _id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError> {
        Ok(None)
    }

    fn open(&self, _most: usize) -> Result<Vec<OpenActivation>, StoreError> {
        Ok(Vec::new())
    }

    fn open_count(&self) -> usize {
        0
    }
}

fn scheduler() -> Scheduler {
    let router = KindRouter::new().route(|kind, _| kind == "null", Arc::new(NullDomain::default()));
    let letters = Arc::new(MemoryDeadLetterStore::default());
    Scheduler::new(SchedulerConfig::default(), router, Arc::new(NoLog), Arc::new(NoLock), letters)
}

async fn run(scheduler: &Scheduler, example: &Invocation, rounds: u32) -> Duration {
    let begun = Instant::now();
    for _ in 0..rounds {
        scheduler.invoke(example.clone()).unwrap().await;
    }
    begun.elapsed()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scheduler = scheduler();
    let clone = {
        let example = invocation("guest", "hello", "null", r#"{"name":"world"}"#);
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            std::hint::black_box(example.clone());
        }
        begun.elapsed() / ROUNDS
    };
    println!("clone of the invocation alone: {clone:?}");
    for tasks in [1, 2, 8] {
        for shared in [true, false] {
            let work: Vec<_> = (0..tasks)
                .map(|task| {
                    let scheduler = scheduler.clone();
                    let action = if shared { "hello".to_owned() } else { format!("hello-{task}") };
                    let example = invocation("guest", &action, "null", r#"{"name":"world"}"#);
                    runtime.spawn(async move {
                        run(&scheduler, &example, WARM_UP).await;
                        run(&scheduler, &example, ROUNDS).await
                    })
                })
                .collect();
            let times = work.into_iter().map(|task| runtime.block_on(task).unwrap());
            let longest = times.max().unwrap_or_default();
            let action = if shared { "one action" } else { "an action each" };
            let rate = f64::from(ROUNDS * tasks) / longest.as_secs_f64();
            println!("{tasks} tasks, {action}: {:?} each, {rate:.0} activations/s", longest / ROUNDS);
        }
    }
}

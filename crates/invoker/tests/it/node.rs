//! The node as a whole: what it keeps, how fast it grows, and what it is to a fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_invoker::InvokerConfig;
use chasen_spi::memory::{MemoryContainerFactory, invocation};
use chasen_spi::{CpuPressure, FleetNode, Invoker, Patience, ReserveFailure, StartRequest};

use crate::{KIND, KINDS, bench, bench_with, config, request, until};

#[tokio::test(start_paused = true)]
async fn a_namespace_keeps_containers_beyond_their_time() {
    let bench = bench(1024);
    let mut hello = invocation("guest", "hello", KIND, "{}");
    let identity = Arc::make_mut(&mut hello.identity);
    identity.limits.warmed_container_keeping_count = Some(1);
    identity.limits.warmed_container_keeping_timeout = Some("30 minutes".to_owned());
    let (first, second) = (bench.start(&hello).await, bench.start(&hello).await);
    for started in [&first, &second] {
        started.container.run(&hello, &|| true).await.unwrap();
    }
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert_eq!(bench.factory.alive(), 1, "ten minutes, and one is kept");
    tokio::time::sleep(Duration::from_mins(28)).await;
    assert_eq!(bench.factory.alive(), 1);
    let mut runs = 0;
    for started in [&first, &second] {
        runs += u32::from(started.container.run(&hello, &|| true).await.is_ok());
    }
    assert_eq!(runs, 1, "it serves");
    tokio::time::sleep(Duration::from_mins(39)).await;
    assert_eq!(bench.factory.alive(), 1, "its time begins anew");
    tokio::time::sleep(Duration::from_mins(2)).await;
    until("it ends, too", || bench.factory.alive() == 0).await;
    bench.assert_clean();
}

/// Pressure as a test sets it.
#[derive(Debug, Default)]
struct SetPressure(AtomicU64);

impl CpuPressure for SetPressure {
    fn read(&self) -> Option<f64> {
        Some(f64::from_bits(self.0.load(Ordering::SeqCst)))
    }
}

#[tokio::test(start_paused = true)]
async fn pressure_on_the_processors_holds_next_containers_up_for_a_while() {
    let pressure = Arc::new(SetPressure::default());
    let config = InvokerConfig { pressure: Some(pressure.clone()), ..config(1024) };
    let bench = bench_with(config, MemoryContainerFactory::default(), KINDS);
    let hello = invocation("guest", "hello", KIND, "{}");
    let next = || StartRequest { siblings: 1, ..request(&hello) };
    bench.start(&hello).await;
    let begun = tokio::time::Instant::now();
    bench.invoker.start(next()).await.ok().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(500), "calm");
    pressure.0.store(95f64.to_bits(), Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.invoker.view().cpu_pressure, 95.0);
    let begun = tokio::time::Instant::now();
    bench.start(&invocation("guest", "other", KIND, "{}")).await;
    assert!(begun.elapsed() < Duration::from_millis(500), "a first one");
    bench.invoker.start(next()).await.ok().unwrap();
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(2)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn memory_is_reserved_before_anything_is_made() {
    let bench = bench(512);
    let hello = invocation("guest", "hello", KIND, "{}");
    let request = request(&hello);
    let reserved = bench.invoker.reserve(&request, Patience::None).await.ok().unwrap();
    let view = bench.invoker.view();
    assert_eq!((view.free, view.waiting, bench.factory.notes().created), (ByteSize::mb(256), 0, 0));
    let mut room = bench.invoker.room();
    let full = bench.invoker.reserve(&request, Patience::None).await.ok().unwrap();
    let refused = bench.invoker.reserve(&request, Patience::None).await.err();
    assert_eq!(refused, Some(ReserveFailure::NoRoom));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut room).await.is_err());
    drop(full);
    room.await;
    let started = reserved.make().await.ok().unwrap();
    started.container.run(&hello, &|| true).await.unwrap();
    assert_eq!((bench.invoker.view().idle, bench.factory.notes().created), (ByteSize::mb(256), 1));
    bench.assert_clean();
}

//! How much the log and the records cost. Run with
//! `cargo test --profile release-fast -p chasen-embedded --test it -- --ignored --nocapture throughput`.

use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chasen_entity::{Activation, ActivationId, EntityName, Event, Parameters};
use chasen_spi::{ActivationQuery, Change, Collection, Document, DocumentId, DocumentQuery, TakenUp};

use crate::fixture::{events, eventually, invocation, newest, record};

fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(usage.tv_sec.unsigned_abs(), u32::try_from(usage.tv_nsec).unwrap())
}

fn payload() -> String {
    format!(r#"{{"payload":"{}"}}"#, "x".repeat(1000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_appends() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let node = chasen_embedded::Embedded::open(chasen_embedded::EmbeddedConfig::new(folder.path())).unwrap();
    let log = node.event_log();
    let count = 20_000u32;
    let prepared: Vec<_> = (0..count).map(|start| events(&payload(), u64::from(start))).collect();
    let mut times = Vec::new();
    let before = Instant::now();
    for event in prepared.iter().flatten() {
        let one = Instant::now();
        log.append(event).unwrap();
        times.push(one.elapsed());
    }
    let each = before.elapsed() / (3 * count);
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 10_000];
    eprintln!("append, 1 KB arguments: {} ns each", each.as_nanos());
    eprintln!("p50 {:?}, p99 {:?}, p99.99 {:?}, slowest {:?}", at(5000), at(9900), at(9999), at(10_000));
    eventually("everything is filed", async || {
        node.activation_store().count(&newest(0)).await == Ok(u64::from(count))
    })
    .await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_activations_at_five_thousand_a_second() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let node = chasen_embedded::Embedded::open(chasen_embedded::EmbeddedConfig::new(folder.path())).unwrap();
    let log = node.event_log();
    let seconds = 10u32;
    let (text, started) = (payload(), Instant::now());
    let idle = cpu();
    let mut spent_preparing = Duration::ZERO;
    for tick in 0..seconds * 100 {
        let prepare = Instant::now();
        let batch: Vec<_> = (0..50).map(|_| events(&text, u64::from(tick))).collect();
        spent_preparing += prepare.elapsed();
        for event in batch.iter().flatten() {
            log.append(event).unwrap();
        }
        tokio::time::sleep_until((started + Duration::from_millis(10) * (tick + 1)).into()).await;
    }
    let share = (cpu() - idle - spent_preparing).as_secs_f64() / started.elapsed().as_secs_f64();
    eprintln!("5000 activations/s: {:.1} % of one core, records filed included", share * 100.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("RssFile"))
        .for_each(|line| eprintln!("{line}"));
    node.close().await;
}

/// How often a second this disk keeps a record's worth of bytes, one after the other.
fn bare_syncs(folder: &Path) -> f64 {
    let file = std::fs::File::create(folder.join("bare")).unwrap();
    let (count, bytes, before) = (1000u32, [b'x'; 1000], Instant::now());
    for number in 0..count {
        file.write_all_at(&bytes, u64::from(number) * 1000).unwrap();
        file.sync_data().unwrap();
    }
    f64::from(count) / before.elapsed().as_secs_f64()
}

/// Clients that each have work accepted and synced, and end it, again and again; or so often a second together.
async fn synced_accepts(node: &chasen_embedded::Embedded, clients: u32, pace: Option<u32>) {
    let (before, time) = (Instant::now(), Duration::from_secs(5));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let log = node.event_log();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let gap = pace.map(|pace| Duration::from_secs(1) * clients / pace);
                let mut due = before + gap.unwrap_or_default() * client / clients;
                while before.elapsed() < time {
                    if let Some(gap) = gap {
                        tokio::time::sleep_until(due.into()).await;
                        due += gap;
                    }
                    let accepted = Event::Accepted(invocation(r#"{"n":1}"#));
                    let one = Instant::now();
                    let position = log.append(&accepted).unwrap();
                    log.sync(position).await.unwrap();
                    times.push(one.elapsed());
                    log.append(&Event::Finished(record(accepted.activation_id(), 1))).unwrap();
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort();
    let rate = times.len() as f64 / before.elapsed().as_secs_f64();
    let at = |share: usize| times[times.len() * share / 1000];
    let what = pace.map_or_else(|| "as fast as they can".to_owned(), |pace| format!("{pace}/s asked for"));
    eprintln!("synced accepts, {clients} clients, {what}: {rate:.0}/s, p50 {:?}, p99 {:?}", at(500), at(990));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_synced_accepts() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let slow_commit = Duration::from_secs(3600);
    let config = chasen_embedded::EmbeddedConfig {
        slow_commit,
        ..chasen_embedded::EmbeddedConfig::new(folder.path())
    };
    let node = chasen_embedded::Embedded::open(config).unwrap();
    eprintln!("bare fdatasync: {:.0}/s", bare_syncs(folder.path()));
    synced_accepts(&node, 1, None).await;
    for pace in [10_000, 30_000] {
        synced_accepts(&node, 1000, Some(pace)).await;
    }
    synced_accepts(&node, 1000, None).await;
    node.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_an_open_with_a_hundred_thousand_pending() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = chasen_embedded::EmbeddedConfig::new(folder.path());
    let node = chasen_embedded::Embedded::open(config.clone()).unwrap();
    let text = payload();
    for start in 0..20_000 {
        node.event_log().append(&events(&text, start)[2]).unwrap();
    }
    for _ in 0..100_000 {
        node.event_log().append(&Event::Accepted(invocation(&text))).unwrap();
    }
    node.close().await;
    let before = Instant::now();
    let node = chasen_embedded::Embedded::open(config).unwrap();
    let opened = before.elapsed();
    let inherited = node.event_log().inherited();
    let listed = before.elapsed();
    assert_eq!(inherited.len(), 100_000);
    let before = Instant::now();
    for id in &inherited[..10_000] {
        assert!(matches!(node.event_log().take_up(id), Ok(TakenUp::Taken(_))));
    }
    let each = before.elapsed() / 10_000;
    eprintln!(
        "100 000 pending of 1 KB: opened in {opened:?}, listed in {:?}, each taken up in {each:?}",
        listed - opened
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with("RssAnon")).for_each(|line| eprintln!("{line}"));
    node.close().await;
}

/// Half a million records of one namespace, one a millisecond, by ten actions; every tenth is a step of a sequence.
fn some_record(start: u64) -> Event {
    let plain = Activation::clone(&record(ActivationId::generate(), start));
    let name = EntityName::new(&format!("action{}", start % 10)).unwrap();
    let cause =
        start.is_multiple_of(10).then(|| ActivationId::from_bytes((u128::from(start) / 100).to_be_bytes()));
    Event::Finished(Arc::new(Activation { name, cause, annotations: Parameters::new(), ..plain }))
}

/// Prints how long something takes, again and again.
async fn measure(what: &str, rounds: u32, mut once: impl AsyncFnMut(u32)) {
    let mut times = Vec::new();
    for round in 0..rounds {
        let before = Instant::now();
        once(round).await;
        times.push(before.elapsed());
    }
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    eprintln!("{what:<42} p50 {:>9.2?}  p99 {:>9.2?}  slowest {:>9.2?}", at(50), at(99), at(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_reads_among_many_records() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = chasen_embedded::EmbeddedConfig::new(folder.path());
    let node = chasen_embedded::Embedded::open(config.clone()).unwrap();
    let log = node.event_log();
    let (count, mut ids) = (500_000u64, Vec::new());
    let (begin, before) = (1_700_000_000_000, Instant::now());
    for number in 0..count {
        let finished = some_record(begin + number);
        ids.push(finished.activation_id());
        log.append(&finished).unwrap();
        while number % 1000 == 0
            && node.activation_store().count(&newest(0)).await.unwrap() + 100_000 < number
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    node.close().await;
    eprintln!("filed {:.0} records/s", count as f64 / before.elapsed().as_secs_f64());
    let before = Instant::now();
    let node = chasen_embedded::Embedded::open(config).unwrap();
    eprintln!("opened in {:?}", before.elapsed());
    let (log, store) = (node.event_log(), node.activation_store());
    let writer = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for number in (count..).step_by(10) {
            for number in number..number + 10 {
                log.append(&some_record(begin + number)).unwrap();
            }
            tick.tick().await;
        }
    });
    let middle = begin + count / 2;
    let named = ActivationQuery { name: Some("action3".to_owned()), ..newest(200) };
    let some = |round: u32| begin + u64::from(round) * 1471 % (count / 2);
    measure("get", 1000, async |round| {
        let id = &ids[round as usize * 7919 % ids.len()];
        assert!(store.get("guest", id).await.unwrap().is_some());
    })
    .await;
    for (what, query) in [
        ("list 200", newest(200)),
        ("list 200, name", named.clone()),
        ("list 200, upto", ActivationQuery { upto: Some(middle), ..newest(200) }),
        ("list 200, name, since", ActivationQuery { since: Some(middle), ..named.clone() }),
        ("list 200 after 10 000", ActivationQuery { skip: 10_000, ..newest(200) }),
        (
            "list 200 after 250 000, upto",
            ActivationQuery { skip: 250_000, upto: Some(begin + count), ..newest(200) },
        ),
    ] {
        measure(what, 100, async |_| assert_eq!(store.list(&query).await.unwrap().len(), 200)).await;
    }
    measure("list 200, name, since, upto", 100, async |round| {
        let since = some(round);
        let query = ActivationQuery { since: Some(since), upto: Some(since + count / 2), ..named.clone() };
        assert_eq!(store.list(&query).await.unwrap().len(), 200);
    })
    .await;
    measure("visit 1001, name", 100, async |_| {
        let seen = Arc::new(AtomicU64::new(0));
        let count = seen.clone();
        let visitor = Box::new(move |_: &Activation| {
            count.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        store.visit(&ActivationQuery { limit: 1001, ..named.clone() }, visitor).await.unwrap();
        assert_eq!(seen.load(Ordering::Relaxed), 1001);
    })
    .await;
    measure("list, cause", 100, async |round| {
        let cause = Some(ActivationId::from_bytes((u128::from(some(round)) / 100).to_be_bytes()));
        assert_eq!(store.list(&ActivationQuery { cause, ..newest(200) }).await.unwrap().len(), 10);
    })
    .await;
    for (what, query) in [
        ("count", newest(0)),
        ("count, name", named.clone()),
        ("count, since", ActivationQuery { since: Some(begin + 777), ..newest(0) }),
        ("count, name, since", ActivationQuery { since: Some(begin + 777), ..named.clone() }),
        ("count, since, upto", ActivationQuery { since: Some(begin + 777), upto: Some(middle), ..newest(0) }),
    ] {
        measure(what, 100, async |_| assert!(store.count(&query).await.unwrap() > 20_000)).await;
    }
    writer.abort();
    node.close().await;
}

fn document(collection: Collection, name: String, length: usize) -> Document {
    let path = if name.starts_with("actions") && name.ends_with('7') { "guest/package7" } else { "guest" };
    Document {
        id: DocumentId { path: path.to_owned(), name },
        collection,
        revision: 0,
        updated: 1,
        public: false,
        attachment: None,
        body: format!(r#"{{"text":"{}"}}"#, "x".repeat(length)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput_of_changes_among_many_entities() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let node = chasen_embedded::Embedded::open(chasen_embedded::EmbeddedConfig::new(folder.path())).unwrap();
    let store = node.artifact_store();
    for (collection, count) in
        [(Collection::Actions, 10_000), (Collection::Packages, 1000), (Collection::Rules, 10_000)]
    {
        let all: Vec<_> = (0..count)
            .map(|number| Change::Put(document(collection, format!("{}{number}", collection.as_str()), 600)))
            .collect();
        for batch in all.chunks(500) {
            store.apply(batch.to_vec()).await.unwrap();
        }
    }
    // What a trigger with ten thousand rules takes.
    let mut trigger = document(Collection::Triggers, "trigger".to_owned(), 1 << 20);
    trigger.revision = store.put(trigger.clone()).await.unwrap();

    measure("create an action", 500, async |round| {
        store.put(document(Collection::Actions, format!("new{round}"), 600)).await.unwrap();
    })
    .await;
    measure("get and update an action", 500, async |round| {
        let id = DocumentId { path: "guest".to_owned(), name: format!("new{round}") };
        let found = store.get(&id).await.unwrap().unwrap();
        store.put(Document { updated: 2, ..found }).await.unwrap();
    })
    .await;
    measure("get and delete an action", 500, async |round| {
        let id = DocumentId { path: "guest".to_owned(), name: format!("new{round}") };
        let revision = store.get(&id).await.unwrap().unwrap().revision;
        store.delete(&id, revision).await.unwrap();
    })
    .await;
    measure("get a trigger of 1 MB", 300, async |_| {
        assert!(store.get(&trigger.id).await.unwrap().is_some());
    })
    .await;
    let mut revision = trigger.revision;
    measure("create a rule of a trigger of 1 MB", 300, async |round| {
        let rule = document(Collection::Rules, format!("new{round}"), 600);
        let trigger = Document { revision, ..trigger.clone() };
        revision = store.apply(vec![Change::Put(rule), Change::Put(trigger)]).await.unwrap()[1];
    })
    .await;
    let all = DocumentQuery {
        collection: Collection::Actions,
        path: "guest".to_owned(),
        path_exact: false,
        public_only: false,
        skip: 0,
        limit: 200,
    };
    for (what, query) in [
        ("list 200 actions", all.clone()),
        ("list 200 actions after 9000", DocumentQuery { skip: 9000, ..all.clone() }),
        ("list 200 of a package", DocumentQuery { path: "guest/package7".to_owned(), ..all.clone() }),
        ("list 200 rules", DocumentQuery { collection: Collection::Rules, ..all.clone() }),
    ] {
        measure(what, 200, async |_| assert_eq!(store.list(&query).await.unwrap().len(), 200)).await;
    }
    measure("count actions", 200, async |_| assert_eq!(store.count(&all).await, Ok(10_000))).await;
    let public = DocumentQuery { collection: Collection::Packages, public_only: true, ..all };
    measure("list public packages", 200, async |_| assert!(store.list(&public).await.unwrap().is_empty()))
        .await;
    node.close().await;
}

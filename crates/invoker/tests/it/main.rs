//! The room through its door: containers are asked for, used and lost, with factories in memory.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test may say so in any way")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chasen_entity::{ByteSize, Code, ExecutableAction, Invocation, Manifest, Outcome, error_text};
use chasen_invoker::{InvokerConfig, NodeInvoker};
use chasen_spi::memory::{MemoryAttachmentStore, MemoryContainerFactory, invocation};
use chasen_spi::{
    Container, ContainerFactory, ContainerSpec, CreateError, Invoker, InvokerState, RunFailure, Runtimes,
    StartFailure, StartRequest, StartedContainer,
};

mod node;

const KIND: &str = "memory:1";

/// The kinds of the factory, without stem cells.
const KINDS: &str = r#"{"runtimes":{
    "memory":[{"kind":"memory:1","image":{"name":"m"}}],
    "serial":[{"kind":"serial:1","image":{"name":"s"}}],
    "missing":[{"kind":"missing:1","image":{"name":"i"}}],
    "foreign":[{"kind":"foreign:1","image":{"name":"o"}}],
    "failing":[{"kind":"failing:1","image":{"name":"f"}}]}}"#;

struct Bench {
    runtimes: Arc<Runtimes>,
    factory: Arc<MemoryContainerFactory>,
    invoker: NodeInvoker,
}

fn config(memory: u64) -> InvokerConfig {
    InvokerConfig {
        memory: ByteSize::mb(memory),
        reserve: Some(ByteSize::mb(0)),
        pause_grace: Duration::from_millis(100),
        quiet_below: 1,
        ..InvokerConfig::default()
    }
}

fn bench_with(config: InvokerConfig, factory: MemoryContainerFactory, manifest: &str) -> Bench {
    let factory = Arc::new(factory);
    let runtimes = Runtimes::new(Manifest::parse(manifest).unwrap());
    let attachments = Arc::new(MemoryAttachmentStore::default());
    let invoker = NodeInvoker::new(config, runtimes.clone(), vec![factory.clone()], attachments);
    Bench { runtimes, factory, invoker }
}

fn bench(memory: u64) -> Bench {
    bench_with(config(memory), MemoryContainerFactory::default(), KINDS)
}

fn request(invocation: &Invocation) -> StartRequest {
    StartRequest {
        key: invocation.key(),
        action: Arc::clone(&invocation.action),
        first: Arc::new(invocation.clone()),
        siblings: 0,
        needed: Arc::new(AtomicBool::new(true)),
    }
}

fn with_action(mut invocation: Invocation, change: impl FnOnce(&mut ExecutableAction)) -> Invocation {
    let mut action = ExecutableAction::clone(&invocation.action);
    change(&mut action);
    invocation.action = Arc::new(action);
    invocation
}

impl Bench {
    async fn start(&self, invocation: &Invocation) -> StartedContainer {
        match self.invoker.start(request(invocation)).await {
            Ok(started) => started,
            Err(failure) => panic!("{failure:?}"),
        }
    }

    async fn failure(&self, invocation: &Invocation) -> StartFailure {
        match self.invoker.start(request(invocation)).await {
            Ok(_) => panic!("started"),
            Err(failure) => failure,
        }
    }

    fn assert_clean(&self) {
        assert_eq!(self.factory.notes().violations, Vec::<String>::new());
    }
}

/// Waits until a condition holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_container_runs_freezes_thaws_and_ends_when_its_time_is_over() {
    let bench = bench(512);
    let hello = invocation("guest", "hello", KIND, r#"{"a":1}"#);
    let started = bench.start(&hello).await;
    let calls = AtomicBool::new(false);
    let report = started.container.run(&hello, &|| !calls.swap(true, Ordering::SeqCst)).await.unwrap();
    assert_eq!(report.response.result.unwrap().as_str(), r#"{"a":1}"#);
    assert!(calls.load(Ordering::SeqCst) && report.container_lives && !report.timed_out);
    until("frozen", || bench.factory.notes().freezes == 1).await;
    started.container.run(&hello, &|| true).await.unwrap();
    assert_eq!(bench.factory.notes().thaws, 1);
    until("frozen again", || bench.factory.notes().freezes == 2).await;
    tokio::time::sleep(Duration::from_secs(601)).await;
    until("stopped", || bench.factory.alive() == 0).await;
    started.container.gone().await;
    assert_eq!(started.container.run(&hello, &|| true).await, Err(RunFailure));
    until("memory back", || bench.invoker.memory_used() == ByteSize::mb(0)).await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_busy_container_is_not_frozen_and_costs_no_freeze_per_call() {
    let bench = bench(512);
    let hello = invocation("guest", "hello", KIND, r#"{"do":"sleep","ms":40}"#);
    let started = bench.start(&hello).await;
    for _ in 0..50 {
        started.container.run(&hello, &|| true).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert_eq!(bench.factory.notes().freezes, 0);
    let long = invocation("guest", "hello", KIND, r#"{"do":"sleep","ms":5000}"#);
    started.container.run(&long, &|| true).await.unwrap();
    assert_eq!(bench.factory.notes().freezes, 0);
    until("frozen", || bench.factory.notes().freezes == 1).await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_in_a_run_ends_the_container_with_the_right_word() {
    let bench = bench(512);
    for (arguments, text, timed_out) in [
        (r#"{"do":"die"}"#, error_text::RUN_EXITED.to_owned(), false),
        (r#"{"do":"refuse"}"#, "refused".to_owned(), false),
        (r#"{"do":"hang"}"#, error_text::run_timed_out(60_000), true),
        (r#"{"do":"stuck"}"#, error_text::run_timed_out(60_000), true),
    ] {
        let call = invocation("guest", "hello", KIND, arguments);
        let started = bench.start(&call).await;
        let report = started.container.run(&call, &|| true).await.unwrap();
        assert_eq!(report.response.outcome, Outcome::DeveloperError, "{arguments}");
        assert!(report.response.result.unwrap().as_str().contains(&text), "{arguments}");
        assert_eq!((report.timed_out, report.container_lives), (timed_out, false), "{arguments}");
        started.container.gone().await;
        until("stopped", || bench.factory.alive() == 0).await;
    }
    let unsent = invocation("guest", "hello", KIND, r#"{"do":"die-unsent"}"#);
    let started = bench.start(&unsent).await;
    assert_eq!(started.container.run(&unsent, &|| true).await, Err(RunFailure));
    let refused = invocation("guest", "hello", KIND, "{}");
    let started = bench.start(&refused).await;
    assert_eq!(started.container.run(&refused, &|| false).await, Err(RunFailure), "it may not begin");
    assert!(started.container.run(&refused, &|| true).await.is_ok(), "its container serves on");
    let declined = invocation("guest", "hello", KIND, r#"{"do":"decline"}"#);
    let started = bench.start(&declined).await;
    assert_eq!(started.container.run(&declined, &|| true).await, Err(RunFailure), "it was sent, but not run");
    started.container.gone().await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn failed_starts_say_whose_fault_it_is() {
    let bench = bench(256);
    let hello = invocation("guest", "hello", KIND, "{}");
    for (main, text, timed_out) in [
        ("refuses", "refused".to_owned(), false),
        ("dies", error_text::INIT_EXITED.to_owned(), false),
        ("declines", error_text::INIT_EXITED.to_owned(), false),
        ("hangs", error_text::init_timed_out(60_000), true),
    ] {
        let action = with_action(hello.clone(), |action| action.exec.main = Some(main.to_owned()));
        match bench.failure(&action).await {
            StartFailure::Init { response, timed_out: timed, .. } => {
                assert_eq!((response.outcome, timed), (Outcome::DeveloperError, timed_out), "{main}");
                assert!(response.result.unwrap().as_str().contains(&text), "{main}");
            }
            other => panic!("{other:?}"),
        }
    }
    let large = with_action(hello.clone(), |action| action.limits.memory = 512);
    let gone = with_action(hello.clone(), |action| {
        action.exec.code = Some(Code { digest: "0".repeat(64), length: 1 });
    });
    for (action, outcome, text) in [
        (
            invocation("guest", "a", "missing:1", "{}"),
            Outcome::DeveloperError,
            "is not installed on this node: install it",
        ),
        (
            invocation("guest", "a", "foreign:1", "{}"),
            Outcome::DeveloperError,
            "The 'foreign:1' runtime is not installed on this node: the runtimes manifest names no interpreter",
        ),
        (invocation("guest", "b", "failing:1", "{}"), Outcome::WhiskError, error_text::NOT_PROVISIONED),
        (
            invocation("guest", "c", "unknown:1", "{}"),
            Outcome::DeveloperError,
            "The 'unknown:1' runtime is not supported by this platform.",
        ),
        (large, Outcome::WhiskError, error_text::NOT_PROVISIONED),
        (gone, Outcome::ApplicationError, error_text::ACTION_GONE),
    ] {
        match bench.failure(&action).await {
            StartFailure::Provision { response, .. } => {
                assert_eq!(response.outcome, outcome);
                assert!(response.result.unwrap().as_str().contains(text), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    until("all memory back", || bench.invoker.memory_used() == ByteSize::mb(0)).await;
    bench.assert_clean();
}

/// A factory that says that it serves every kind, and can make containers or says why it cannot.
struct Other {
    why_not: Option<&'static str>,
    factory: MemoryContainerFactory,
}

#[async_trait::async_trait]
impl ContainerFactory for Other {
    fn serves(&self, kind: &str, _image: Option<&str>) -> bool {
        kind != "serial:1"
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        match self.why_not {
            Some(why) => Err(CreateError::NotRunnable(why.to_owned())),
            None => self.factory.create(&ContainerSpec { kind: KIND.to_owned(), ..spec.clone() }).await,
        }
    }

    async fn close(&self) {}
}

#[tokio::test(start_paused = true)]
async fn what_one_factory_cannot_run_the_next_one_tries() {
    let invoker = |others: &[Option<&'static str>]| {
        let mut factories: Vec<Arc<dyn ContainerFactory>> = vec![Arc::new(MemoryContainerFactory::default())];
        for why_not in others {
            factories.push(Arc::new(Other { why_not: *why_not, factory: MemoryContainerFactory::default() }));
        }
        let runtimes = Runtimes::new(Manifest::parse(KINDS).unwrap());
        NodeInvoker::new(config(1024), runtimes, factories, Arc::new(MemoryAttachmentStore::default()))
    };
    let missing = invocation("guest", "a", "missing:1", "{}");
    let runs = invoker(&[Some("pull it"), None]);
    assert!(runs.start(request(&missing)).await.is_ok());
    let Err(StartFailure::Provision { response, .. }) =
        invoker(&[Some("pull it")]).start(request(&missing)).await
    else {
        panic!("started");
    };
    assert_eq!(response.outcome, Outcome::DeveloperError);
    assert!(response.result.unwrap().as_str().contains("install it"), "the first one's reason");
    let failing = invocation("guest", "b", "failing:1", "{}");
    let Err(StartFailure::Provision { response, .. }) = runs.start(request(&failing)).await else {
        panic!("started");
    };
    assert_eq!(response.outcome, Outcome::WhiskError, "another failure is the end of it");
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_memory_of_an_idle_container() {
    let factory = MemoryContainerFactory::slow(Duration::from_millis(10), Duration::from_millis(50));
    let bench = bench_with(config(256), factory, KINDS);
    let first = invocation("alice", "a", KIND, r#"{"do":"sleep","ms":500}"#);
    let second = invocation("bob", "b", KIND, "{}");
    let started = bench.start(&first).await;
    let run = started.container.run(&first, &|| true);
    let (report, second) = tokio::join!(run, bench.start(&second));
    assert!(report.is_ok(), "the busy one was left alone");
    started.container.gone().await;
    assert_eq!(second.container.id(), 2);
    assert!(bench.factory.notes().peak_memory <= ByteSize::mb(256));
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_needed_or_given_up_takes_nothing() {
    let bench = bench(256);
    let busy = invocation("alice", "a", KIND, r#"{"do":"sleep","ms":1000}"#);
    let started = bench.start(&busy).await;
    let given_up = invocation("bob", "b", KIND, "{}");
    let other = request(&given_up);
    let needed = Arc::clone(&other.needed);
    let waits = {
        let invoker = bench.invoker.clone();
        tokio::spawn(async move { invoker.start(other).await })
    };
    let dropped = tokio::time::timeout(Duration::from_millis(10), bench.invoker.start(request(&given_up)));
    assert!(dropped.await.is_err());
    needed.store(false, Ordering::SeqCst);
    started.container.run(&busy, &|| true).await.unwrap();
    assert!(matches!(waits.await.unwrap(), Err(StartFailure::Withdrawn)));
    started.container.run(&busy, &|| true).await.unwrap();
    assert_eq!(bench.factory.notes().created, 1);

    let factory = MemoryContainerFactory::slow(Duration::from_millis(100), Duration::ZERO);
    let slow = bench_with(config(256), factory, KINDS);
    let start = slow.invoker.start(request(&given_up));
    assert!(tokio::time::timeout(Duration::from_millis(10), start).await.is_err(), "left while it was made");
    until("nothing is left", || slow.factory.notes().stopped == 1 && slow.invoker.containers() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn stem_cells_are_claimed_and_replaced() {
    let manifest = r#"{"runtimes":{"memory":[{"kind":"memory:1","image":{"name":"m"},
        "stemCells":[{"initialCount":2,"memory":"256 MB"}],
        "chasen":{"interpreter":{"command":"m","version":"1"},"launcher":"m","coldMillis":70}}]}}"#;
    let factory = MemoryContainerFactory::slow(Duration::from_millis(500), Duration::ZERO);
    let bench = bench_with(config(4096), factory, manifest);
    assert_eq!(bench.invoker.cold_start_estimate(KIND), Duration::from_millis(70));
    assert_eq!(bench.invoker.containers(), 0, "an idle node keeps nothing");
    bench.start(&invocation("guest", "a", KIND, "{}")).await;
    assert!(bench.invoker.cold_start_estimate(KIND) > Duration::from_millis(70));
    until("stem cells", || bench.factory.alive() == 3).await;
    let begun = tokio::time::Instant::now();
    bench.start(&invocation("guest", "b", KIND, "{}")).await;
    assert!(begun.elapsed() < Duration::from_millis(10));
    until("replaced", || bench.factory.alive() == 4).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.factory.kill(2);
    until("one ended by itself and is replaced", || bench.factory.notes().created == 5).await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn stem_cells_follow_the_manifest_while_the_node_runs() {
    let kept = |stems: u32, memory: u32| {
        let cells = format!(r#""stemCells":[{{"initialCount":{stems},"memory":"{memory} MB"}}]"#);
        Manifest::parse(&KINDS.replace(r#"{"name":"m"}"#, &format!(r#"{{"name":"m"}},{cells}"#))).unwrap()
    };
    let bench = bench(4096);
    bench.start(&invocation("guest", "a", KIND, "{}")).await;
    bench.runtimes.replace(kept(3, 256));
    // The kind is in use only from its next start on: it had no stem cells before.
    bench.start(&invocation("guest", "b", KIND, "{}")).await;
    until("three stem cells", || bench.factory.alive() == 5).await;
    bench.runtimes.replace(kept(1, 256));
    until("one", || bench.factory.alive() == 3).await;
    bench.runtimes.replace(kept(2, 128));
    until("two of another size", || bench.invoker.memory_used() == ByteSize::mb(2 * 256 + 2 * 128)).await;
    bench.runtimes.replace(Manifest::parse(KINDS).unwrap());
    until("none", || bench.factory.alive() == 2).await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_gone_ends_what_it_runs_and_begins_nothing() {
    let bench = bench(1024);
    let busy = invocation("guest", "busy", KIND, r#"{"do":"sleep","ms":5000}"#);
    let idle = invocation("guest", "idle", KIND, "{}");
    let (first, second) = (bench.start(&busy).await, bench.start(&idle).await);
    let other = invocation("guest", "other", "serial:1", "{}");
    let third = bench.start(&other).await;
    assert!(bench.invoker.serves(KIND));
    let gone = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let waiting = bench.invoker.clone();
        let large = with_action(idle.clone(), |action| action.limits.memory = 1024);
        let waiting = tokio::spawn(async move { waiting.start(request(&large)).await });
        tokio::task::yield_now().await;
        bench.runtimes.replace(Manifest::parse(&KINDS.replace("memory:1", "memory:2")).unwrap());
        second.container.gone().await;
        for failure in [bench.failure(&idle).await, waiting.await.unwrap().err().unwrap()] {
            let StartFailure::Provision { response, .. } = failure else { panic!("{failure:?}") };
            assert_eq!(response.outcome, Outcome::DeveloperError);
            assert!(response.result.unwrap().as_str().contains("is not supported by this platform"));
        }
        assert!(!bench.invoker.serves(KIND));
    };
    let (report, ()) = tokio::join!(first.container.run(&busy, &|| true), gone);
    let report = report.unwrap();
    assert_eq!((report.response.outcome, report.container_lives), (Outcome::Success, true));
    // What was accepted before finds its container as long as that is there.
    let next = first.container.run(&idle_in(&busy), &|| true).await.unwrap();
    assert_eq!(next.response.outcome, Outcome::Success);
    first.container.gone().await;
    third.container.run(&other, &|| true).await.unwrap();
    until("others stay", || bench.factory.alive() == 1).await;
    assert_eq!(bench.invoker.state(), InvokerState::Up);
    bench.assert_clean();
}

/// Another call of the same action.
fn idle_in(invocation: &Invocation) -> Invocation {
    Invocation { arguments: chasen_entity::RawJson::empty_object(), ..invocation.clone() }
}

#[tokio::test(start_paused = true)]
async fn answers_are_bounded_by_the_namespace_and_initialisations_by_the_system() {
    let bench = bench(256);
    let mut call = invocation("guest", "hello", KIND, r#"{"a":"0123456789"}"#);
    let mut identity = chasen_entity::Identity::clone(&call.identity);
    identity.limits.max_payload_size = Some(ByteSize::bytes(17));
    identity.limits.truncation_size = Some(ByteSize::bytes(8));
    call.identity = Arc::new(identity);
    let started = bench.start(&call).await;
    let report = started.container.run(&call, &|| true).await.unwrap();
    assert_eq!((report.response.outcome, report.response.size), (Outcome::ApplicationError, Some(18)));
    let text = error_text::result_truncated(18, 17, r#"{"a":"01"#);
    assert_eq!(report.response.result, Some(chasen_entity::RawJson::error(&text)));
    assert!(report.container_lives);
    call.arguments = chasen_entity::RawJson::parse(br#"{"a":"012345678"}"#).unwrap();
    let report = started.container.run(&call, &|| true).await.unwrap();
    assert_eq!(report.response.outcome, Outcome::Success, "just within");
    let refusing = with_action(call, |action| action.exec.main = Some("refuses".to_owned()));
    started.container.retire();
    let StartFailure::Init { response, .. } = bench.failure(&refusing).await else { panic!("no failure") };
    assert_eq!(response.result.unwrap().as_str(), r#"{"error":"refused"}"#, "19 bytes");
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn retiring_lets_the_running_call_end() {
    let bench = bench(256);
    let call = invocation("guest", "hello", KIND, r#"{"do":"sleep","ms":100}"#);
    let started = bench.start(&call).await;
    let retire = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        started.container.retire();
        started.container.gone().await;
        assert_eq!(started.container.run(&call, &|| true).await, Err(RunFailure));
    };
    let (report, ()) = tokio::join!(started.container.run(&call, &|| true), retire);
    let report = report.unwrap();
    assert!(report.container_lives, "{report:?}");
    until("stopped", || bench.factory.alive() == 0).await;
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn several_calls_share_a_container_and_a_thaw() {
    let bench = bench(256);
    let call = with_action(invocation("guest", "hello", KIND, r#"{"do":"sleep","ms":10}"#), |action| {
        action.limits.concurrency = 3;
    });
    let started = bench.start(&call).await;
    assert_eq!(started.container.slots(), 3);
    until("frozen", || bench.factory.notes().freezes == 1).await;
    let run = || started.container.run(&call, &|| true);
    let (a, b, c, d) = tokio::join!(run(), run(), run(), run());
    assert_eq!(
        [a.is_ok(), b.is_ok(), c.is_ok(), d.is_ok()],
        [true, true, true, false],
        "and no more than three"
    );
    assert_eq!(bench.factory.notes().thaws, 1);
    bench.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn closing_ends_everything_and_answers_everybody() {
    let factory = MemoryContainerFactory::slow(Duration::from_millis(50), Duration::from_millis(50));
    let bench = bench_with(config(512), factory, KINDS);
    let call = invocation("guest", "hello", KIND, r#"{"do":"stuck"}"#);
    let started = bench.start(&call).await;
    let other = invocation("guest", "other", KIND, "{}");
    let third = invocation("guest", "third", KIND, "{}");
    let close = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        bench.invoker.close().await;
    };
    let (report, making, waiting, ()) = tokio::join!(
        started.container.run(&call, &|| true),
        bench.invoker.start(request(&other)),
        bench.invoker.start(request(&third)),
        close
    );
    assert!(!report.unwrap().container_lives);
    assert!(matches!(making, Err(StartFailure::Draining)));
    assert!(matches!(waiting, Err(StartFailure::Draining)));
    assert!(matches!(bench.failure(&other).await, StartFailure::Draining));
    assert_eq!((bench.factory.alive(), bench.invoker.containers()), (0, 0));
    assert_eq!(bench.invoker.state(), InvokerState::Unhealthy);
    bench.assert_clean();
}

//! A node in memory: the real scheduler and invoker on containers that do what the arguments say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chasen_entity::{
    Activation, ActivationId, ByteSize, EntityName, Event, ExecutableAction, Invocation, Manifest, Outcome,
    RawJson,
};
use chasen_invoker::{InvokerConfig, NodeInvoker};
use chasen_scheduler::{Fleet, KindRouter, Scheduler, SchedulerConfig};
use chasen_spi::event_log::Unfinished;
use chasen_spi::memory::{
    MemoryAttachmentStore, MemoryContainerFactory, MemoryDeadLetterStore, MemoryEventLog, invocation,
};
use chasen_spi::{
    BoxFuture, DeadLetter, EventLog, FleetNode, Invoke, NoLock, ParameterLock, Position, Runtimes, Session,
    Sessions,
};

pub(crate) const KIND: &str = "memory:1";

/// The kinds of the factory, without stem cells.
pub(crate) const KINDS: &str = r#"{"runtimes":{
    "memory":[{"kind":"memory:1","image":{"name":"m"}}],
    "serial":[{"kind":"serial:1","image":{"name":"s"}}],
    "missing":[{"kind":"missing:1","image":{"name":"i"}}]}}"#;

pub(crate) struct Bench {
    pub(crate) runtimes: Arc<Runtimes>,
    pub(crate) factory: Arc<MemoryContainerFactory>,
    /// The first node.
    pub(crate) invoker: NodeInvoker,
    pub(crate) nodes: Vec<NodeInvoker>,
    pub(crate) scheduler: Scheduler,
    pub(crate) log: Arc<MemoryEventLog>,
    pub(crate) letters: Arc<MemoryDeadLetterStore>,
    pub(crate) opener: Arc<Opener>,
    memory: ByteSize,
}

/// Who does the work of sessions: keeps what it is given.
#[derive(Default)]
pub(crate) struct Opener {
    /// Nothing is to begin any more.
    pub(crate) blacklists: AtomicBool,
    taken_up: Mutex<Vec<(Session, Unfinished)>>,
    letters: Mutex<Vec<Arc<DeadLetter>>>,
}

impl Sessions for Opener {
    fn take_up(&self, session: Session, work: Unfinished) {
        self.taken_up.lock().unwrap().push((session, work));
    }

    fn died(&self, letter: Arc<DeadLetter>) {
        self.letters.lock().unwrap().push(letter);
    }

    fn is_blacklisted(&self, _namespace: &EntityName) -> BoxFuture<bool> {
        let is_blacklisted = self.blacklists.load(Ordering::SeqCst);
        Box::pin(async move { is_blacklisted })
    }
}

impl Opener {
    /// The sessions that it was given, in the order of their coming.
    pub(crate) fn take(&self) -> Vec<(Session, Unfinished)> {
        std::mem::take(&mut *self.taken_up.lock().unwrap())
    }

    /// How many it was given and still has.
    pub(crate) fn count(&self) -> usize {
        self.taken_up.lock().unwrap().len()
    }

    /// The letters that it was told of.
    pub(crate) fn letters(&self) -> Vec<Arc<DeadLetter>> {
        self.letters.lock().unwrap().clone()
    }
}

/// A node with this much memory; making a container takes 20 ms, stopping it 5 ms.
pub(crate) fn bench(memory: u64) -> Bench {
    bench_with(memory, SchedulerConfig::default())
}

pub(crate) fn bench_with(memory: u64, config: SchedulerConfig) -> Bench {
    locked_bench(memory, config, Arc::new(NoLock))
}

pub(crate) fn locked_bench(memory: u64, config: SchedulerConfig, lock: Arc<dyn ParameterLock>) -> Bench {
    let node = InvokerConfig { memory: ByteSize::mb(memory), ..InvokerConfig::default() };
    fleet(vec![node], config, lock)
}

/// Several nodes that make their containers with one factory.
pub(crate) fn fleet(
    nodes: Vec<InvokerConfig>,
    config: SchedulerConfig,
    lock: Arc<dyn ParameterLock>,
) -> Bench {
    let log = Arc::new(MemoryEventLog::default());
    assemble(nodes, config, lock, log.clone(), log)
}

/// A node whose log finds what another node's left: whole, or, after a power cut, as far as it was synced.
pub(crate) fn next_life(of: &Bench, config: SchedulerConfig, after_power_cut: bool) -> Bench {
    let log = Arc::new(of.log.next_life(after_power_cut));
    on_log(config, log.clone(), log)
}

/// A node of 1 GB that writes to this log, which keeps its events in a list.
pub(crate) fn on_log(config: SchedulerConfig, log: Arc<dyn EventLog>, list: Arc<MemoryEventLog>) -> Bench {
    let node = InvokerConfig { memory: ByteSize::mb(1024), ..InvokerConfig::default() };
    assemble(vec![node], config, Arc::new(NoLock), log, list)
}

fn assemble(
    nodes: Vec<InvokerConfig>,
    config: SchedulerConfig,
    lock: Arc<dyn ParameterLock>,
    written: Arc<dyn EventLog>,
    log: Arc<MemoryEventLog>,
) -> Bench {
    let memory = ByteSize::bytes(nodes.iter().map(|node| node.memory.as_bytes()).sum());
    let factory = Arc::new(MemoryContainerFactory::slow(Duration::from_millis(20), Duration::from_millis(5)));
    let runtimes = Runtimes::new(Manifest::parse(KINDS).unwrap());
    let nodes: Vec<NodeInvoker> = nodes
        .into_iter()
        .map(|node| {
            let attachments = Arc::new(MemoryAttachmentStore::default());
            NodeInvoker::new(node, runtimes.clone(), vec![factory.clone()], attachments)
        })
        .collect();
    let invoker = nodes[0].clone();
    let serves = invoker.clone();
    let members = nodes.iter().map(|node| Arc::new(node.clone()) as Arc<dyn FleetNode>).collect();
    let domain = Arc::new(Fleet::new(members, config.policies.clone(), 1));
    let router = KindRouter::new().route(move |kind, _| serves.serves(kind), domain);
    let letters = Arc::new(MemoryDeadLetterStore::default());
    let scheduler = Scheduler::new(config, router, written, lock, letters.clone());
    Bench { runtimes, factory, invoker, nodes, scheduler, log, letters, opener: Arc::default(), memory }
}

/// A call of an action of a namespace.
pub(crate) fn call(namespace: &str, action: &str, arguments: &str) -> Invocation {
    Invocation { accepted_at: now(), ..invocation(namespace, action, KIND, arguments) }
}

/// The same call with another state of the action.
pub(crate) fn with_action(
    mut invocation: Invocation,
    change: impl FnOnce(&mut ExecutableAction),
) -> Invocation {
    let mut action = ExecutableAction::clone(&invocation.action);
    change(&mut action);
    invocation.action = Arc::new(action);
    invocation
}

fn now() -> u64 {
    ActivationId::generate().created_at()
}

/// The error text or result of a record.
pub(crate) fn result(record: &Activation) -> &str {
    record.response.result.as_ref().map_or("", |result| result.as_str())
}

/// The outcome of a record.
pub(crate) fn outcome(record: &Activation) -> Outcome {
    record.response.outcome
}

/// What the log says of an activation, in a word each.
pub(crate) fn told(bench: &Bench, id: ActivationId) -> Vec<&'static str> {
    let word = |event: &Event| match event {
        Event::Accepted(_) => "accepted",
        Event::Started { .. } => "started",
        Event::Progress { .. } => "progress",
        Event::Finished(_) => "finished",
        Event::Ended(_) => "ended",
    };
    bench.log.events().iter().filter(|event| event.activation_id() == id).map(word).collect()
}

impl Bench {
    /// Takes up what the log holds of an earlier life.
    pub(crate) fn recover(&self) {
        let opener: Arc<dyn Sessions> = self.opener.clone();
        self.scheduler.recover(&opener);
    }

    /// Notes work that an earlier life accepted, and the try that it began.
    pub(crate) fn leave(&self, invocation: &Arc<Invocation>, started: Option<u32>) -> ActivationId {
        let activation_id = invocation.activation_id;
        self.log.append(&Event::Accepted(Arc::clone(invocation))).unwrap();
        if let Some(attempt) = started {
            self.log.append(&Event::Started { activation_id, attempt, at: 1 }).unwrap();
        }
        activation_id
    }

    /// Notes how far a session of an earlier life came; where the log ends then.
    pub(crate) fn leave_note(&self, session: &Invocation, state: &str) -> Position {
        let state = RawJson::from_value(&state);
        self.log.append(&Event::Progress { activation_id: session.activation_id, state }).unwrap()
    }

    /// Waits until everything has ended.
    pub(crate) async fn rest(&self) {
        until("all are over", || self.log.open_count() == 0).await;
        until("and gone", || self.scheduler.in_flight() == 0).await;
    }

    /// The record of an activation that has one.
    pub(crate) fn record(&self, id: ActivationId) -> Arc<Activation> {
        let found = self.log.events().into_iter().find_map(|event| match event {
            Event::Finished(record) if record.activation_id == id => Some(record),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("activation {id} has no record"))
    }

    /// Invokes and waits for the record.
    pub(crate) async fn run(&self, invocation: Invocation) -> Arc<Activation> {
        self.scheduler.invoke(invocation).unwrap().await
    }

    /// What must be true whatever happened: one record for each accepted activation, no rule of a container
    /// broken, no more memory than there is.
    pub(crate) fn assert_sound(&self) {
        let mut records: BTreeMap<ActivationId, (u32, u32)> = BTreeMap::new();
        for event in self.log.events() {
            let (accepted, finished) = records.entry(event.activation_id()).or_default();
            match event {
                Event::Accepted(_) => *accepted += 1,
                Event::Finished(_) | Event::Ended(_) => *finished += 1,
                Event::Started { .. } | Event::Progress { .. } => {}
            }
        }
        for (id, counts) in records {
            assert_eq!(counts, (1, 1), "activation {id}: accepted and finished once");
        }
        let notes = self.factory.notes();
        assert_eq!(notes.violations, Vec::<String>::new());
        assert!(notes.peak_memory <= self.memory, "{:?}", notes.peak_memory);
        assert_eq!(self.scheduler.in_flight(), 0);
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

//! A node in memory: the real scheduler and invoker on containers that do what the arguments say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{
    Activation, ActivationId, ByteSize, Event, ExecutableAction, Invocation, Manifest, Outcome,
};
use chasen_invoker::{InvokerConfig, NodeInvoker};
use chasen_scheduler::{Fleet, KindRouter, Scheduler, SchedulerConfig};
use chasen_spi::memory::{MemoryAttachmentStore, MemoryContainerFactory, MemoryEventLog, invocation};
use chasen_spi::{FleetNode, Invoke, NoLock, ParameterLock, Runtimes};

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
    memory: ByteSize,
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
    let log = Arc::new(MemoryEventLog::default());
    let scheduler = Scheduler::new(config, router, log.clone(), lock);
    Bench { runtimes, factory, invoker, nodes, scheduler, log, memory }
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

impl Bench {
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
                Event::Started { .. } => {}
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

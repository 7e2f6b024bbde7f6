//! A container factory in memory: containers that do what the arguments say, and notes of what was done to them.
//!
//! Kinds: `memory:1` runs; `serial:1` runs one call at a time; `missing:1` is served but not installed; `failing:1` cannot be created.
//! Entry points: `refuses`, `declines`, `dies` and `hangs` at initialisation, everything else takes the action.
//! Arguments, by the key `do`: `sleep` (for `ms`), `refuse`, `decline`, `die`, `die-unsent`, `hang` (until the time
//! limit), `stuck` (for ever, limit or not); everything else is echoed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::response::Answer;
use chasen_entity::{ActionKey, ActivationId, ByteSize, EntityName, FullyQualifiedName, Invocation, Millis};
use chasen_entity::{
    ActionLimits, AuthKey, Exec, ExecutableAction, Identity, Namespace, Parameters, RawJson, Role, StoreLevel,
};
use chasen_entity::{ResourceUse, Revision, Subject, TransactionId, UserLimits, Version};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::container_factory::InitCode;
use crate::{Container, ContainerFactory, ContainerSpec, CreateError, RunReply};

/// An invocation for tests: a blocking one of the first state of an action without code.
#[must_use]
#[expect(clippy::unwrap_used, reason = "the callers are tests with legal names")]
pub fn invocation(namespace: &str, action: &str, kind: &str, arguments: &str) -> Invocation {
    let name = EntityName::new(namespace).unwrap();
    Invocation {
        activation_id: ActivationId::generate(),
        transaction_id: TransactionId::generate(),
        role: Role::Action,
        identity: Arc::new(Identity {
            subject: Subject::new("guest").unwrap(),
            namespace: Namespace { name, uuid: "id".into() },
            auth_key: AuthKey { uuid: "id".into(), key: "k".repeat(64).into() },
            limits: UserLimits::default(),
        }),
        action: Arc::new(ExecutableAction {
            name: FullyQualifiedName::parse(&format!("{namespace}/{action}")).unwrap(),
            version: Version::default(),
            revision: 1,
            exec: Exec { kind: kind.to_owned(), ..Exec::default() },
            limits: ActionLimits::default(),
            annotations: Parameters::new(),
            superseded: false,
            texts: chasen_entity::action::Texts::default(),
        }),
        binding: None,
        arguments: RawJson::parse(arguments.as_bytes()).unwrap(),
        locked: BTreeMap::new(),
        init_parameters: Parameters::new(),
        environment: None,
        blocking: true,
        cause: None,
        fire: None,
        accepted_at: ActivationId::generate().created_at(),
        store: StoreLevel::StoreAlways,
        delivery: chasen_entity::Delivery::AtMostOnce,
        attempt: 1,
        durability: chasen_entity::Durability::Memory,
        due: None,
        replay_of: None,
        epoch: 0,
        trace_context: None,
    }
}

/// What was done to the containers of a factory.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// Containers that were made.
    pub created: u64,
    /// Containers that were stopped.
    pub stopped: u64,
    /// Most memory that containers had at one time.
    pub peak_memory: ByteSize,
    /// Freezes and thaws.
    pub freezes: u64,
    /// See `freezes`.
    pub thaws: u64,
    /// Runs by container.
    pub runs: BTreeMap<u64, u64>,
    /// Rules of the container's contract that were broken.
    pub violations: Vec<String>,
    memory: u64,
}

/// See the module.
#[derive(Default)]
pub struct MemoryContainerFactory {
    notes: Arc<Mutex<Notes>>,
    alive: Arc<Mutex<BTreeMap<u64, Arc<MemoryContainer>>>>,
    create_time: Duration,
    stop_time: Duration,
}

impl MemoryContainerFactory {
    /// A factory that takes this long to make and to stop a container.
    #[must_use]
    pub fn slow(create_time: Duration, stop_time: Duration) -> Self {
        Self { create_time, stop_time, ..Self::default() }
    }

    /// What happened so far.
    #[must_use]
    pub fn notes(&self) -> Notes {
        self.notes.lock().clone()
    }

    /// Containers that are there.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive.lock().len()
    }

    /// Lets the runtime of one container end by itself; `which` counts round those that are there.
    pub fn kill(&self, which: usize) {
        let alive = self.alive.lock();
        if let Some(container) = alive.values().nth(which.checked_rem(alive.len()).unwrap_or_default()) {
            container.dead.send_replace(true);
        }
    }
}

#[async_trait]
impl ContainerFactory for MemoryContainerFactory {
    fn serves(&self, kind: &str, _image: Option<&str>) -> bool {
        matches!(kind, "memory:1" | "serial:1" | "missing:1" | "failing:1")
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        tokio::time::sleep(self.create_time).await;
        match spec.kind.as_str() {
            "missing:1" => return Err(CreateError::NotRunnable("install it".to_owned())),
            "failing:1" => return Err(CreateError::Failed("no luck".to_owned())),
            _ => {}
        }
        let number = {
            let mut notes = self.notes.lock();
            notes.created += 1;
            notes.memory += spec.memory.as_bytes();
            notes.peak_memory = notes.peak_memory.max(ByteSize::bytes(notes.memory));
            notes.created
        };
        let container = Arc::new(MemoryContainer {
            number,
            name: format!("memory-{number}"),
            memory: spec.memory,
            concurrency: if spec.kind == "serial:1" { 1 } else { u32::MAX },
            stop_time: self.stop_time,
            dead: watch::Sender::new(false),
            frozen: watch::Sender::new(false),
            running: AtomicU32::new(0),
            action: Mutex::new(None),
            notes: Arc::clone(&self.notes),
            alive: Arc::clone(&self.alive),
        });
        self.alive.lock().insert(number, Arc::clone(&container));
        Ok(container)
    }

    async fn close(&self) {}
}

struct MemoryContainer {
    number: u64,
    name: String,
    memory: ByteSize,
    concurrency: u32,
    stop_time: Duration,
    dead: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    running: AtomicU32,
    /// What it was initialised for.
    action: Mutex<Option<(ActionKey, Revision, u32)>>,
    notes: Arc<Mutex<Notes>>,
    alive: Arc<Mutex<BTreeMap<u64, Arc<MemoryContainer>>>>,
}

impl MemoryContainer {
    fn check(&self, rule: &str, holds: bool) {
        if !holds {
            self.notes.lock().violations.push(format!("{}: {rule}", self.name));
        }
    }

    async fn died(&self) {
        // The sender lives in `self`: this cannot fail.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    async fn act(&self, what: &str, time: Duration, arguments: &RawJson) -> Answer {
        let limit = tokio::time::sleep(time);
        match what {
            "stuck" => std::future::pending().await,
            "hang" => tokio::select! {
                () = limit => {
                    self.dead.send_replace(true);
                    Answer::TimedOut
                }
                () = self.died() => Answer::Gone,
            },
            "die" | "dies" | "die-unsent" => {
                self.dead.send_replace(true);
                Answer::Gone
            }
            "decline" | "declines" => Answer::Declined,
            "refuse" | "refuses" => Answer::Refused(br#"{"error":"refused"}"#.to_vec()),
            "sleep" => {
                let millis = arguments.get("ms").and_then(|ms| ms.read::<u64>().ok()).unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(millis)) => {
                        Answer::Ok(arguments.as_str().as_bytes().to_vec())
                    }
                    () = self.died() => Answer::Gone,
                }
            }
            _ if *self.dead.borrow() => Answer::Gone,
            _ => Answer::Ok(arguments.as_str().as_bytes().to_vec()),
        }
    }
}

fn limit_of(invocation: &Invocation) -> Duration {
    Duration::from_millis(u64::from(invocation.action.limits.timeout))
}

#[async_trait]
impl Container for MemoryContainer {
    fn name(&self) -> &str {
        &self.name
    }

    fn concurrency(&self) -> u32 {
        self.concurrency
    }

    async fn init(&self, invocation: &Invocation, code: InitCode) -> RunReply {
        let begun = tokio::time::Instant::now();
        let concurrency = code.action.limits.concurrency.min(self.concurrency);
        let before = self.action.lock().replace((invocation.key(), invocation.action.revision, concurrency));
        self.check("initialised once", before.is_none());
        self.check("initialised with its action", code.action.revision == invocation.action.revision);
        let what = match code.action.exec.entry_point() {
            "hangs" => "hang",
            other => other,
        };
        let answer = self.act(what, limit_of(invocation), &RawJson::empty_object()).await;
        RunReply { answer, duration: begun.elapsed(), logs: Vec::new(), used: ResourceUse::default() }
    }

    async fn run(&self, invocation: &Invocation, _deadline: Millis, sent: &(dyn Fn() + Sync)) -> RunReply {
        let begun = tokio::time::Instant::now();
        let own = self.action.lock().clone();
        let fits = own.as_ref().is_some_and(|(key, revision, _)| {
            *key == invocation.key() && *revision == invocation.action.revision
        });
        self.check("one namespace, action and revision", fits);
        self.check("not frozen while it runs", !*self.frozen.borrow());
        let what =
            invocation.arguments.get("do").and_then(|what| what.read::<String>().ok()).unwrap_or_default();
        if what != "die-unsent" {
            sent();
        }
        *self.notes.lock().runs.entry(self.number).or_default() += 1;
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.check("no more runs than slots", own.is_some_and(|(_, _, slots)| running <= slots));
        let answer = self.act(&what, limit_of(invocation), &invocation.arguments).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        RunReply { answer, duration: begun.elapsed(), logs: Vec::new(), used: ResourceUse::default() }
    }

    async fn freeze(&self) -> Result<(), std::io::Error> {
        self.check("frozen when nothing runs", self.running.load(Ordering::SeqCst) == 0);
        self.check("frozen once", !self.frozen.send_replace(true));
        self.notes.lock().freezes += 1;
        Ok(())
    }

    async fn thaw(&self) -> Result<(), std::io::Error> {
        self.check("thawed once", self.frozen.send_replace(false));
        self.notes.lock().thaws += 1;
        Ok(())
    }

    async fn exited(&self) {
        self.died().await;
    }

    async fn stop(&self) {
        self.dead.send_replace(true);
        tokio::time::sleep(self.stop_time).await;
        self.check("stopped once", self.alive.lock().remove(&self.number).is_some());
        let mut notes = self.notes.lock();
        notes.stopped += 1;
        notes.memory -= self.memory.as_bytes();
    }
}

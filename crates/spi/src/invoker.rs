//! Invokers: nodes that keep containers and give schedulers ready ones.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ActionKey, ExecutableAction, Invocation, Millis, ResourceUse, Response, StartKind};

/// Keeps containers on one node.
#[async_trait]
pub trait Invoker: Send + Sync {
    /// Makes a container ready for an action: reserves memory, claims a stem cell or creates one,
    /// initialises it. Waits fairly while the node has no room. Dropping the future withdraws the request
    /// if it still waits for room; a container that is already being made is put to idle or stopped.
    async fn start(&self, request: StartRequest) -> Result<StartedContainer, StartFailure>;

    /// First guess of a cold start of this kind.
    fn cold_start_estimate(&self, kind: &str) -> Duration;

    /// Stops every container and waits until all is gone.
    async fn close(&self);
}

/// What a scheduler asks for.
#[derive(Clone)]
pub struct StartRequest {
    /// Queue it is for; a container serves one key for its whole life.
    pub key: ActionKey,
    /// State of the action; a container serves one revision for its whole life.
    pub action: Arc<ExecutableAction>,
    /// The invocation whose environment the initialisation gets.
    pub first: Arc<Invocation>,
    /// How many containers the key has already, ready or in the making: who has none goes first.
    pub siblings: u32,
    /// False while nothing waits for it. A request that is not needed at the moment when there would be room
    /// for it is answered with [`StartFailure::Withdrawn`]; shared by all requests of a queue.
    pub needed: Arc<AtomicBool>,
}

/// A container that is ready.
pub struct StartedContainer {
    /// It.
    pub container: Arc<dyn ReadyContainer>,
    /// When its initialisation began.
    pub init_started_at: Millis,
    /// How long the initialisation took.
    pub init_time: Duration,
}

/// Why there is no container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartFailure {
    /// The action cannot be initialised: what its waiting activations end with.
    Init {
        /// Developer error.
        response: Response,
        /// When the initialisation began.
        init_started_at: Millis,
        /// How long it took.
        init_time: Duration,
        /// What it printed.
        logs: Vec<String>,
        /// True if the time limit ran out.
        timed_out: bool,
        /// Whether the container was new or a stem cell.
        start: StartKind,
        /// What it used.
        used: ResourceUse,
    },
    /// The node could not provide one: what its waiting activations end with, and the reason for the log.
    Provision {
        /// Whisk error, or developer error where the kind cannot run here.
        response: Response,
        /// For the operator.
        reason: String,
    },
    /// Nobody needed it any more when there was room.
    Withdrawn,
    /// The node is draining.
    Draining,
}

/// A container in use by one scheduler. One slot of it is one call of `run` at a time.
#[async_trait]
pub trait ReadyContainer: Send + Sync {
    /// Number of this container on its node.
    fn id(&self) -> u64;

    /// Slots: calls that it takes at the same time.
    fn slots(&self) -> u32;

    /// Whether it was new or a stem cell when it took the action.
    fn start_kind(&self) -> StartKind {
        StartKind::Cold
    }

    /// Runs one invocation. `started` is called at most once, before the first byte reaches the runtime; where it says
    /// that this must not be, nothing is sent, and the container serves on.
    async fn run(
        &self,
        invocation: &Invocation,
        started: &(dyn Fn() -> bool + Sync),
    ) -> Result<RunReport, RunFailure>;

    /// Resolves when the container takes no more work: evicted, broken or stopped.
    async fn gone(&self);

    /// Takes no more work and stops when the running calls have ended.
    fn retire(&self);

    /// Stops at once, whatever runs in it: those calls end as lost.
    fn kill(&self);
}

/// What came of a run that reached the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunReport {
    /// When the request was sent.
    pub started_at: Millis,
    /// How long it took.
    pub duration: Duration,
    /// Status and result.
    pub response: Response,
    /// Log lines.
    pub logs: Vec<String>,
    /// True if the time limit ran out.
    pub timed_out: bool,
    /// False if the container is gone with it.
    pub container_lives: bool,
    /// What it used, with the initialisation if it was the first.
    pub used: ResourceUse,
}

/// A run that was not begun: no byte was sent, or the runtime said that it is shutting down. It may be begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFailure;

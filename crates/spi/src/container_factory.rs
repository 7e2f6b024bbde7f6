//! Containers: isolated places where one runtime lives, and the factories that make them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::response::Answer;
use chasen_entity::{
    ActionLimits, ByteSize, ExecutableAction, Invocation, Millis, NetworkPolicy, ResourceUse, error_text,
};

/// What a new container is for.
#[derive(Debug, Clone)]
pub struct ContainerSpec {
    /// Concrete kind, or `blackbox`.
    pub kind: String,
    /// Image of a blackbox action.
    pub image: Option<String>,
    /// Memory bound.
    pub memory: ByteSize,
    /// Where its functions may connect to. A factory that cannot keep to it makes no container.
    pub network: NetworkPolicy,
}

/// Why a container could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The factory does not serve this kind here; the text says what to install.
    #[error("{0}")]
    NotRunnable(String),
    /// The factory cannot keep the action's network policy; the text says which.
    #[error("{0}")]
    PolicyNotKept(String),
    /// An image could not be had.
    #[error("{}", error_text::image_not_pulled(.0))]
    Pull(String),
    /// An image has no entry point, or one that cannot be executed.
    #[error("{}", error_text::not_executable_in_image(.0))]
    NotExecutable(String),
    /// Anything else; the text is for the operator's log.
    #[error("the container could not be started: {0}")]
    Failed(String),
}

/// Makes containers.
#[async_trait]
pub trait ContainerFactory: Send + Sync {
    /// False while it cannot make containers, whatever their kind.
    fn is_up(&self) -> bool {
        true
    }

    /// True if this factory is responsible for the kind and image, runnable at the moment or not.
    fn serves(&self, kind: &str, image: Option<&str>) -> bool;

    /// Starts a container with its runtime up and waiting for an action.
    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError>;

    /// Starts a container whose runtime may still be coming up: [`Container::up`] waits for that.
    async fn begin(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        self.create(spec).await
    }

    /// Stops everything that is left and waits until it is gone.
    async fn close(&self);
}

/// What came of an initialisation or a run.
#[derive(Debug, Clone)]
pub struct RunReply {
    /// What the runtime said.
    pub answer: Answer,
    /// Milliseconds from sending to the answer.
    pub duration: Duration,
    /// Log lines of this activation, formatted, bounded by its limit; empty after a successful initialisation,
    /// whose output belongs to the first run.
    pub logs: Vec<String>,
    /// What it used; of the first run after an initialisation, both together.
    pub used: ResourceUse,
}

impl RunReply {
    /// True if the container may serve again.
    #[must_use]
    pub fn keeps_container(&self) -> bool {
        Self::keeps(&self.answer)
    }

    /// True if a container that answers so may serve again.
    #[must_use]
    pub fn keeps(answer: &Answer) -> bool {
        matches!(answer, Answer::Ok(_) | Answer::TooLong { .. })
    }
}

/// One container. All methods may be called from any task; `run` up to the action's concurrency and up to
/// `concurrency` at once.
#[async_trait]
pub trait Container: Send + Sync {
    /// Name in logs.
    fn name(&self) -> &str;

    /// Most runs that the runtime takes at once, whatever its action allows.
    fn concurrency(&self) -> u32;

    /// Resolves when the runtime of a container that was begun is up and waits for an action.
    ///
    /// # Errors
    /// It does not come up; the container is of no use.
    async fn up(&self) -> Result<(), CreateError> {
        Ok(())
    }

    /// Says, while the runtime comes up, with which code `init` will come, so that it may be laid meanwhile. What hinders
    /// that is told by `init`.
    async fn expect(&self, code: &InitCode) {
        let _ = code;
    }

    /// Gives the container its action, once. Bounded by the action's time limit.
    async fn init(&self, invocation: &Invocation, code: InitCode) -> RunReply;

    /// Runs the action once. Bounded by the action's time limit; a container that overran it is dead after.
    /// `sent` is called once, before the first byte goes out.
    async fn run(&self, invocation: &Invocation, deadline: Millis, sent: &(dyn Fn() + Sync)) -> RunReply;

    /// Stops every process in it from running; nothing of a tenant runs between calls.
    async fn freeze(&self) -> Result<(), std::io::Error>;

    /// Undoes `freeze`.
    async fn thaw(&self) -> Result<(), std::io::Error>;

    /// Resolves when the runtime has ended, by whatever cause.
    async fn exited(&self);

    /// Ends it and waits until everything of it is gone: processes, mounts, groups, interfaces.
    async fn stop(&self);
}

/// The code of an action, as an initialisation needs it.
#[derive(Debug, Clone)]
pub struct InitCode {
    /// The action.
    pub action: Arc<ExecutableAction>,
    /// Text as received; `None` for images that bring their own.
    pub text: Option<bytes::Bytes>,
}

/// Bounds that follow from an action's limits.
#[derive(Debug, Clone, Copy)]
pub struct RunBounds {
    /// Longest initialisation or run.
    pub time: Duration,
    /// Largest log; 0 keeps none.
    pub logs: ByteSize,
}

impl RunBounds {
    /// Bounds of these limits.
    #[must_use]
    pub fn new(limits: &ActionLimits) -> Self {
        Self {
            time: Duration::from_millis(u64::from(limits.timeout)),
            logs: ByteSize::mb(u64::from(limits.logs)),
        }
    }
}

//! Making a container ready: create it or claim a stem cell, fetch the code, initialise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chasen_entity::response::Answer;
use chasen_entity::{ExecutableAction, Millis, Outcome, ResourceUse, Response, StartKind, error_text};
use chasen_spi::container_factory::InitCode;
use chasen_spi::{Container, ContainerFactory, CreateError, StartFailure, StartRequest, StartedContainer};
use chasen_telemetry::{clock, task};
use tokio::sync::{OnceCell, oneshot};
use tokio::time::Instant;

use crate::container::state::{Effect, Event, State};
use crate::container::{Handle, PooledContainer, Serving, keep};
use crate::invoker::no_kind;
use crate::node::Node;
use crate::pool;

/// Creations that are tried before a start fails for a reason that may pass.
const CREATE_ATTEMPTS: u32 = 2;

/// Why a kind that the manifest advertises cannot run, and what helps.
const NOTHING_RUNS_IT: &str = "the runtimes manifest names no interpreter for it, and no container engine is there to \
     run its image; install Docker or Podman, or say in the kind's `chasen` section how it runs here";

/// What came of it.
pub(crate) enum Made {
    /// The container serves.
    Started(StartedContainer),
    /// It cannot be had.
    Failed(StartFailure),
    /// The stem cell ended before it could be claimed: ask again.
    Lost,
}

/// Makes a container ready for a request. Runs in its own task, so that whoever asked may leave at any time;
/// then the container is stopped.
pub(crate) async fn make(
    node: Arc<Node>,
    container: Arc<PooledContainer>,
    request: StartRequest,
    reply: oneshot::Sender<Made>,
) {
    let made = node.make(&container, &request).await;
    let started = matches!(made, Made::Started(_));
    if reply.send(made).is_err() && started {
        container.apply(Event::Retired);
    }
}

/// Makes a stem cell.
pub(crate) async fn make_stem(node: Arc<Node>, container: Arc<PooledContainer>) {
    match node.create(&container, None).await {
        Ok(handle) => {
            container.park(&handle.container);
            node.tell(pool::Event::StemUp(container.id));
        }
        Err(error) => tracing::warn!(kind = container.spec.kind, %error, "no stem cell"),
    }
}

impl Node {
    async fn make(self: &Arc<Self>, container: &Arc<PooledContainer>, request: &StartRequest) -> Made {
        let begun = Instant::now();
        let was_stem = container.state() == State::Stem;
        let start = if was_stem { StartKind::Stem } else { StartKind::Cold };
        let code = Code { node: self, action: &request.action, text: OnceCell::new() };
        let handle = match self.handle(container, &code).await {
            Ok(handle) => handle,
            Err(error) => return Made::Failed(self.not_created(container, error)),
        };
        container.set_slots(request.action.limits.concurrency.min(handle.container.concurrency()));
        if container.apply(Event::Claimed) != Effect::Initialize {
            return if self.is_closing() { Made::Failed(StartFailure::Draining) } else { Made::Lost };
        }
        let code = match code.get().await {
            Ok(code) => code,
            Err(failure) => {
                container.apply(Event::NotInitialized);
                return Made::Failed(failure);
            }
        };
        match self.initialize(&handle, request, code, start).await {
            Ok((init_started_at, init_time)) => {
                if container.state().is_gone() {
                    return Made::Failed(self.ended_early(init_started_at, init_time, start));
                }
                self.estimates.measured(&container.spec.kind, begun.elapsed());
                self.tell(pool::Event::Made(container.id));
                let serving = Serving::new(handle, self.config.payload, start);
                Made::Started(StartedContainer { container: Arc::new(serving), init_started_at, init_time })
            }
            // It has been there for a while, and somebody has told it to end.
            Err((Answer::Declined, _)) if was_stem && !self.is_closing() => Made::Lost,
            Err((_, failure)) => Made::Failed(failure),
        }
    }

    /// The handle of a stem cell, or of a container that is created now.
    async fn handle(
        self: &Arc<Self>,
        container: &Arc<PooledContainer>,
        code: &Code<'_>,
    ) -> Result<Handle, CreateError> {
        match container.unpark() {
            Some(handle) => Ok(handle),
            None => self.create(container, Some(code)).await,
        }
    }

    /// Has a factory create the container, and gives it its keeper. It is told the code, if that is known.
    async fn create(
        self: &Arc<Self>,
        pooled: &Arc<PooledContainer>,
        code: Option<&Code<'_>>,
    ) -> Result<Handle, CreateError> {
        pooled.apply(Event::Creation);
        match self.create_with_factory(pooled, code).await {
            Ok(container) => {
                let handle = Handle { pooled: Arc::clone(pooled), container };
                pooled.apply(Event::Created);
                drop(task::spawn("container keeper", keep(handle.share(), self.config.clone())));
                Ok(handle)
            }
            Err(error) => {
                pooled.apply(Event::NotCreated);
                self.dead(pooled.id, true);
                Err(error)
            }
        }
    }

    /// Has the first factory that can create the container do so. One that is responsible but cannot run the kind, or not
    /// as its network policy says, leaves it to the next; if none can, the first one's reason is told.
    async fn create_with_factory(
        &self,
        pooled: &PooledContainer,
        code: Option<&Code<'_>>,
    ) -> Result<Arc<dyn Container>, CreateError> {
        let spec = &pooled.spec;
        if !self.has_kind(&spec.kind) {
            return failed("the runtimes manifest has the kind no more");
        }
        let mut reason = None;
        for factory in self.factories.iter().filter(|one| one.serves(&spec.kind, spec.image.as_deref())) {
            match self.create_with(factory.as_ref(), pooled, code).await {
                Err(error @ (CreateError::NotRunnable(_) | CreateError::PolicyNotKept(_))) => {
                    reason.get_or_insert(error);
                }
                result => return result,
            }
        }
        match (reason, &spec.image) {
            (Some(error), _) => Err(error),
            (None, Some(image)) => Err(CreateError::Pull(image.clone())),
            (None, None) => Err(CreateError::NotRunnable(NOTHING_RUNS_IT.to_owned())),
        }
    }

    async fn create_with(
        &self,
        factory: &dyn ContainerFactory,
        pooled: &PooledContainer,
        code: Option<&Code<'_>>,
    ) -> Result<Arc<dyn Container>, CreateError> {
        let spec = &pooled.spec;
        let mut attempt = 1;
        loop {
            if pooled.state() != State::Creating {
                return failed("the node is closing");
            }
            let coming = async {
                let container = factory.begin(spec).await?;
                // While the runtime comes up its code is laid.
                let telling = async {
                    if let Some(code) = code
                        && let Ok(code) = code.get().await
                    {
                        container.expect(&code).await;
                    }
                };
                let (up, ()) = tokio::join!(container.up(), telling);
                up.map(|()| container)
            };
            let created = tokio::time::timeout(self.config.create_timeout, coming).await;
            match created.unwrap_or_else(|_| failed("its creation took too long")) {
                Err(CreateError::Failed(reason)) if attempt < CREATE_ATTEMPTS => {
                    tracing::warn!(kind = spec.kind, %reason, "a container could not be created; trying again");
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn not_created(&self, container: &PooledContainer, error: CreateError) -> StartFailure {
        if self.is_closing() {
            return StartFailure::Draining;
        }
        if !self.has_kind(&container.spec.kind) {
            return no_kind(&container.spec.kind);
        }
        let reason = error.to_string();
        let response = match error {
            CreateError::NotRunnable(missing) => {
                let text = error_text::kind_not_runnable(&container.spec.kind, &missing);
                Response::error(Outcome::DeveloperError, &text)
            }
            CreateError::Pull(_) | CreateError::NotExecutable(_) | CreateError::PolicyNotKept(_) => {
                Response::error(Outcome::DeveloperError, &reason)
            }
            CreateError::Failed(_) => Response::error(Outcome::WhiskError, error_text::NOT_PROVISIONED),
        };
        StartFailure::Provision { response, reason }
    }

    /// When it began and how long it took, or the answer and what it comes to.
    async fn initialize(
        &self,
        handle: &Handle,
        request: &StartRequest,
        code: InitCode,
        start: StartKind,
    ) -> Result<(Millis, Duration), (Answer, StartFailure)> {
        let init_started_at = clock::now();
        let limit = Duration::from_millis(u64::from(request.action.limits.timeout));
        let reply = handle.answer(limit, handle.container.init(&request.first, code)).await;
        if matches!(reply.answer, Answer::Ok(_)) {
            handle.pooled.apply(Event::Initialized);
            return Ok((init_started_at, reply.duration));
        }
        handle.pooled.apply(Event::NotInitialized);
        if self.is_closing() {
            return Err((reply.answer, StartFailure::Draining));
        }
        let failure = StartFailure::Init {
            timed_out: reply.answer == Answer::TimedOut,
            // The namespace's own bounds are those of results.
            response: Response::of_failed_init(reply.answer.clone(), limit, &self.config.payload),
            init_started_at,
            init_time: reply.duration,
            logs: reply.logs,
            start,
            used: reply.used,
        };
        Err((reply.answer, failure))
    }

    /// The runtime ended right after it had taken the action.
    fn ended_early(&self, init_started_at: Millis, init_time: Duration, start: StartKind) -> StartFailure {
        if self.is_closing() {
            return StartFailure::Draining;
        }
        let response = Response::error(Outcome::DeveloperError, error_text::INIT_EXITED);
        StartFailure::Init {
            response,
            init_started_at,
            init_time,
            logs: Vec::new(),
            timed_out: false,
            start,
            used: ResourceUse::default(),
        }
    }
}

/// The code of the action that a container is made for: fetched once, by whoever needs it first.
struct Code<'a> {
    node: &'a Node,
    action: &'a Arc<ExecutableAction>,
    text: OnceCell<Result<Option<Bytes>, StartFailure>>,
}

impl Code<'_> {
    async fn get(&self) -> Result<InitCode, StartFailure> {
        let text = self.text.get_or_init(|| self.fetch()).await.clone()?;
        Ok(InitCode { action: Arc::clone(self.action), text })
    }

    /// It may have been swept if the action was deleted in the meantime.
    async fn fetch(&self) -> Result<Option<Bytes>, StartFailure> {
        let Some(code) = &self.action.exec.code else { return Ok(None) };
        match self.node.attachments.get(code).await {
            Ok(Some(text)) => Ok(Some(text)),
            Ok(None) => Err(StartFailure::Provision {
                response: Response::error(Outcome::ApplicationError, error_text::ACTION_GONE),
                reason: format!("the code of {} is not stored any more", self.action.name),
            }),
            Err(error) => Err(StartFailure::Provision {
                response: Response::error(Outcome::WhiskError, error_text::ACTION_NOT_FETCHED),
                reason: format!("the code of {} cannot be read: {error}", self.action.name),
            }),
        }
    }
}

fn failed(why: &str) -> Result<Arc<dyn Container>, CreateError> {
    Err(CreateError::Failed(why.to_owned()))
}

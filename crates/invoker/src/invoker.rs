//! The invoker of one node: [`chasen_spi::Invoker`] on top of the pool and the container factories.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ByteSize, Outcome, Response, error_text};
use chasen_spi::{
    AttachmentStore, BoxFuture, ContainerFactory, CpuPressure, FleetNode, Invoker, InvokerState, NodeView,
    Patience, Reservation, ReserveFailure, Runtimes, StartFailure, StartRequest, StartedContainer,
};
use chasen_telemetry::task;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use crate::InvokerConfig;
use crate::container::PooledContainer;
use crate::making::{Made, make};
use crate::node::{Grant, Node};
use crate::pool::Event;

/// How often pressure on the processors is read.
const READING: Duration = Duration::from_secs(1);

/// See the module. Clones are handles of the same invoker.
#[derive(Clone)]
pub struct NodeInvoker {
    node: Arc<Node>,
}

impl NodeInvoker {
    /// An invoker that makes containers of these runtimes with these factories, the first that serves a kind, and
    /// fetches code from the attachment store. To be called inside a runtime.
    #[must_use]
    pub fn new(
        config: InvokerConfig,
        runtimes: Arc<Runtimes>,
        factories: Vec<Arc<dyn ContainerFactory>>,
        attachments: Arc<dyn AttachmentStore>,
    ) -> Self {
        let first = Instant::now() + config.stem_check_delay;
        let interval = config.stem_check_interval.max(Duration::from_millis(1));
        let mut changes = runtimes.changes();
        let node = Arc::new(Node::new(config, runtimes, factories, attachments));
        let follower = Arc::downgrade(&node);
        drop(task::spawn("runtimes follower", async move {
            let mut check = tokio::time::interval_at(first, interval);
            loop {
                let changed = tokio::select! {
                    changed = changes.changed() => changed.is_ok(),
                    _ = check.tick() => false,
                };
                let Some(node) = follower.upgrade() else { return };
                match changed {
                    true => node.follow(&changes.borrow_and_update().clone()),
                    false => node.tell(Event::Adjust),
                }
            }
        }));
        if let Some(pressure) = node.config.pressure.clone() {
            drop(task::spawn("pressure reader", watch_pressure(Arc::downgrade(&node), pressure)));
        }
        Self { node }
    }

    /// True if the platform has this kind. Where none of the factories is responsible for it, or for the image, its
    /// activations end in records that say so.
    #[must_use]
    pub fn serves(&self, kind: &str) -> bool {
        self.node.has_kind(kind)
    }

    /// How it is: unhealthy while one of its factories cannot make containers, and once it closes.
    #[must_use]
    pub fn state(&self) -> InvokerState {
        let is_up = !self.node.is_closing() && self.node.factories.iter().all(|factory| factory.is_up());
        if is_up { InvokerState::Up } else { InvokerState::Unhealthy }
    }

    /// Memory of all containers, stem cells and stopping ones included.
    #[must_use]
    pub fn memory_used(&self) -> ByteSize {
        self.node.used()
    }

    /// Number of containers, stem cells and stopping ones included.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.node.containers()
    }
}

#[async_trait]
impl Invoker for NodeInvoker {
    async fn start(&self, request: StartRequest) -> Result<StartedContainer, StartFailure> {
        loop {
            match self.reserve(&request, Patience::Waits).await {
                Ok(reservation) => return reservation.make().await,
                Err(ReserveFailure::Failed(failure)) => return Err(failure),
                Err(ReserveFailure::NoRoom) => {}
            }
        }
    }

    fn cold_start_estimate(&self, kind: &str) -> Duration {
        self.node.estimates.get(kind)
    }

    async fn close(&self) {
        self.node.close().await;
    }
}

#[async_trait]
impl FleetNode for NodeInvoker {
    fn view(&self) -> NodeView {
        self.node.view()
    }

    async fn reserve(
        &self,
        request: &StartRequest,
        patience: Patience,
    ) -> Result<Box<dyn Reservation>, ReserveFailure> {
        let failure = match self.node.grant(request, patience).await.map_err(ReserveFailure::Failed)? {
            Grant::Container(container) => {
                let (node, request) = (Arc::clone(&self.node), request.clone());
                return Ok(Box::new(Reserved { node, request, container: Some(container) }));
            }
            Grant::NoRoom => return Err(ReserveFailure::NoRoom),
            Grant::Withdrawn => StartFailure::Withdrawn,
            Grant::NoKind => no_kind(&request.action.exec.kind),
            Grant::TooSmall => {
                let memory = ByteSize::mb(u64::from(request.action.limits.memory));
                not_provisioned(format!("the action asks for {memory}, more than this node's memory"))
            }
        };
        Err(ReserveFailure::Failed(failure))
    }

    fn room(&self) -> BoxFuture<()> {
        let mut room = self.node.room();
        Box::pin(async move {
            // A node that is gone has no room ever.
            if room.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

/// Memory that was granted, and whom for.
struct Reserved {
    node: Arc<Node>,
    request: StartRequest,
    container: Option<Arc<PooledContainer>>,
}

#[async_trait]
impl Reservation for Reserved {
    async fn make(mut self: Box<Self>) -> Result<StartedContainer, StartFailure> {
        let Some(container) = self.container.take() else { return Err(StartFailure::Withdrawn) };
        container.set_keeping(&self.request.first.identity.limits);
        let (reply, made) = oneshot::channel();
        let work = make(Arc::clone(&self.node), container, self.request.clone(), reply);
        drop(task::spawn("container making", work));
        match made.await {
            Ok(Made::Started(started)) => Ok(started),
            Ok(Made::Failed(failure)) => Err(failure),
            Ok(Made::Lost) => NodeInvoker { node: Arc::clone(&self.node) }.start(self.request.clone()).await,
            Err(_) => Err(not_provisioned("its making ended without a word".to_owned())),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            self.node.give_back(&container);
        }
    }
}

/// Reads pressure for as long as the node is there.
async fn watch_pressure(node: Weak<Node>, pressure: Arc<dyn CpuPressure>) {
    let mut reading = tokio::time::interval(READING);
    reading.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        reading.tick().await;
        let (Some(node), Some(percent)) = (node.upgrade(), pressure.read()) else { return };
        node.set_pressure(percent);
    }
}

/// The platform has lost the kind since the activation was accepted.
pub(crate) fn no_kind(kind: &str) -> StartFailure {
    StartFailure::Provision {
        response: Response::error(Outcome::DeveloperError, &error_text::unsupported_kind(kind)),
        reason: format!("the runtimes manifest has no kind '{kind}'"),
    }
}

fn not_provisioned(reason: String) -> StartFailure {
    let response = Response::error(Outcome::WhiskError, error_text::NOT_PROVISIONED);
    StartFailure::Provision { response, reason }
}

//! The invoker of one node: [`chasen_spi::Invoker`] on top of the pool and the container factories.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ByteSize, Manifest, Outcome, Response, error_text};
use chasen_spi::{AttachmentStore, ContainerFactory, Invoker, StartFailure, StartRequest, StartedContainer};
use chasen_telemetry::task;
use tokio::sync::oneshot;

use crate::InvokerConfig;
use crate::making::{Made, make};
use crate::node::{Grant, Node};
use crate::pool::Event;

/// See the module. Clones are handles of the same invoker.
#[derive(Clone)]
pub struct NodeInvoker {
    node: Arc<Node>,
}

impl NodeInvoker {
    /// An invoker that makes containers with these factories, the first that serves a kind, and fetches code
    /// from the attachment store. To be called inside a runtime.
    #[must_use]
    pub fn new(
        config: InvokerConfig,
        manifest: &Manifest,
        factories: Vec<Arc<dyn ContainerFactory>>,
        attachments: Arc<dyn AttachmentStore>,
    ) -> Self {
        let interval = config.stem_check_interval;
        let node = Arc::new(Node::new(config, manifest, factories, attachments));
        if node.has_reactive_stems() {
            let node = Arc::downgrade(&node);
            drop(task::spawn("stem cell check", async move {
                loop {
                    tokio::time::sleep(interval).await;
                    let Some(node) = node.upgrade() else { return };
                    node.tell(Event::Adjust);
                }
            }));
        }
        Self { node }
    }

    /// True if one of the factories is responsible for this kind and image, or if it is an image that none of them
    /// has: its activations end in records that say so.
    #[must_use]
    pub fn serves(&self, kind: &str, image: Option<&str>) -> bool {
        image.is_some() || self.node.factories.iter().any(|factory| factory.serves(kind, image))
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
            let container = match self.node.grant(&request).await? {
                Grant::Container(container) => container,
                Grant::Withdrawn => return Err(StartFailure::Withdrawn),
                Grant::TooSmall => {
                    let memory = ByteSize::mb(u64::from(request.action.limits.memory));
                    let reason = format!("the action asks for {memory}, more than this node's memory");
                    return Err(not_provisioned(reason));
                }
            };
            let (reply, made) = oneshot::channel();
            let work = make(Arc::clone(&self.node), container, request.clone(), reply);
            drop(task::spawn("container making", work));
            match made.await {
                Ok(Made::Started(started)) => return Ok(started),
                Ok(Made::Failed(failure)) => return Err(failure),
                Ok(Made::Lost) => {}
                Err(_) => return Err(not_provisioned("its making ended without a word".to_owned())),
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

fn not_provisioned(reason: String) -> StartFailure {
    let response = Response::error(Outcome::WhiskError, error_text::NOT_PROVISIONED);
    StartFailure::Provision { response, reason }
}

//! What the node tells operators about itself.

use std::sync::Arc;

use chasen_entity::ActivationId;
use chasen_invoker::NodeInvoker;
use chasen_spi::{EventLog, FleetNode, InvokerState, NodeStatus, NodeView};

/// The name of the node's only invoker.
const INVOKER: &str = "invoker0/0";
/// Most activations that are told at once.
const MOST: usize = 10_000;

/// Asks the rooms.
pub struct Status {
    log: Arc<dyn EventLog>,
    invoker: NodeInvoker,
}

impl Status {
    /// The status of the node with this log and this invoker.
    #[must_use]
    pub fn new(log: Arc<dyn EventLog>, invoker: NodeInvoker) -> Self {
        Self { log, invoker }
    }
}

impl NodeStatus for Status {
    fn invokers(&self) -> Vec<(String, InvokerState)> {
        vec![(INVOKER.to_owned(), self.invoker.state())]
    }

    fn nodes(&self) -> Vec<(String, NodeView)> {
        vec![(INVOKER.to_owned(), self.invoker.view())]
    }

    fn activations(&self) -> Vec<(ActivationId, String)> {
        match self.log.open(MOST) {
            Ok(open) => open.into_iter().map(|one| (one.activation_id, one.to_string())).collect(),
            Err(error) => {
                tracing::warn!(%error, "what is under way cannot be told");
                Vec::new()
            }
        }
    }

    fn refusal(&self) -> Option<String> {
        self.log.refusal().map(|refusal| refusal.to_string())
    }

    fn activation_count(&self) -> usize {
        self.log.open_count()
    }
}

//! What a node tells about itself to operators.

use chasen_entity::ActivationId;

use crate::NodeView;

/// How an invoker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvokerState {
    /// It takes work.
    Up,
    /// It takes none: its sandboxes fail or it is draining.
    Unhealthy,
}

impl InvokerState {
    /// The word that clients know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// Tells about a running node.
pub trait NodeStatus: Send + Sync {
    /// Its invokers by name (`invoker0/0`).
    fn invokers(&self) -> Vec<(String, InvokerState)>;

    /// What those nodes have, by the same names.
    fn nodes(&self) -> Vec<(String, NodeView)>;

    /// Activations under way, waiting ones too, with what they run: `ns/[package/]name@version`.
    fn activations(&self) -> Vec<(ActivationId, String)>;

    /// Why work that nobody waits for, or that is to be synced, is refused at the moment, for operators; `None` if it is
    /// accepted.
    fn refusal(&self) -> Option<String>;

    /// How many activations are under way.
    fn activation_count(&self) -> usize;
}

//! Requests that wait for room, and whose turn it is.

use std::collections::HashMap;

use chasen_entity::{ActionKey, ByteSize, EntityName};

/// Number of a request; later ones have larger numbers.
pub type RequestId = u64;

/// A container that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Action that it is for.
    pub key: ActionKey,
    /// Concrete kind, or `blackbox`.
    pub kind: String,
    /// Image of a blackbox action.
    pub image: Option<String>,
    /// Memory of the container.
    pub memory: ByteSize,
    /// Containers that the action had when it asked.
    pub siblings: u32,
}

/// The list. Order: namespaces that have no container at all, then first containers of actions, then the
/// rest; within each, the namespace that was served longest ago; within a namespace, the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: Vec<Request>,
    /// When a namespace that waits was last served, as a running number.
    served: HashMap<EntityName, u64>,
    turns: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn push(&mut self, request: Request) {
        self.requests.push(request);
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        self.requests.retain(|request| request.id != id);
        if self.requests.is_empty() {
            self.served.clear();
        }
    }

    /// Whose turn it is.
    pub(super) fn next(
        &self,
        has_container: impl Fn(&EntityName) -> bool,
        is_first: impl Fn(&Request) -> bool,
    ) -> Option<&Request> {
        self.requests.iter().min_by_key(|request| {
            let namespace = &request.key.namespace;
            let class = match (has_container(namespace), is_first(request)) {
                (false, _) => 0,
                (true, true) => 1,
                (true, false) => 2,
            };
            (class, self.served.get(namespace).copied().unwrap_or_default(), request.id)
        })
    }

    /// Takes a request out because it is served.
    pub(super) fn take(&mut self, id: RequestId) -> Option<Request> {
        let at = self.requests.iter().position(|request| request.id == id)?;
        let request = self.requests.remove(at);
        self.turns += 1;
        self.served.insert(request.key.namespace.clone(), self.turns);
        if self.requests.is_empty() {
            self.served.clear();
        }
        Some(request)
    }
}

//! Requests that wait for room, and whose turn it is.

use std::collections::HashMap;
use std::time::Duration;

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
    /// False if it is to be refused rather than to wait.
    pub waits: bool,
}

/// The list. Order: namespaces that have no container at all, then first containers of actions, then the
/// rest; within each, the namespace that owes least, then the one that was served longest ago; within a namespace, the
/// order of arrival.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: Vec<(Request, Duration)>,
    /// When a namespace that waits was last served, as a running number.
    served: HashMap<EntityName, u64>,
    turns: u64,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn any(&self, which: impl Fn(&Request) -> bool) -> bool {
        self.requests.iter().any(|(request, _)| which(request))
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, request: Request, now: Duration) {
        self.requests.push((request, now));
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        self.requests.retain(|(request, _)| request.id != id);
        if self.requests.is_empty() {
            self.served.clear();
        }
    }

    /// Whose turn it is, and since when it waits. `owed` is what a namespace that has containers owes.
    pub(super) fn next(
        &self,
        owed: impl Fn(&EntityName) -> Option<u64>,
        is_first: impl Fn(&Request) -> bool,
    ) -> Option<(&Request, Duration)> {
        let next = self.requests.iter().min_by_key(|(request, _)| {
            let namespace = &request.key.namespace;
            let owed = owed(namespace);
            let class = match (owed, is_first(request)) {
                (None, _) => 0,
                (Some(_), true) => 1,
                (Some(_), false) => 2,
            };
            (class, owed, self.served.get(namespace).copied().unwrap_or_default(), request.id)
        });
        next.map(|(request, since)| (request, *since))
    }

    /// Takes a request out because it is served.
    pub(super) fn take(&mut self, id: RequestId) -> Option<Request> {
        let at = self.requests.iter().position(|(request, _)| request.id == id)?;
        let (request, _) = self.requests.remove(at);
        self.turns += 1;
        self.served.insert(request.key.namespace.clone(), self.turns);
        if self.requests.is_empty() {
            self.served.clear();
        }
        Some(request)
    }
}

//! Turns of what reads much: lists, contents of packages, logs and summaries. So many are read at once, and only some
//! of them for one namespace: one that asks for hundreds waits for itself, not everybody else for it.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Read at the same time; more wait for their turn.
const AT_ONCE: usize = 16;
/// Of these, for one namespace.
const AT_ONCE_FOR_ONE: usize = 4;

/// The turns of all namespaces.
pub(crate) struct Turns(Semaphore);

/// The turns of one namespace.
#[derive(Debug)]
pub(crate) struct OwnTurns(Semaphore);

/// A turn, until it is dropped.
pub(crate) struct Turn<'a> {
    _own: Option<SemaphorePermit<'a>>,
    _shared: Option<SemaphorePermit<'a>>,
}

impl Default for OwnTurns {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE_FOR_ONE))
    }
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }

    /// Waits for a turn: first behind others of the same namespace, if there is one, then behind everybody.
    pub(crate) async fn take<'a>(&'a self, own: Option<&'a OwnTurns>) -> Turn<'a> {
        // The semaphores are never closed; a missing permit would only lift the bound.
        let _own = match own {
            Some(own) => own.0.acquire().await.ok(),
            None => None,
        };
        Turn { _own, _shared: self.0.acquire().await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_namespace_that_asks_for_much_waits_for_itself() {
        let (turns, greedy, other) = (Turns::new(), OwnTurns::default(), OwnTurns::default());
        let take = |own: Option<_>| turns.take(own).now_or_never();
        let held: Vec<_> = (0..AT_ONCE_FOR_ONE).map(|_| take(Some(&greedy)).unwrap()).collect();
        assert!(take(Some(&greedy)).is_none());
        assert!(take(Some(&other)).is_some() && take(None).is_some());
        drop(held);
        assert!(take(Some(&greedy)).is_some());
        let all: Vec<_> = (0..AT_ONCE).map(|_| take(None).unwrap()).collect();
        assert!(take(Some(&other)).is_none() && take(None).is_none());
        drop(all);
        assert!(take(Some(&other)).is_some());
    }
}

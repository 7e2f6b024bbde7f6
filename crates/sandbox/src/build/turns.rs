//! Whose build runs when: some at a time, and never all of them one namespace's.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Processors per build that runs at a time: compilers use several.
const PROCESSORS: usize = 2;

/// The turns there are.
#[derive(Debug)]
pub(super) struct Turns {
    all: Semaphore,
    /// Most that one namespace has: code that never ends to be compiled must not keep others from theirs.
    each: usize,
    /// Those of the namespaces that have one, or wait for one.
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// One build's turn; the next one's when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _own: OwnedSemaphorePermit,
    _shared: SemaphorePermit<'a>,
}

impl Turns {
    /// As many as fit a machine with so many processors.
    pub(super) fn new(processors: usize) -> Self {
        let all = (processors / PROCESSORS).max(2);
        Self { all: Semaphore::new(all), each: all - 1, namespaces: Mutex::default() }
    }

    /// Waits for a turn of this namespace.
    ///
    /// # Errors
    /// Never: nothing closes the turns.
    pub(super) async fn take(&self, namespace: &str) -> Result<Turn<'_>, AcquireError> {
        // First in its own queue: in that of all it stands with no more than it may have.
        let own = self.of(namespace).acquire_owned().await?;
        Ok(Turn { _own: own, _shared: self.all.acquire().await? })
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = self.namespaces.lock();
        if let Some(known) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        namespaces.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.each));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn one_namespace_never_has_all_turns() {
        let turns = Turns::new(6);
        let mut cx = Context::from_waker(Waker::noop());
        let (first, _second) = (turns.take("a").await.unwrap(), turns.take("a").await.unwrap());
        let mut third = pin!(turns.take("a"));
        assert!(third.as_mut().poll(&mut cx).is_pending());
        let _other = turns.take("b").await.unwrap();
        assert!(pin!(turns.take("c")).poll(&mut cx).is_pending(), "there are no more");
        drop(first);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn namespaces_without_builds_are_forgotten() {
        let turns = Turns::new(1);
        for number in 0..100 {
            drop(turns.take(&number.to_string()).await.unwrap());
        }
        assert_eq!(turns.namespaces.lock().len(), 1);
    }
}

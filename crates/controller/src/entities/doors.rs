//! Doors of packages and triggers: nothing is put into a package that is being removed.
//!
//! The store knows a package and the actions in it as documents of their own. Whoever writes an action goes through
//! the door of its package; whoever removes the package closes it first. A trigger has a door, too: rules that are linked
//! to it go through one by one, in place of overtaking each other. Packages and triggers share the doors by hash.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chasen_entity::FullyQualifiedName;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

const DOORS: usize = 256;

/// See the module.
pub(crate) struct Doors {
    doors: [Arc<RwLock<()>>; DOORS],
    hasher: RandomState,
}

/// Passage through a door, as long as it is kept.
#[derive(Debug)]
pub(crate) enum Passage {
    /// With others.
    Open(#[expect(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    /// Alone.
    Closed(#[expect(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

impl Doors {
    pub(crate) fn new() -> Self {
        Self { doors: std::array::from_fn(|_| Arc::default()), hasher: RandomState::new() }
    }

    /// Passes into a package to write what is in it.
    pub(crate) async fn pass(&self, package: &FullyQualifiedName) -> Passage {
        Passage::Open(self.of(package).read_owned().await)
    }

    /// Keeps everybody else out of a package.
    pub(crate) async fn close(&self, package: &FullyQualifiedName) -> Passage {
        Passage::Closed(self.of(package).write_owned().await)
    }

    fn of(&self, package: &FullyQualifiedName) -> Arc<RwLock<()>> {
        let [first, ..] = &self.doors;
        let hash = usize::try_from(self.hasher.hash_one(package) % DOORS as u64);
        hash.ok().and_then(|hash| self.doors.get(hash)).unwrap_or(first).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writers_pass_together_and_a_remover_alone() {
        let doors = Doors::new();
        let name = FullyQualifiedName::parse("guest/p").unwrap();
        let together = (doors.pass(&name).await, doors.pass(&name).await);
        let mut closing = Box::pin(doors.close(&name));
        assert!(futures_util::poll!(&mut closing).is_pending());
        drop(together);
        let alone = closing.await;
        assert!(futures_util::poll!(Box::pin(doors.pass(&name))).is_pending());
        drop(alone);
        assert!(matches!(doors.pass(&name).await, Passage::Open(_)));
    }
}

//! Doors of packages and triggers: nothing is put into a package that is being removed.
//!
//! The store knows a package and the actions in it as documents of their own. Whoever writes an action goes through
//! the door of its package; whoever removes the package closes it first. A trigger has a door, too: rules that are linked
//! to it go through one by one, in place of overtaking each other; a rule that moves keeps both its triggers' doors.
//! Packages and triggers share the doors by hash. Nobody who keeps a door asks for another one: several are asked for
//! at once and closed in their order, so no two wait for each other.

use std::collections::BTreeSet;
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
    Closed(#[expect(dead_code, reason = "held")] Vec<OwnedRwLockWriteGuard<()>>),
}

impl Doors {
    pub(crate) fn new() -> Self {
        Self { doors: std::array::from_fn(|_| Arc::default()), hasher: RandomState::new() }
    }

    /// Passes into a package to write what is in it.
    pub(crate) async fn pass(&self, package: &FullyQualifiedName) -> Passage {
        Passage::Open(self.door(self.number(package)).read_owned().await)
    }

    /// Keeps everybody else out of these packages or triggers.
    pub(crate) async fn close<'a>(
        &self,
        names: impl IntoIterator<Item = &'a FullyQualifiedName> + Send,
    ) -> Passage {
        // In order, and a door that two names share once.
        let numbers: BTreeSet<_> = names.into_iter().map(|name| self.number(name)).collect();
        let mut closed = Vec::with_capacity(numbers.len());
        for number in numbers {
            closed.push(self.door(number).write_owned().await);
        }
        Passage::Closed(closed)
    }

    fn number(&self, name: &FullyQualifiedName) -> usize {
        usize::try_from(self.hasher.hash_one(name) % DOORS as u64).unwrap_or_default()
    }

    fn door(&self, number: usize) -> Arc<RwLock<()>> {
        let [first, ..] = &self.doors;
        self.doors.get(number).unwrap_or(first).clone()
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
        let mut closing = Box::pin(doors.close([&name]));
        assert!(futures_util::poll!(&mut closing).is_pending());
        drop(together);
        let alone = closing.await;
        assert!(futures_util::poll!(Box::pin(doors.pass(&name))).is_pending());
        drop(alone);
        assert!(matches!(doors.pass(&name).await, Passage::Open(_)));
    }
    #[tokio::test]
    async fn doors_in_any_order_and_of_one_number_do_not_wait_for_each_other() {
        let doors = Doors::new();
        let names: Vec<_> =
            (0..2 * DOORS).map(|n| FullyQualifiedName::parse(&format!("guest/t{n}")).unwrap()).collect();
        // More names than doors: some share one.
        drop(doors.close(&names).await);
        let (first, others) = names.split_first().unwrap();
        let other = others.iter().find(|name| doors.number(name) != doors.number(first)).unwrap();
        let held = doors.close([first, other]).await;
        let mut forth = Box::pin(doors.close([first, other]));
        let mut back = Box::pin(doors.close([other, first]));
        assert!(futures_util::poll!(&mut forth).is_pending());
        assert!(futures_util::poll!(&mut back).is_pending());
        assert!(futures_util::poll!(Box::pin(doors.close([other]))).is_pending());
        drop(held);
        drop(forth.await);
        drop(back.await);
    }
}

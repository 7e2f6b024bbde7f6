//! Places of work that is taken up: of an earlier life, or because it is due or has room now. No namespace holds so many
//! that others find none: it gets another one as long as it has fewer than a multiple of those that are free.

use std::collections::HashMap;
use std::sync::Arc;

use chasen_entity::EntityName;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Most places that a namespace holds for each one that is free. One alone thus has three quarters of all, the next one
/// three quarters of the rest.
const FOR_EACH_FREE: usize = 3;

/// See the module.
pub(crate) struct Places {
    most: usize,
    taken: Mutex<Taken>,
    /// Whom to tell when one is free again.
    freed: Arc<Notify>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<EntityName, usize>,
}

impl Places {
    /// So many, at least one.
    pub(crate) fn new(most: usize, freed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), taken: Mutex::default(), freed })
    }

    /// A place for work of this namespace; `None` if it must wait.
    pub(crate) fn take(self: &Arc<Self>, namespace: &EntityName) -> Option<Permit> {
        let mut taken = self.taken.lock();
        let own = taken.of.get(namespace).copied().unwrap_or_default();
        let free = self.most.saturating_sub(taken.all);
        if own >= free.saturating_mul(FOR_EACH_FREE) {
            return None;
        }
        taken.all += 1;
        taken.of.insert(namespace.clone(), own + 1);
        Some(Permit { places: Arc::clone(self), namespace: namespace.clone() })
    }

    fn give_back(&self, namespace: &EntityName) {
        let mut taken = self.taken.lock();
        taken.all = taken.all.saturating_sub(1);
        if let Some(own) = taken.of.get_mut(namespace) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.of.remove(namespace);
            }
        }
        drop(taken);
        self.freed.notify_one();
    }
}

/// A place; free again when dropped.
pub(crate) struct Permit {
    places: Arc<Places>,
    namespace: EntityName,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.places.give_back(&self.namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: usize) -> EntityName {
        EntityName::new(&format!("n{index}")).unwrap()
    }

    fn all_of(places: &Arc<Places>, index: usize) -> Vec<Permit> {
        std::iter::from_fn(|| places.take(&name(index))).collect()
    }

    #[test]
    fn one_namespace_leaves_places_to_the_next() {
        let places = Places::new(256, Arc::default());
        let held: Vec<_> = (0..4).map(|index| all_of(&places, index)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [192, 48, 12, 3]);
        drop(held);
        assert_eq!(all_of(&places, 9).len(), 192, "all are free again");
        assert!(places.taken.lock().of.is_empty());
    }

    #[test]
    fn few_places_serve_as_well() {
        for (most, own) in [(0, 1), (1, 1), (2, 2), (4, 3)] {
            assert_eq!(all_of(&Places::new(most, Arc::default()), 0).len(), own, "of {most}");
        }
    }
}

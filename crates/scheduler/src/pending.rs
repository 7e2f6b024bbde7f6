//! Work that waits in the log: until it is due, or until there is room. What is kept of it in memory, and whose turn it
//! is. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use chasen_entity::{ActivationId, EntityName, Invocation, Millis};
use chasen_spi::PendingQuery;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    of: HashMap<ActivationId, Entry>,
    /// What waits until it is due, by that, over all namespaces.
    by_due: BTreeSet<(Millis, ActivationId)>,
    namespaces: HashMap<EntityName, BTreeSet<(Millis, ActivationId)>>,
    /// What waits for room, in the order of its coming.
    for_room: BTreeMap<EntityName, BTreeSet<ActivationId>>,
    /// Whose turn it was last.
    last: Option<EntityName>,
    /// What came last waited for room.
    was_for_room: bool,
}

#[derive(Debug)]
struct Entry {
    namespace: EntityName,
    /// `[package/]name` of what is to run.
    name: Box<str>,
    /// `None` if it waits for room.
    due: Option<Millis>,
}

impl Pending {
    /// How much work of this namespace waits.
    pub(crate) fn count_of(&self, namespace: &EntityName) -> usize {
        let due = self.namespaces.get(namespace).map_or(0, BTreeSet::len);
        due + self.for_room.get(namespace).map_or(0, BTreeSet::len)
    }

    /// How much work waits.
    pub(crate) fn count(&self) -> usize {
        self.of.len()
    }

    /// Takes work in that is due at this time; true if it is the first to be due now.
    pub(crate) fn insert(&mut self, invocation: &Invocation, due: Millis) -> bool {
        let id = invocation.activation_id;
        self.remove(&id);
        let namespace = invocation.identity.namespace.name.clone();
        self.by_due.insert((due, id));
        self.namespaces.entry(namespace.clone()).or_default().insert((due, id));
        let name = shown_name(invocation).into();
        self.of.insert(id, Entry { namespace, name, due: Some(due) });
        self.by_due.first() == Some(&(due, id))
    }

    /// Takes work in that waits for room.
    pub(crate) fn insert_for_room(&mut self, invocation: &Invocation) {
        let id = invocation.activation_id;
        self.remove(&id);
        let namespace = invocation.identity.namespace.name.clone();
        self.for_room.entry(namespace.clone()).or_default().insert(id);
        self.of.insert(id, Entry { namespace, name: Box::default(), due: None });
    }

    /// Takes work out; false if it does not wait here.
    pub(crate) fn remove(&mut self, id: &ActivationId) -> bool {
        let Some(entry) = self.of.remove(id) else { return false };
        let Some(due) = entry.due else {
            if let Some(own) = self.for_room.get_mut(&entry.namespace) {
                own.remove(id);
                if own.is_empty() {
                    self.for_room.remove(&entry.namespace);
                }
            }
            return true;
        };
        self.by_due.remove(&(due, *id));
        if let Some(own) = self.namespaces.get_mut(&entry.namespace) {
            own.remove(&(due, *id));
            if own.is_empty() {
                self.namespaces.remove(&entry.namespace);
            }
        }
        true
    }

    /// True if this work waits until it is due.
    pub(crate) fn is_pending(&self, id: &ActivationId) -> bool {
        self.of.get(id).is_some_and(|entry| entry.due.is_some())
    }

    /// Takes work out whose turn it is: what is due by now and what waits for room in turns, namespaces in turns of the
    /// latter.
    pub(crate) fn take_next(&mut self, now: Millis) -> Option<ActivationId> {
        let due = self.by_due.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id);
        let id = match due {
            Some(id) if self.was_for_room || self.for_room.is_empty() => {
                self.was_for_room = false;
                id
            }
            _ => {
                self.was_for_room = true;
                let (namespace, id) = self.first_for_room()?;
                self.last = Some(namespace);
                id
            }
        };
        self.remove(&id).then_some(id)
    }

    /// The oldest of the namespace after the one whose turn it was last.
    fn first_for_room(&self) -> Option<(EntityName, ActivationId)> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            self.for_room.range((after, Bound::Unbounded)).next().or_else(|| self.for_room.first_key_value());
        next.and_then(|(namespace, own)| Some((namespace.clone(), *own.first()?)))
    }

    /// True if something waits for room.
    pub(crate) fn waits_for_room(&self) -> bool {
        !self.for_room.is_empty()
    }

    /// When the next work is due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// A page of work, the first to be due first.
    pub(crate) fn page(&self, query: &PendingQuery) -> Vec<ActivationId> {
        let bound = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        self.matching(query).skip(bound(query.skip)).take(bound(query.limit)).collect()
    }

    /// How much matches; `skip` and `limit` are ignored.
    pub(crate) fn matches(&self, query: &PendingQuery) -> u64 {
        self.matching(query).count() as u64
    }

    fn matching<'a>(&'a self, query: &'a PendingQuery) -> impl Iterator<Item = ActivationId> + 'a {
        let since = query.since.unwrap_or(0);
        let upto = query.upto.unwrap_or(Millis::MAX);
        let own = self.namespaces.get(&query.namespace).into_iter().flatten();
        own.skip_while(move |(due, _)| *due < since)
            .take_while(move |(due, _)| *due <= upto)
            .filter(|(_, id)| {
                query
                    .name
                    .as_ref()
                    .is_none_or(|name| self.of.get(id).is_some_and(|entry| *entry.name == **name))
            })
            .map(|(_, id)| *id)
    }
}

/// `[package/]name` by which clients find it: as the one of its record.
fn shown_name(invocation: &Invocation) -> String {
    let action = &invocation.action.name;
    let bound = invocation.binding.as_deref().and_then(|binding| binding.split_once('/'));
    match bound.map(|(_, package)| package).or_else(|| action.path.package_name()) {
        Some(package) => format!("{package}/{}", action.name),
        None => action.name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chasen_spi::memory::invocation;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_the_records_to_come() {
        let plain = invocation("guest", "a", "k:1", "{}");
        assert_eq!(shown_name(&plain), "a");
        let packaged = invocation("guest", "p/a", "k:1", "{}");
        assert_eq!(shown_name(&packaged), "p/a");
        let bound = Invocation { binding: Some("guest/b".to_owned()), ..packaged };
        assert_eq!(shown_name(&bound), "b/a");
    }

    #[test]
    fn who_waits_for_room_takes_turns_with_other_namespaces_and_with_what_is_due() {
        let mut pending = Pending::default();
        let mut waits = |namespace: &str| {
            let one = invocation(namespace, "a", "k:1", "{}");
            pending.insert_for_room(&one);
            one.activation_id
        };
        let (a1, a2, a3, b1) = (waits("a"), waits("a"), waits("a"), waits("b"));
        let due = invocation("c", "a", "k:1", "{}");
        pending.insert(&due, 5);
        let order: Vec<_> = std::iter::from_fn(|| pending.take_next(5)).collect();
        assert_eq!(order, [a1, due.activation_id, b1, a2, a3]);
        assert_eq!(pending.count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_comes_before_its_time_and_nothing_is_forgotten(
            steps in proptest::collection::vec((0u8..4, 0usize..3, 0u64..20), 1..200),
        ) {
            let mut pending = Pending::default();
            let mut model: BTreeMap<ActivationId, (usize, Option<u64>)> = BTreeMap::new();
            let mut now = 0;
            for (what, whose, number) in steps {
                let one = invocation(["a", "b", "c"][whose], "x", "k:1", "{}");
                match what {
                    0 => {
                        pending.insert(&one, now + number);
                        model.insert(one.activation_id, (whose, Some(now + number)));
                    }
                    1 => {
                        pending.insert_for_room(&one);
                        model.insert(one.activation_id, (whose, None));
                    }
                    2 => {
                        let some = model.keys().nth(number as usize % model.len().max(1)).copied();
                        if let Some(id) = some {
                            model.remove(&id);
                            prop_assert!(pending.remove(&id) && !pending.remove(&id));
                        }
                    }
                    _ => {
                        now += number;
                        while let Some(id) = pending.take_next(now) {
                            let (_, due) = model.remove(&id).unwrap();
                            prop_assert!(due.is_none_or(|due| due <= now));
                        }
                        prop_assert!(model.values().all(|(_, due)| due.is_some_and(|due| due > now)));
                    }
                }
                prop_assert_eq!(pending.count(), model.len());
                for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
                    let own = model.values().filter(|(whose, _)| *whose == index).count();
                    prop_assert_eq!(pending.count_of(&EntityName::new(name).unwrap()), own);
                }
                let next = model.values().filter_map(|(_, due)| *due).min();
                prop_assert_eq!(pending.next_due(), next);
            }
        }
    }
}

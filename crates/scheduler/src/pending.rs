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
    /// An earlier life left it, and nobody has taken it up.
    is_left: bool,
}

/// Work whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) id: ActivationId,
    /// An earlier life left it, and nobody has taken it up.
    pub(crate) is_left: bool,
}

/// Most work that is due and has no place that is looked at in one go.
const LOOKED_AT: usize = 64;

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
        self.of.insert(id, Entry { namespace, name, due: Some(due), is_left: false });
        self.by_due.first() == Some(&(due, id))
    }

    /// Takes work in that waits for room; `is_left` if an earlier life left it.
    pub(crate) fn insert_for_room(&mut self, invocation: &Invocation, is_left: bool) {
        let id = invocation.activation_id;
        self.remove(&id);
        self.wait_for_room(id, invocation.identity.namespace.name.clone(), is_left);
    }

    fn wait_for_room(&mut self, id: ActivationId, namespace: EntityName, is_left: bool) {
        self.for_room.entry(namespace.clone()).or_default().insert(id);
        self.of.insert(id, Entry { namespace, name: Box::default(), due: None, is_left });
    }

    /// Takes work out; `None` if it does not wait here.
    pub(crate) fn remove(&mut self, id: &ActivationId) -> Option<Next> {
        let entry = self.of.remove(id)?;
        let next = Some(Next { id: *id, is_left: entry.is_left });
        let Some(due) = entry.due else {
            if let Some(own) = self.for_room.get_mut(&entry.namespace) {
                own.remove(id);
                if own.is_empty() {
                    self.for_room.remove(&entry.namespace);
                }
            }
            return next;
        };
        self.by_due.remove(&(due, *id));
        if let Some(own) = self.namespaces.get_mut(&entry.namespace) {
            own.remove(&(due, *id));
            if own.is_empty() {
                self.namespaces.remove(&entry.namespace);
            }
        }
        next
    }

    /// True if this work waits until it is due.
    pub(crate) fn is_pending(&self, id: &ActivationId) -> bool {
        self.of.get(id).is_some_and(|entry| entry.due.is_some())
    }

    /// Takes work out whose turn it is and for which there is a place: what is due by now and what waits for room in
    /// turns, namespaces in turns of the latter. What is due and has no place waits for room.
    pub(crate) fn take_next<P>(
        &mut self,
        now: Millis,
        place_for: impl Fn(&EntityName) -> Option<P>,
    ) -> Option<(Next, P)> {
        if self.was_for_room || self.for_room.is_empty() {
            for _ in 0..LOOKED_AT {
                let Some(id) = self.by_due.first().filter(|(due, _)| *due <= now).map(|(_, id)| *id) else {
                    break;
                };
                let namespace = self.of.get(&id)?.namespace.clone();
                let place = place_for(&namespace);
                let next = self.remove(&id)?;
                match place {
                    Some(place) => {
                        self.was_for_room = false;
                        return Some((next, place));
                    }
                    None => self.wait_for_room(id, namespace, next.is_left),
                }
            }
        }
        self.was_for_room = true;
        let (namespace, id, place) = self.first_for_room(place_for)?;
        self.last = Some(namespace);
        Some((self.remove(&id)?, place))
    }

    /// The oldest of the next namespace that has a place, from the one on whose turn it was last.
    fn first_for_room<P>(
        &self,
        place_for: impl Fn(&EntityName) -> Option<P>,
    ) -> Option<(EntityName, ActivationId, P)> {
        let (after, upto) = match self.last.as_ref() {
            None => (Bound::Unbounded, None),
            Some(last) => (Bound::Excluded(last), Some(Bound::Included(last))),
        };
        let others = upto.map(|upto| self.for_room.range::<EntityName, _>((Bound::Unbounded, upto)));
        let mut turns = self.for_room.range((after, Bound::Unbounded)).chain(others.into_iter().flatten());
        turns.find_map(|(namespace, own)| Some((namespace.clone(), *own.first()?, place_for(namespace)?)))
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
            pending.insert_for_room(&one, false);
            one.activation_id
        };
        let (a1, a2, a3, b1) = (waits("a"), waits("a"), waits("a"), waits("b"));
        let due = invocation("c", "a", "k:1", "{}");
        pending.insert(&due, 5);
        let order: Vec<_> = std::iter::from_fn(|| taken(&mut pending, 5)).collect();
        assert_eq!(order, [a1, due.activation_id, b1, a2, a3]);
        assert_eq!(pending.count(), 0);
    }

    #[test]
    fn who_has_no_place_holds_nobody_up() {
        let mut pending = Pending::default();
        let slow: Vec<_> = (0..200).map(|_| invocation("a", "slow", "k:1", "{}")).collect();
        for (index, one) in slow.iter().enumerate() {
            if index < 100 {
                pending.insert(one, 5);
            } else {
                pending.insert_for_room(one, true);
            }
        }
        let other = invocation("b", "a", "k:1", "{}");
        pending.insert(&other, 6);
        let for_others = |namespace: &EntityName| (namespace.as_str() != "a").then_some(());
        let looks = (0..5).find_map(|_| pending.take_next(6, for_others));
        assert_eq!(looks.map(|(next, ())| next.id), Some(other.activation_id));
        assert_eq!(pending.take_next(6, for_others), None);
        let mut left = 0;
        while let Some((next, ())) = pending.take_next(6, |_| Some(())) {
            left += usize::from(next.is_left);
        }
        assert_eq!((left, pending.count()), (100, 0));
    }

    fn taken(pending: &mut Pending, now: Millis) -> Option<ActivationId> {
        pending.take_next(now, |_| Some(())).map(|(next, ())| next.id)
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
                        pending.insert_for_room(&one, false);
                        model.insert(one.activation_id, (whose, None));
                    }
                    2 => {
                        let some = model.keys().nth(number as usize % model.len().max(1)).copied();
                        if let Some(id) = some {
                            model.remove(&id);
                            prop_assert!(pending.remove(&id).is_some() && pending.remove(&id).is_none());
                        }
                    }
                    _ => {
                        now += number;
                        while let Some(id) = taken(&mut pending, now) {
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

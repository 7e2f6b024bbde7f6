//! Work that is not due yet: what is kept of it in memory, and when it is due. Pure; the payloads stay in the log.

use std::collections::{BTreeSet, HashMap};

use chasen_entity::{ActivationId, EntityName, Invocation, Millis};
use chasen_spi::PendingQuery;

/// Work by the time when it is due.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    of: HashMap<ActivationId, Entry>,
    /// By when it is due, over all namespaces.
    by_due: BTreeSet<(Millis, ActivationId)>,
    namespaces: HashMap<EntityName, BTreeSet<(Millis, ActivationId)>>,
}

#[derive(Debug)]
struct Entry {
    namespace: EntityName,
    /// `[package/]name` of what is to run.
    name: Box<str>,
    due: Millis,
}

impl Pending {
    /// How much work of this namespace waits.
    pub(crate) fn count_of(&self, namespace: &EntityName) -> usize {
        self.namespaces.get(namespace).map_or(0, BTreeSet::len)
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
        self.of.insert(id, Entry { namespace, name, due });
        self.by_due.first() == Some(&(due, id))
    }

    /// Takes work out; false if it does not wait here.
    pub(crate) fn remove(&mut self, id: &ActivationId) -> bool {
        let Some(entry) = self.of.remove(id) else { return false };
        self.by_due.remove(&(entry.due, *id));
        if let Some(own) = self.namespaces.get_mut(&entry.namespace) {
            own.remove(&(entry.due, *id));
            if own.is_empty() {
                self.namespaces.remove(&entry.namespace);
            }
        }
        true
    }

    /// True if this work waits.
    pub(crate) fn holds(&self, id: &ActivationId) -> bool {
        self.of.contains_key(id)
    }

    /// Takes the first work out that is due by now.
    pub(crate) fn take_due(&mut self, now: Millis) -> Option<ActivationId> {
        let (due, id) = *self.by_due.first()?;
        (due <= now && self.remove(&id)).then_some(id)
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

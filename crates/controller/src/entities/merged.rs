//! Packaged actions laid over their packages: made once per state of action, package and binding.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use chasen_entity::{ByteSize, FullyQualifiedName, Parameters, Revision};

use super::ResolvedAction;

/// Bytes that an entry costs beside its parameters.
const OVERHEAD: u64 = 1024;
/// Bytes that a parameter costs beside its key and value.
const PARAMETER: u64 = 128;

/// Revisions of action, package and binding.
pub(super) type MadeFrom = [Revision; 3];

/// See the module. Bounded in bytes: a full one is emptied. Names are those that were asked for, through bindings too.
pub(crate) struct Merged {
    bound: u64,
    known: ArcSwap<Known>,
}

/// What was made since it was last emptied.
#[derive(Default)]
pub(super) struct Known {
    map: papaya::HashMap<FullyQualifiedName, Entry>,
    weight: AtomicU64,
}

struct Entry {
    made_from: MadeFrom,
    action: Arc<ResolvedAction>,
    weight: u64,
}

impl Merged {
    pub(crate) fn new(bound: ByteSize) -> Self {
        Self { bound: bound.as_bytes(), known: ArcSwap::default() }
    }

    /// Forgets everything. What is made of entities that were found before goes into what is forgotten.
    pub(crate) fn clear(&self) {
        self.known.store(Arc::default());
    }

    /// What is known, to be taken before the entities are looked for.
    pub(super) fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// Remembers what was made.
    pub(super) fn remember(
        &self,
        known: &Known,
        name: FullyQualifiedName,
        made_from: MadeFrom,
        action: Arc<ResolvedAction>,
    ) {
        let weight = weight(&action.parameters);
        let map = known.map.pin();
        let replaced = map.insert(name, Entry { made_from, action, weight }).map_or(0, |old| old.weight);
        let before = known.weight.fetch_add(weight, Ordering::Relaxed);
        known.weight.fetch_sub(replaced, Ordering::Relaxed);
        if before.saturating_add(weight) > self.bound.saturating_add(replaced) {
            self.clear();
        }
    }
}

impl Known {
    /// The action of this name, if it was made from these states.
    pub(super) fn get(&self, name: &FullyQualifiedName, made_from: &MadeFrom) -> Option<Arc<ResolvedAction>> {
        let map = self.map.pin();
        map.get(name).filter(|entry| entry.made_from == *made_from).map(|entry| entry.action.clone())
    }
}

fn weight(parameters: &Parameters) -> u64 {
    OVERHEAD + PARAMETER * parameters.iter().count() as u64 + parameters.size()
}

#[cfg(test)]
mod tests {
    use chasen_entity::{Action, Manifest};

    use super::*;

    fn action(length: usize) -> Arc<ResolvedAction> {
        let body = format!(
            r#"{{"namespace":"guest/p","name":"a","exec":{{"kind":"k:1"}},"limits":{{"timeout":1,"memory":1,"logs":1,"concurrency":1}},
                "parameters":[{{"key":"k","value":"{}"}}],"version":"0.0.1","updated":1}}"#,
            "x".repeat(length)
        );
        let action: Action = serde_json::from_str(&body).unwrap();
        Arc::new(ResolvedAction::of(&action, 1, &Manifest::default()))
    }

    fn name(name: &str) -> FullyQualifiedName {
        FullyQualifiedName::parse(&format!("guest/p/{name}")).unwrap()
    }

    #[test]
    fn only_what_was_made_from_the_same_states_is_found() {
        let merged = Merged::new(ByteSize::mb(1));
        merged.remember(&merged.known(), name("a"), [1, 2, 3], action(1));
        assert!(merged.known().get(&name("a"), &[1, 2, 3]).is_some());
        for other in [[2, 2, 3], [1, 3, 3], [1, 2, 0]] {
            assert!(merged.known().get(&name("a"), &other).is_none());
        }
        let before = merged.known();
        merged.clear();
        merged.remember(&before, name("a"), [1, 2, 3], action(1));
        assert!(merged.known().get(&name("a"), &[1, 2, 3]).is_none(), "of an earlier life");
    }

    #[test]
    fn large_parameters_do_not_fill_the_memory() {
        let merged = Merged::new(ByteSize::bytes(100_000));
        for round in 0..1000 {
            merged.remember(&merged.known(), name("same"), [round, 0, 0], action(40_000));
            assert!(
                merged.known().get(&name("same"), &[round, 0, 0]).is_some(),
                "what is replaced does not count"
            );
        }
        for at in 0..1000 {
            merged.remember(&merged.known(), name(&format!("a{at}")), [1, 0, 0], action(40_000));
            assert!(merged.known().weight.load(Ordering::Relaxed) <= 100_000);
        }
    }
}

//! What waits on the node, in all and for each namespace: no namespace fills the node alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chasen_entity::{EntityName, Invocation, Role};

use crate::SchedulerConfig;

/// How many activations wait on the node, opened ones among them, and the bytes they hold.
#[derive(Debug, Default)]
pub(crate) struct NodeLoad {
    queued: AtomicUsize,
    bytes: AtomicUsize,
    /// Bytes of every namespace that had something waiting since the start: a few words each.
    of_namespaces: papaya::HashMap<EntityName, Arc<AtomicUsize>>,
}

impl NodeLoad {
    /// Counts an invocation, until the burden is dropped.
    pub(crate) fn add(self: &Arc<Self>, invocation: &Invocation) -> Burden {
        let bytes = size(invocation);
        let namespace = &invocation.identity.namespace.name;
        let own = self.of_namespaces.pin().get_or_insert_with(namespace.clone(), Arc::default).clone();
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        own.fetch_add(bytes, Ordering::Relaxed);
        Burden { load: Arc::clone(self), own, bytes }
    }

    /// True if there is no room for more of this namespace.
    pub(crate) fn is_full(&self, namespace: &EntityName, bounds: &SchedulerConfig) -> bool {
        self.queued.load(Ordering::Relaxed) > bounds.max_queued_node
            || self.bytes.load(Ordering::Relaxed) > bounds.max_queued_bytes_node
            || self
                .of_namespaces
                .pin()
                .get(namespace)
                .is_some_and(|own| own.load(Ordering::Relaxed) > bounds.max_queued_bytes_namespace)
    }
}

/// Somebody's part of the [`NodeLoad`].
pub(crate) struct Burden {
    load: Arc<NodeLoad>,
    own: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Burden {
    fn drop(&mut self) {
        self.load.queued.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.own.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes that an invocation holds while it waits: everything that tenants choose the size of, and a round figure for
/// the rest.
pub(crate) fn size(invocation: &Invocation) -> usize {
    let beneath = match &invocation.role {
        Role::Fire { beneath } => beneath.size(),
        Role::Action | Role::Sequence | Role::Composition => 0,
    };
    let parameters = invocation.init_parameters.size().saturating_add(beneath);
    usize::try_from(parameters)
        .unwrap_or(usize::MAX)
        .saturating_add(invocation.arguments.as_str().len())
        .saturating_add(512)
}

#[cfg(test)]
mod tests {
    use chasen_entity::Parameters;
    use chasen_spi::memory::invocation;

    use super::*;

    #[test]
    fn everything_of_a_tenants_size_counts() {
        let plain = invocation("guest", "a", "k:1", "{}");
        let small = size(&plain);
        let mut large = Parameters::new();
        large.set("key", &"x".repeat(10_000));
        let arguments = invocation("guest", "a", "k:1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000)));
        let environment = Invocation { init_parameters: large.clone(), ..plain.clone() };
        let fire = Invocation { role: Role::Fire { beneath: large }, ..plain };
        for one in [arguments, environment, fire] {
            assert!(size(&one) >= small + 10_000, "{:?}", one.role);
        }
    }

    #[test]
    fn a_namespace_fills_its_own_share() {
        let load = Arc::new(NodeLoad::default());
        let bounds = SchedulerConfig { max_queued_bytes_namespace: 1000, ..SchedulerConfig::default() };
        let [greedy, other] = ["greedy", "other"].map(|name| invocation(name, "a", "k:1", "{}"));
        let is_full = |of: &Invocation| load.is_full(&of.identity.namespace.name, &bounds);
        let burdens: Vec<Burden> = (0..2).map(|_| load.add(&greedy)).collect();
        assert!(is_full(&greedy) && !is_full(&other));
        drop(burdens);
        assert!(!is_full(&greedy));
        assert_eq!((load.queued.load(Ordering::Relaxed), load.bytes.load(Ordering::Relaxed)), (0, 0));
    }
}

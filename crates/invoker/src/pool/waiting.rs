//! Requests that wait for room, and whose turn it is.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chasen_entity::{ActionKey, ByteSize, EntityName};

/// Number of a request; later ones have larger numbers.
pub type RequestId = u64;

/// A container that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub id: RequestId,
    /// Action that it is for.
    pub key: ActionKey,
    /// Concrete kind, or `blackbox`.
    pub kind: String,
    /// Image of a blackbox action.
    pub image: Option<String>,
    /// Memory of the container.
    pub memory: ByteSize,
    /// Containers that the action had when it asked.
    pub siblings: u32,
    /// False if it is to be refused rather than to wait.
    pub waits: bool,
}

/// What is there at the moment of what a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presence {
    /// Its namespace has a container.
    pub(super) namespace: bool,
    /// Its action has one.
    pub(super) action: bool,
}

impl Presence {
    /// The request may be older than the end of its siblings: what is there now is taken where it is less.
    fn is_first(self, request: &Request) -> bool {
        request.siblings == 0 || !self.action
    }
}

/// The request whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) request: &'a Request,
    /// Since when it waits.
    pub(super) since: Duration,
    /// For the first container of its action.
    pub(super) is_first: bool,
}

/// The list. Order: namespaces that have no container at all, then first containers of actions, then the
/// rest; within each, the namespace that owes least, then the one that was served longest ago; within a namespace, the
/// order of arrival.
///
/// A change costs the logarithm of those who wait. So does finding the next one while a namespace without containers
/// waits; else it looks once at each namespace that waits, of which there are not more than containers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: HashMap<RequestId, (Request, Duration)>,
    tenants: HashMap<EntityName, Tenant>,
    /// Namespaces without containers: when served, the oldest request, whose it is.
    bare: BTreeSet<(u64, RequestId, EntityName)>,
    /// Requests for first containers.
    firsts: usize,
    /// When a namespace was last served since somebody waits, as a running number.
    served: HashMap<EntityName, u64>,
    turns: u64,
}

/// The requests of one namespace.
#[derive(Debug, Default)]
struct Tenant {
    /// Those for next containers after those for first ones, and in the order of arrival.
    order: BTreeSet<(bool, RequestId)>,
    /// Those that are first ones only while their action has no container.
    later: HashMap<ActionKey, BTreeSet<RequestId>>,
    has_containers: bool,
    /// Where it stands among those without.
    bare: Option<(u64, RequestId)>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// True if somebody waits for a first container.
    pub(super) fn has_first(&self) -> bool {
        self.firsts > 0
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn push(&mut self, request: Request, presence: Presence, now: Duration) {
        let (id, is_first, key) = (request.id, presence.is_first(&request), &request.key);
        let tenant = self.tenants.entry(key.namespace.clone()).or_default();
        tenant.has_containers = presence.namespace;
        tenant.order.insert((!is_first, id));
        if request.siblings > 0 {
            tenant.later.entry(key.clone()).or_default().insert(id);
        }
        self.firsts += usize::from(is_first);
        self.file(&key.namespace.clone());
        self.requests.insert(id, (request, now));
    }

    /// What is there of an action has changed.
    pub(super) fn follow(&mut self, key: &ActionKey, presence: Presence) {
        let Some(tenant) = self.tenants.get_mut(&key.namespace) else { return };
        tenant.has_containers = presence.namespace;
        for id in tenant.later.get(key).into_iter().flatten() {
            if tenant.order.remove(&(!presence.action, *id)) {
                tenant.order.insert((presence.action, *id));
                match presence.action {
                    true => self.firsts -= 1,
                    false => self.firsts += 1,
                }
            }
        }
        self.file(&key.namespace);
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let (request, _) = self.requests.remove(&id)?;
        if let Some(tenant) = self.tenants.get_mut(&request.key.namespace) {
            let was_first = tenant.order.remove(&(false, id));
            self.firsts -= usize::from(was_first);
            tenant.order.remove(&(true, id));
            if let Some(later) = tenant.later.get_mut(&request.key) {
                later.remove(&id);
                if later.is_empty() {
                    tenant.later.remove(&request.key);
                }
            }
        }
        self.file(&request.key.namespace);
        if self.requests.is_empty() {
            self.served.clear();
        }
        Some(request)
    }

    /// Takes a request out because it is served.
    pub(super) fn take(&mut self, id: RequestId) -> Option<Request> {
        let namespace = self.requests.get(&id)?.0.key.namespace.clone();
        self.turns += 1;
        self.served.insert(namespace, self.turns);
        self.remove(id)
    }

    /// Whose turn it is. `owed` is what a namespace that has containers owes.
    pub(super) fn next(&self, owed: impl Fn(&EntityName) -> u64) -> Option<Turn<'_>> {
        let (is_next, id) = match self.bare.first() {
            Some((_, id, _)) => (false, *id),
            None => {
                let heads = self.tenants.iter().filter_map(|(name, tenant)| {
                    let (is_next, id) = *tenant.order.first()?;
                    Some((is_next, owed(name), self.served_at(name), id))
                });
                heads.min().map(|(is_next, .., id)| (is_next, id))?
            }
        };
        let (request, since) = self.requests.get(&id)?;
        Some(Turn { request, since: *since, is_first: !is_next })
    }

    fn served_at(&self, namespace: &EntityName) -> u64 {
        self.served.get(namespace).copied().unwrap_or_default()
    }

    /// Puts a namespace where it belongs after a change.
    fn file(&mut self, namespace: &EntityName) {
        let served = self.served_at(namespace);
        let Some(tenant) = self.tenants.get_mut(namespace) else { return };
        let head = tenant.order.first().filter(|_| !tenant.has_containers);
        let place = head.map(|(_, id)| (served, *id));
        if place != tenant.bare {
            if let Some((served, id)) = std::mem::replace(&mut tenant.bare, place) {
                self.bare.remove(&(served, id, namespace.clone()));
            }
            self.bare.extend(place.map(|(served, id)| (served, id, namespace.clone())));
        }
        if tenant.order.is_empty() {
            self.tenants.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use chasen_entity::{FullyQualifiedName, NetworkPolicy};
    use proptest::prelude::*;

    use super::*;

    /// The order as it is said, without an index.
    #[derive(Default)]
    struct Naive {
        requests: Vec<Request>,
        served: HashMap<EntityName, u64>,
        turns: u64,
    }

    impl Naive {
        fn next(&self, there: &HashSet<ActionKey>, owed: impl Fn(&EntityName) -> u64) -> Option<RequestId> {
            let next = self.requests.iter().min_by_key(|request| {
                let namespace = &request.key.namespace;
                let class = match presence(there, &request.key) {
                    Presence { namespace: false, .. } => 0,
                    Presence { action, .. } if request.siblings == 0 || !action => 1,
                    _ => 2,
                };
                let owed = if class == 0 { 0 } else { owed(namespace) };
                (class, owed, self.served.get(namespace).copied().unwrap_or_default(), request.id)
            });
            next.map(|request| request.id)
        }

        fn remove(&mut self, id: RequestId, is_served: bool) {
            if let Some(request) = self.requests.iter().find(|request| request.id == id && is_served) {
                self.turns += 1;
                self.served.insert(request.key.namespace.clone(), self.turns);
            }
            self.requests.retain(|request| request.id != id);
            if self.requests.is_empty() {
                self.served.clear();
            }
        }
    }

    fn presence(there: &HashSet<ActionKey>, key: &ActionKey) -> Presence {
        let namespace = there.iter().any(|other| other.namespace == key.namespace);
        Presence { namespace, action: there.contains(key) }
    }

    fn key(tenant: usize, action: usize) -> ActionKey {
        let [namespace, action] = [format!("tenant{tenant}"), format!("tenant{tenant}/action{action}")];
        ActionKey {
            namespace: EntityName::new(&namespace).unwrap(),
            action: FullyQualifiedName::parse(&action).unwrap(),
            environment: None,
            network: NetworkPolicy::Internet,
            superseded: None,
        }
    }

    #[derive(Debug, Clone)]
    enum Move {
        Push(usize, usize, u32),
        Withdraw(RequestId),
        Serve,
        /// An action has its first container, or has lost its last.
        Turn(usize, usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            4 => (0usize..4, 0usize..3, 0u32..3).prop_map(|(tenant, action, siblings)| Move::Push(tenant, action, siblings)),
            1 => (0u64..100).prop_map(Move::Withdraw),
            2 => Just(Move::Serve),
            2 => (0usize..4, 0usize..3).prop_map(|(tenant, action)| Move::Turn(tenant, action)),
        ];
        proptest::collection::vec(one, 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_is_what_is_said(moves in moves(), debts in proptest::array::uniform4(0u64..3)) {
            let owed = |name: &EntityName| debts[usize::from(name.as_str().as_bytes()[6] - b'0')];
            let (mut waiting, mut naive) = (Waiting::default(), Naive::default());
            let mut there: HashSet<ActionKey> = HashSet::new();
            for (id, one) in (0..).zip(moves) {
                match one {
                    Move::Push(tenant, action, siblings) => {
                        let key = key(tenant, action);
                        let memory = ByteSize::mb(128);
                        let kind = "k".to_owned();
                        let request = Request { id, key, kind, image: None, memory, siblings, waits: true };
                        naive.requests.push(request.clone());
                        let presence = presence(&there, &request.key);
                        waiting.push(request, presence, Duration::from_secs(id));
                    }
                    Move::Withdraw(id) => {
                        let is_there = naive.requests.iter().any(|request| request.id == id);
                        naive.remove(id, false);
                        prop_assert_eq!(waiting.remove(id).is_some(), is_there);
                    }
                    Move::Serve => {
                        let Some(id) = naive.next(&there, owed) else { continue };
                        naive.remove(id, true);
                        let key = waiting.take(id).unwrap().key;
                        there.insert(key.clone());
                        waiting.follow(&key, presence(&there, &key));
                    }
                    Move::Turn(tenant, action) => {
                        let key = key(tenant, action);
                        if !there.remove(&key) {
                            there.insert(key.clone());
                        }
                        waiting.follow(&key, presence(&there, &key));
                    }
                }
                let turn = waiting.next(owed);
                prop_assert_eq!(turn.map(|turn| turn.request.id), naive.next(&there, owed));
                let is_first = |request: &Request| presence(&there, &request.key).is_first(request);
                prop_assert_eq!(turn.map(|turn| turn.is_first), turn.map(|turn| is_first(turn.request)));
                prop_assert_eq!(turn.map(|turn| turn.since), turn.map(|turn| Duration::from_secs(turn.request.id)));
                prop_assert_eq!(waiting.has_first(), naive.requests.iter().any(is_first));
                prop_assert_eq!(waiting.len(), naive.requests.len());
                prop_assert_eq!(waiting.tenants.is_empty(), waiting.is_empty(), "nothing is left behind");
            }
        }
    }
}

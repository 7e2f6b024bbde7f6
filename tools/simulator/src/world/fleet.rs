//! Where containers are made: the placement's choice, and requests that go to another node when that has room.

use std::collections::BTreeMap;

use super::nodes::Pending;
use super::{Todo, World};

/// Requests that wait at one node and that others may take, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Roaming {
    in_order: BTreeMap<u64, (usize, u64)>,
    numbers: BTreeMap<(usize, u64), u64>,
    next: u64,
}

impl Roaming {
    fn add(&mut self, node: usize, request: u64) {
        self.in_order.insert(self.next, (node, request));
        self.numbers.insert((node, request), self.next);
        self.next += 1;
    }

    pub(super) fn remove(&mut self, node: usize, request: u64) {
        if let Some(number) = self.numbers.remove(&(node, request)) {
            self.in_order.remove(&number);
        }
    }
}

impl World<'_> {
    /// An action wants another container: asks the nodes that the placement chooses.
    pub(super) fn start(&mut self, action: usize, siblings: u32) {
        for (node, view) in self.nodes.iter().zip(&mut self.views) {
            node.look(view);
        }
        let Some(state) = self.actions.get(action) else { return };
        let dice = self.random.bits();
        let Ok(mut choice) = self.policy.placement.place(&state.need, &self.views, dice) else {
            return self.todo.push_back(Todo::StartFailed { action });
        };
        if self.nodes.len() == 1 {
            // There is nobody else to ask.
            choice.ask.clear();
        }
        let request = |others| Pending { action, siblings, others };
        for node in choice.ask {
            if self.ask(node, request(Vec::new()), false) {
                return;
            }
        }
        let may_roam = !choice.others.is_empty();
        self.ask(choice.wait_at, request(choice.others), true);
        let newest = self.nodes.get(choice.wait_at).and_then(|node| node.pending.last_key_value());
        if let Some((id, pending)) = newest
            && may_roam
            && pending.action == action
        {
            self.roaming.add(choice.wait_at, *id);
        }
    }

    /// Memory got free on a node: requests that wait elsewhere may come, if nobody waits here.
    pub(super) fn invite(&mut self, at: usize) {
        loop {
            let Some(node) = self.nodes.get(at).filter(|node| node.is_up && node.pool.waiting() == 0) else {
                return;
            };
            let free = node.config.memory.as_bytes().saturating_sub(node.pool.used().as_bytes());
            let fits = |pending: &Pending| {
                let memory = self.actions.get(pending.action).map(|state| state.need.memory.as_bytes());
                pending.others.contains(&at) && memory.is_some_and(|memory| memory <= free)
            };
            let guest = self.roaming.in_order.values().copied().find(|(node, request)| {
                self.nodes.get(*node).and_then(|node| node.pending.get(request)).is_some_and(fits)
            });
            let Some((home, request)) = guest else { return };
            let pending = self.nodes.get(home).and_then(|node| node.pending.get(&request));
            let Some((action, siblings)) = pending.map(|pending| (pending.action, pending.siblings)) else {
                return;
            };
            if !self.ask(at, Pending { action, siblings, others: Vec::new() }, false) {
                return;
            }
            self.take_request(home, request);
            self.tell_pool(home, chasen_invoker::pool::Event::Withdrawn(request));
        }
    }
}

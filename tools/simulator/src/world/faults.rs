//! Nodes that die: what was on them is gone at once, and known to be gone a little later.

use chasen_invoker::container::state::Event as Life;

use super::calls::Stage;
use super::clock::{CallId, Planned, Serial};
use super::nodes::Lost;
use super::{Todo, World};
use crate::trace::{Micros, SECOND};
use chasen_scheduler::queue::Event;

/// Time until it is known that a node is dead.
const DETECTION: Micros = 2 * SECOND;

impl World<'_> {
    pub(super) fn node_down(&mut self, at: usize) {
        let now = self.clock.now;
        let Some(node) = self.nodes.get_mut(at).filter(|node| node.is_up) else { return };
        node.is_up = false;
        node.down_since = Some(now);
        let containers: Vec<Serial> = node.containers.values().copied().collect();
        let requests: Vec<u64> = node.pending.keys().copied().collect();
        for id in requests {
            if let Some(pending) = self.take_request(at, id)
                && let Some(node) = self.nodes.get_mut(at)
            {
                node.lost_requests.push(pending);
            }
        }
        for serial in containers {
            let Some(container) = self.containers.get(&serial) else { continue };
            let lost = Lost { serial, action: container.owner, is_known: container.is_known };
            if let Some(node) = self.nodes.get_mut(at) {
                node.lost.push(lost);
            }
            self.apply(serial, Life::Killed);
            self.apply(serial, Life::Stopped);
            self.forget(serial);
        }
        // Nobody is told yet: what its containers had to say went with them.
        self.todo.clear();
        let manifest = &self.manifest;
        if let Some(node) = self.nodes.get_mut(at) {
            node.clear(manifest);
        }
        self.clock.plan(DETECTION, Planned::NodeLost(at));
    }

    pub(super) fn node_lost(&mut self, at: usize) {
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.down_since = None;
        let (lost, requests) = (std::mem::take(&mut node.lost), std::mem::take(&mut node.lost_requests));
        for Lost { serial, action, is_known } in lost {
            let Some(action) = action else { continue };
            if !is_known {
                self.todo.push_back(Todo::Start { action, siblings: 0 });
                continue;
            }
            self.tell_queue(action, Event::Gone { id: serial });
            for (id, stage) in self.calls_in(serial) {
                match stage {
                    Stage::Running(_) => self.interrupt(id),
                    _ => self.lose(id),
                }
            }
        }
        for pending in requests {
            self.todo.push_back(Todo::Start { action: pending.action, siblings: pending.siblings });
        }
    }

    /// Calls that have a slot of a container, in the order of their arrival.
    fn calls_in(&self, serial: Serial) -> Vec<(CallId, Stage)> {
        let inside = self.calls.iter().filter(|(_, call)| match call.stage {
            Stage::Waiting => false,
            Stage::Entering(own) | Stage::Running(own) => own == serial,
        });
        let mut inside: Vec<(CallId, Stage)> = inside.map(|(id, call)| (*id, call.stage)).collect();
        inside.sort_unstable_by_key(|(id, _)| *id);
        inside
    }

    pub(super) fn node_up(&mut self, at: usize) {
        let Some(node) = self.nodes.get_mut(at).filter(|node| !node.is_up) else { return };
        node.is_up = true;
        self.plan_node_timers(at);
        self.todo.push_back(Todo::Room(at));
    }
}

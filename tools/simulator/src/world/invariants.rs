//! What must hold after every event, as the contract of the engine numbers it (§11.5).

use std::collections::BTreeMap;

use super::calls::Stage;
use super::clock::Serial;
use super::{SimulationError, World};
use crate::number::seconds;
use crate::trace::{Micros, SECOND};

/// Longest time until calls of a dead node are told so.
const NODE_DEATH: Micros = 5 * SECOND;

type Check = Result<(), (&'static str, String)>;

impl World<'_> {
    /// Checks everything.
    pub(super) fn check(&self) -> Result<(), SimulationError> {
        let within = self.broken.clone().map_or(Ok(()), Err);
        let checks = within
            .and_then(|()| self.memory())
            .and_then(|()| self.places())
            .and_then(|()| self.slots())
            .and_then(|()| self.timers())
            .and_then(|()| self.deaths());
        checks.map_err(|(rule, what)| self.violation(rule, what))
    }

    /// Checks that everybody has ended.
    pub(super) fn check_end(&self) -> Result<(), SimulationError> {
        self.check()?;
        match (self.calls.len(), self.waiting) {
            (0, 0) => Ok(()),
            (calls, waiting) => {
                Err(self.violation("I3", format!("{calls} calls never end, {waiting} of them wait")))
            }
        }
    }

    fn violation(&self, rule: &'static str, what: String) -> SimulationError {
        SimulationError::Invariant {
            rule,
            what,
            event: self.tally.events,
            now: self.clock.now,
            trace: self.trace.name().to_owned(),
            policy: self.policy.name.to_owned(),
            seed: self.setup.seed,
        }
    }

    /// I1: the memory of everything that is not dead stays within the node, and the pool knows it.
    fn memory(&self) -> Check {
        let mut held = vec![0u64; self.nodes.len()];
        for container in self.containers.values() {
            if let Some(held) = held.get_mut(container.node) {
                *held += container.memory.as_bytes();
            }
        }
        for (at, (node, held)) in self.nodes.iter().zip(held).enumerate() {
            let (used, capacity) = (node.pool.used().as_bytes(), node.config.memory.as_bytes());
            if held > capacity || held != used {
                let what = format!("node {at} holds {held} of {capacity} bytes, and its pool counts {used}");
                return Err(("I1", what));
            }
        }
        Ok(())
    }

    /// I3: every call is in exactly one place: waiting, in a container, or over.
    fn places(&self) -> Check {
        let ended = self.tally.ended();
        let in_flight = self.calls.len() as u64;
        if self.tally.activations != in_flight + ended {
            let what =
                format!("{} calls came, {in_flight} are in flight, {ended} are over", self.tally.activations);
            return Err(("I3", what));
        }
        let queued: usize =
            self.actions.iter().filter_map(|state| state.queue.as_ref()).map(|it| it.queued()).sum();
        let waiting = self.calls.values().filter(|call| call.stage == Stage::Waiting).count();
        if queued != waiting || waiting != self.waiting {
            let what =
                format!("{waiting} calls wait, queues have {queued}, the node counts {}", self.waiting);
            return Err(("I3", what));
        }
        Ok(())
    }

    /// I2 and I4: a container runs what its state says, and calls of its own action only.
    fn slots(&self) -> Check {
        let mut running: BTreeMap<Serial, u32> = BTreeMap::new();
        for call in self.calls.values() {
            let (Stage::Entering(serial) | Stage::Running(serial)) = call.stage else { continue };
            let Some(container) = self.containers.get(&serial) else { continue };
            if container.owner != Some(call.action) {
                let what = format!(
                    "container {serial} is of {:?} and serves action {}",
                    container.owner, call.action
                );
                return Err(("I4", what));
            }
            if let Stage::Running(_) = call.stage {
                *running.entry(serial).or_default() += 1;
            }
        }
        for (serial, container) in &self.containers {
            let real = running.get(serial).copied().unwrap_or_default();
            let (state, slots) = (container.state, container.slots);
            if state.running() > slots || real > state.running() {
                let what = format!("container {serial} runs {real} calls with {slots} slots in {state:?}");
                return Err(("I2", what));
            }
        }
        Ok(())
    }

    /// I5: something is planned for every call.
    fn timers(&self) -> Check {
        for (id, call) in &self.calls {
            let is_planned = call.timer >= self.clock.now;
            let is_excused = match call.stage {
                Stage::Waiting => false,
                Stage::Entering(serial) => {
                    self.containers.get(&serial).is_none_or(|container| container.knocking.contains(id))
                }
                Stage::Running(serial) => !self.containers.contains_key(&serial),
            };
            if !is_planned && !is_excused {
                return Err(("I5", format!("nothing is planned for call {id}, {:?}", call.stage)));
            }
        }
        Ok(())
    }

    /// I6: whatever was in a dead container or node is resolved soon.
    fn deaths(&self) -> Check {
        for call in self.calls.values() {
            let (Stage::Entering(serial) | Stage::Running(serial)) = call.stage else { continue };
            if self.containers.contains_key(&serial) {
                continue;
            }
            let node = self.nodes.iter().find(|node| node.lost.iter().any(|lost| lost.serial == serial));
            let since = node.and_then(|node| node.down_since);
            let since =
                since.ok_or_else(|| ("I6", format!("a call is left behind in container {serial}")))?;
            let time = self.clock.now.saturating_sub(since);
            if time > NODE_DEATH {
                return Err(("I6", format!("a call is in a dead node for {} s", seconds(time))));
            }
        }
        Ok(())
    }
}

//! Keys in use, one user at a time, and what the last use of each left to do. What a failing disk or store left is made
//! good in the background: to forget it would be to tell of work that was refused that it was accepted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chasen_entity::{ActivationId, Durability, EntityName, error_text};
use chasen_spi::Position;
use chasen_telemetry::task;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::activate::admission;
use crate::controller::Controller;
use crate::wire::error::ApiError;

/// Keys that are in use at the same time, or whose last use left something to do.
const IN_USE: usize = 20_000;
/// Longest wait for a key that others use: each of them may have to wait for its store.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often what was left is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// A namespace and a key of it.
pub(super) type Name = (EntityName, String);

/// What the last use of a key left.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    Settled,
    /// It may be claimed under this id, and nothing was accepted.
    Unaccepted(ActivationId),
    /// Its activation was accepted, and is not known to be safe.
    Unsafe(ActivationId, Durability, Position),
}

/// See the module.
#[derive(Default)]
pub(super) struct Slots(Mutex<Table>);

#[derive(Default)]
struct Table {
    slots: HashMap<Name, Slot>,
    /// Those whose last use left something to do.
    left: HashSet<Name>,
    /// Somebody sees to these.
    is_seen_to: bool,
}

struct Slot {
    state: Arc<tokio::sync::Mutex<State>>,
    /// Those who use the key or wait for it.
    users: usize,
}

/// A key that nobody else uses until it is dropped.
pub(super) struct Held {
    // Before the user: who comes next finds the key free.
    state: OwnedMutexGuard<State>,
    user: User,
}

/// Who uses a key or waits for it; the last one takes the slot away, if nothing is left to do.
struct User {
    controller: Weak<Controller>,
    name: Name,
}

/// Waits until nobody else uses the key.
pub(super) async fn hold(controller: &Controller, name: Name) -> Result<Held, ApiError> {
    let (state, user) = {
        let slots = &mut controller.keys.slots.0.lock().slots;
        if slots.len() >= IN_USE && !slots.contains_key(&name) {
            return Err(ApiError::busy(error_text::TOO_MANY_KEYS));
        }
        let fresh = || Slot { state: Arc::new(tokio::sync::Mutex::new(State::Settled)), users: 0 };
        let slot = slots.entry(name.clone()).or_insert_with(fresh);
        slot.users += 1;
        (slot.state.clone(), User { controller: controller.own.clone(), name })
    };
    let held = tokio::time::timeout(PATIENCE, state.lock_owned()).await;
    let state = held.map_err(|_| ApiError::busy(error_text::KEY_NOT_KNOWN))?;
    Ok(Held { state, user })
}

impl Held {
    pub(super) fn state(&self) -> State {
        *self.state
    }

    pub(super) fn set(&mut self, state: State) {
        *self.state = state;
    }

    /// Waits until what was accepted under the key is as safe as it is to be.
    pub(super) async fn settle_what_was_accepted(&mut self, controller: &Controller) -> Result<(), ApiError> {
        if let State::Unsafe(id, durability, position) = *self.state {
            admission::committed(controller, id, durability, position).await?;
            *self.state = State::Settled;
        }
        Ok(())
    }

    /// Does what the last use left; false if it cannot be done yet.
    async fn settle(&mut self, controller: &Controller) -> bool {
        if let State::Unaccepted(id) = *self.state {
            let (namespace, key) = &self.user.name;
            if controller.keys.store.release(namespace, key, &id).await.is_err() {
                return false;
            }
            *self.state = State::Settled;
        }
        self.settle_what_was_accepted(controller).await.is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(controller) = self.user.controller.upgrade() else { return };
        let mut table = controller.keys.slots.0.lock();
        if matches!(*self.state, State::Settled) {
            table.left.remove(&self.user.name);
            return;
        }
        table.left.insert(self.user.name.clone());
        // Outside a runtime the process is ending.
        if !table.is_seen_to && tokio::runtime::Handle::try_current().is_ok() {
            table.is_seen_to = true;
            drop(task::spawn("keys of requests", see_to_what_is_left(self.user.controller.clone())));
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let Some(controller) = self.controller.upgrade() else { return };
        let mut table = controller.keys.slots.0.lock();
        let Some(slot) = table.slots.get_mut(&self.name) else { return };
        slot.users = slot.users.saturating_sub(1);
        if slot.users == 0 && !table.left.contains(&self.name) {
            table.slots.remove(&self.name);
        }
    }
}

/// Does what was left until nothing is.
async fn see_to_what_is_left(controller: Weak<Controller>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let Some(here) = controller.upgrade() else { return };
        let left: Vec<Name> = {
            let mut table = here.keys.slots.0.lock();
            table.is_seen_to = !table.left.is_empty();
            table.left.iter().cloned().collect()
        };
        if left.is_empty() {
            return;
        }
        for name in left {
            let Ok(mut held) = hold(&here, name).await else { break };
            if !held.settle(&here).await {
                break;
            }
        }
    }
}

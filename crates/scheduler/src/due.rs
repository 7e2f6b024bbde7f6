//! Work that runs when it is due, or when there is room: the calendar, and who looks at it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chasen_entity::{ActivationId, Invocation, Millis};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{PendingQuery, StoreError};
use chasen_telemetry::{clock, task};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::books::unreadable;
use crate::pending::Pending;
use crate::record::Ending;
use crate::scheduler::Shared;

/// How long nobody looks at the wall clock at most: it may have been set.
const LONGEST_LOOK: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Default)]
pub(crate) struct Calendar {
    state: Mutex<State>,
    /// Something is due earlier than whoever looks knows.
    earlier: Arc<Notify>,
}

#[derive(Default)]
struct State {
    pending: Pending,
    /// Somebody looks: there is work, or was a moment ago.
    is_watched: bool,
}

/// What is to be done now.
enum Look {
    /// To take up this.
    Due(ActivationId),
    /// To look again after this time.
    Wait(Duration),
    /// Nothing is left.
    Empty,
}

impl Calendar {
    /// How much work of the namespace waits, and how much in all.
    pub(crate) fn counts(&self, invocation: &Invocation) -> (usize, usize) {
        let state = self.state.lock();
        (state.pending.count_of(&invocation.identity.namespace.name), state.pending.count())
    }

    /// Takes work out; false if it does not wait here.
    pub(crate) fn remove(&self, id: &ActivationId) -> bool {
        self.state.lock().pending.remove(id)
    }

    /// True if this work waits here until it is due.
    pub(crate) fn is_pending(&self, id: &ActivationId) -> bool {
        self.state.lock().pending.is_pending(id)
    }

    /// How much work matches.
    pub(crate) fn matches(&self, query: &PendingQuery) -> u64 {
        self.state.lock().pending.matches(query)
    }

    fn look(&self, now: Millis) -> Look {
        let mut state = self.state.lock();
        if let Some(id) = state.pending.take_next(now) {
            return Look::Due(id);
        }
        match state.pending.next_due() {
            Some(due) => Look::Wait(Duration::from_millis(due.saturating_sub(now).max(1)).min(LONGEST_LOOK)),
            None => {
                state.is_watched = false;
                Look::Empty
            }
        }
    }
}

impl Shared {
    /// Keeps accepted work until it is due.
    pub(crate) fn keep_until(self: &Arc<Self>, invocation: &Invocation, due: Millis) {
        let mut state = self.calendar.state.lock();
        let is_first = state.pending.insert(invocation, due);
        self.see_to(state, is_first);
    }

    /// Keeps accepted work until there is room for it.
    pub(crate) fn keep_for_room(self: &Arc<Self>, invocation: &Invocation) {
        let mut state = self.calendar.state.lock();
        let is_first = !state.pending.waits_for_room();
        state.pending.insert_for_room(invocation);
        self.see_to(state, is_first);
    }

    /// Sees to it that somebody looks at the calendar; at once if its first entry is new.
    fn see_to(self: &Arc<Self>, mut state: MutexGuard<'_, State>, is_first: bool) {
        if !std::mem::replace(&mut state.is_watched, true) {
            drop(state);
            let earlier = Arc::clone(&self.calendar.earlier);
            drop(task::spawn("calendar", watch(Arc::downgrade(self), earlier)));
        } else if is_first {
            self.calendar.earlier.notify_one();
        }
    }

    /// A page of work that is not due yet. Reads the log.
    pub(crate) fn pending(&self, query: &PendingQuery) -> Result<Vec<Arc<Invocation>>, StoreError> {
        let ids = self.calendar.state.lock().pending.page(query);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            // What has come due meanwhile and is over is not pending any more.
            found.extend(self.log.accepted(&id)?);
        }
        Ok(found)
    }

    /// Ends work that waits here; false if it does not.
    pub(crate) fn cancel_pending(&self, invocation: &Invocation) -> bool {
        let is_pending = self.calendar.remove(&invocation.activation_id);
        if is_pending {
            self.record(invocation, Ending::cancelled(clock::now()));
        }
        is_pending
    }
}

/// Takes up what is due, until nothing is left or the node drains: then it stays in the log.
async fn watch(shared: Weak<Shared>, earlier: Arc<Notify>) {
    loop {
        let Some(here) = shared.upgrade() else { return };
        if here.gate.is_draining() {
            return;
        }
        // First, so that work can be found in the calendar until it begins.
        let Ok(permit) = Arc::clone(&here.taking_up).acquire_owned().await else { return };
        match here.calendar.look(here.config.clock.now()) {
            Look::Due(id) => take_up(&here, id, permit).await,
            Look::Wait(time) => {
                drop((here, permit));
                // Either way it is looked at again.
                let _ = tokio::time::timeout(time, earlier.notified()).await;
            }
            Look::Empty => return,
        }
    }
}

/// Begins work that is due now.
async fn take_up(shared: &Arc<Shared>, id: ActivationId, permit: OwnedSemaphorePermit) {
    let log = Arc::clone(&shared.log);
    match tokio::task::spawn_blocking(move || log.accepted(&id)).await {
        Ok(Ok(Some(invocation))) => {
            shared.begin(Unfinished { invocation, started: None, progress: None }, permit);
        }
        // It has ended meanwhile.
        Ok(Ok(None)) => {}
        Ok(Err(error)) => unreadable(&id, &error),
        Err(error) => tracing::error!(activation = %id, %error, "work that is due could not be read"),
    }
}

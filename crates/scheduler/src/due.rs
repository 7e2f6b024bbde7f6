//! Work that runs when it is due, or when there is room: the calendar, and who looks at it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chasen_entity::{ActivationId, Invocation, Millis};
use chasen_spi::event_log::{TakenUp, Unfinished};
use chasen_spi::{EventLog, PendingQuery, StoreError};
use chasen_telemetry::{clock, task};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::books::unreadable;
use crate::fate;
use crate::pending::{Next, Pending};
use crate::places::{Permit, Places};
use crate::record::Ending;
use crate::scheduler::Shared;

/// How long nobody looks at the wall clock at most: it may have been set.
const LONGEST_LOOK: Duration = Duration::from_secs(30);
/// Pieces of work that are read together: a thread that reads costs as much as several of them.
const READ_AT_ONCE: usize = 64;

/// See the module.
#[derive(Default)]
pub(crate) struct Calendar {
    state: Mutex<State>,
    /// Something is due earlier than whoever looks knows, or there is room for more.
    news: Arc<Notify>,
}

#[derive(Default)]
struct State {
    pending: Pending,
    /// Somebody looks: there is work, or was a moment ago.
    is_watched: bool,
}

/// What is to be done now.
enum Look {
    /// To take up these, which have places.
    Next(Vec<(Next, Permit)>),
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

    /// What wakes whoever looks.
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// Takes work out; `None` if it does not wait here.
    pub(crate) fn remove(&self, id: &ActivationId) -> Option<Next> {
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

    fn look(&self, now: Millis, places: &Arc<Places>) -> Look {
        let mut state = self.state.lock();
        let mut found = Vec::new();
        while found.len() < READ_AT_ONCE
            && let Some(next) = state.pending.take_next(now, |namespace| places.take(namespace))
        {
            found.push(next);
        }
        if !found.is_empty() {
            return Look::Next(found);
        }
        match state.pending.next_due() {
            Some(due) => Look::Wait(Duration::from_millis(due.saturating_sub(now).max(1)).min(LONGEST_LOOK)),
            None if state.pending.waits_for_room() => Look::Wait(LONGEST_LOOK),
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

    /// Keeps accepted work until there is room for it; `is_left` if an earlier life left it, and nobody has taken it up.
    pub(crate) fn keep_for_room(self: &Arc<Self>, invocation: &Invocation, is_left: bool) {
        let mut state = self.calendar.state.lock();
        let is_first = !state.pending.waits_for_room();
        state.pending.insert_for_room(invocation, is_left);
        self.see_to(state, is_first);
    }

    /// Sees to it that somebody looks at the calendar; at once if its first entry is new.
    fn see_to(self: &Arc<Self>, mut state: MutexGuard<'_, State>, is_first: bool) {
        if !std::mem::replace(&mut state.is_watched, true) {
            drop(state);
            drop(task::spawn("calendar", watch(Arc::downgrade(self), self.calendar.news())));
        } else if is_first {
            self.calendar.news.notify_one();
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
        let id = &invocation.activation_id;
        let Some(waiting) = self.calendar.remove(id) else { return false };
        // What an earlier life left may have been taken up as a reaction of its fire.
        if waiting.is_left && !matches!(self.log.take_up(id), Ok(TakenUp::Taken(_))) {
            return false;
        }
        self.end_waiting(invocation, Ending::cancelled(clock::now()));
        true
    }

    /// Ends what waited here, and the steps that were left to it.
    fn end_waiting(&self, invocation: &Invocation, ending: Ending) {
        self.record(invocation, ending);
        for step in self.sessions.steps_left_to(&invocation.activation_id) {
            self.end_left_step(&step);
        }
    }

    /// Blocking a subject ends what it has waiting, however long it was put off.
    async fn is_blacklisted(&self, invocation: &Invocation) -> bool {
        match self.opener.get().and_then(Weak::upgrade) {
            Some(opener) => opener.is_blacklisted(&invocation.identity.namespace.name).await,
            None => false,
        }
    }

    /// Ends work of a namespace that may not run anything; what an earlier life has begun was interrupted.
    fn refuse(&self, work: &Unfinished) {
        let ending = match fate::begun(work, self.log.era()) {
            None => Ending::blacklisted(clock::now()),
            Some(_) => Ending::interrupted(clock::now()),
        };
        self.end_waiting(&work.invocation, ending);
    }
}

/// Takes up what is due or waits for room, until nothing is left or the node drains: then it stays in the log.
async fn watch(shared: Weak<Shared>, news: Arc<Notify>) {
    loop {
        let Some(here) = shared.upgrade() else { return };
        if here.gate.is_draining() {
            return;
        }
        match here.calendar.look(here.config.clock.now(), &here.places) {
            Look::Next(found) => take_up(&here, found).await,
            Look::Wait(time) => {
                drop(here);
                // Either way it is looked at again.
                let _ = tokio::time::timeout(time, news.notified()).await;
            }
            Look::Empty => return,
        }
    }
}

/// Begins work whose turn it is.
async fn take_up(shared: &Arc<Shared>, found: Vec<(Next, Permit)>) {
    let log = Arc::clone(&shared.log);
    let read = move || -> Vec<_> {
        found.into_iter().map(|(next, place)| (next.id, read(&*log, &next), place)).collect()
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(found) => {
            for (id, work, place) in found {
                match work {
                    Ok(Some(work)) if shared.is_blacklisted(&work.invocation).await => shared.refuse(&work),
                    Ok(Some(work)) => shared.begin(work, Some(place)),
                    // It has ended meanwhile, or somebody else has it.
                    Ok(None) => {}
                    Err(error) => unreadable(&id, &error),
                }
            }
        }
        Err(error) => tracing::error!(%error, "work whose turn it is could not be read and stays in the log"),
    }
}

fn read(log: &dyn EventLog, next: &Next) -> Result<Option<Unfinished>, StoreError> {
    if !next.is_left {
        let accepted = log.accepted(&next.id)?;
        let fresh = |invocation| Unfinished { invocation, started: None, progress: None, is_whole: true };
        return Ok(accepted.map(fresh));
    }
    Ok(match log.take_up(&next.id)? {
        TakenUp::Taken(work) => Some(*work),
        TakenUp::Elsewhere | TakenUp::Ended | TakenUp::Unknown => None,
    })
}

//! Work that its opener does itself: sequences, compositions, fires, and what ends before it reaches a container.
//! The scheduler keeps its books: it is inside until it has its record, and has one whatever becomes of its opener.

use std::collections::HashMap;
use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, Event, Invocation, RawJson};
use chasen_spi::{BoxFuture, OpenSession, Position, StoreError};
use chasen_telemetry::clock;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::gate::Inside;
use crate::load::Burden;
use crate::places::Permit;
use crate::record::Ending;
use crate::scheduler::Shared;

/// Sessions that are open, by id, and those of an earlier life that are left to one of them.
#[derive(Default)]
pub(crate) struct OpenSessions {
    of: Mutex<HashMap<ActivationId, OpenOne>>,
    /// Steps of sessions that are left to another and not open yet.
    left: Mutex<HashMap<ActivationId, Vec<ActivationId>>>,
}

struct OpenOne {
    cancelled: watch::Sender<bool>,
    /// Steps of it that an earlier life left, and that it may still take up.
    steps: Vec<ActivationId>,
    /// What it is a step of.
    cause: Option<ActivationId>,
    /// Nobody waits for it, nor for what it is a step of: cut off, it goes on in the next life of the node.
    may_stay: bool,
    /// A part of it was left to the next life: there it goes on, and ends.
    is_left: bool,
}

impl OpenSessions {
    /// Leaves a step of an earlier life to its session, which is open or is left to another itself; false if it is
    /// neither.
    pub(crate) fn leave_step(&self, session: &ActivationId, step: &Invocation) -> bool {
        let (mut of, mut left) = (self.of.lock(), self.left.lock());
        let open = of.get_mut(session).map(|open| &mut open.steps);
        let Some(steps) = open.or_else(|| left.get_mut(session)) else { return false };
        steps.push(step.activation_id);
        if !step.role.is_action() {
            left.entry(step.activation_id).or_default();
        }
        true
    }

    /// Steps that follow are left to this session, which is open later.
    pub(crate) fn await_opening(&self, session: &ActivationId) {
        self.left.lock().entry(*session).or_default();
    }

    /// Steps of a session that was left to another, or to its turn: it is open now, or over.
    pub(crate) fn steps_left_to(&self, session: &ActivationId) -> Vec<ActivationId> {
        self.left.lock().remove(session).unwrap_or_default()
    }

    /// True if the session is open.
    pub(crate) fn is_open(&self, session: &ActivationId) -> bool {
        self.of.lock().contains_key(session)
    }

    /// True if the session may go on in the next life of the node.
    pub(crate) fn may_stay(&self, session: &ActivationId) -> bool {
        self.of.lock().get(session).is_some_and(|open| open.may_stay)
    }

    /// Leaves a session to the next life, as a part of it is, and with it what it is a step of; but not one that somebody
    /// waits for.
    pub(crate) fn leave(&self, session: &ActivationId) {
        let mut of = self.of.lock();
        let mut next = Some(*session);
        while let Some(open) = next.and_then(|id| of.get_mut(&id)).filter(|open| open.may_stay) {
            open.is_left = true;
            next = open.cause;
        }
    }

    /// Tells a session that somebody wants its end; false if it is not open.
    pub(crate) fn cancel(&self, session: &ActivationId) -> bool {
        let of = self.of.lock();
        let Some(open) = of.get(session) else { return false };
        open.cancelled.send_replace(true);
        true
    }
}

/// See the module.
pub(crate) struct OpenWork {
    shared: Arc<Shared>,
    invocation: Arc<Invocation>,
    position: Position,
    cancelled: watch::Receiver<bool>,
    is_over: bool,
    _burden: Burden,
    /// Of one that is taken up: its place among those that are taken up at the same time.
    _permit: Option<Permit>,
    // Last: whoever waits for it to leave finds its record.
    _inside: Inside,
}

impl OpenWork {
    pub(crate) fn new(
        shared: Arc<Shared>,
        invocation: Arc<Invocation>,
        position: Position,
        inside: Inside,
        permit: Option<Permit>,
    ) -> Self {
        let burden = shared.surroundings.load.add(&invocation);
        let sender = watch::Sender::new(false);
        let cancelled = sender.subscribe();
        {
            let mut of = shared.sessions.of.lock();
            let steps = shared.sessions.steps_left_to(&invocation.activation_id);
            let cause = invocation.cause;
            let may_stay = match cause {
                None => !invocation.blocking,
                Some(cause) => of.get(&cause).is_some_and(|open| open.may_stay),
            };
            let open = OpenOne { cancelled: sender, steps, cause, may_stay, is_left: false };
            of.insert(invocation.activation_id, open);
        }
        Self {
            shared,
            invocation,
            position,
            cancelled,
            is_over: false,
            _burden: burden,
            _permit: permit,
            _inside: inside,
        }
    }

    /// Takes it out of the open ones. Steps that nobody has taken up have nobody any more who could.
    fn close(&mut self) {
        self.is_over = true;
        let open = self.shared.sessions.of.lock().remove(&self.invocation.activation_id);
        for step in open.map(|open| open.steps).unwrap_or_default() {
            self.shared.end_left_step(&step);
        }
    }

    fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// True if it goes on in the next life of the node.
    fn stays(&self) -> bool {
        let of = self.shared.sessions.of.lock();
        let open = of.get(&self.invocation.activation_id);
        !self.is_cancelled() && open.is_some_and(|open| open.is_left)
    }

    /// Leaves it in the log as it stands there.
    fn stay(&mut self) {
        self.is_over = true;
        self.shared.sessions.of.lock().remove(&self.invocation.activation_id);
    }
}

impl OpenSession for OpenWork {
    fn position(&self) -> Position {
        self.position
    }

    fn started(&self) {
        self.shared.started(&self.invocation);
    }

    fn progress(&self, state: RawJson) -> Result<(), StoreError> {
        let activation_id = self.invocation.activation_id;
        if self.stays() {
            // It goes on from its last note.
            return Err(StoreError::Unavailable("the node is shutting down".to_owned()));
        }
        self.shared.log.append(&Event::Progress { activation_id, state }).map(drop)
    }

    fn cancelled(&self) -> BoxFuture<()> {
        let mut cancelled = self.cancelled.clone();
        Box::pin(async move {
            if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
                // It has ended, and nobody can wish for it any more.
                std::future::pending::<()>().await;
            }
        })
    }

    fn finish(mut self: Box<Self>, record: Activation) -> Arc<Activation> {
        if self.stays() {
            self.stay();
            return Arc::new(record);
        }
        self.close();
        let record = match self.is_cancelled() {
            true => Ending::cancelled_session(record),
            false => record,
        };
        self.shared.keep(&self.invocation, record)
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.shared.gate.is_cut() {
            self.shared.sessions.leave(&self.invocation.activation_id);
        }
        if self.stays() {
            return self.stay();
        }
        self.close();
        let now = clock::now();
        let ending = if self.is_cancelled() { Ending::cancelled(now) } else { Ending::interrupted(now) };
        self.shared.record(&self.invocation, ending);
    }
}

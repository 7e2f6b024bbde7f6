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
            of.insert(invocation.activation_id, OpenOne { cancelled: sender, steps });
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

    fn finish(mut self: Box<Self>, record: Activation) -> (Arc<Activation>, Position) {
        self.close();
        let record = match self.is_cancelled() {
            true => Ending::cancelled_session(record),
            false => record,
        };
        let (record, position) = self.shared.keep(&self.invocation, record);
        (record, position.unwrap_or(self.position))
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // What is cut off while nobody waits for it goes on in the next life.
        if self.shared.gate.is_cut() && !self.invocation.blocking && !self.is_cancelled() {
            self.shared.sessions.of.lock().remove(&self.invocation.activation_id);
            return;
        }
        self.close();
        let now = clock::now();
        let ending = if self.is_cancelled() { Ending::cancelled(now) } else { Ending::interrupted(now) };
        self.shared.record(&self.invocation, ending);
    }
}

//! The door to every execution: sequences, rules, gateways and feeds enter through it, in process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chasen_entity::{
    Activation, ActivationId, Blame, Durability, EntityName, Fault, Invocation, Millis, RawJson, error_text,
};

use crate::dead_letter::DeadLetter;
use crate::event_log::Unfinished;
use crate::{BoxFuture, Position, StoreError};

/// Runs invocations.
pub trait Invoke: Send + Sync {
    /// Takes an invocation of role [`Action`](chasen_entity::Role::Action): from `Ok` on it ends in a record, whatever
    /// happens to the ticket.
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection>;

    /// Takes work that the caller does itself: a sequence, a composition, the fire of a trigger, or an activation that
    /// ends before it reaches a container. From `Ok` on it ends in a record: the caller's, or, if the session is
    /// dropped before, one that says it was interrupted.
    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection>;

    /// Takes work that is to run when it is due ([`Invocation::due`]). From `Ok` on it ends in a record: it runs then, or is
    /// cancelled before. Gives how far the log must be safe before anybody is told.
    fn schedule(&self, invocation: Arc<Invocation>) -> Result<Position, Rejection>;

    /// Waits until the log is as safe up to this position as work of this durability needs it.
    fn committed(&self, durability: Durability, position: Position) -> BoxFuture<Result<(), Rejection>>;

    /// Takes up work that an earlier life of the node accepted, for a session that goes on: one of its steps.
    fn take_up(&self, id: &ActivationId) -> Result<Resumed, Rejection>;

    /// Waits for the end of an activation under way, pending ones included, and gives its record, kept or not; `None` if
    /// no such activation is under way.
    fn end_of(&self, id: &ActivationId) -> Option<BoxFuture<Arc<Activation>>>;

    /// Ends an activation of this namespace that is pending, waits, or runs: its record says that it was cancelled. Of a
    /// session, the step under way ends too.
    fn cancel(&self, namespace: &EntityName, id: &ActivationId) -> BoxFuture<Result<Cancelled, Rejection>>;

    /// Waits, for seconds at most, until it is known what an earlier life of the node left. Before, what follows tells of a
    /// part of it only.
    fn left_work_known(&self) -> BoxFuture<Result<(), Rejection>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// An activation of this namespace that was accepted and has not ended. Reads one event, which may wait for the disk.
    fn under_way(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<UnderWay>, StoreError>;

    /// Work that is not due yet, the first to be due first.
    fn pending(&self, query: &PendingQuery) -> Result<Vec<Arc<Invocation>>, StoreError>;

    /// How much of it matches; `skip` and `limit` are ignored.
    fn pending_count(&self, query: &PendingQuery) -> u64;
}

/// A page of work of one namespace that is not due yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingQuery {
    /// Namespace of the callers.
    pub namespace: EntityName,
    /// Only that of this action: `[package/]name`.
    pub name: Option<String>,
    /// Earliest due time, inclusive.
    pub since: Option<Millis>,
    /// Latest due time, inclusive.
    pub upto: Option<Millis>,
    /// How many to leave out.
    pub skip: u64,
    /// Most to return.
    pub limit: u64,
}

/// An activation that was accepted and has not ended.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// What was accepted.
    pub invocation: Arc<Invocation>,
    /// True if it is not due yet.
    pub is_pending: bool,
}

/// What became of a wish to end an activation.
#[derive(Debug, Clone)]
pub enum Cancelled {
    /// It has ended in this record.
    Ended(Arc<Activation>),
    /// Nothing of that id is under way in the namespace.
    NotUnderWay,
}

/// A step of an earlier life, in the hands of what it is a step of.
pub enum Resumed {
    /// An action. It runs if it may: what started is delivered at most once, or once more, as it says.
    Action(Ticket),
    /// A session, opened again, and how far it had come.
    Session(Session, Unfinished),
    /// Somebody else has it in hand.
    Elsewhere,
    /// It ended. Its record may be there or not: records are not kept of everything, nor for ever.
    Ended,
    /// It was never accepted, or what it was a step of is over.
    Unknown,
}

/// Does the work of sessions: sequences, compositions, fires. What the scheduler calls when such work is due, or was left
/// by an earlier life of the node, and asks about whose work it is that waited.
pub trait Sessions: Send + Sync {
    /// Does the work, from where it stands, in the background.
    fn take_up(&self, session: Session, work: Unfinished);

    /// An activation was lost as often as it may be and is a dead letter now: fires the trigger that its action names, if
    /// it names one.
    fn died(&self, letter: Arc<DeadLetter>);

    /// True if nothing of this namespace is to begin: whom it belongs to is blocked or gone, or its limits let nothing run.
    /// Asked of work that waited in the log; who calls is let in or refused at the doors.
    fn is_blacklisted(&self, namespace: &EntityName) -> BoxFuture<bool> {
        let _ = namespace;
        Box::pin(async { false })
    }
}

/// Work that its opener does itself, as the books know it.
pub type Session = Box<dyn OpenSession>;

/// See [`Session`].
pub trait OpenSession: Send + Sync {
    /// How far the log must be safe before anybody is told that the work was accepted.
    fn position(&self) -> Position;

    /// Notes that the work begins.
    fn started(&self);

    /// Notes how far it has come, before the step that follows takes effect: after a crash it goes on from there. The step
    /// makes the note as safe as it is itself, as it is accepted after it; where the log has no room for the note, the step
    /// must not be taken.
    fn progress(&self, state: RawJson) -> Result<(), StoreError>;

    /// Resolves when somebody wants the work to end now: it takes no more steps, its step under way is to be cancelled, and
    /// [`finish`](Self::finish) records that it was cancelled whatever it is given.
    fn cancelled(&self) -> BoxFuture<()>;

    /// Ends it with this record, which is kept if the invocation's store level says so. Gives the record.
    fn finish(self: Box<Self>, record: Activation) -> Arc<Activation>;
}

/// Why an invocation was not taken. Nothing was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The queue of this action, or of the node, is full.
    #[error("{}", error_text::OVERLOADED)]
    Overloaded,
    /// The action has all the containers that it may have by its own limits, and they are behind.
    #[error("{}", error_text::too_many_concurrent(*in_flight, *allowed))]
    OverOwnLimit {
        /// Activations of the action that run or wait.
        in_flight: u64,
        /// How many of them may run at once.
        allowed: u64,
    },
    /// The namespace has as much work that is not due yet as it may have.
    #[error("{}", error_text::too_many_pending(*pending, *allowed))]
    TooManyPending {
        /// Activations that are not due.
        pending: u64,
        /// How many of them there may be.
        allowed: u64,
    },
    /// The node is draining.
    #[error("this node is shutting down")]
    Draining,
    /// The event log cannot take it.
    #[error("accepted work cannot be recorded: {0}")]
    NotRecorded(#[from] crate::StoreError),
    /// No domain of this platform runs the kind.
    #[error("no execution domain runs actions of kind '{0}'")]
    NoDomain(String),
}

impl Fault for Rejection {
    fn blame(&self) -> Blame {
        match self {
            Self::NotRecorded(_) => Blame::Backend,
            Self::OverOwnLimit { .. } | Self::TooManyPending { .. } => Blame::Caller,
            Self::Overloaded | Self::Draining | Self::NoDomain(_) => Blame::Platform,
        }
    }

    fn retry(&self) -> bool {
        !matches!(self, Self::NoDomain(_))
    }
}

/// A taken invocation. Awaiting it does the work in the awaiting task and gives the record; dropping it
/// moves the rest of the work to the background.
#[must_use = "await it, or drop it to let it run in the background"]
pub struct Ticket {
    work: Option<BoxFuture<Arc<Activation>>>,
    position: Position,
}

impl Ticket {
    /// A ticket for this work, accepted in the log by this position.
    pub fn new(position: Position, work: BoxFuture<Arc<Activation>>) -> Self {
        Self { work: Some(work), position }
    }

    /// How far the log must be safe before anybody is told that the work was accepted.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Lets the work run in the background.
    pub fn detach(self) {
        drop(self);
    }
}

impl Future for Ticket {
    type Output = Arc<Activation>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = self.work.as_mut() else { return Poll::Pending };
        let poll = work.as_mut().poll(context);
        if poll.is_ready() {
            self.work = None;
        }
        poll
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        // Outside a runtime nothing can run any more: the process is ending and recovery takes over.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::activation;

    #[tokio::test]
    async fn dropped_tickets_finish_in_the_background() {
        let (done, finished) = tokio::sync::oneshot::channel();
        let record = Arc::new(activation("guest", "hello", 1));
        let ticket = Ticket::new(
            Position(0),
            Box::pin(async move {
                tokio::task::yield_now().await;
                let _ = done.send(());
                record
            }),
        );
        drop(ticket);
        finished.await.unwrap();
    }
}

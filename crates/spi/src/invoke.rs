//! The door to every execution: sequences, rules, gateways and feeds enter through it, in process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chasen_entity::{Activation, Blame, Fault, Invocation, error_text};

use crate::BoxFuture;

/// Runs invocations.
pub trait Invoke: Send + Sync {
    /// Takes an invocation of role [`Action`](chasen_entity::Role::Action): from `Ok` on it ends in a record, whatever
    /// happens to the ticket.
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection>;

    /// Takes work that the caller does itself: a sequence, a composition, the fire of a trigger, or an activation that
    /// ends before it reaches a container. From `Ok` on it ends in a record: the caller's, or, if the session is
    /// dropped before, one that says it was interrupted.
    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection>;

    /// Like [`open`](Self::open) for work that an earlier life of the node accepted.
    fn reopen(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection>;
}

/// Work that its opener does itself, as the books know it.
pub type Session = Box<dyn OpenSession>;

/// See [`Session`].
pub trait OpenSession: Send + Sync {
    /// Notes that the work begins: from here on it is not begun again after a crash.
    fn started(&self);

    /// Ends it with this record, which is kept if the invocation's store level says so.
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
            Self::OverOwnLimit { .. } => Blame::Caller,
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
}

impl Ticket {
    /// A ticket for this work.
    pub fn new(work: BoxFuture<Arc<Activation>>) -> Self {
        Self { work: Some(work) }
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
        let ticket = Ticket::new(Box::pin(async move {
            tokio::task::yield_now().await;
            let _ = done.send(());
            record
        }));
        drop(ticket);
        finished.await.unwrap();
    }
}

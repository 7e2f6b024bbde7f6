//! An activation under way and its place among those in flight.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use chasen_entity::Activation;
use chasen_spi::{Position, Ticket};

use crate::throttle::Permit;

/// Awaited, it gives the record; dropped early, activation and place go on in the background.
pub(crate) struct Running {
    ticket: Option<Ticket>,
    permit: Option<Permit>,
}

impl Running {
    pub(crate) fn new(ticket: Ticket, permit: Permit) -> Self {
        Self { ticket: Some(ticket), permit: Some(permit) }
    }

    /// How far the log must be safe before anybody is told that it was accepted.
    pub(crate) fn position(&self) -> Position {
        self.ticket.as_ref().map_or(Position(0), Ticket::position)
    }
}

impl Future for Running {
    type Output = Arc<Activation>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.ticket.as_mut() else { return Poll::Pending };
        let poll = Pin::new(ticket).poll(cx);
        if poll.is_ready() {
            self.ticket = None;
            self.permit = None;
        }
        poll
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let permit = self.permit.take();
        // Outside a runtime nothing can run any more: the process is ending, and recovery takes over.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                ticket.await;
                drop(permit);
            });
        }
    }
}

//! Ends activations because somebody wants it: those that are not due, that wait, that run, and sessions.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActivationId, EntityName, Invocation};
use chasen_spi::event_log::TakenUp;
use chasen_spi::{Cancelled, Rejection};
use chasen_telemetry::clock;
use tokio::time::Instant;

use crate::record::Ending;
use crate::scheduler::Shared;

/// How often work is told that has not ended: it may have been between two places.
const AGAIN: Duration = Duration::from_millis(50);

/// How long somebody waits for the end at most. It comes all the same.
const PATIENCE: Duration = Duration::from_secs(10);

impl Shared {
    /// Ends an activation of this namespace and waits for its record.
    pub(crate) async fn cancel(
        self: Arc<Self>,
        namespace: EntityName,
        id: ActivationId,
    ) -> Result<Cancelled, Rejection> {
        // Before the look: what ends from here on is told.
        let mut watch = self.ends.watch(id);
        let Some(invocation) = self.log.accepted(&id)? else { return Ok(Cancelled::NotUnderWay) };
        if invocation.identity.namespace.name != namespace {
            return Ok(Cancelled::NotUnderWay);
        }
        self.ends.cancel(&id);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.end_now(&invocation);
            if let Ok(record) = tokio::time::timeout(AGAIN, watch.ended()).await {
                return Ok(Cancelled::Ended(record));
            }
        }
        Err(Rejection::Overloaded)
    }

    /// Ends it where it is, if it is found.
    fn end_now(self: &Arc<Self>, invocation: &Invocation) {
        let id = &invocation.activation_id;
        if self.cancel_pending(invocation) || self.sessions.cancel(id) {
            return;
        }
        if self.is_taking_up()
            && let Ok(TakenUp::Taken(work)) = self.log.take_up(id)
        {
            // An earlier life left it, and nobody has come to it yet.
            self.record(&work.invocation, Ending::cancelled(clock::now()));
        } else if let Some(queue) = self.queues.pin().get(&invocation.key()) {
            queue.cancel(id);
        }
    }
}

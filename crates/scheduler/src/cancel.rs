//! Ends activations because somebody wants it: those that are not due, that wait, that run, and sessions.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActivationId, EntityName, Invocation};
use chasen_spi::{Cancelled, Rejection};

use crate::scheduler::Shared;

/// How often work is told that has not ended: it may have been between two places.
const AGAIN: Duration = Duration::from_millis(50);

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
        loop {
            self.end_now(&invocation);
            if let Ok(record) = tokio::time::timeout(AGAIN, watch.ended()).await {
                return Ok(Cancelled::Ended(record));
            }
        }
    }

    /// Ends it where it is, if it is found.
    fn end_now(self: &Arc<Self>, invocation: &Invocation) {
        let id = &invocation.activation_id;
        if self.cancel_pending(invocation) || self.sessions.cancel(id) {
            return;
        }
        if let Some(queue) = self.queues.pin().get(&invocation.key()) {
            queue.cancel(id);
        }
    }
}

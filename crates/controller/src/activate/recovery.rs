//! Work of the controller's own that the scheduler hands back: due now, or left by an earlier life of the node.

use std::sync::Arc;

use chasen_entity::{EntityName, Role};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{BoxFuture, DeadLetter, Session, Sessions};
use chasen_telemetry::task;

use super::{death, fire, resume};
use crate::controller::Controller;

impl Sessions for Controller {
    fn take_up(&self, session: Session, work: Unfinished) {
        // A session that is dropped says that it was interrupted.
        let Some(controller) = self.own.upgrade() else { return };
        drop(task::spawn("session", async move {
            match work.invocation.role {
                Role::Fire { .. } => fire::resume(&controller, session, work).await,
                Role::Sequence | Role::Composition => resume::resume(&controller, session, work).await,
                // Actions are the scheduler's. The dropped session records that nobody did anything.
                Role::Action => drop(session),
            }
        }));
    }

    fn died(&self, letter: Arc<DeadLetter>) {
        let Some(controller) = self.own.upgrade() else { return };
        drop(task::spawn("trigger of a dead letter", async move { death::tell(&controller, &letter).await }));
    }

    fn is_blacklisted(&self, namespace: &EntityName) -> BoxFuture<bool> {
        let (controller, namespace) = (self.own.upgrade(), namespace.clone());
        Box::pin(async move {
            let Some(controller) = controller else { return false };
            match controller.identities.of_namespace(namespace.as_str(), &controller.throttles).await {
                Ok(speaker) => speaker.is_none_or(|speaker| speaker.identity.limits.is_blacklist()),
                Err(_) => {
                    tracing::warn!(%namespace, "it cannot be known whether this namespace is blocked; what it has waiting runs");
                    false
                }
            }
        })
    }
}

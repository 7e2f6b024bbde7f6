//! Dead letters: what becomes of work that was lost as often as it may be.

use std::sync::{Arc, Weak};

use chasen_entity::Invocation;
use chasen_spi::DeadLetter;
use chasen_telemetry::clock;

use crate::books::unreadable;
use crate::run::LOOK;
use crate::scheduler::Shared;

impl Shared {
    /// Keeps the letter of work whose last try was lost; `None` if it could not be kept before the node drains: then the
    /// work stays in the log, and the next life of the node keeps it.
    pub(crate) async fn write_letter(&self, invocation: &Invocation) -> Option<Arc<DeadLetter>> {
        let id = invocation.activation_id;
        // As it was accepted: with locked values locked.
        let accepted = match self.log.accepted(&id) {
            Ok(accepted) => accepted?,
            Err(error) => {
                unreadable(&id, &error);
                return None;
            }
        };
        let letter = DeadLetter { invocation: accepted, attempts: invocation.attempt, died_at: clock::now() };
        loop {
            match self.letters.put(&letter).await {
                Ok(()) => return Some(Arc::new(letter)),
                Err(error) => {
                    tracing::error!(activation = %id, %error, "a dead letter could not be kept; it is tried again");
                }
            }
            if self.gate.is_draining() {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells of a letter. Its activation has its record.
    pub(crate) fn tell_of(&self, letter: Arc<DeadLetter>) {
        let activation = letter.invocation.activation_id;
        tracing::warn!(%activation, attempts = letter.attempts, "an activation was lost each time and is a dead letter");
        if let Some(opener) = self.opener.get().and_then(Weak::upgrade) {
            opener.died(letter);
        }
    }
}

//! What the scheduler writes into the event log, and the lock of parameters that lie there.

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, Event, Given, Invocation};
use chasen_spi::StoreError;
use chasen_spi::event_log::TakenUp;
use chasen_spi::parameter_lock::unlock_invocation;
use chasen_telemetry::clock;

use crate::record::Ending;
use crate::scheduler::Shared;

impl Shared {
    /// Notes that this try reaches a runtime, or its opener's hands. False if the log has no room for that: then it must
    /// not, or it might be begun again after a crash.
    pub(crate) fn started(&self, invocation: &Invocation) -> bool {
        let event = Event::Started {
            activation_id: invocation.activation_id,
            attempt: invocation.attempt,
            at: clock::now(),
        };
        let noted = self.log.append(&event);
        if let Err(error) = &noted {
            tracing::warn!(activation = %invocation.activation_id, %error, "a start waits for room in the log");
        }
        noted.is_ok()
    }

    /// Writes the record of an end.
    pub(crate) fn record(&self, invocation: &Invocation, ending: Ending) -> Arc<Activation> {
        self.keep(invocation, ending.into_record(invocation, clock::now()))
    }

    /// Writes a record, or, where the invocation's store level does not keep it, only that there is none.
    pub(crate) fn keep(&self, invocation: &Invocation, mut record: Activation) -> Arc<Activation> {
        let kept = invocation.store.keeps(record.response.outcome);
        if kept && invocation.identity.limits.keep_parameters == Some(true) {
            // What ran was unlocked; the log has it as it was accepted.
            let accepted = self.log.accepted(&invocation.activation_id).ok().flatten();
            record.given = accepted.map(|accepted| Box::new(Given::of(&accepted)));
        }
        let record = Arc::new(record);
        let event = match kept {
            true => Event::Finished(Arc::clone(&record)),
            false => Event::Ended(invocation.activation_id),
        };
        if let Err(error) = self.log.append(&event) {
            tracing::error!(activation = %invocation.activation_id, %error, "a record could not be written");
        }
        self.ends.tell(&record);
        record
    }

    /// Ends a step of an earlier life, if nobody has taken it up: what it was a step of is over.
    pub(crate) fn end_left_step(&self, id: &ActivationId) {
        for step in self.sessions.steps_left_to(id) {
            self.end_left_step(&step);
        }
        match self.log.take_up(id) {
            Ok(TakenUp::Taken(work)) => {
                self.record(&work.invocation, Ending::interrupted(clock::now()));
            }
            Ok(TakenUp::Elsewhere | TakenUp::Ended | TakenUp::Unknown) => {}
            Err(error) => unreadable(id, &error),
        }
    }

    /// The invocation as functions get it: with nothing locked. The error is its end.
    pub(crate) fn unlocked(&self, invocation: &Arc<Invocation>) -> Result<Arc<Invocation>, Box<Ending>> {
        unlock_invocation(self.lock.as_ref(), invocation).map_err(|error| {
            tracing::error!(
                activation = %invocation.activation_id,
                action = %invocation.action.name,
                %error,
                "parameters cannot be unlocked"
            );
            Box::new(Ending::not_unlocked(clock::now()))
        })
    }
}

/// Accepted work whose event cannot be read. Nothing can be done for it but to say so.
pub(crate) fn unreadable(id: &ActivationId, error: &StoreError) {
    tracing::error!(activation = %id, %error, "accepted work cannot be read");
}

//! What the scheduler writes into the event log, and the lock of parameters that lie there.

use std::sync::Arc;

use chasen_entity::{Activation, Event, Invocation};
use chasen_spi::parameter_lock::unlock_invocation;
use chasen_telemetry::clock;

use crate::record::Ending;
use crate::scheduler::Shared;

impl Shared {
    /// Notes that this try reaches a runtime, or its opener's hands.
    pub(crate) fn started(&self, invocation: &Invocation) {
        let event = Event::Started {
            activation_id: invocation.activation_id,
            attempt: invocation.attempt,
            at: clock::now(),
        };
        if let Err(error) = self.log.append(&event) {
            tracing::error!(activation = %invocation.activation_id, %error, "a start could not be recorded");
        }
    }

    /// Writes the record of an end.
    pub(crate) fn record(&self, invocation: &Invocation, ending: Ending) -> Arc<Activation> {
        self.keep(invocation, ending.into_record(invocation, clock::now()))
    }

    /// Writes a record, or, where the invocation's store level does not keep it, only that there is none.
    pub(crate) fn keep(&self, invocation: &Invocation, record: Activation) -> Arc<Activation> {
        let record = Arc::new(record);
        let event = match invocation.store.keeps(record.response.outcome) {
            true => Event::Finished(Arc::clone(&record)),
            false => Event::Ended(invocation.activation_id),
        };
        if let Err(error) = self.log.append(&event) {
            tracing::error!(activation = %invocation.activation_id, %error, "a record could not be written");
        }
        record
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

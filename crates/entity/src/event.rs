//! Events of the log: what happened to activations. Records, lists and indexes are built from these.

use std::sync::Arc;

use crate::{Activation, ActivationId, Invocation, Millis, RawJson};

/// One entry of the event log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The node has decided to run this.
    Accepted(Arc<Invocation>),
    /// It went to a runtime; written before the first byte does.
    Started {
        /// Which activation.
        activation_id: ActivationId,
        /// Which try.
        attempt: u32,
        /// When.
        at: Millis,
    },
    /// How far it has come: written before its next step takes effect. The last one counts.
    Progress {
        /// Which activation.
        activation_id: ActivationId,
        /// Whatever is needed to go on from here, by who does the work.
        state: RawJson,
    },
    /// It ended in this record.
    Finished(Arc<Activation>),
    /// It ended, and no record of it is kept.
    Ended(ActivationId),
}

impl Event {
    /// Which activation this is about.
    #[must_use]
    pub fn activation_id(&self) -> ActivationId {
        match self {
            Self::Accepted(invocation) => invocation.activation_id,
            Self::Started { activation_id, .. } | Self::Progress { activation_id, .. } => *activation_id,
            Self::Finished(activation) => activation.activation_id,
            Self::Ended(activation_id) => *activation_id,
        }
    }
}

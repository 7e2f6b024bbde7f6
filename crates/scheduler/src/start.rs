//! How starts of synced work reach the disk before the first byte reaches a runtime, without a slot that waits for the
//! disk: a start is announced, and the announcement brought to the disk, when the turn is near. Work of other
//! durability passes by.

use std::time::Duration;

use chasen_entity::{Event, Invocation, RawJson};
use chasen_spi::Position;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::action_queue::{Grant, Waiting};
use crate::scheduler::Shared;

/// How far the start of one try has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing need be on the disk.
    Free,
    /// To be announced.
    Coming,
    /// Announced by this position of the log.
    Announced(Position),
    /// The announcement is on the disk.
    Safe,
}

impl Start {
    /// Of a try that has not been announced.
    pub(crate) fn new(invocation: &Invocation) -> Self {
        if invocation.durability.is_memory() { Self::Free } else { Self::Coming }
    }

    /// Announces it, if that is needed; the position that makes it safe.
    pub(crate) fn announce(&mut self, shared: &Shared, invocation: &Invocation) -> Option<Position> {
        if *self == Self::Coming {
            let announcement = Announcement { attempt: invocation.attempt, era: shared.log.era() };
            let state = RawJson::from_value(&announcement);
            match shared.log.append(&Event::Progress { activation_id: invocation.activation_id, state }) {
                Ok(position) => *self = Self::Announced(position),
                Err(error) => {
                    tracing::warn!(activation = %invocation.activation_id, %error, "a start waits for the log");
                }
            }
        }
        match self {
            Self::Announced(position) => Some(*position),
            Self::Free | Self::Coming | Self::Safe => None,
        }
    }

    /// Waits for a slot; meanwhile, when its turn is near, the announcement is on its way to the disk.
    pub(crate) async fn wait(
        &mut self,
        shared: &Shared,
        invocation: &Invocation,
        mut waiting: Waiting,
        deadline: Instant,
        initialisation: Duration,
    ) -> Option<Grant> {
        let Some(near) = waiting.near().filter(|_| *self == Self::Coming) else {
            return waiting.granted(deadline, initialisation).await;
        };
        let granted = waiting.granted(deadline, initialisation);
        tokio::pin!(granted);
        tokio::select! {
            biased;
            grant = &mut granted => return grant,
            Ok(()) = near => {}
        }
        tokio::select! {
            biased;
            grant = &mut granted => return grant,
            // What failed is tried again when it has its slot.
            _ = self.is_safe(shared, invocation) => {}
        }
        granted.await
    }

    /// Waits until the announcement is on the disk; false if it could not be brought there.
    pub(crate) async fn is_safe(&mut self, shared: &Shared, invocation: &Invocation) -> bool {
        match self {
            Self::Free | Self::Safe => true,
            Self::Coming | Self::Announced(_) => {
                let Some(position) = self.announce(shared, invocation) else { return false };
                match shared.log.sync(position).await {
                    Ok(()) => {
                        *self = Self::Safe;
                        true
                    }
                    Err(error) => {
                        tracing::warn!(activation = %invocation.activation_id, %error, "a start waits for the disk");
                        false
                    }
                }
            }
        }
    }
}

/// What the log says of a start that is announced: the number of the try, and the log's era.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) attempt: u32,
    pub(crate) era: Option<u64>,
}

impl Announcement {
    /// The one in this state, if it is one.
    pub(crate) fn read(state: &RawJson) -> Option<Self> {
        state.read().ok()
    }
}

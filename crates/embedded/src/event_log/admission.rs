//! What is accepted, and what is refused before anything of it could be lost.

use chasen_entity::{Durability, Invocation};
use chasen_spi::StoreError;

use super::Shared;
use super::state::{Spare, State};

/// This part of a segment is left for what accepted work still has to say, once there is no next one.
const RESERVE: usize = 4;

impl Shared {
    /// Refuses new work that cannot be kept as it is to be kept. Steps of work that is open are taken: that was accepted
    /// as a whole.
    pub(super) fn admit(&self, state: &State, work: &Invocation) -> Result<(), StoreError> {
        if work.part_of().is_some_and(|cause| state.ledger.open.contains_key(&cause)) {
            return Ok(());
        }
        self.refusal_by_tail().map_or(Ok(()), Err)?;
        if let Spare::Failed(why) = &state.spare {
            let may_use_the_rest = !is_deferrable(work) && state.active.left() > self.segment_bytes / RESERVE;
            return if may_use_the_rest { Ok(()) } else { Err(StoreError::Full(why.clone())) };
        }
        if is_deferrable(work)
            && let Some(refusal) = self.commit.refusal().or_else(|| self.tail.refusal())
        {
            return Err(refusal);
        }
        Ok(())
    }

    /// Why work that can be refused is refused at the moment, if it is.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let refusal = self.refusal_by_tail().or_else(|| match &self.state.lock().spare {
            Spare::Failed(why) => Some(StoreError::Full(why.clone())),
            Spare::Wanted | Spare::Ready(_) => None,
        });
        refusal.or_else(|| self.commit.refusal()).or_else(|| self.tail.refusal())
    }

    /// The same of all work, because there is no room for its record.
    fn refusal_by_tail(&self) -> Option<StoreError> {
        self.tail.is_full().then(|| {
            StoreError::Unavailable(
                "records are written more slowly than work arrives; the disk of the data folder is too slow or full"
                    .to_owned(),
            )
        })
    }
}

/// True for work that its sender can send again later, or that would have to wait for the disk.
fn is_deferrable(work: &Invocation) -> bool {
    !work.blocking || work.durability == Durability::Synced
}

//! Places for so many at a time, which nobody waits for without end: a store that is locked or slow must not gather all
//! who want something of it.

use std::time::Duration;

use chasen_spi::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest wait for a place, and for the turn that it gives.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The places of one file, or of one sort of files.
pub(crate) struct Places {
    free: Semaphore,
    patience: Duration,
}

impl Places {
    /// So many of them.
    pub(crate) const fn new(count: usize) -> Self {
        Self { free: Semaphore::const_new(count), patience: PATIENCE }
    }

    /// Waits for a place, which is free again when what this gives is dropped.
    pub(crate) async fn take(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        if let Ok(place) = self.free.try_acquire() {
            return Ok(place);
        }
        let taken = tokio::time::timeout(self.patience, self.free.acquire()).await;
        taken.ok().and_then(Result::ok).ok_or_else(late)
    }
}

/// What those are told whose turn does not come in time.
pub(crate) fn late() -> StoreError {
    StoreError::Unavailable("too many wait for the store, which is slow or locked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_no_place_in_time_is_told() {
        let places = Places { patience: Duration::ZERO, ..Places::new(1) };
        let taken = places.take().await.unwrap();
        let error = places.take().await.unwrap_err();
        assert!(error.to_string().contains("too many wait"), "{error}");
        drop(taken);
        drop(places.take().await.unwrap());
    }
}

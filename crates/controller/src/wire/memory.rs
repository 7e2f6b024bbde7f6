//! Memory that large bodies may hold together, in or out. Who finds no room is told to come back.

use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::error::ApiError;

/// Bodies up to this many bytes are not counted: the bound on connections covers them.
const UNCOUNTED: u64 = 64 * 1024;
/// Bytes per permit.
const UNIT: u64 = 1024;

/// A bound on memory.
pub(crate) struct MemoryBound(Arc<Semaphore>);

/// A part of it, free again when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl MemoryBound {
    pub(crate) fn new(bound: ByteSize) -> Self {
        let units = usize::try_from(bound.as_bytes() / UNIT).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// Raises what is held to cover `total` bytes, at once or not at all. A few bytes are not counted.
    pub(crate) fn cover(&self, held: &mut Held, total: u64) -> Result<(), ApiError> {
        if total <= UNCOUNTED { Ok(()) } else { self.cover_all(held, total) }
    }

    /// Like [`cover`](Self::cover), however few bytes there are.
    pub(crate) fn cover_all(&self, held: &mut Held, total: u64) -> Result<(), ApiError> {
        let units = usize::try_from(total.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let missing = units.saturating_sub(held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| ApiError::overloaded())?;
        let more = self.0.clone().try_acquire_many_owned(missing).map_err(|_| ApiError::overloaded())?;
        match &mut held.0 {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

impl Held {
    /// The same bytes; what is held is free again when the last reference to them is gone.
    pub(crate) fn until_dropped(self, bytes: Bytes) -> Bytes {
        struct Owner(Bytes, #[expect(dead_code, reason = "held")] OwnedSemaphorePermit);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        match self.0 {
            Some(permit) => Bytes::from_owner(Owner(bytes, permit)),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_covered_at_once_or_refused() {
        let memory = MemoryBound::new(ByteSize::mb(1));
        let mut first = Held::default();
        memory.cover(&mut first, 1000).unwrap();
        assert!(first.0.is_none(), "small bodies are free");
        memory.cover(&mut first, 600 * 1024).unwrap();
        memory.cover(&mut first, 500 * 1024).unwrap();
        assert_eq!(memory.0.available_permits(), 424);
        let mut second = Held::default();
        assert!(memory.cover(&mut second, 600 * 1024).is_err());
        let bytes = first.until_dropped(Bytes::from_static(b"x"));
        let part = bytes.slice(..1);
        drop(bytes);
        assert!(memory.cover(&mut second, 600 * 1024).is_err(), "a part is still in use");
        drop(part);
        memory.cover(&mut second, 600 * 1024).unwrap();
    }
}

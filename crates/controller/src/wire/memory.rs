//! Memory that large bodies may hold together, in or out. Who finds no room is told to come back.

use std::sync::Arc;

use bytes::Bytes;
use chasen_entity::{ByteSize, Namespace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::error::ApiError;

/// Bodies up to this many bytes are not counted: the bound on connections covers them.
const UNCOUNTED: u64 = 64 * 1024;
/// Bytes per permit.
const UNIT: u64 = 1024;

/// A bound on memory. No namespace gets more than three quarters of it, so that none can shut out all others.
pub(crate) struct MemoryBound {
    all: Arc<Semaphore>,
    /// Permits of one namespace.
    share: usize,
    /// Shares of namespaces by id, of those that asked for any since the start.
    shares: papaya::HashMap<Arc<str>, Arc<Semaphore>>,
}

/// A part of it, free again when dropped.
#[derive(Debug, Default)]
pub(crate) struct Held {
    permit: Option<OwnedSemaphorePermit>,
    /// Where the namespace's share is taken from; the operator has none.
    share: Option<Arc<Semaphore>>,
    of_share: Option<OwnedSemaphorePermit>,
}

impl MemoryBound {
    pub(crate) fn new(bound: ByteSize) -> Self {
        let units =
            usize::try_from(bound.as_bytes() / UNIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let share = units - units / 4;
        Self { all: Arc::new(Semaphore::new(units)), share, shares: papaya::HashMap::new() }
    }

    /// Nothing yet, for a namespace.
    pub(crate) fn held_by(&self, namespace: &Namespace) -> Held {
        let new = || Arc::new(Semaphore::new(self.share));
        let share = self.shares.pin().get_or_insert_with(namespace.uuid.clone(), new).clone();
        Held { share: Some(share), ..Held::default() }
    }

    /// Raises what is held to cover `total` bytes, at once or not at all. A few bytes are not counted.
    pub(crate) fn cover(&self, held: &mut Held, total: u64) -> Result<(), ApiError> {
        if total <= UNCOUNTED { Ok(()) } else { self.cover_all(held, total) }
    }

    /// Like [`cover`](Self::cover), however few bytes there are.
    pub(crate) fn cover_all(&self, held: &mut Held, total: u64) -> Result<(), ApiError> {
        let units = usize::try_from(total.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let missing = units.saturating_sub(held.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| ApiError::overloaded())?;
        let take = |from: &Arc<Semaphore>| {
            from.clone().try_acquire_many_owned(missing).map_err(|_| ApiError::overloaded())
        };
        let of_share = held.share.as_ref().map(take).transpose()?;
        let of_all = take(&self.all)?;
        merge(&mut held.permit, Some(of_all));
        merge(&mut held.of_share, of_share);
        Ok(())
    }
}

fn merge(held: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (held, more) {
        (Some(held), Some(more)) => held.merge(more),
        (none, more) => *none = more,
    }
}

impl Held {
    /// Frees everything.
    pub(crate) fn release(&mut self) {
        (self.permit, self.of_share) = (None, None);
    }

    /// The same bytes; what is held is free again when the last reference to them is gone.
    pub(crate) fn until_dropped(self, bytes: Bytes) -> Bytes {
        struct Owner(Bytes, #[expect(dead_code, reason = "held")] Held);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        match self.permit {
            Some(_) => Bytes::from_owner(Owner(bytes, self)),
            None => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::EntityName;

    use super::*;

    #[test]
    fn memory_is_covered_at_once_or_refused() {
        let memory = MemoryBound::new(ByteSize::mb(1));
        let mut first = Held::default();
        memory.cover(&mut first, 1000).unwrap();
        assert!(first.permit.is_none(), "small bodies are free");
        memory.cover(&mut first, 600 * 1024).unwrap();
        memory.cover(&mut first, 500 * 1024).unwrap();
        assert_eq!(memory.all.available_permits(), 424);
        let mut second = Held::default();
        assert!(memory.cover(&mut second, 600 * 1024).is_err());
        let bytes = first.until_dropped(Bytes::from_static(b"x"));
        let part = bytes.slice(..1);
        drop(bytes);
        assert!(memory.cover(&mut second, 600 * 1024).is_err(), "a part is still in use");
        drop(part);
        memory.cover(&mut second, 600 * 1024).unwrap();
    }
    #[test]
    fn no_namespace_gets_everything() {
        let memory = MemoryBound::new(ByteSize::mb(1));
        let held_by =
            |id: &str| memory.held_by(&Namespace { name: EntityName::new("n").unwrap(), uuid: id.into() });
        let (mut first, mut second) = (held_by("a"), held_by("a"));
        memory.cover(&mut first, 500 * 1024).unwrap();
        assert!(memory.cover(&mut second, 300 * 1024).is_err());
        assert_eq!(memory.all.available_permits(), 524, "what is refused takes nothing");
        memory.cover(&mut second, 268 * 1024).unwrap();
        memory.cover(&mut held_by("b"), 256 * 1024).unwrap();
        first.release();
        let mut operators = Held::default();
        memory.cover(&mut operators, 756 * 1024).unwrap();
        assert!(memory.cover(&mut first, 100 * 1024).is_err(), "the whole is bounded, too");
        assert!(first.of_share.is_none());
        drop((operators, second));
        memory.cover(&mut first, 768 * 1024).unwrap();
    }
}

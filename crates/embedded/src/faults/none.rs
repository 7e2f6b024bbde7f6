//! No faults: nothing of what is asked here takes a single instruction.

use std::io;

use chasen_entity::Millis;
use chasen_spi::{Position, StoreError};

use super::Moment;

/// No faults at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults;

#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the shape of faults")]
impl Faults {
    #[inline]
    pub(crate) fn now(&self, now: Millis) -> Millis {
        now
    }

    #[inline]
    pub(crate) fn write(&self, _moment: Moment) {}

    #[inline]
    pub(crate) fn torn<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        payload
    }

    #[inline]
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn synced(&self) {}

    #[inline]
    pub(crate) fn committed(&self, _end: Position) {}

    #[inline]
    pub(crate) fn room(&self) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn store(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

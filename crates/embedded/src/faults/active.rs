//! The faults themselves.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread;

use chasen_entity::Millis;
use chasen_spi::{Position, StoreError};

use super::parse::{FaultError, Plan, Switches, When};
use super::{Moment, power};

/// Where they are listed.
const VARIABLE: &str = "CHASEN_FAULTS";

/// What is to go wrong. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    plan: Plan,
    writes: AtomicU64,
    syncs: AtomicU64,
    /// The write to end at was done; the next sync ends the process.
    is_armed: AtomicBool,
    /// Milliseconds that the clock is wrong.
    clock: AtomicI64,
    /// Every sync fails.
    syncs_fail: AtomicBool,
}

impl PartialEq for Faults {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Faults {}

impl Faults {
    /// The faults that the environment asks for.
    pub fn from_env() -> Result<Self, FaultError> {
        tracing::warn!("this is a build with faults on purpose: it is for tests, never for work");
        std::env::var(VARIABLE).map_or_else(|_| Ok(Self::default()), |text| Self::parse(&text))
    }

    /// The faults of a list.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        Ok(Self(Arc::new(Inner { plan: Plan::parse(text)?, ..Inner::default() })))
    }

    /// Makes the log's clock wrong by this much.
    pub fn set_clock(&self, millis: i64) {
        self.0.clock.store(millis, Ordering::Relaxed);
    }

    /// Makes every sync fail, or no more.
    pub fn fail_syncs(&self, fail: bool) {
        self.0.syncs_fail.store(fail, Ordering::Relaxed);
    }

    pub(crate) fn now(&self, now: Millis) -> Millis {
        now.saturating_add_signed(self.0.clock.load(Ordering::Relaxed))
    }

    /// An event is being written, and has come to this.
    pub(crate) fn write(&self, moment: Moment) {
        let Some((count, when)) = self.0.plan.die_at_write else { return };
        if moment == Moment::Before {
            self.0.writes.fetch_add(1, Ordering::Relaxed);
        }
        if self.0.writes.load(Ordering::Relaxed) != count {
            return;
        }
        match (when, moment) {
            (When::Before, Moment::Before) | (When::Torn, Moment::Torn) | (When::After, Moment::After) => {
                die()
            }
            (When::Unsynced | When::Synced, Moment::After) => self.0.is_armed.store(true, Ordering::Relaxed),
            _ => {}
        }
    }

    /// What is written of this payload.
    pub(crate) fn torn<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        match self.0.plan.die_at_write {
            Some((count, When::Torn)) if self.0.writes.load(Ordering::Relaxed) == count => {
                payload.get(..payload.len() / 2).unwrap_or_default()
            }
            _ => payload,
        }
    }

    /// Something is about to be brought to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.is_to_die(When::Unsynced) {
            die();
        }
        let switches = self.switches();
        thread::sleep(switches.sync_delay);
        let count = self.0.syncs.fetch_add(1, Ordering::Relaxed) + 1;
        let fails = switches.syncs_fail || self.0.syncs_fail.load(Ordering::Relaxed);
        if fails || self.0.plan.sync_fails.contains(&count) {
            return Err(io::Error::other("a sync that was to fail"));
        }
        Ok(())
    }

    /// Something was brought to the disk.
    pub(crate) fn synced(&self) {
        if self.is_to_die(When::Synced) {
            die();
        }
    }

    /// The log is on the disk up to here; nobody knows yet.
    pub(crate) fn committed(&self, end: Position) {
        let Some(mark) = &self.0.plan.synced_mark else { return };
        let written = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(mark)
            .and_then(|file| file.write_all_at(power::mark(end).as_bytes(), 0));
        if let Err(error) = written {
            tracing::error!(%error, file = %mark.display(), "the mark was not written");
        }
    }

    /// A segment is about to be made.
    pub(crate) fn room(&self) -> io::Result<()> {
        if self.switches().disk_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// A database is about to be written.
    pub(crate) fn store(&self) -> Result<(), StoreError> {
        let switches = self.switches();
        if switches.disk_full {
            return Err(StoreError::Full("a disk that was to be full".to_owned()));
        }
        if switches.store_locked {
            return Err(StoreError::Unavailable("database is locked".to_owned()));
        }
        Ok(())
    }

    /// True if the log says yes before it has written.
    pub(crate) fn lies(&self) -> bool {
        self.0.plan.acknowledges_before_write
    }

    fn is_to_die(&self, when: When) -> bool {
        self.0.plan.die_at_write.is_some_and(|(_, at)| at == when) && self.0.is_armed.load(Ordering::Relaxed)
    }

    fn switches(&self) -> Switches {
        let fixed = self.0.plan.switches;
        let Some(text) = self.0.plan.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) else {
            return fixed;
        };
        Switches::parse(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "the file of faults is ignored");
            fixed
        })
    }
}

/// Ends the process like a kill does: nothing is flushed, nobody is told.
fn die() {
    std::process::abort();
}

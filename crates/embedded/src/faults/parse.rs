//! Reading lists of faults, strictly: a fault that is misspelt would test nothing.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Why a list of faults is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{fault}' is no fault: {why}; see the documentation of the module `faults` of the embedded stores")]
pub struct FaultError {
    fault: String,
    why: &'static str,
}

/// A list, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) die_at_write: Option<(u64, When)>,
    pub(super) sync_fails: Range<u64>,
    pub(super) acknowledges_before_write: bool,
    pub(super) synced_mark: Option<PathBuf>,
    pub(super) file: Option<PathBuf>,
    pub(super) switches: Switches,
}

/// Faults that come and go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Switches {
    pub(super) sync_delay: Duration,
    pub(super) disk_full: bool,
    pub(super) store_locked: bool,
    pub(super) syncs_fail: bool,
}

/// When the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    Torn,
    After,
    Unsynced,
    Synced,
}

impl Plan {
    pub(super) fn parse(text: &str) -> Result<Self, FaultError> {
        let mut plan = Self::default();
        for fault in faults(text) {
            let refuse = |why| FaultError { fault: fault.to_owned(), why };
            let (name, value) = fault.split_once('=').unwrap_or((fault, ""));
            match (name, value.is_empty()) {
                ("die-at-write", false) => {
                    let (count, when) = value.split_once(':').ok_or_else(|| refuse("it is 'N:WHEN'"))?;
                    let count = count.parse().ok().filter(|count| *count > 0);
                    let count = count.ok_or_else(|| refuse("writes are counted from 1"))?;
                    let when = When::parse(when)
                        .ok_or_else(|| refuse("it is before, torn, after, unsynced or synced"))?;
                    plan.die_at_write = Some((count, when));
                }
                ("sync-fails", false) => {
                    let range = || {
                        let (from, upto) = value.split_once("..")?;
                        Some(from.parse().ok()?..upto.parse().ok()?)
                    };
                    plan.sync_fails = range()
                        .filter(|range| !range.is_empty())
                        .ok_or_else(|| refuse("it is 'FROM..UPTO'"))?;
                }
                ("acknowledge-before-write", true) => plan.acknowledges_before_write = true,
                ("synced-mark", false) => plan.synced_mark = Some(value.into()),
                ("faults-file", false) => plan.file = Some(value.into()),
                _ => plan.switches.take(fault)?,
            }
        }
        Ok(plan)
    }
}

impl Switches {
    pub(super) fn parse(text: &str) -> Result<Self, FaultError> {
        let mut switches = Self::default();
        faults(text).try_for_each(|fault| switches.take(fault))?;
        Ok(switches)
    }

    fn take(&mut self, fault: &str) -> Result<(), FaultError> {
        match (fault, fault.strip_prefix("sync-delay=")) {
            ("disk-full", _) => self.disk_full = true,
            ("store-locked", _) => self.store_locked = true,
            ("syncs-fail", _) => self.syncs_fail = true,
            (_, Some(time)) => {
                let millis = time.strip_suffix("ms").and_then(|time| time.parse().ok());
                let refused = || FaultError { fault: fault.to_owned(), why: "it is a number and 'ms'" };
                self.sync_delay = millis.map(Duration::from_millis).ok_or_else(refused)?;
            }
            _ => {
                return Err(FaultError {
                    fault: fault.to_owned(),
                    why: "there is none of that name and form",
                });
            }
        }
        Ok(())
    }
}

impl When {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "before" => Self::Before,
            "torn" => Self::Torn,
            "after" => Self::After,
            "unsynced" => Self::Unsynced,
            "synced" => Self::Synced,
            _ => return None,
        })
    }
}

fn faults(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|fault| !fault.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_strictly() {
        let text = "die-at-write=7:torn, sync-delay=200ms,sync-fails=3..5,disk-full,store-locked,syncs-fail,\
                    acknowledge-before-write,synced-mark=/a/b,faults-file=/c";
        let expected = Plan {
            die_at_write: Some((7, When::Torn)),
            sync_fails: 3..5,
            acknowledges_before_write: true,
            synced_mark: Some("/a/b".into()),
            file: Some("/c".into()),
            switches: Switches {
                sync_delay: Duration::from_millis(200),
                disk_full: true,
                store_locked: true,
                syncs_fail: true,
            },
        };
        assert_eq!(Plan::parse(text), Ok(expected));
        assert_eq!(Plan::parse(" , "), Ok(Plan::default()));
        for wrong in [
            "die-at-write=7",
            "die-at-write=0:torn",
            "die-at-write=1:later",
            "sync-delay=200",
            "sync-fails=5..3",
            "sync-fails=5",
            "disk-full=yes",
            "synced-mark",
            "disk_full",
            "acknowledge-before-write=1",
        ] {
            let error = Plan::parse(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong), "{error}");
        }
        assert!(Switches::parse("sync-fails=1..2").is_err(), "not one that comes and goes");
    }
}

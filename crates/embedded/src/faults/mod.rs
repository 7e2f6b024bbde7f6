//! Faults on purpose, for those who test what a node survives: only with the feature `faults`, otherwise nothing.
//!
//! `CHASEN_FAULTS` lists them, separated by commas:
//!
//! | fault | what happens |
//! |---|---|
//! | `die-at-write=N:WHEN` | the process ends at the Nth event that the log writes: `before` it, with half of it there (`torn`), `after` it, before the next sync (`unsynced`) or after that (`synced`) |
//! | `sync-delay=TIME` | every sync of the log takes that much longer, as in `200ms` |
//! | `sync-fails=FROM..UPTO` | so many syncs of the log fail, counted from 1, `UPTO` not among them |
//! | `syncs-fail` | every sync of the log fails |
//! | `disk-full` | no segment can be made, no record or document be stored |
//! | `store-locked` | databases answer that they are busy |
//! | `acknowledge-before-write` | the log says yes and writes 50 ms later: what a test must notice |
//! | `synced-mark=FILE` | after each commit the file says how far the log is on the disk; for [`cut_unsynced`] |
//! | `faults-file=FILE` | `sync-delay`, `syncs-fail`, `disk-full` and `store-locked` are read from this file at each use, as long as it is there |

#[cfg(any(test, feature = "faults"))]
mod active;
#[cfg(not(any(test, feature = "faults")))]
mod none;
#[cfg(any(test, feature = "faults"))]
mod parse;
#[cfg(any(test, feature = "faults"))]
mod power;

#[cfg(any(test, feature = "faults"))]
pub use active::Faults;
#[cfg(not(any(test, feature = "faults")))]
pub(crate) use none::Faults;
#[cfg(any(test, feature = "faults"))]
pub use parse::FaultError;
#[cfg(test)]
pub(crate) use power::cut_behind;
#[cfg(any(test, feature = "faults"))]
pub use power::cut_unsynced;

/// Moments of a write at which a process may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nothing of it is there.
    Before,
    /// Half of it is there.
    Torn,
    /// It is there, and nobody knows yet.
    After,
}

//! The thread that writes records from the log into files, in batches, behind everybody's back.

use std::sync::Arc;
use std::time::Duration;

use chasen_telemetry::clock;

use super::catalog::{Catalog, Filing};
use super::tail::{Batch, Tail};
use crate::event_log::Log;
use crate::faults::Faults;

/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// How soon a batch that could not be written is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Writes until the tail ends, and expires what is too old or too much.
pub(super) fn run(tail: &Tail, catalog: &Arc<Catalog>, log: &Log, faults: &Faults) {
    let mut filing = Filing::new(catalog.clone());
    let mut retry = RETRY.0;
    loop {
        let Batch { records, ending } = tail.next_batch(LINGER, filing.expiry_interval());
        if records.is_empty() && ending {
            return;
        }
        filing.expire(clock::now());
        if records.is_empty() {
            log.clean();
            continue;
        }
        match filing.write(&records, clock::now(), faults) {
            Ok(()) => {
                tail.remove(&records);
                tail.set_stuck(None);
                log.written(&records);
                retry = RETRY.0;
            }
            Err(error) if ending => {
                tracing::warn!(%error, "records stay in the event log until the next start");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "records cannot be written to their file; they stay in the event log for now");
                filing.recover(&error);
                tail.set_stuck(Some(error.to_string()));
                tail.pause(retry);
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

//! The thread that writes records from the log into files, in batches, behind everybody's back.
//!
//! The log goes to the disk before them: a record that outlived a power cut ends its activation, and what that has caused
//! and noted by then must have outlived it, too.

use std::sync::Arc;
use std::time::Duration;

use chasen_telemetry::clock;

use super::catalog::{Catalog, Filing};
use super::tail::{Batch, Tail, TailRecord};
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
        match file(&mut filing, &records, log, faults) {
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
                tail.set_stuck(Some(error));
                tail.pause(retry);
                retry = (retry * 2).min(RETRY.1);
            }
        }
    }
}

/// Writes records to their file once the log is on the disk as far as they are in it; says why it did not.
fn file(filing: &mut Filing, records: &[Arc<TailRecord>], log: &Log, faults: &Faults) -> Result<(), String> {
    let end = records.iter().filter_map(|record| record.position()).max();
    end.map_or(Ok(()), |end| log.keep(end)).map_err(|error| error.to_string())?;
    filing.write(records, clock::now(), faults).map_err(|error| {
        filing.recover(&error);
        error.to_string()
    })
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ActivationId, ByteSize, Event};
    use chasen_spi::{EventLog as _, memory};

    use super::super::catalog::Retention;
    use super::*;
    use crate::event_log::LogConfig;
    use crate::node_key::NodeKey;

    #[test]
    fn no_record_is_in_a_file_before_the_log_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let key = Arc::new(NodeKey::open(folder.path()).unwrap());
        let tail = Arc::new(Tail::new(usize::MAX));
        let slow = Duration::from_secs(3600);
        let config = LogConfig { segment_bytes: 64 << 10, slow, faults: faults.clone() };
        let log = Log::open(&folder.path().join("events"), config, key, tail.clone(), |_| false).unwrap();
        let retention = Retention { age: Duration::from_secs(3600), size: ByteSize::mb(100) };
        let catalog = Arc::new(Catalog::open(&folder.path().join("activations"), retention).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| run(&tail, &catalog, &log, &faults));
            // While the disk keeps nothing, records stay in the log.
            for is_failing in [false, true] {
                faults.fail_syncs(is_failing);
                let id = ActivationId::generate();
                let record = Arc::new(chasen_entity::Activation {
                    activation_id: id,
                    ..memory::activation("guest", "hello", clock::now())
                });
                let end = log.append(&Event::Finished(record)).unwrap();
                let is_settled = || match is_failing {
                    false => catalog.holds(&id).unwrap(),
                    true => tail.refusal().is_some(),
                };
                let deadline = std::time::Instant::now() + Duration::from_secs(60);
                while !is_settled() {
                    assert!(std::time::Instant::now() < deadline, "it takes too long");
                    std::thread::sleep(Duration::from_millis(5));
                }
                assert_eq!(catalog.holds(&id).unwrap(), !is_failing);
                assert_eq!(log.is_kept(end), !is_failing);
            }
            faults.fail_syncs(false);
            tail.end();
        });
        log.close();
    }
}

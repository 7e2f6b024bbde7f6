//! The thread that makes the next segment ahead of need, so that an append finds it ready.
//!
//! When the disk is full it says so to the state (no new work is accepted then) and tries again every second:
//! room that appears is found without a restart.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_telemetry::clock;

use super::Shared;
use super::segment::{Segment, SegmentWriter};
use super::state::Spare;

/// How soon a segment that could not be made is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Makes spares until the log is closed.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut complained = false;
    while let Some(number) = wait_for_demand(shared) {
        match make(shared, number) {
            Ok(spare) => {
                if std::mem::take(&mut complained) {
                    tracing::info!("the event log has room again; work is accepted");
                }
                offer(shared, spare);
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, folder = %shared.folder.display(),
                        "no room for the event log: no new work is accepted until there is");
                }
                let text = format!("no room for the event log in '{}': {error}", shared.folder.display());
                shared.state.lock().spare = Spare::Failed(text);
            }
        }
        shared.spare_changed.notify_all();
    }
}

/// Makes a spare whose name and size are on the disk.
fn make(shared: &Shared, number: u64) -> io::Result<SegmentWriter> {
    let spare = Segment::create(&shared.folder, number, shared.segment_bytes, clock::now(), &shared.faults)?;
    spare.segment().place().inspect_err(|_| discard(&spare))?;
    Ok(spare)
}

/// Waits until a spare is to be made and gives its number; `None` when the log is closed.
fn wait_for_demand(shared: &Shared) -> Option<u64> {
    let mut state = shared.state.lock();
    let mut retry = None;
    while !state.closed {
        match &state.spare {
            Spare::Failed(_) => {
                let at = *retry.get_or_insert_with(|| Instant::now() + RETRY);
                if shared.spare_wanted.wait_until(&mut state, at).timed_out() {
                    break;
                }
            }
            Spare::Wanted => break,
            Spare::Ready(_) => shared.spare_wanted.wait(&mut state),
        }
    }
    if state.closed {
        return None;
    }
    let number = state.next_number;
    state.next_number += 1;
    Some(number)
}

/// Hands a spare over, unless a larger segment overtook it meanwhile.
fn offer(shared: &Shared, spare: SegmentWriter) {
    let mut state = shared.state.lock();
    if state.closed || spare.segment().number() < state.active.segment().number() {
        state.spare = Spare::Wanted;
        drop(state);
        discard(&spare);
        return;
    }
    state.spare = Spare::Ready(spare);
    shared.append_held(&mut state);
}

/// Removes a spare that is not needed; a file that stays is removed at the next start.
pub(super) fn discard(spare: &SegmentWriter) {
    if let Err(error) = spare.segment().remove() {
        tracing::debug!(%error, "an unused segment of the event log stays");
    }
}

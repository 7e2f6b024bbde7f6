//! The log that says yes before it has written: a fault, for those who test whether they would notice.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use chasen_entity::Event;
use chasen_spi::{Position, StoreError};

use super::Shared;
use crate::background;

/// How late it writes.
const LATE: Duration = Duration::from_millis(50);

/// Writes what was appended, in its order, later.
#[derive(Default)]
pub(super) struct Late {
    events: OnceLock<Sender<(Instant, Event)>>,
}

impl Late {
    /// Says that the event is written.
    pub(super) fn append(&self, shared: &Arc<Shared>, event: &Event) -> Result<Position, StoreError> {
        let events = self.events.get_or_init(|| {
            let (events, coming) = mpsc::channel::<(Instant, Event)>();
            let shared = shared.clone();
            let writer = background::spawn("log-late", move || {
                for (due, event) in coming {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if let Err(error) = shared.append(&event, &mut Vec::new()) {
                        tracing::error!(%error, "what was said to be written is not");
                    }
                }
            });
            if let Err(error) = writer {
                tracing::error!(%error, "what is said to be written will not be");
            }
            events
        });
        // It is told so whatever becomes of it.
        let _ = events.send((Instant::now() + LATE, event.clone()));
        Ok(shared.state.lock().end())
    }
}

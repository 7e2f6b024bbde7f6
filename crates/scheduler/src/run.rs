//! One accepted invocation on its way to its record. The task that awaits the ticket does the work itself.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{Activation, Invocation};
use chasen_spi::Rejection;
use chasen_telemetry::clock;
use tokio::time::Instant;

use crate::action_queue::{Arrival, Grant, HeldSlot, Waiting, upgraded};
use crate::gate::Inside;
use crate::queue::Turn;
use crate::record::{Beginning, Ending};
use crate::scheduler::Shared;

/// Fresh containers that may end between their initialisation and a run before the action is to blame.
const MAX_EARLY_ENDS: u32 = 3;

/// Where an invocation stands.
pub(crate) enum Place {
    /// It has a slot.
    Slot(HeldSlot),
    /// It waits for one.
    Queue(Waiting),
}

/// See the module.
pub(crate) struct Run {
    shared: Arc<Shared>,
    invocation: Arc<Invocation>,
    place: Place,
    _inside: Inside,
}

impl Run {
    pub(crate) fn new(
        shared: Arc<Shared>,
        invocation: Arc<Invocation>,
        place: Place,
        inside: Inside,
    ) -> Self {
        Self { shared, invocation, place, _inside: inside }
    }

    /// Runs it and writes its record.
    pub(crate) async fn finish(self) -> Arc<Activation> {
        let Self { shared, mut invocation, mut place, _inside } = self;
        let mut witness = Witness { shared: &shared, invocation: Arc::clone(&invocation), armed: true };
        let deadline = Instant::now() + shared.longest_wait(&invocation);
        let initialisation = Duration::from_millis(u64::from(invocation.action.limits.timeout));
        let mut early_ends = 0;
        let ending = loop {
            let mut slot = match place {
                Place::Slot(slot) => slot,
                Place::Queue(_) if shared.gate.is_cut() => break Ending::interrupted(clock::now()),
                Place::Queue(waiting) => match waiting.granted(deadline, initialisation).await {
                    Some(Grant::Slot(slot)) => slot,
                    Some(Grant::Failed(failure)) => {
                        break Ending::not_started(&invocation, &failure, clock::now());
                    }
                    Some(Grant::Cut) => break Ending::interrupted(clock::now()),
                    None => break Ending::not_provisioned(clock::now()),
                },
            };
            invocation = upgraded(&invocation, slot.newer());
            match shared.run_on(slot, &invocation).await {
                Ok(ending) => break ending,
                Err(slot) => {
                    early_ends += u32::from(slot.init_time().is_some());
                    place = match shared.exchange(slot, &invocation) {
                        Ok(_) if early_ends >= MAX_EARLY_ENDS => break Ending::exited(clock::now()),
                        Ok(next) => next,
                        Err(_) => break Ending::not_provisioned(clock::now()),
                    };
                }
            }
        };
        witness.armed = false;
        shared.record(&invocation, ending)
    }
}

impl Shared {
    fn longest_wait(&self, invocation: &Invocation) -> Duration {
        if invocation.blocking { self.config.max_wait_blocking } else { self.config.max_wait_non_blocking }
    }

    /// Runs it on this slot; gives the slot back if its container went away before anything was sent.
    async fn run_on(&self, slot: HeldSlot, invocation: &Invocation) -> Result<Ending, HeldSlot> {
        let started = || self.started(invocation);
        let report = slot.container().run(invocation, &started).await;
        let Ok(report) = report else { return Err(slot) };
        let kind = slot.container().start_kind();
        let beginning = slot.init_time().map(|init_time| Beginning { kind, init_time });
        let lives = report.container_lives;
        slot.release(report.duration, lives);
        let ending = Ending::ran(invocation, report, beginning);
        Ok(if self.gate.is_cut() && !lives { ending.cut_off() } else { ending })
    }

    fn exchange(&self, slot: HeldSlot, invocation: &Arc<Invocation>) -> Result<Place, Rejection> {
        match slot.exchange(invocation) {
            Arrival::Run(slot) => Ok(Place::Slot(slot)),
            Arrival::Wait(waiting) => Ok(Place::Queue(waiting)),
            Arrival::News | Arrival::Full(_) | Arrival::Closed => self.place(invocation, Turn::LastAnyway),
        }
    }
}

/// Writes the record of a run whose task panics: nobody else would.
struct Witness<'a> {
    shared: &'a Shared,
    invocation: Arc<Invocation>,
    armed: bool,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if self.armed && std::thread::panicking() {
            self.shared.record(&self.invocation, Ending::interrupted(clock::now()));
        }
    }
}

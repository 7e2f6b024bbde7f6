//! One accepted invocation on its way to its record. The task that awaits the ticket does the work itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chasen_entity::{Activation, Invocation};
use chasen_spi::{Rejection, StartFailure};
use chasen_telemetry::{clock, task};
use tokio::time::Instant;

use crate::action_queue::{Arrival, Grant, HeldSlot, Waiting, upgraded};
use crate::fate::{self, Fate};
use crate::gate::Inside;
use crate::places::Permit;
use crate::queue::Turn;
use crate::record::{Beginning, Ending};
use crate::scheduler::Shared;
use crate::start::Start;

/// Fresh containers that may end between their initialisation and a run before the action is to blame.
const MAX_EARLY_ENDS: u32 = 3;

/// How long nobody looks whether work is still to wait: for its next try, or for the disk.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// Where an invocation stands.
pub(crate) enum Place {
    /// It has a slot.
    Slot(HeldSlot),
    /// It waits for one.
    Queue(Waiting),
    /// It waits for its turn to be tried again.
    Later(Instant),
    /// An earlier life began it, and its end is not known.
    Lost,
}

/// See the module.
pub(crate) struct Run {
    shared: Arc<Shared>,
    invocation: Arc<Invocation>,
    place: Place,
    start: Start,
    /// Of one that is taken up: its place among those that are taken up at the same time.
    permit: Option<Permit>,
    _inside: Inside,
}

/// How a try ended.
enum Try {
    /// Its end is known.
    Over(Ending),
    /// It began, and its end is not known. What is known of it is this.
    Lost(Ending),
    /// It did not begin and does not in this life of the node.
    Left,
}

/// Why a slot is given back.
enum Unbegun {
    /// Its container went away before anything was sent.
    Gone(HeldSlot),
    /// The log cannot say that it begins.
    Unnoted(HeldSlot),
}

impl Run {
    pub(crate) fn new(
        shared: Arc<Shared>,
        invocation: Arc<Invocation>,
        place: Place,
        start: Start,
        inside: Inside,
    ) -> Self {
        Self { shared, invocation, place, start, permit: None, _inside: inside }
    }

    /// The same, with a place among those that are taken up at the same time.
    pub(crate) fn permitted(self, permit: Option<Permit>) -> Self {
        Self { permit, ..self }
    }

    /// Runs it and writes its record.
    pub(crate) async fn finish(self) -> Arc<Activation> {
        let Self { shared, mut invocation, mut place, mut start, permit, _inside } = self;
        let mut witness = Witness { shared: &shared, invocation: Arc::clone(&invocation), armed: true };
        let (ending, letter) = loop {
            match shared.attempt(&mut invocation, place, start).await {
                Try::Over(ending) => break (Some(ending), None),
                Try::Left => break (None, None),
                Try::Lost(ending) => match fate::of_lost(&invocation, invocation.attempt) {
                    Fate::Interrupted => break (Some(ending), None),
                    Fate::Again(..) if shared.gate.is_draining() => break (None, None),
                    Fate::Again(attempt, pause) => {
                        invocation = Arc::new(Invocation { attempt, ..Invocation::clone(&invocation) });
                        (place, start) = (Place::Later(Instant::now() + pause), Start::new(&invocation));
                    }
                    Fate::Dead => match shared.write_letter(&invocation).await {
                        Some(letter) => break (Some(ending), Some(letter)),
                        None => break (None, None),
                    },
                },
            }
        };
        witness.armed = false;
        drop(permit);
        let Some(ending) = ending else {
            // It stays in the log for the next life of the node. Whoever waits is told what is known here.
            if let Some(cause) = invocation.cause.filter(|_| shared.gate.is_draining()) {
                shared.sessions.leave(&cause);
            }
            return Arc::new(Ending::interrupted(clock::now()).into_record(&invocation, clock::now()));
        };
        let record = shared.record(&invocation, ending);
        if let Some(letter) = letter {
            shared.tell_of(letter);
        }
        record
    }
}

impl Shared {
    fn longest_wait(&self, invocation: &Invocation) -> Duration {
        if invocation.blocking { self.config.max_wait_blocking } else { self.config.max_wait_non_blocking }
    }

    /// Tries it once: waits for a slot, and runs it there.
    async fn attempt(
        self: &Arc<Self>,
        invocation: &mut Arc<Invocation>,
        mut place: Place,
        mut start: Start,
    ) -> Try {
        let id = invocation.activation_id;
        let begin = if let Place::Later(at) = place { at } else { Instant::now() };
        let deadline = begin + self.longest_wait(invocation);
        let initialisation = Duration::from_millis(u64::from(invocation.action.limits.timeout));
        let mut early_ends = 0;
        loop {
            if self.ends.is_cancelled(&id) {
                return Try::Over(Ending::cancelled(clock::now()));
            }
            let mut slot = match place {
                Place::Slot(slot) => slot,
                Place::Lost => return Try::Lost(Ending::interrupted(clock::now())),
                Place::Queue(_) | Place::Later(_) if self.gate.is_cut() => return self.cut(invocation),
                Place::Later(at) => {
                    // Who waits for its first try waits until the cut.
                    let is_awaited =
                        invocation.attempt == 1 && (invocation.blocking || invocation.cause.is_some());
                    if self.gate.is_draining() && !is_awaited {
                        return Try::Left;
                    }
                    let now = Instant::now();
                    if now < at {
                        tokio::time::sleep_until(at.min(now + LOOK)).await;
                        place = Place::Later(at);
                        continue;
                    }
                    place = match self.place(invocation, Turn::LastAnyway) {
                        Ok(next) => next,
                        Err(rejection) => return Try::Over(Ending::not_placed(&rejection, clock::now())),
                    };
                    continue;
                }
                Place::Queue(waiting) => {
                    match start.wait(self, invocation, waiting, deadline, initialisation).await {
                        Some(Grant::Slot(slot)) => slot,
                        Some(Grant::Failed(failure)) => {
                            if matches!(*failure, StartFailure::Draining) && self.gate.is_cut() {
                                return self.cut(invocation);
                            }
                            return Try::Over(Ending::not_started(invocation, &failure, clock::now()));
                        }
                        Some(Grant::Cancelled) => return Try::Over(Ending::cancelled(clock::now())),
                        Some(Grant::Cut) => return self.cut(invocation),
                        None => return Try::Over(Ending::not_provisioned(clock::now())),
                    }
                }
            };
            let unbegun = if start.is_safe(self, invocation).await {
                *invocation = upgraded(invocation, slot.newer());
                match self.run_on(slot, invocation).await {
                    Ok(end) => return end,
                    Err(unbegun) => unbegun,
                }
            } else {
                Unbegun::Unnoted(slot)
            };
            match unbegun {
                Unbegun::Unnoted(slot) => {
                    // The disk does not keep it: the slot is for others meanwhile.
                    drop(slot);
                    if Instant::now() >= deadline {
                        return Try::Over(Ending::not_provisioned(clock::now()));
                    }
                    place = Place::Later(Instant::now() + LOOK);
                }
                Unbegun::Gone(slot) => {
                    early_ends += u32::from(slot.init_time().is_some());
                    place = match self.exchange(slot, invocation) {
                        Ok(_) if early_ends >= MAX_EARLY_ENDS => {
                            return Try::Over(Ending::exited(clock::now()));
                        }
                        Ok(next) => next,
                        Err(_) => return Try::Over(Ending::not_provisioned(clock::now())),
                    };
                }
            }
        }
    }

    /// The end of work that is cut off before it began. Where nobody waits for it, nor for what it is a step of, it runs in
    /// the next life of the node.
    fn cut(&self, invocation: &Invocation) -> Try {
        let may_stay = match invocation.cause {
            None => !invocation.blocking,
            Some(cause) => self.sessions.may_stay(&cause),
        };
        if may_stay { Try::Left } else { Try::Over(Ending::interrupted(clock::now())) }
    }

    /// Runs it on this slot; gives the slot back if nothing was sent.
    async fn run_on(
        self: &Arc<Self>,
        mut slot: HeldSlot,
        invocation: &Arc<Invocation>,
    ) -> Result<Try, Unbegun> {
        let Some(stopped) = slot.stopped() else { return self.run_alone(slot, invocation).await };
        let (shared, own) = (Arc::clone(self), Arc::clone(invocation));
        let mut run = Box::pin(async move { shared.run_alone(slot, &own).await });
        tokio::select! {
            biased;
            outcome = &mut run => outcome,
            Ok(()) = stopped => {
                // Others are in its container: it goes on to its end there, and nobody hears of that.
                drop(task::spawn("run that nobody wants", async move { drop(run.await) }));
                Ok(Try::Over(Ending::cancelled(clock::now())))
            }
        }
    }

    /// The same, where a run is ended by the end of its container.
    async fn run_alone(&self, slot: HeldSlot, invocation: &Invocation) -> Result<Try, Unbegun> {
        let is_unnoted = AtomicBool::new(false);
        let started = || {
            let noted = self.started(invocation);
            is_unnoted.store(!noted, Ordering::Relaxed);
            noted
        };
        let report = slot.container().run(invocation, &started).await;
        let Ok(report) = report else {
            return Err(if is_unnoted.into_inner() { Unbegun::Unnoted(slot) } else { Unbegun::Gone(slot) });
        };
        let kind = slot.container().start_kind();
        let beginning = slot.init_time().map(|init_time| Beginning { kind, init_time });
        let lives = report.container_lives;
        slot.release(report.duration, lives);
        let ending = Ending::ran(invocation, report, beginning);
        Ok(match lives {
            true => Try::Over(ending),
            false if self.ends.is_cancelled(&invocation.activation_id) => Try::Over(ending.cancel()),
            false if self.gate.is_cut() => Try::Lost(ending.cut_off()),
            false if ending.is_platforms() => Try::Lost(ending),
            false => Try::Over(ending),
        })
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

//! What becomes of work that an earlier life of the node accepted and did not finish.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{Activation, ActivationId, Delivery, Invocation};
use chasen_spi::event_log::{TakenUp, Unfinished};
use chasen_spi::{Position, Rejection, Sessions, StoreError};
use chasen_telemetry::{clock, task};
use tokio::sync::watch;

use crate::Scheduler;
use crate::books::unreadable;
use crate::fate;
use crate::gate::Inside;
use crate::places::Permit;
use crate::queue::Turn;
use crate::record::Ending;
use crate::run::{Place, Run};
use crate::scheduler::Shared;
use crate::session::OpenWork;
use crate::start::Start;

/// Pieces of work that are read at a time.
const READ_AT_ONCE: usize = 64;

/// How long somebody waits at most until all that was left is known.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work that was read, in the order of its coming.
type Read = Vec<(ActivationId, Result<Option<Arc<Invocation>>, StoreError>)>;

impl Scheduler {
    /// Takes up what the log knows to be unfinished, in the background and a bounded number at a time, the oldest
    /// first; and says who does the work of sessions, now and when such work is due. To be called once.
    ///
    /// What never started runs, or waits until it is due. What did ends as interrupted, or, delivered at least once, is
    /// tried again as often as its action says. Sessions go to their opener. A step whose session is open is left to
    /// that, and ends as interrupted if the session ends without it; so does a step whose session is over.
    pub fn recover(&self, opener: &Arc<dyn Sessions>) {
        if self.shared.opener.set(Arc::downgrade(opener)).is_err() {
            return;
        }
        let inherited = self.shared.log.inherited();
        if inherited.is_empty() {
            return;
        }
        tracing::info!(total = inherited.len(), "unfinished activations of an earlier life");
        let shared = Arc::clone(&self.shared);
        let (looking, taking_up) = watch::channel(());
        if shared.taking_up.set(taking_up).is_err() {
            return;
        }
        drop(task::spawn("recovery", async move {
            take_all_up(&shared, inherited).await;
            drop(looking);
        }));
    }
}

async fn take_all_up(shared: &Arc<Shared>, inherited: Vec<ActivationId>) {
    for ids in inherited.chunks(READ_AT_ONCE) {
        let (log, ids) = (Arc::clone(&shared.log), ids.to_vec());
        let read = move || ids.into_iter().map(|id| (id, log.accepted(&id))).collect::<Read>();
        let found = match tokio::task::spawn_blocking(read).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "unfinished work could not be read and stays in the log");
                continue;
            }
        };
        for (id, found) in found {
            match found {
                Ok(Some(invocation)) => {
                    // While the node drains, the rest stays in the log for the next start.
                    if shared.gate.is_draining() {
                        return;
                    }
                    shared.see_to_left(&invocation);
                }
                // Somebody ended it meanwhile.
                Ok(None) => {}
                Err(error) => unreadable(&id, &error),
            }
        }
    }
}

impl Shared {
    /// True while not all work of an earlier life is known.
    pub(crate) fn is_taking_up(&self) -> bool {
        self.taking_up.get().is_some_and(|taking_up| taking_up.has_changed().is_ok())
    }

    /// Waits until all of it is known.
    pub(crate) async fn left_work_known(self: Arc<Self>) -> Result<(), Rejection> {
        let Some(mut taking_up) = self.taking_up.get().cloned() else { return Ok(()) };
        let gone = async { while taking_up.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, gone).await.map_err(|_| Rejection::Overloaded)
    }

    /// True if it is a step of a session that is open.
    fn is_left_to_session(&self, invocation: &Invocation) -> bool {
        invocation.cause.is_some_and(|cause| self.sessions.leave_step(&cause, invocation))
    }

    /// Leaves what was left to its session, or has it wait for its turn.
    fn see_to_left(self: &Arc<Self>, invocation: &Invocation) {
        if self.is_left_to_session(invocation) {
            return;
        }
        let is_early = invocation.due.is_some_and(|due| due > self.config.clock.now());
        if is_early || invocation.cause.is_some() {
            return self.take_left_up(&invocation.activation_id);
        }
        if !invocation.role.is_action() {
            self.sessions.await_opening(&invocation.activation_id);
        }
        self.keep_for_room(invocation, true);
    }

    /// Takes up what was left and is not due, or a step of what is over, unless somebody has.
    fn take_left_up(self: &Arc<Self>, id: &ActivationId) {
        let work = match self.log.take_up(id) {
            Ok(TakenUp::Taken(work)) => *work,
            Ok(TakenUp::Elsewhere | TakenUp::Ended | TakenUp::Unknown) => return,
            Err(error) => return unreadable(id, &error),
        };
        let invocation = &work.invocation;
        if invocation.cause.is_some() {
            // What it was a step of is over.
            self.record(invocation, Ending::interrupted(clock::now()));
            return;
        }
        if let Some(due) = invocation.due
            // Begun, it was due, whatever the clock says now.
            && fate::begun(&work, self.log.era()).is_none()
            && due > self.config.clock.now()
        {
            return self.keep_until(invocation, due);
        }
        self.begin(work, None);
    }

    /// Begins work that was left, or that is due or has room now and that nobody has begun.
    pub(crate) fn begin(self: &Arc<Self>, work: Unfinished, permit: Option<Permit>) {
        // While the node drains, it stays in the log.
        let Ok(inside) = self.enter(&work.invocation) else { return };
        if !work.invocation.role.is_action() {
            self.hand_over(work, inside, permit);
        } else if let Ok(run) = self.resume(work, inside) {
            drop(task::spawn("activation taken up", async move {
                run.permitted(permit).finish().await;
            }));
        }
    }

    /// The run of work that was left, or the record that it has now.
    pub(crate) fn resume(self: &Arc<Self>, work: Unfinished, inside: Inside) -> Result<Run, Arc<Activation>> {
        let left = &work.invocation;
        let placed = match fate::begun(&work, self.log.era()) {
            None => self.place_again(left),
            Some(_) if left.delivery == Delivery::AtMostOnce => {
                Err(Box::new(Ending::interrupted(clock::now())))
            }
            Some(attempt) => {
                let lost = Arc::new(Invocation { attempt, ..Invocation::clone(left) });
                self.unlocked(&lost).map(|lost| (lost, Place::Lost))
            }
        };
        match placed {
            Ok((invocation, place)) => {
                let start = Start::new(&invocation);
                Ok(Run::new(Arc::clone(self), invocation, place, start, inside))
            }
            Err(ending) => Err(self.record(left, *ending)),
        }
    }

    /// Gives a session of an earlier life, or one that is due, to whoever does such work.
    fn hand_over(self: &Arc<Self>, work: Unfinished, inside: Inside, permit: Option<Permit>) {
        let invocation = Arc::clone(&work.invocation);
        let session = OpenWork::new(Arc::clone(self), invocation, Position(0), inside, permit);
        // Nobody who does it: dropped, it is recorded as interrupted.
        if let Some(opener) = self.opener.get().and_then(std::sync::Weak::upgrade) {
            opener.take_up(Box::new(session), fate::certain(work));
        }
    }

    fn place_again(&self, invocation: &Arc<Invocation>) -> Result<(Arc<Invocation>, Place), Box<Ending>> {
        let invocation = self.unlocked(invocation)?;
        match self.place(&invocation, Turn::LastAnyway) {
            Ok(place) => Ok((invocation, place)),
            Err(rejection) => {
                let activation = invocation.activation_id;
                tracing::warn!(%activation, %rejection, "accepted work cannot run");
                Err(Box::new(Ending::not_placed(&rejection, clock::now())))
            }
        }
    }

    /// Whether more of this namespace may wait in the log until it is due.
    pub(crate) fn has_room_for_pending(&self, invocation: &Invocation) -> Result<(), Rejection> {
        let (own, all) = self.calendar.counts(invocation);
        let allowed = self.config.max_pending_namespace;
        if own >= allowed {
            return Err(Rejection::TooManyPending { pending: own as u64, allowed: allowed as u64 });
        }
        if all >= self.config.max_pending_node { Err(Rejection::Overloaded) } else { Ok(()) }
    }

    /// True if this may wait in the log until there is room: nobody waits for it, and it is no step of other work.
    pub(crate) fn may_wait_for_room(&self, invocation: &Invocation) -> bool {
        !invocation.blocking && invocation.cause.is_none() && self.has_room_for_pending(invocation).is_ok()
    }
}

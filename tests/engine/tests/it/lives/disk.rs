//! A log on a simulated disk: appends outlive the process, syncs outlive the power, and both fail as real ones do.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ActivationId, Event, Invocation};
use chasen_spi::event_log::{TakenUp, Unfinished};
use chasen_spi::{EventLog, OpenActivation, Position, StoreError};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::chance::Chance;

/// What lies on the disk, from life to life.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    events: Mutex<Vec<Written>>,
    /// How often the power has gone.
    cuts: AtomicU64,
}

#[derive(Debug, Clone)]
struct Written {
    event: Event,
    is_synced: bool,
    /// It is from before the power went last.
    is_old: bool,
}

impl Disk {
    /// Events that are there, oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().iter().map(|written| written.event.clone()).collect()
    }

    /// The power goes: of what was not synced any part may be there, or none.
    pub(crate) fn cut_power(&self, chance: &mut Chance) {
        let share = chance.below(5);
        self.events.lock().retain(|written| written.is_synced || chance.below(4) < share);
        self.events.lock().iter_mut().for_each(|written| {
            written.is_synced = true;
            written.is_old = true;
        });
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where in an append the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Torn {
    /// Before it is whole: recovery cuts it off.
    Before,
    /// After it is there and before anybody knows.
    After,
}

/// Whether a sync that has ended has done what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Honesty {
    Honest,
    Lying,
}

/// The log of one life.
pub(crate) struct Life {
    disk: Arc<Disk>,
    honesty: Honesty,
    state: Mutex<State>,
    /// The life is over.
    pub(crate) over: Notify,
}

struct State {
    chance: Chance,
    is_over: bool,
    /// Appends until the end, if it comes at one.
    left: Option<(u64, Torn)>,
    inherited: Vec<ActivationId>,
    open: BTreeMap<ActivationId, Unfinished>,
    taken: HashSet<ActivationId>,
}

impl Life {
    /// Reads what an earlier life left; dies at this append.
    pub(crate) fn begin(
        disk: Arc<Disk>,
        chance: Chance,
        dies: Option<(u64, Torn)>,
        honesty: Honesty,
    ) -> Arc<Self> {
        let mut open: BTreeMap<ActivationId, Unfinished> = BTreeMap::new();
        let mut order = Vec::new();
        for Written { event, is_old, .. } in disk.events.lock().clone() {
            note(&mut open, &event, !is_old);
            if matches!(event, Event::Accepted(_)) {
                order.push(event.activation_id());
            }
        }
        order.retain(|id| open.contains_key(id));
        let state =
            State { chance, is_over: false, left: dies, inherited: order, open, taken: HashSet::new() };
        Arc::new(Self { disk, honesty, state: Mutex::new(state), over: Notify::new() })
    }

    /// Ends the life: nothing happens any more.
    pub(crate) fn end(&self) {
        self.state.lock().is_over = true;
        self.over.notify_one();
    }

    /// True once it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().is_over
    }
}

/// What an event says of work under way. What is of nothing that was accepted is of something that was lost.
fn note(open: &mut BTreeMap<ActivationId, Unfinished>, event: &Event, is_whole: bool) {
    let id = event.activation_id();
    match event {
        Event::Accepted(invocation) => {
            let invocation = invocation.clone();
            open.insert(id, Unfinished { invocation, started: None, progress: None, is_whole });
        }
        Event::Started { attempt, .. } => {
            if let Some(work) = open.get_mut(&id) {
                work.started = work.started.max(Some(*attempt));
            }
        }
        Event::Progress { state, .. } => {
            if let Some(work) = open.get_mut(&id) {
                work.progress = Some(state.clone());
            }
        }
        Event::Finished(_) | Event::Ended(_) => {
            open.remove(&id);
        }
    }
}

fn dead() -> StoreError {
    StoreError::Unavailable("the node is dead".to_owned())
}

#[async_trait]
impl EventLog for Life {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(dead());
        }
        if let Some((left, torn)) = state.left.as_mut() {
            if *left == 0 {
                let is_there = *torn == Torn::After;
                state.is_over = true;
                self.over.notify_one();
                if is_there {
                    self.disk.events.lock().push(Written {
                        event: event.clone(),
                        is_synced: false,
                        is_old: false,
                    });
                }
                return Err(dead());
            }
            *left -= 1;
        }
        note(&mut state.open, event, true);
        let mut events = self.disk.events.lock();
        events.push(Written { event: event.clone(), is_synced: false, is_old: false });
        Ok(Position(events.len() as u64))
    }

    /// Each takes its own time: a later one may be there first.
    async fn sync(&self, position: Position) -> Result<(), StoreError> {
        let (delay, fails) = {
            let chance = &mut self.state.lock().chance;
            (chance.below(8), chance.below(50) == 0)
        };
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if self.is_over() {
            return std::future::pending().await;
        }
        if fails {
            return Err(StoreError::Unavailable("the disk failed this once".to_owned()));
        }
        if self.honesty == Honesty::Lying {
            return Ok(());
        }
        let upto = usize::try_from(position.0).unwrap_or(usize::MAX);
        self.disk.events.lock().iter_mut().take(upto).for_each(|written| written.is_synced = true);
        Ok(())
    }

    fn inherited(&self) -> Vec<ActivationId> {
        self.state.lock().inherited.clone()
    }

    fn take_up(&self, id: &ActivationId) -> Result<TakenUp, StoreError> {
        let mut state = self.state.lock();
        if state.is_over {
            return Err(dead());
        }
        let Some(work) = state.open.get(id).cloned() else { return Ok(TakenUp::Unknown) };
        let is_first = state.inherited.contains(id) && state.taken.insert(*id);
        Ok(if is_first { TakenUp::Taken(Box::new(work)) } else { TakenUp::Elsewhere })
    }

    fn accepted(&self, id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError> {
        Ok(self.state.lock().open.get(id).map(|work| work.invocation.clone()))
    }

    fn era(&self) -> Option<u64> {
        Some(self.disk.cuts.load(Ordering::Relaxed))
    }

    fn open(&self, most: usize) -> Result<Vec<OpenActivation>, StoreError> {
        let state = self.state.lock();
        let open = state.open.iter().take(most).map(|(id, work)| OpenActivation {
            activation_id: *id,
            action: work.invocation.action.name.clone(),
            version: work.invocation.action.version,
        });
        Ok(open.collect())
    }

    fn open_count(&self) -> usize {
        self.state.lock().open.len()
    }
}

//! The event log and the records built from it, in a list.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chasen_entity::{Activation, ActivationId, Event, Invocation};
use parking_lot::Mutex;

use super::page;
use crate::event_log::{TakenUp, Unfinished};
use crate::{
    ActivationQuery, ActivationStore, EventLog, OpenActivation, Position, RecordVisitor, StoreError,
};

/// The log and the records built from it, in a list.
#[derive(Default)]
pub struct MemoryEventLog {
    events: Mutex<Vec<Event>>,
    /// Inherited work that somebody has taken up.
    taken: Mutex<HashSet<ActivationId>>,
    /// What was under way when somebody first asked for what was inherited; before that, all is.
    inherited: OnceLock<HashSet<ActivationId>>,
    /// How many of the events are safe.
    synced: AtomicU64,
    /// How often the power was cut.
    era: u64,
    /// How many of the events are from before the last time.
    from_before: usize,
    /// Records of so many of the events have had their time.
    expired: AtomicUsize,
}

impl MemoryEventLog {
    /// Everything that was appended.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// Forgets what came behind so many events.
    pub fn truncate(&self, events: usize) {
        self.events.lock().truncate(events);
    }

    /// All records have had their time, and are gone.
    pub fn expire(&self) {
        self.expired.store(self.events.lock().len(), Ordering::SeqCst);
    }

    /// The log as the next life of the node finds it: whole, or, after a power cut, as far as it was synced.
    #[must_use]
    pub fn next_life(&self, after_power_cut: bool) -> Self {
        let mut events = self.events();
        if after_power_cut {
            events.truncate(usize::try_from(self.synced.load(Ordering::SeqCst)).unwrap_or(usize::MAX));
        }
        let synced = AtomicU64::new(events.len() as u64);
        let era = self.era + u64::from(after_power_cut);
        let from_before = if after_power_cut { events.len() } else { self.from_before };
        let (taken, inherited) = (Mutex::default(), OnceLock::new());
        let expired = AtomicUsize::new(self.expired.load(Ordering::SeqCst));
        Self { events: Mutex::new(events), taken, inherited, synced, era, from_before, expired }
    }

    /// What was accepted and not finished, in the order of its coming.
    fn under_way(&self) -> Vec<Unfinished> {
        let mut open: Vec<Unfinished> = Vec::new();
        for (index, event) in self.events.lock().iter().enumerate() {
            let id = event.activation_id();
            match event {
                Event::Accepted(invocation) => open.push(Unfinished {
                    invocation: invocation.clone(),
                    started: None,
                    progress: None,
                    is_whole: index >= self.from_before,
                }),
                Event::Started { attempt, .. } => {
                    for work in open.iter_mut().filter(|work| work.invocation.activation_id == id) {
                        work.started = work.started.max(Some(*attempt));
                    }
                }
                Event::Progress { state, .. } => {
                    for work in open.iter_mut().filter(|work| work.invocation.activation_id == id) {
                        work.progress = Some(state.clone());
                    }
                }
                Event::Finished(_) | Event::Ended(_) => {
                    open.retain(|work| work.invocation.activation_id != id);
                }
            }
        }
        open
    }

    fn records(&self, query: &ActivationQuery) -> Vec<Arc<Activation>> {
        let newest: HashMap<ActivationId, Arc<Activation>> = self
            .events
            .lock()
            .iter()
            .skip(self.expired.load(Ordering::SeqCst))
            .filter_map(|event| match event {
                Event::Finished(record) => Some((record.activation_id, record.clone())),
                _ => None,
            })
            .collect();
        let mut found: Vec<Arc<Activation>> = newest
            .into_values()
            .filter(|record| record.namespace.as_str() == query.namespace)
            .filter(|record| query.name.as_ref().is_none_or(|name| record.filter_name() == *name))
            .filter(|record| query.cause.is_none() || record.cause == query.cause)
            .filter(|record| query.since.is_none_or(|since| record.start >= since))
            .filter(|record| query.upto.is_none_or(|upto| record.start <= upto))
            .collect();
        found.sort_by(|a, b| b.start.cmp(&a.start).then_with(|| b.activation_id.cmp(&a.activation_id)));
        found
    }
}

#[async_trait]
impl EventLog for MemoryEventLog {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        let mut events = self.events.lock();
        events.push(event.clone());
        Ok(Position(events.len() as u64))
    }

    async fn sync(&self, position: Position) -> Result<(), StoreError> {
        let end = self.events.lock().len() as u64;
        self.synced.fetch_max(position.0.min(end), Ordering::SeqCst);
        Ok(())
    }

    fn era(&self) -> Option<u64> {
        Some(self.era)
    }

    fn inherited(&self) -> Vec<ActivationId> {
        let ids: Vec<_> = self.under_way().iter().map(|work| work.invocation.activation_id).collect();
        self.inherited.get_or_init(|| ids.iter().copied().collect());
        ids
    }

    fn take_up(&self, id: &ActivationId) -> Result<TakenUp, StoreError> {
        let under_way = self.under_way();
        let is_open = |id| under_way.iter().any(|work| work.invocation.activation_id == id);
        let events = self.events.lock();
        let is_step = |event: &Event| match event {
            Event::Accepted(work) => work.activation_id == *id && work.part_of().is_some_and(is_open),
            _ => false,
        };
        let is_end = |event: &Event| matches!(event, Event::Ended(_) | Event::Finished(_));
        let has_ended = |event: &Event| is_end(event) && event.activation_id() == *id;
        if !is_open(*id) {
            let is_known = events.iter().any(has_ended) && events.iter().any(is_step);
            return Ok(if is_known { TakenUp::Ended } else { TakenUp::Unknown });
        }
        let is_inherited = self.inherited.get().is_none_or(|inherited| inherited.contains(id));
        if !is_inherited || !self.taken.lock().insert(*id) {
            return Ok(TakenUp::Elsewhere);
        }
        let work = under_way.into_iter().find(|work| work.invocation.activation_id == *id);
        Ok(work.map_or(TakenUp::Unknown, |work| TakenUp::Taken(Box::new(work))))
    }

    fn accepted(&self, id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError> {
        let work = self.under_way().into_iter().find(|work| work.invocation.activation_id == *id);
        Ok(work.map(|work| work.invocation))
    }

    fn open(&self, most: usize) -> Result<Vec<OpenActivation>, StoreError> {
        let open = |Unfinished { invocation, .. }: Unfinished| OpenActivation {
            activation_id: invocation.activation_id,
            action: invocation.action.name.clone(),
            version: invocation.action.version,
        };
        Ok(self.under_way().into_iter().take(most).map(open).collect())
    }

    fn open_count(&self) -> usize {
        self.under_way().len()
    }
}

#[async_trait]
impl ActivationStore for MemoryEventLog {
    async fn get(&self, namespace: &str, id: &ActivationId) -> Result<Option<Arc<Activation>>, StoreError> {
        let query = ActivationQuery { namespace: namespace.to_owned(), ..ActivationQuery::default() };
        Ok(self.records(&query).into_iter().find(|record| record.activation_id == *id))
    }

    async fn list(&self, query: &ActivationQuery) -> Result<Vec<Arc<Activation>>, StoreError> {
        Ok(page(self.records(query), query.skip, query.limit))
    }

    async fn visit(&self, query: &ActivationQuery, mut visitor: RecordVisitor) -> Result<(), StoreError> {
        let page = self.list(query).await?;
        let _ = page.iter().try_for_each(|record| visitor(record));
        Ok(())
    }

    async fn count(&self, query: &ActivationQuery) -> Result<u64, StoreError> {
        Ok(self.records(query).len() as u64)
    }
}

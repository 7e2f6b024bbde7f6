//! An invoke door whose functions echo their arguments at once; what is not due yet is kept.

use std::sync::Arc;

use chasen_entity::{
    Activation, ActivationId, Durability, EntityName, Event, Invocation, Outcome, RawJson, Response, json,
};
use chasen_spi::memory::MemoryEventLog;
use chasen_spi::{
    BoxFuture, Cancelled, EventLog, Invoke, OpenSession, PendingQuery, Position, Rejection, Resumed, Session,
    StoreError, Ticket, UnderWay,
};
use parking_lot::Mutex;

/// The door, and the log that it writes.
pub(crate) struct Echo {
    log: Arc<MemoryEventLog>,
    pending: Mutex<Vec<Arc<Invocation>>>,
}

impl Echo {
    pub(crate) fn new(log: Arc<MemoryEventLog>) -> Self {
        Self { log, pending: Mutex::default() }
    }
}

impl Invoke for Echo {
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        let record = Arc::new(echo(&invocation));
        let position = self.log.append(&Event::Finished(record.clone()))?;
        Ok(Ticket::new(position, Box::pin(std::future::ready(record))))
    }

    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        let position = self.log.append(&Event::Accepted(invocation))?;
        Ok(Box::new(Kept { log: self.log.clone(), position }))
    }

    fn schedule(&self, invocation: Arc<Invocation>) -> Result<Position, Rejection> {
        let position = self.log.append(&Event::Accepted(invocation.clone()))?;
        self.pending.lock().push(invocation);
        Ok(position)
    }

    fn committed(&self, _: Durability, _: Position) -> BoxFuture<Result<(), Rejection>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn take_up(&self, _: &ActivationId) -> Result<Resumed, Rejection> {
        Ok(Resumed::Unknown)
    }

    fn end_of(&self, _: &ActivationId) -> Option<BoxFuture<Arc<Activation>>> {
        None
    }

    fn cancel(&self, namespace: &EntityName, id: &ActivationId) -> BoxFuture<Result<Cancelled, Rejection>> {
        let is_meant =
            |one: &mut Arc<Invocation>| one.activation_id == *id && one.identity.namespace.name == *namespace;
        let found = self.pending.lock().extract_if(.., is_meant).next();
        let cancelled = match found {
            Some(invocation) => {
                let record = Arc::new(echo(&invocation));
                self.log
                    .append(&Event::Finished(record.clone()))
                    .map(|_| Cancelled::Ended(record))
                    .map_err(Rejection::from)
            }
            None => Ok(Cancelled::NotUnderWay),
        };
        Box::pin(std::future::ready(cancelled))
    }

    fn under_way(&self, _: &EntityName, id: &ActivationId) -> Result<Option<UnderWay>, StoreError> {
        let pending = self.pending.lock();
        let found = pending.iter().find(|one| one.activation_id == *id);
        Ok(found.map(|one| UnderWay { invocation: one.clone(), is_pending: true }))
    }

    fn pending(&self, query: &PendingQuery) -> Result<Vec<Arc<Invocation>>, StoreError> {
        let bound = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let pending = self.pending.lock();
        Ok(pending.iter().skip(bound(query.skip)).take(bound(query.limit)).cloned().collect())
    }

    fn pending_count(&self, _: &PendingQuery) -> u64 {
        self.pending.lock().len() as u64
    }
}

/// Work that the controller does itself.
struct Kept {
    log: Arc<MemoryEventLog>,
    position: Position,
}

impl OpenSession for Kept {
    fn position(&self) -> Position {
        self.position
    }

    fn started(&self) {}

    fn progress(&self, _: RawJson) -> Result<(), StoreError> {
        Ok(())
    }

    fn cancelled(&self) -> BoxFuture<()> {
        Box::pin(std::future::pending())
    }

    fn finish(self: Box<Self>, record: Activation) -> Arc<Activation> {
        let record = Arc::new(record);
        self.log.append(&Event::Finished(record.clone())).unwrap();
        record
    }
}

fn echo(invocation: &Invocation) -> Activation {
    let arguments = &invocation.arguments;
    let failed =
        json::entries(arguments.as_str()).is_ok_and(|fields| fields.iter().any(|(key, _)| key == "error"));
    let outcome = if failed { Outcome::ApplicationError } else { Outcome::Success };
    let response = Response { outcome, result: Some(arguments.clone()), size: Some(2) };
    let start = invocation.accepted_at;
    Activation { start, end: start + 2, ..Activation::of(invocation, response) }
}

//! The invoke door.

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, Durability, EntityName, Event, Invocation, Role};
use chasen_spi::event_log::TakenUp;
use chasen_spi::{
    BoxFuture, Cancelled, Invoke, PendingQuery, Position, Rejection, Resumed, Session, StoreError, Ticket,
    UnderWay,
};

use crate::Scheduler;
use crate::fate;
use crate::run::{Place, Run};
use crate::session::OpenWork;
use crate::start::Start;

impl Invoke for Scheduler {
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        if let Some(name) = opened_as(&invocation.role) {
            return Err(Rejection::NoDomain(name.to_owned()));
        }
        let shared = &self.shared;
        let accepted = Arc::new(invocation);
        let inside = shared.enter(&accepted)?;
        let invocation = match shared.unlocked(&accepted) {
            Ok(invocation) => invocation,
            Err(ending) => {
                let position = shared.log.append(&Event::Accepted(Arc::clone(&accepted)))?;
                let record = shared.record(&accepted, *ending);
                return Ok(Ticket::new(position, Box::pin(std::future::ready(record))));
            }
        };
        let place = match shared.place(&invocation, shared.turn(&invocation)) {
            Err(Rejection::Overloaded) if shared.may_wait_for_room(&accepted) => {
                // It is not inside: a drain leaves it to the next life.
                drop(inside);
                return self.leave_in_log(accepted);
            }
            placed => placed?,
        };
        let mut position = shared.log.append(&Event::Accepted(accepted))?;
        let mut start = Start::new(&invocation);
        if matches!(place, Place::Slot(_))
            && let Some(announced) = start.announce(shared, &invocation)
        {
            // One sync for both.
            position = announced;
        }
        let run = Run::new(Arc::clone(shared), invocation, place, start, inside);
        Ok(Ticket::new(position, Box::pin(run.finish())))
    }

    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        // A step is part of work that was let in when there was room.
        if invocation.cause.is_none() && self.shared.is_full(&invocation) {
            return Err(Rejection::Overloaded);
        }
        let inside = self.shared.enter(&invocation)?;
        let position = self.shared.log.append(&Event::Accepted(Arc::clone(&invocation)))?;
        Ok(Box::new(OpenWork::new(Arc::clone(&self.shared), invocation, position, inside, None)))
    }

    fn schedule(&self, invocation: Arc<Invocation>) -> Result<Position, Rejection> {
        if self.shared.gate.is_draining() {
            return Err(Rejection::Draining);
        }
        self.shared.has_room_for_pending(&invocation)?;
        let position = self.shared.log.append(&Event::Accepted(Arc::clone(&invocation)))?;
        self.shared.keep_until(&invocation, invocation.due.unwrap_or_default());
        Ok(position)
    }

    fn committed(&self, durability: Durability, position: Position) -> BoxFuture<Result<(), Rejection>> {
        if durability.is_memory() {
            return Box::pin(std::future::ready(Ok(())));
        }
        let log = Arc::clone(&self.shared.log);
        Box::pin(async move { Ok(log.sync(position).await?) })
    }

    fn take_up(&self, id: &ActivationId) -> Result<Resumed, Rejection> {
        let shared = &self.shared;
        let work = match shared.log.take_up(id)? {
            TakenUp::Taken(work) => *work,
            TakenUp::Elsewhere => return Ok(Resumed::Elsewhere),
            TakenUp::Ended => return Ok(Resumed::Ended),
            TakenUp::Unknown => return Ok(Resumed::Unknown),
        };
        // It may have waited for its turn.
        shared.calendar.remove(id);
        let invocation = Arc::clone(&work.invocation);
        let inside = shared.enter(&invocation)?;
        if !invocation.role.is_action() {
            let session = OpenWork::new(Arc::clone(shared), invocation, Position(0), inside, None);
            return Ok(Resumed::Session(Box::new(session), fate::certain(work)));
        }
        let shared = Arc::clone(shared);
        Ok(Resumed::Action(match shared.resume(work, inside) {
            Ok(run) => Ticket::new(Position(0), Box::pin(run.finish())),
            Err(record) => Ticket::new(Position(0), Box::pin(std::future::ready(record))),
        }))
    }

    fn end_of(&self, id: &ActivationId) -> Option<BoxFuture<Arc<Activation>>> {
        let mut watch = self.shared.ends.watch(*id);
        match self.shared.log.accepted(id) {
            Ok(Some(_)) => Some(Box::pin(async move { watch.ended().await })),
            Ok(None) => None,
            Err(error) => {
                crate::books::unreadable(id, &error);
                None
            }
        }
    }

    fn cancel(&self, namespace: &EntityName, id: &ActivationId) -> BoxFuture<Result<Cancelled, Rejection>> {
        Box::pin(Arc::clone(&self.shared).cancel(namespace.clone(), *id))
    }

    fn left_work_known(&self) -> BoxFuture<Result<(), Rejection>> {
        Box::pin(Arc::clone(&self.shared).left_work_known())
    }

    fn under_way(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<UnderWay>, StoreError> {
        let found = self.shared.log.accepted(id)?;
        let own = found.filter(|invocation| invocation.identity.namespace.name == *namespace);
        Ok(own.map(|invocation| UnderWay { is_pending: self.shared.calendar.is_pending(id), invocation }))
    }

    fn pending(&self, query: &PendingQuery) -> Result<Vec<Arc<Invocation>>, StoreError> {
        self.shared.pending(query)
    }

    fn pending_count(&self, query: &PendingQuery) -> u64 {
        self.shared.calendar.matches(query)
    }
}

impl Scheduler {
    /// Takes work whose queue has no room, and that has time: it waits in the log.
    fn leave_in_log(&self, accepted: Arc<Invocation>) -> Result<Ticket, Rejection> {
        let mut watch = self.shared.ends.watch(accepted.activation_id);
        let position = self.shared.log.append(&Event::Accepted(Arc::clone(&accepted)))?;
        self.shared.keep_for_room(&accepted, false);
        Ok(Ticket::new(position, Box::pin(async move { watch.ended().await })))
    }
}

/// What work is called that no domain does: whoever opens it does it.
fn opened_as(role: &Role) -> Option<&'static str> {
    match role {
        Role::Action => None,
        Role::Sequence => Some("sequence"),
        Role::Composition => Some("composition"),
        Role::Fire { .. } => Some("trigger"),
    }
}

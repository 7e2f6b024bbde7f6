//! A door to executions that follow the name of the action.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_entity::{
    Activation, ActivationId, Durability, EntityName, Event, Given, Invocation, Outcome, Parameters, RawJson,
    Response as ActivationResponse, Role, error_text,
};
use chasen_spi::event_log::{TakenUp, Unfinished};
use chasen_spi::memory::MemoryEventLog;
use chasen_spi::{
    BoxFuture, Cancelled, EventLog, Invoke, OpenSession, PendingQuery, Position, Rejection, Resumed, Session,
    StoreError, Ticket, UnderWay,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

/// Runs actions by name: `array`, `failing`, `broken`, `whisk`, `silent`, `overloaded`, `draining`, `panics`; `slow`
/// begins when it is released, `hangs` begins at once and ends then; `returns` and `fails` with the argument `result`;
/// `conductor` follows its argument `plan`, and fails if it is told of an error; every other one echoes its arguments.
pub(crate) struct FakeInvoke {
    books: Arc<Books>,
    pub(crate) taken: Mutex<Vec<Invocation>>,
    /// Lets every one that waits go on.
    pub(crate) release: Arc<Notify>,
    scheduled: Mutex<Vec<Arc<Invocation>>>,
    /// What was to be how safe.
    pub(crate) committed: Mutex<Vec<(Durability, Position)>>,
    /// True if nothing gets safe.
    pub(crate) is_unsafe: AtomicBool,
}

/// What sessions and actions share.
struct Books {
    log: Arc<MemoryEventLog>,
    ended: watch::Sender<HashMap<ActivationId, Arc<Activation>>>,
    cancelled: Mutex<HashMap<ActivationId, watch::Sender<bool>>>,
    /// The log has no room for notes.
    is_full: AtomicBool,
}

impl Books {
    fn cancelled(&self, id: ActivationId) -> watch::Receiver<bool> {
        self.cancelled.lock().entry(id).or_insert_with(|| watch::Sender::new(false)).subscribe()
    }

    fn is_cancelled(&self, id: ActivationId) -> bool {
        *self.cancelled(id).borrow()
    }

    fn end(&self, invocation: &Invocation, mut record: Activation) -> Arc<Activation> {
        if self.is_cancelled(invocation.activation_id) {
            record.response = ActivationResponse::error(Outcome::ApplicationError, error_text::CANCELLED);
        }
        if invocation.identity.limits.keep_parameters == Some(true) {
            record.given = Some(Box::new(Given::of(invocation)));
        }
        let record = Arc::new(record);
        let kept = invocation.store.keeps(record.response.outcome);
        let event = if kept { Event::Finished(record.clone()) } else { Event::Ended(record.activation_id) };
        self.log.append(&event).unwrap();
        self.ended.send_modify(|ended| {
            ended.insert(record.activation_id, record.clone());
        });
        record
    }
}

impl FakeInvoke {
    pub(crate) fn new(log: Arc<MemoryEventLog>) -> Self {
        Self {
            books: Arc::new(Books {
                log,
                ended: watch::Sender::default(),
                cancelled: Mutex::default(),
                is_full: AtomicBool::new(false),
            }),
            taken: Mutex::default(),
            release: Arc::default(),
            scheduled: Mutex::default(),
            committed: Mutex::default(),
            is_unsafe: AtomicBool::new(false),
        }
    }

    /// Leaves the log with no room for notes, or with some again.
    pub(crate) fn fill_log(&self, is_full: bool) {
        self.books.is_full.store(is_full, Ordering::SeqCst);
    }

    /// Does the work of an action that was accepted.
    fn run(&self, invocation: Invocation, position: Position) -> Ticket {
        let name = invocation.action.name.name.to_string();
        self.taken.lock().push(invocation.clone());
        let (books, release) = (self.books.clone(), self.release.clone());
        let activation_id = invocation.activation_id;
        let started = Event::Started { activation_id, attempt: invocation.attempt, at: 1 };
        let work = async move {
            if name == "hangs" {
                books.log.append(&started).unwrap();
            }
            if name == "slow" || name == "hangs" {
                let mut cancelled = books.cancelled(activation_id);
                tokio::select! {
                    () = release.notified() => {}
                    _ = cancelled.wait_for(|cancelled| *cancelled) => {}
                }
            }
            books.end(&invocation, record(&invocation, &name))
        };
        Ticket::new(position, Box::pin(work))
    }

    /// Accepted work that its opener does.
    pub(crate) fn session(&self, invocation: Arc<Invocation>) -> Session {
        Box::new(FakeSession { books: self.books.clone(), invocation, position: Position(0) })
    }

    /// Lets everything be due, and gives what others do.
    pub(crate) fn let_due(&self) -> Vec<Unfinished> {
        let mut others = Vec::new();
        for invocation in std::mem::take(&mut *self.scheduled.lock()) {
            if invocation.role == Role::Action {
                self.run(Invocation::clone(&invocation), Position(0)).detach();
            } else {
                others.push(Unfinished { invocation, started: None, progress: None, is_whole: true });
            }
        }
        others
    }

    fn matching(&self, query: &PendingQuery) -> Vec<Arc<Invocation>> {
        let mut found: Vec<_> = self
            .scheduled
            .lock()
            .iter()
            .filter(|one| one.identity.namespace.name == query.namespace)
            .filter(|one| query.name.as_ref().is_none_or(|name| one.action.name.name.as_str() == name))
            .filter(|one| query.since.is_none_or(|since| one.due >= Some(since)))
            .filter(|one| query.upto.is_none_or(|upto| one.due <= Some(upto)))
            .cloned()
            .collect();
        found.sort_by_key(|one| (one.due, one.activation_id));
        found
    }
}

impl Invoke for FakeInvoke {
    #[allow(clippy::panic_in_result_fn, reason = "the panic is the case")]
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        match invocation.action.name.name.as_str() {
            "overloaded" => return Err(Rejection::Overloaded),
            "draining" => return Err(Rejection::Draining),
            "panics" => panic!("a defect"),
            _ => {}
        }
        let position = self.books.log.append(&Event::Accepted(Arc::new(invocation.clone()))).unwrap();
        Ok(self.run(invocation, position))
    }

    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        let position = self.books.log.append(&Event::Accepted(invocation.clone())).unwrap();
        Ok(Box::new(FakeSession { books: self.books.clone(), invocation, position }))
    }

    fn schedule(&self, invocation: Arc<Invocation>) -> Result<Position, Rejection> {
        let position = self.books.log.append(&Event::Accepted(invocation.clone())).unwrap();
        self.scheduled.lock().push(invocation);
        Ok(position)
    }

    fn committed(&self, durability: Durability, position: Position) -> BoxFuture<Result<(), Rejection>> {
        self.committed.lock().push((durability, position));
        let failed = Rejection::NotRecorded(StoreError::Unavailable("the disk is gone".to_owned()));
        let is_unsafe = self.is_unsafe.load(Ordering::SeqCst) && durability == Durability::Synced;
        Box::pin(std::future::ready(if is_unsafe { Err(failed) } else { Ok(()) }))
    }

    fn take_up(&self, id: &ActivationId) -> Result<Resumed, Rejection> {
        let work = match self.books.log.take_up(id).unwrap() {
            TakenUp::Taken(work) => *work,
            TakenUp::Elsewhere => return Ok(Resumed::Elsewhere),
            TakenUp::Ended => return Ok(Resumed::Ended),
            TakenUp::Unknown => return Ok(Resumed::Unknown),
        };
        let invocation = work.invocation.clone();
        if invocation.role != Role::Action {
            return Ok(Resumed::Session(self.session(invocation), work));
        }
        Ok(Resumed::Action(match work.started {
            None => self.run(Invocation::clone(&invocation), Position(0)),
            Some(_) => {
                let response = ActivationResponse::error(Outcome::WhiskError, error_text::INTERRUPTED);
                let record = self.books.end(&invocation, Activation::of(&invocation, response));
                Ticket::new(Position(0), Box::pin(std::future::ready(record)))
            }
        }))
    }

    fn end_of(&self, id: &ActivationId) -> Option<BoxFuture<Arc<Activation>>> {
        let (id, mut ended) = (*id, self.books.ended.subscribe());
        self.books.log.accepted(&id).unwrap()?;
        Some(Box::pin(async move {
            ended.wait_for(|ended| ended.contains_key(&id)).await.unwrap().get(&id).unwrap().clone()
        }))
    }

    fn cancel(&self, namespace: &EntityName, id: &ActivationId) -> BoxFuture<Result<Cancelled, Rejection>> {
        let Some(UnderWay { invocation, is_pending }) = self.under_way(namespace, id).unwrap() else {
            return Box::pin(std::future::ready(Ok(Cancelled::NotUnderWay)));
        };
        let end = self.end_of(id).unwrap();
        drop(self.books.cancelled(*id));
        self.books.cancelled.lock()[id].send_replace(true);
        if is_pending {
            self.scheduled.lock().retain(|one| one.activation_id != *id);
            let response = ActivationResponse::error(Outcome::ApplicationError, error_text::CANCELLED);
            self.books.end(&invocation, Activation::of(&invocation, response));
        }
        Box::pin(async move { Ok(Cancelled::Ended(end.await)) })
    }

    fn under_way(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<UnderWay>, StoreError> {
        let found = self.books.log.accepted(id)?;
        let own = found.filter(|invocation| invocation.identity.namespace.name == *namespace);
        let is_pending = self.scheduled.lock().iter().any(|one| one.activation_id == *id);
        Ok(own.map(|invocation| UnderWay { invocation, is_pending }))
    }

    fn pending(&self, query: &PendingQuery) -> Result<Vec<Arc<Invocation>>, StoreError> {
        let page = |number: u64| usize::try_from(number).unwrap();
        Ok(self.matching(query).into_iter().skip(page(query.skip)).take(page(query.limit)).collect())
    }

    fn pending_count(&self, query: &PendingQuery) -> u64 {
        self.matching(query).len() as u64
    }
}

/// Work that the controller does itself; a session that is dropped writes nothing.
struct FakeSession {
    books: Arc<Books>,
    invocation: Arc<Invocation>,
    position: Position,
}

impl OpenSession for FakeSession {
    fn position(&self) -> Position {
        self.position
    }

    fn started(&self) {
        let activation_id = self.invocation.activation_id;
        let started = Event::Started { activation_id, attempt: self.invocation.attempt, at: 1 };
        self.books.log.append(&started).unwrap();
    }

    fn progress(&self, state: RawJson) -> Result<(), StoreError> {
        let activation_id = self.invocation.activation_id;
        if self.books.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full("no room".to_owned()));
        }
        self.books.log.append(&Event::Progress { activation_id, state }).map(drop)
    }

    fn cancelled(&self) -> BoxFuture<()> {
        let mut cancelled = self.books.cancelled(self.invocation.activation_id);
        Box::pin(async move {
            cancelled.wait_for(|cancelled| *cancelled).await.unwrap();
        })
    }

    fn finish(self: Box<Self>, record: Activation) -> Arc<Activation> {
        self.books.end(&self.invocation, record)
    }
}

fn record(invocation: &Invocation, name: &str) -> Activation {
    let (outcome, result) = match name {
        "array" => (Outcome::Success, Some(RawJson::parse(b"[1,2]").unwrap())),
        "failing" => (Outcome::ApplicationError, Some(RawJson::error("no"))),
        "broken" => (Outcome::DeveloperError, Some(RawJson::error("died"))),
        "whisk" => (Outcome::WhiskError, Some(RawJson::error("lost"))),
        "silent" => (Outcome::Success, None),
        "returns" => (Outcome::Success, invocation.arguments.get("result")),
        "fails" => (
            Outcome::ApplicationError,
            invocation.arguments.get("result").map(|result| RawJson::error(&result)),
        ),
        "conductor" => conducted(&invocation.arguments),
        _ => (Outcome::Success, Some(invocation.arguments.clone())),
    };
    let mut annotations = Parameters::new();
    annotations.set("path", &invocation.action.name.to_string());
    annotations.set("limits", &invocation.action.limits);
    if let Some(binding) = &invocation.binding {
        annotations.set("binding", binding);
    }
    Activation {
        start: invocation.accepted_at,
        end: invocation.accepted_at + 2,
        logs: vec!["2026-01-01T00:00:00Z           stdout: hi".to_owned()],
        annotations,
        ..Activation::of(invocation, ActivationResponse { outcome, result, size: Some(2) })
    }
}

/// The first entry of `plan`; the others come back with the state.
fn conducted(arguments: &RawJson) -> (Outcome, Option<RawJson>) {
    let mut arguments: Value = arguments.read().unwrap();
    if let Some(error) = arguments.get("error") {
        return (Outcome::ApplicationError, Some(RawJson::error(error)));
    }
    let plan = match arguments["plan"].take() {
        Value::Array(plan) => plan,
        _ => Vec::new(),
    };
    let result = match plan.split_first() {
        Some((step, rest)) => {
            let mut step = step.clone();
            if step.get("state").is_none() {
                step["state"] = json!({ "plan": rest });
            }
            step
        }
        None => {
            arguments.as_object_mut().unwrap().remove("plan");
            arguments
        }
    };
    (Outcome::Success, Some(RawJson::from_value(&result)))
}

//! Work that the controller does itself, between its opening and its record, and the steps that it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chasen_entity::{Activation, ActivationId, Invocation, RawJson, Role, TransactionId};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{BoxFuture, Cancelled, Position, Rejection, Resumed, Session, Ticket};
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ledger::Ending;
use super::note::Note;
use super::sort::Sort;
use super::{Request, primitive, record};
use crate::clock;
use crate::controller::Controller;
use crate::entities::ResolvedAction;

/// How much longer than its time limit a step may take: it may wait for a container, and for its code to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A sequence or composition under way.
pub(super) struct Work {
    pub(super) controller: Arc<Controller>,
    pub(super) invocation: Arc<Invocation>,
    session: Session,
    /// What an earlier life of the node left of it.
    past: Past,
    extra_logging: bool,
    /// Sequences and compositions around it.
    depth: u32,
    /// Steps that it and all that lies around and inside it have taken.
    taken: Arc<AtomicU32>,
}

/// See [`Work`].
enum Past {
    /// It was opened just now, or never began.
    None,
    /// It began; its last note.
    Began(Option<RawJson>),
}

/// Where a session begins.
pub(super) enum Standing<S> {
    /// At its beginning.
    New,
    /// At this note.
    Noted(Note<S>),
    /// It began in an earlier life, and how far it came is not known.
    Unknown,
}

/// The step that a session takes next.
#[derive(Debug, Clone, Copy)]
pub(super) struct NextStep {
    pub(super) id: ActivationId,
    /// True if an earlier life of the node may have begun it.
    pub(super) may_have_begun: bool,
    /// False if the log has no room for its note: then it must not be taken, or a crash would have it taken twice.
    pub(super) is_noted: bool,
}

impl NextStep {
    /// One that an earlier life of the node has noted.
    pub(super) fn of_earlier_life(id: ActivationId) -> Self {
        Self { id, may_have_begun: true, is_noted: true }
    }
}

/// A step that has been begun.
pub(super) enum Begun {
    /// An action; longest time that it is waited for.
    Action(Ticket, Option<Duration>),
    /// A sequence or composition in this one.
    Session(Work),
    /// It has ended already.
    Ended(Arc<Activation>),
}

/// How a step went; `C` is what is counted.
pub(super) enum Step<C> {
    Ended(Arc<Activation>, C),
    /// It took longer than is waited for, and goes on without anybody.
    Late(ActivationId),
    /// It ended in an earlier life of the node, and has no record any more, or never had.
    Lost(ActivationId),
    /// Somebody wanted the session to end. The step, if it had begun.
    Cancelled(Option<ActivationId>),
    /// It would lie too deep, or be one too many.
    TooFar,
    /// It was not taken.
    Failed,
}

impl<C> Step<C> {
    /// The same step where something else is counted.
    pub(super) fn counted<D>(self, counts: D) -> Step<D> {
        match self {
            Self::Ended(record, _) => Step::Ended(record, counts),
            Self::Late(id) => Step::Late(id),
            Self::Lost(id) => Step::Lost(id),
            Self::Cancelled(id) => Step::Cancelled(id),
            Self::TooFar => Step::TooFar,
            Self::Failed => Step::Failed,
        }
    }
}

impl Work {
    /// Opens what somebody asked for.
    pub(super) fn open(
        controller: &Arc<Controller>,
        request: Request,
        role: Role,
    ) -> Result<Self, Rejection> {
        let extra_logging = request.extra_logging;
        let invocation = Arc::new(primitive::bare_invocation(controller, request, role));
        let session = controller.invoke.open(invocation.clone())?;
        let (controller, taken) = (controller.clone(), Arc::default());
        Ok(Self { controller, invocation, session, past: Past::None, extra_logging, depth: 0, taken })
    }

    /// What the scheduler hands back.
    pub(super) fn handed_back(controller: &Arc<Controller>, session: Session, work: Unfinished) -> Self {
        let Unfinished { invocation, started, progress, .. } = work;
        let past = match (started, progress) {
            (None, None) => Past::None,
            (_, progress) => Past::Began(progress),
        };
        let extra_logging = invocation.store.is_always();
        let (controller, taken) = (controller.clone(), Arc::default());
        Self { controller, invocation, session, past, extra_logging, depth: 0, taken }
    }

    /// The same work as a step of this one.
    fn inside(&self, work: Self) -> Self {
        Self { depth: self.depth + 1, taken: self.taken.clone(), ..work }
    }

    pub(super) fn id(&self) -> ActivationId {
        self.invocation.activation_id
    }

    /// How far the log must be safe before anybody is told that it was accepted.
    pub(super) fn position(&self) -> Position {
        self.session.position()
    }

    /// Resolves when somebody wants it to end.
    pub(super) fn cancelled(&self) -> BoxFuture<()> {
        self.session.cancelled()
    }

    /// Where it begins: what it is a step of has counted at least the steps that its note tells of.
    pub(super) fn standing<S: DeserializeOwned>(&self) -> Standing<S> {
        let text = match &self.past {
            Past::None => return Standing::New,
            Past::Began(None) => return Standing::Unknown,
            Past::Began(Some(text)) => text,
        };
        match Note::read(text, &self.invocation.arguments) {
            Ok(note) => {
                self.taken.fetch_max(note.taken, Ordering::Relaxed);
                Standing::Noted(note)
            }
            Err(why) => {
                tracing::warn!(activation = %self.id(), why, "the note of a session cannot be read");
                Standing::Unknown
            }
        }
    }

    /// Notes that it stands here and takes its next step with this payload; the first note is the beginning.
    pub(super) fn note<S: Serialize>(&self, state: S, payload: &RawJson, is_first: bool) -> NextStep {
        let id = ActivationId::generate();
        let taken = self.taken.load(Ordering::Relaxed);
        let note = Note { state, taken, step: id, payload: payload.clone() };
        let noted = self.session.progress(note.write(&self.invocation.arguments));
        if let Err(error) = &noted {
            tracing::warn!(activation = %self.id(), %error, "a step cannot be noted");
        } else if is_first {
            // After the note: whatever began has one.
            self.session.started();
        }
        NextStep { id, may_have_begun: false, is_noted: noted.is_ok() }
    }

    /// Writes its record.
    pub(super) fn finish(self, ending: Ending) -> Arc<Activation> {
        self.session.finish(record::of_session(&self.invocation, ending))
    }

    /// Begins its next step, or takes it up. Without an action, and who does its work, only one that had begun can be.
    pub(super) async fn begin<C>(
        &self,
        next: NextStep,
        action: Option<(&Arc<ResolvedAction>, Sort)>,
        payload: RawJson,
    ) -> Result<Begun, Step<C>> {
        if !next.is_noted {
            return Err(Step::Failed);
        }
        if !self.may_go_on() {
            return Err(Step::TooFar);
        }
        if next.may_have_begun
            && let Some(begun) = self.take_up(next.id).await?
        {
            return Ok(begun);
        }
        let Some((action, sort)) = action else { return Err(Step::Failed) };
        let request = self.request(action.clone(), payload, next.id);
        let begun = match sort {
            Sort::Action => {
                let limit = Duration::from_millis(action.executable.limits.timeout.into());
                primitive::begin(&self.controller, request)
                    .map(|(_, ticket)| Begun::Action(ticket, Some(limit.saturating_add(PATIENCE))))
            }
            Sort::Sequence | Sort::Composition if self.is_too_deep() => return Err(Step::TooFar),
            Sort::Sequence => self.open_inside(request, Role::Sequence),
            Sort::Composition => self.open_inside(request, Role::Composition),
        };
        begun.map_err(|rejection| self.not_taken(&rejection))
    }

    fn open_inside(&self, request: Request, role: Role) -> Result<Begun, Rejection> {
        let work = Self::open(&self.controller, request, role)?;
        Ok(Begun::Session(self.inside(work)))
    }

    /// What became of a step that an earlier life of the node noted; `None` if it was never accepted.
    async fn take_up<C>(&self, id: ActivationId) -> Result<Option<Begun>, Step<C>> {
        let invoke = self.controller.invoke.under_way();
        let was_accepted = match invoke.take_up(&id) {
            Ok(Resumed::Action(ticket)) => return Ok(Some(Begun::Action(ticket, None))),
            Ok(Resumed::Session(session, work)) => {
                let work = Self::handed_back(&self.controller, session, work);
                return Ok(Some(Begun::Session(self.inside(work))));
            }
            Ok(Resumed::Ended) => true,
            Ok(Resumed::Elsewhere) => {
                if let Some(end) = invoke.end_of(&id) {
                    return Ok(Some(Begun::Ended(end.await)));
                }
                true
            }
            Ok(Resumed::Unknown) => false,
            Err(rejection) => return Err(self.not_taken(&rejection)),
        };
        let namespace = &self.invocation.identity.namespace.name;
        match self.controller.activations.get(namespace.as_str(), &id).await {
            Ok(None) if was_accepted => Err(Step::Lost(id)),
            Ok(record) => Ok(record.map(Begun::Ended)),
            Err(error) => Err(self.not_taken(&error)),
        }
    }

    /// Waits for the end of an action.
    pub(super) async fn wait<C>(
        id: ActivationId,
        ticket: Ticket,
        most: Option<Duration>,
        counts: C,
    ) -> Step<C> {
        match most {
            None => Step::Ended(ticket.await, counts),
            Some(most) => match tokio::time::timeout(most, ticket).await {
                Ok(record) => Step::Ended(record, counts),
                Err(_) => Step::Late(id),
            },
        }
    }

    /// Runs a sequence or composition in this one. It is waited for to its end, which its own steps bound.
    pub(super) async fn run_inside<C: Send + 'static>(
        &self,
        run: BoxFuture<(Arc<Activation>, C)>,
    ) -> Step<C> {
        // In a task of its own: however deep they lie, the stack does not grow.
        match tokio::spawn(run).await {
            Ok((record, counts)) => Step::Ended(record, counts),
            Err(error) => self.not_taken(&error),
        }
    }

    /// Ends a step because the session is to end.
    pub(super) async fn cancel<C>(&self, id: ActivationId) -> Step<C> {
        let namespace = &self.invocation.identity.namespace.name;
        match self.controller.invoke.under_way().cancel(namespace, &id).await {
            Ok(Cancelled::Ended(_) | Cancelled::NotUnderWay) => {}
            Err(rejection) => {
                tracing::warn!(activation = %id, %rejection, "a step of a cancelled session goes on");
            }
        }
        Step::Cancelled(Some(id))
    }

    /// Counts one more step; false if there were enough. Sequences and compositions begin to count anew in each other:
    /// without an end for all of them together one invocation could go on for ever.
    fn may_go_on(&self) -> bool {
        let most = most_steps(self.controller.config.sequence_length);
        let next = |taken| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    fn is_too_deep(&self) -> bool {
        self.depth >= most_nested(self.controller.config.sequence_length)
    }

    fn request(&self, action: Arc<ResolvedAction>, payload: RawJson, id: ActivationId) -> Request {
        Request {
            id,
            transaction_id: TransactionId::generate(),
            identity: self.invocation.identity.clone(),
            action,
            payload,
            sets_environment: false,
            blocking: true,
            cause: Some(self.id()),
            fire: None,
            arrived: clock::now(),
            durability: self.invocation.durability,
            due: None,
            replay_of: None,
            locked: Default::default(),
            trace_context: self.invocation.trace_context.clone(),
            extra_logging: self.extra_logging,
        }
    }

    fn not_taken<C>(&self, why: &dyn std::fmt::Display) -> Step<C> {
        tracing::warn!(activation = %self.id(), action = %self.invocation.action.name, %why, "a step was not taken");
        Step::Failed
    }
}

/// Takes a step of a session unless somebody wants the session to end; then the step ends, too.
pub(super) async fn unless_cancelled<C>(
    work: &Work,
    cancelled: &mut BoxFuture<()>,
    id: ActivationId,
    step: impl Future<Output = Step<C>>,
) -> Step<C> {
    if cancelled.now_or_never().is_some() {
        return Step::Cancelled(None);
    }
    // The step first: once it is asked, it has begun.
    tokio::select! {
        biased;
        step = step => step,
        () = cancelled => work.cancel(id).await,
    }
}

/// Most sequences and compositions around one, where a sequence has at most so many actions. Compositions cannot lie
/// deeper, as each runs its conductor first.
pub(crate) fn most_nested(sequence_length: u32) -> u32 {
    sequence_length.saturating_mul(2)
}

/// Most steps of everything in one invocation, where a sequence has at most so many actions: enough for a composition
/// all of whose components are the longest sequences, four times; and never few.
fn most_steps(sequence_length: u32) -> u32 {
    sequence_length.saturating_mul(sequence_length).saturating_mul(4).max(1000)
}

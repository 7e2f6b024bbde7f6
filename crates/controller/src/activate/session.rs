//! Work that the controller does itself, between its opening and its record, and the steps that it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chasen_entity::{Activation, ActivationId, Invocation, RawJson, Role, TransactionId};
use chasen_spi::{BoxFuture, Position, Rejection, Session};

use super::ledger::Ending;
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
    extra_logging: bool,
    /// Sequences and compositions around it.
    depth: u32,
    /// Steps that it and all that lies around and inside it have taken.
    taken: Arc<AtomicU32>,
}

/// How a step went; `C` is what is counted.
pub(super) enum Step<C> {
    Ended(Arc<Activation>, C),
    /// It took longer than is waited for, and goes on without anybody.
    Late(ActivationId),
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
        Ok(Self { controller, invocation, session, extra_logging, depth: 0, taken })
    }

    /// Opens one that lies in this one.
    fn open_inside(&self, request: Request, role: Role) -> Result<Self, Rejection> {
        let inside = Self::open(&self.controller, request, role)?;
        Ok(Self { depth: self.depth + 1, taken: self.taken.clone(), ..inside })
    }

    /// What an earlier life of the node accepted.
    pub(super) fn reopened(
        controller: &Arc<Controller>,
        invocation: Arc<Invocation>,
        session: Session,
    ) -> Self {
        let extra_logging = invocation.store.is_always();
        let (controller, taken) = (controller.clone(), Arc::default());
        Self { controller, invocation, session, extra_logging, depth: 0, taken }
    }

    pub(super) fn id(&self) -> ActivationId {
        self.invocation.activation_id
    }

    /// How far the log must be safe before anybody is told that it was accepted.
    pub(super) fn position(&self) -> Position {
        self.session.position()
    }

    /// Notes that the work begins.
    pub(super) fn started(&self) {
        self.session.started();
    }

    /// Writes its record.
    pub(super) fn finish(self, ending: Ending) -> Arc<Activation> {
        let record = record::of_session(&self.invocation, ending);
        self.session.finish(record)
    }

    /// Runs an action as its next step.
    pub(super) async fn run_action<C>(
        &self,
        action: Arc<ResolvedAction>,
        payload: RawJson,
        counts: C,
    ) -> Step<C> {
        if !self.may_go_on() {
            return Step::TooFar;
        }
        let limit = Duration::from_millis(action.executable.limits.timeout.into());
        let (id, ticket) = match primitive::begin(&self.controller, self.request(action, payload)) {
            Ok(begun) => begun,
            Err(rejection) => return self.not_taken(&rejection),
        };
        match tokio::time::timeout(limit.saturating_add(PATIENCE), ticket).await {
            Ok(record) => Step::Ended(record, counts),
            Err(_) => Step::Late(id),
        }
    }

    /// Runs a sequence or composition as its next step. It is waited for to its end, which its own steps bound.
    pub(super) async fn run_session<C: Send + 'static>(
        &self,
        action: Arc<ResolvedAction>,
        role: Role,
        run: impl FnOnce(Self) -> BoxFuture<(Arc<Activation>, C)>,
    ) -> Step<C> {
        if self.depth >= most_nested(self.controller.config.sequence_length) || !self.may_go_on() {
            return Step::TooFar;
        }
        // It is never begun again, so that nobody needs its payload once it has begun.
        let request = self.request(action, RawJson::empty_object());
        let nested = match self.open_inside(request, role) {
            Ok(nested) => nested,
            Err(rejection) => return self.not_taken(&rejection),
        };
        // In a task of its own: however deep they lie, the stack does not grow.
        match tokio::spawn(run(nested)).await {
            Ok((record, counts)) => Step::Ended(record, counts),
            Err(error) => self.not_taken(&error),
        }
    }

    /// Counts one more step; false if there were enough. Sequences and compositions begin to count anew in each other:
    /// without an end for all of them together one invocation could go on for ever.
    fn may_go_on(&self) -> bool {
        let most = most_steps(self.controller.config.sequence_length);
        let next = |taken| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    fn request(&self, action: Arc<ResolvedAction>, payload: RawJson) -> Request {
        Request {
            transaction_id: TransactionId::generate(),
            identity: self.invocation.identity.clone(),
            action,
            payload,
            sets_environment: false,
            blocking: true,
            cause: Some(self.id()),
            arrived: clock::now(),
            trace_context: self.invocation.trace_context.clone(),
            extra_logging: self.extra_logging,
        }
    }

    fn not_taken<C>(&self, why: &dyn std::fmt::Display) -> Step<C> {
        tracing::warn!(activation = %self.id(), action = %self.invocation.action.name, %why, "a step was not taken");
        Step::Failed
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

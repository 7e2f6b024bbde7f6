//! Fires of triggers: the work behind the answer. Every rule reacts for itself, as an ordinary activation of the one who
//! fired; the record of the fire tells what became of each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chasen_entity::action::Texts;
use chasen_entity::exec::Exec;
use chasen_entity::invocation::TRIGGER;
use chasen_entity::{
    ActionLimits, Activation, ActivationId, Delivery, Durability, ExecutableAction, FullyQualifiedName,
    Identity, Invocation, Millis, Outcome, Parameter, Parameters, RawJson, Response, Revision, Role,
    RuleLink, Status, TransactionId, Trigger, error_text,
};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{Position, Privilege, Rejection, Resumed, Session, Sessions};
use chasen_telemetry::task;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};

use super::{Request, admission, note, store_level};
use crate::authenticate::Caller;
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError};
use crate::wire::error::ApiError;

/// Rules of one fire that are looked at together.
const AT_ONCE: usize = 32;

/// A trigger about to be fired.
pub(crate) struct Fire {
    pub(crate) id: ActivationId,
    pub(crate) trigger: Arc<Trigger>,
    pub(crate) revision: Revision,
    /// What the actions get beneath the payload.
    pub(crate) beneath: Parameters,
    /// An object.
    pub(crate) payload: RawJson,
    /// What its events outlive, and those of what its rules start.
    pub(crate) durability: Durability,
    /// When the rules are to react, if not at once; epoch milliseconds.
    pub(crate) due: Option<Millis>,
    /// Who fires; the rules react in this namespace.
    pub(crate) identity: Arc<Identity>,
    pub(crate) transaction_id: TransactionId,
    /// When the request arrived.
    pub(crate) arrived: Millis,
    /// W3C `traceparent`.
    pub(crate) trace_context: Option<String>,
    /// True if the record is wanted whatever the store level says.
    pub(crate) extra_logging: bool,
}

/// A rule and how it reacts to one fire; noted before any of them does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reaction {
    /// `ns/rule`
    rule: String,
    action: FullyQualifiedName,
    /// Id of its activation; `None` for a rule that is inactive.
    id: Option<ActivationId>,
}

/// Begins a fire. From `Ok` on it ends in a record; the rules react in the background. Gives how far the log must be
/// safe before anybody is told.
pub(crate) fn begin(controller: &Arc<Controller>, fire: Fire) -> Result<Position, Rejection> {
    let Fire { id, trigger, revision, beneath, payload, durability, identity, .. } = fire;
    let invocation = Arc::new(Invocation {
        activation_id: id,
        transaction_id: fire.transaction_id,
        role: Role::Fire { beneath },
        action: Arc::new(executable(&trigger, revision)),
        binding: None,
        arguments: payload,
        locked: Default::default(),
        init_parameters: Parameters::new(),
        environment: None,
        blocking: false,
        cause: None,
        fire: None,
        accepted_at: fire.arrived,
        store: store_level(&controller.config, &identity, false, fire.extra_logging),
        delivery: Delivery::AtMostOnce,
        attempt: 1,
        durability,
        due: fire.due,
        replay_of: None,
        epoch: 0,
        trace_context: fire.trace_context,
        identity,
    });
    if invocation.due.is_some() {
        // The rules that there are then react.
        return controller.invoke.schedule(invocation);
    }
    let session = controller.invoke.open(invocation.clone())?;
    let position = session.position();
    let reactions = reactions(&trigger);
    if let Err(error) = session.progress(note::write(&reactions)) {
        // Without it a crash would have the rules react again.
        session.finish(interrupted(&invocation));
        return Err(error.into());
    }
    drop(task::spawn("fire", run(controller.clone(), session, invocation, reactions, false)));
    Ok(position)
}

/// Takes up a fire that the scheduler hands back: every rule reacts that has not reacted yet.
pub(super) async fn resume(controller: &Arc<Controller>, session: Session, work: Unfinished) {
    let Unfinished { invocation, started, progress, .. } = work;
    let noted = match (progress, started) {
        (Some(progress), _) => note::read(&progress).map(|reactions| (reactions, true)),
        (None, Some(_)) => Err("it has no note".to_owned()),
        (None, None) => match controller.entities.trigger(&invocation.action.name).await {
            Ok((trigger, _)) => Ok((reactions(&trigger), false)),
            // What was deleted since then has no rules any more.
            Err(LoadError::Missing | LoadError::WrongType) => Ok((Vec::new(), false)),
            Err(_) => Err("its trigger cannot be read".to_owned()),
        },
    };
    let noted = noted.and_then(|(reactions, may_have_begun)| match may_have_begun {
        true => Ok((reactions, true)),
        false => match session.progress(note::write(&reactions)) {
            Ok(()) => Ok((reactions, false)),
            Err(error) => Err(format!("its note has no room: {error}")),
        },
    });
    match noted {
        Ok((reactions, may_have_begun)) => {
            run(controller.clone(), session, invocation, reactions, may_have_begun).await;
        }
        Err(why) => {
            tracing::warn!(activation = %invocation.activation_id, why, "a fire cannot go on");
            session.finish(interrupted(&invocation));
        }
    }
}

/// The record of a fire whose rules do not react.
fn interrupted(invocation: &Invocation) -> Activation {
    record(invocation, Response::error(Outcome::WhiskError, error_text::INTERRUPTED), Vec::new())
}

/// The parameters of a trigger beneath the payload: an initialisation has no fire to take parameters from, so that they are
/// arguments, all of them.
pub(crate) fn arguments(trigger: &Trigger) -> Parameters {
    let argument = |parameter: &Parameter| Parameter { init: false, ..parameter.clone() };
    trigger.parameters.iter().map(argument).collect()
}

/// How the rules of a trigger react now.
fn reactions(trigger: &Trigger) -> Vec<Reaction> {
    let one = |(rule, link): (&String, &RuleLink)| Reaction {
        rule: rule.clone(),
        action: link.action.clone(),
        id: (link.status == Status::Active).then(ActivationId::generate),
    };
    trigger.rules.iter().flatten().map(one).collect()
}

/// Lets every rule react and writes the record.
async fn run(
    controller: Arc<Controller>,
    session: Session,
    invocation: Arc<Invocation>,
    rules: Vec<Reaction>,
    may_have_begun: bool,
) {
    session.started();
    let arguments = match &invocation.role {
        Role::Fire { beneath } => beneath.arguments(invocation.arguments.clone()),
        _ => invocation.arguments.clone(),
    };
    let usage = controller.throttles.usage_of(&invocation.identity.namespace.uuid);
    let fired = Fired {
        caller: Caller { identity: invocation.identity.clone(), usage },
        controller,
        invocation: &invocation,
        arguments,
        may_have_begun,
    };
    let mut logs = Vec::new();
    let mut reactions = FuturesOrdered::new();
    let mut cancelled = session.cancelled();
    for rule in &rules {
        if (&mut cancelled).now_or_never().is_some() {
            break;
        }
        if reactions.len() >= AT_ONCE {
            logs.extend(reactions.next().await);
            // Other work gets its turn between the rules of a large trigger.
            tokio::task::yield_now().await;
        }
        reactions.push_back(fired.react(rule));
    }
    while let Some(line) = reactions.next().await {
        logs.push(line);
    }
    let response =
        Response { outcome: Outcome::Success, result: Some(invocation.arguments.clone()), size: None };
    session.finish(record(&invocation, response, logs));
}

/// What the rules of one fire react to.
struct Fired<'a> {
    controller: Arc<Controller>,
    caller: Caller,
    invocation: &'a Invocation,
    arguments: RawJson,
    /// True if an earlier life of the node may have begun some reactions.
    may_have_begun: bool,
}

/// A line in the log of a fire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    status_code: Outcome,
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    activation_id: Option<ActivationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// `ns/rule`
    rule: &'a str,
    /// `ns/[package/]action`
    action: String,
}

impl Fired<'_> {
    /// Lets a rule react, and tells what became of it.
    async fn react(&self, reaction: &Reaction) -> String {
        let Reaction { rule, action, id } = reaction;
        let line = |status_code, activation_id, error| {
            let success = status_code == Outcome::Success;
            let action = action.to_string();
            RawJson::from_value(&Line { status_code, success, activation_id, error, rule, action })
        };
        let line = match id {
            None => {
                let text = error_text::rule_inactive(rule, &action.to_string());
                line(Outcome::ApplicationError, None, Some(&text))
            }
            Some(id) => match self.guarded(*id, action).await {
                Ok(()) => line(Outcome::Success, Some(*id), None),
                Err(error) if error.is_server_error() => {
                    if let Some(cause) = error.cause() {
                        let transaction_id = &self.invocation.transaction_id;
                        tracing::warn!(%transaction_id, rule, cause, "a rule could not react");
                    }
                    line(Outcome::WhiskError, None, Some(error.text()))
                }
                Err(error) => line(Outcome::ApplicationError, None, Some(error.text())),
            },
        };
        line.as_str().to_owned()
    }

    /// A defect in one reaction does not take the others with it.
    async fn guarded(&self, id: ActivationId, action: &FullyQualifiedName) -> Result<(), ApiError> {
        let reacted = async {
            match self.may_have_begun && self.has_reacted(id).await? {
                true => Ok(()),
                false => self.activate(id, action).await,
            }
        };
        AssertUnwindSafe(reacted).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(transaction_id = %self.invocation.transaction_id, %action, "a reaction panicked");
            Err(ApiError::internal())
        })
    }

    /// True if an earlier life of the node began this reaction.
    async fn has_reacted(&self, id: ActivationId) -> Result<bool, ApiError> {
        let Self { controller, caller, .. } = self;
        match controller.invoke.under_way().take_up(&id)? {
            // Nobody waits: the work goes on in the background.
            Resumed::Action(ticket) => ticket.detach(),
            Resumed::Session(session, work) => controller.take_up(session, work),
            Resumed::Elsewhere | Resumed::Ended => {}
            Resumed::Unknown => {
                let namespace = &caller.identity.namespace.name;
                return Ok(controller.activations.get(namespace.as_str(), &id).await?.is_some());
            }
        }
        Ok(true)
    }

    /// Begins an activation of this action, as whoever fired.
    async fn activate(&self, id: ActivationId, action: &FullyQualifiedName) -> Result<(), ApiError> {
        let Self { controller, caller, invocation, .. } = self;
        let identity = &caller.identity;
        let now = clock::now();
        let permit = controller.throttles.charge(&caller.usage, &identity.limits, now)?;
        let address = ActionAddress::of(action).ok_or_else(ApiError::not_found)?;
        controller.rights(identity).action(Privilege::Activate, &address).await?.required()?;
        let action = admission::prepare(controller, identity, &address, &self.arguments).await?;
        let request = Request {
            id,
            transaction_id: invocation.transaction_id.clone(),
            identity: identity.clone(),
            action,
            payload: self.arguments.clone(),
            sets_environment: false,
            blocking: false,
            cause: None,
            fire: Some(invocation.activation_id),
            arrived: now,
            durability: invocation.durability,
            due: None,
            replay_of: None,
            locked: Default::default(),
            trace_context: invocation.trace_context.clone(),
            extra_logging: false,
        };
        // Nobody waits: the work goes on in the background.
        admission::start(controller, request, permit).map(drop)
    }
}

/// A trigger in the place of an action.
fn executable(trigger: &Trigger, revision: Revision) -> ExecutableAction {
    ExecutableAction {
        name: trigger.location.qualified(),
        version: trigger.version,
        revision,
        exec: Exec { kind: TRIGGER.to_owned(), ..Exec::default() },
        limits: ActionLimits::default(),
        annotations: Parameters::new(),
        superseded: false,
        texts: Texts::default(),
    }
}

/// Fires have a start and no end.
fn record(invocation: &Invocation, response: Response, logs: Vec<String>) -> Activation {
    let start = invocation.due.unwrap_or(invocation.accepted_at);
    Activation { start, logs, ..Activation::of(invocation, response) }
}

//! Fires of triggers: the work behind the answer. Every rule reacts for itself, as an ordinary activation of the one who
//! fired; the record of the fire tells what became of each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use chasen_entity::action::Texts;
use chasen_entity::exec::Exec;
use chasen_entity::invocation::{Delivery, TRIGGER};
use chasen_entity::{
    ActionLimits, Activation, ActivationId, Durability, ExecutableAction, FullyQualifiedName, Invocation,
    Outcome, Parameters, RawJson, Response, Revision, Role, RuleLink, Status, Trigger, error_text,
};
use chasen_spi::event_log::Unfinished;
use chasen_spi::{Privilege, Rejection, Session};
use chasen_telemetry::task;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;

use super::{Request, admission, store_level};
use crate::authenticate::Caller;
use crate::call::Call;
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError};
use crate::wire::error::ApiError;

/// Rules of one fire that are looked at together.
const AT_ONCE: usize = 32;

/// A trigger about to be fired.
pub(crate) struct Fire {
    pub(crate) trigger: Arc<Trigger>,
    pub(crate) revision: Revision,
    /// What the actions get beneath the payload.
    pub(crate) beneath: Parameters,
    /// An object.
    pub(crate) payload: RawJson,
}

/// Begins a fire. From `Ok` on it ends in a record; the rules react in the background.
pub(crate) fn begin(call: &Call<'_>, fire: Fire) -> Result<ActivationId, Rejection> {
    let Fire { trigger, revision, beneath, payload } = fire;
    let controller = call.controller;
    let identity = call.caller.identity.clone();
    let invocation = Arc::new(Invocation {
        activation_id: ActivationId::generate(),
        transaction_id: call.transaction_id.clone(),
        role: Role::Fire { beneath },
        action: Arc::new(executable(&trigger, revision)),
        binding: None,
        arguments: payload,
        locked: Default::default(),
        init_parameters: Parameters::new(),
        environment: None,
        blocking: false,
        cause: None,
        accepted_at: call.arrived,
        store: store_level(&controller.config, &identity, false, call.extra_logging()),
        delivery: Delivery::AtMostOnce,
        attempt: 1,
        durability: Durability::Memory,
        due: None,
        replay_of: None,
        epoch: 0,
        trace_context: call.trace_context(),
        identity,
    });
    let id = invocation.activation_id;
    let session = controller.invoke.open(invocation.clone())?;
    drop(task::spawn("fire", run(controller.clone(), session, invocation, Some(trigger))));
    Ok(id)
}

/// Takes up a fire of an earlier life of the node. One that began is over: some rules may have reacted.
pub(super) async fn resume(controller: &Arc<Controller>, session: Session, work: Unfinished) {
    let Unfinished { invocation, started, .. } = work;
    let trigger = match (started, controller.entities.trigger(&invocation.action.name).await) {
        (None, Ok((trigger, _))) => Some(trigger),
        // What was deleted since then has no rules any more.
        (None, Err(LoadError::Missing | LoadError::WrongType)) => None,
        (Some(_), _) | (None, Err(_)) => {
            let response = Response::error(Outcome::WhiskError, error_text::INTERRUPTED);
            session.finish(record(&invocation, response, Vec::new()));
            return;
        }
    };
    run(controller.clone(), session, invocation, trigger).await;
}

/// Lets every rule react and writes the record.
async fn run(
    controller: Arc<Controller>,
    session: Session,
    invocation: Arc<Invocation>,
    trigger: Option<Arc<Trigger>>,
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
    };
    let mut logs = Vec::new();
    let mut reactions = FuturesOrdered::new();
    let rules = trigger.as_ref().and_then(|trigger| trigger.rules.as_ref());
    for (rule, link) in rules.into_iter().flatten() {
        if reactions.len() >= AT_ONCE {
            logs.extend(reactions.next().await);
            // Other work gets its turn between the rules of a large trigger.
            tokio::task::yield_now().await;
        }
        reactions.push_back(fired.react(rule, link));
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
    /// Lets a rule (`ns/rule`) react, and tells what became of it.
    async fn react(&self, rule: &str, link: &RuleLink) -> String {
        let line = |status_code, activation_id, error| {
            let success = status_code == Outcome::Success;
            let action = link.action.to_string();
            RawJson::from_value(&Line { status_code, success, activation_id, error, rule, action })
        };
        let line = match link.status {
            Status::Inactive => {
                let text = error_text::rule_inactive(rule, &link.action.to_string());
                line(Outcome::ApplicationError, None, Some(&text))
            }
            Status::Active => match self.guarded(&link.action).await {
                Ok(id) => line(Outcome::Success, Some(id), None),
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
    async fn guarded(&self, action: &FullyQualifiedName) -> Result<ActivationId, ApiError> {
        let activated = AssertUnwindSafe(self.activate(action)).catch_unwind().await;
        activated.unwrap_or_else(|_| {
            tracing::error!(transaction_id = %self.invocation.transaction_id, %action, "a reaction panicked");
            Err(ApiError::internal())
        })
    }

    /// Begins an activation of this action, as whoever fired.
    async fn activate(&self, action: &FullyQualifiedName) -> Result<ActivationId, ApiError> {
        let Self { controller, caller, invocation, .. } = self;
        let identity = &caller.identity;
        let now = clock::now();
        let permit = controller.throttles.charge(&caller.usage, &identity.limits, now)?;
        let address = ActionAddress::of(action).ok_or_else(ApiError::not_found)?;
        controller.rights(identity).action(Privilege::Activate, &address).await?.required()?;
        let action = admission::prepare(controller, identity, &address, &self.arguments).await?;
        let request = Request {
            transaction_id: invocation.transaction_id.clone(),
            identity: identity.clone(),
            action,
            payload: self.arguments.clone(),
            sets_environment: false,
            blocking: false,
            cause: None,
            arrived: now,
            trace_context: invocation.trace_context.clone(),
            extra_logging: false,
        };
        // Nobody waits: the work goes on in the background.
        admission::start(controller, request, permit).map(|(id, _)| id)
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
        texts: Texts::default(),
    }
}

/// Fires have a start and no end.
fn record(invocation: &Invocation, response: Response, logs: Vec<String>) -> Activation {
    Activation { start: invocation.accepted_at, logs, ..Activation::of(invocation, response) }
}

//! Activations: the one way in for everything that runs, whoever asks: the API, web actions, rules, sequences.
//!
//! On the path of an action that is known there is no database, no lock held across a wait, and no second reading of
//! the arguments. The work happens in the task that awaits the ticket; whatever ends the wait, the activation goes on
//! to its record.

pub(crate) mod admission;
mod conductor;
pub(crate) mod death;
pub(crate) mod fire;
mod ledger;
mod note;
mod primitive;
mod record;
mod recovery;
pub(crate) mod repeat;
pub(crate) mod resume;
mod running;
mod sequence;
mod session;
mod sort;
mod switch;

use std::collections::BTreeMap;
use std::sync::Arc;

use chasen_entity::{ActivationId, Durability, Identity, Millis, RawJson, StoreLevel, TransactionId};
use chasen_spi::{Position, Rejection, Ticket};

pub(crate) use self::running::Running;
pub(crate) use self::session::most_nested;
pub(crate) use self::sort::Sort;
pub(crate) use self::switch::Switch;
use crate::config::ControllerConfig;
use crate::controller::Controller;
use crate::entities::ResolvedAction;
use crate::throttle::Permit;
use crate::wire::error::ApiError;

/// One activation to be.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: ActivationId,
    pub(crate) transaction_id: TransactionId,
    /// Who asks; the activation lives in this namespace.
    pub(crate) identity: Arc<Identity>,
    pub(crate) action: Arc<ResolvedAction>,
    /// Arguments of the call: an object, or an array between the components of a sequence.
    pub(crate) payload: RawJson,
    /// True if the payload may set parameters of the environment. It stays with the container, so not where anybody
    /// may call.
    pub(crate) sets_environment: bool,
    pub(crate) blocking: bool,
    /// Sequence or composition that this is a step of.
    pub(crate) cause: Option<ActivationId>,
    /// Fire whose rule asks for it.
    pub(crate) fire: Option<ActivationId>,
    /// When the request arrived, or the step began; epoch milliseconds.
    pub(crate) arrived: Millis,
    /// What its events outlive.
    pub(crate) durability: Durability,
    /// When it is to run, if not at once; epoch milliseconds.
    pub(crate) due: Option<Millis>,
    /// Activation that this one repeats.
    pub(crate) replay_of: Option<ActivationId>,
    /// Algorithms that values of `payload` are locked with already, by key.
    pub(crate) locked: BTreeMap<String, String>,
    /// W3C `traceparent`.
    pub(crate) trace_context: Option<String>,
    /// True if the record is wanted whatever the store level says.
    pub(crate) extra_logging: bool,
}

/// Begins an activation. From `Ok` on it ends in a record.
pub(crate) fn begin(
    controller: &Arc<Controller>,
    request: Request,
) -> Result<(ActivationId, Ticket), Rejection> {
    match Sort::of(&request.action) {
        Sort::Action => primitive::begin(controller, request),
        Sort::Sequence => sequence::begin(controller, request),
        Sort::Composition => conductor::begin(controller, request),
    }
}

/// What the events of an activation outlive: what its namespace or the platform says, or more if the request asks.
pub(crate) fn durability(
    config: &ControllerConfig,
    identity: &Identity,
    blocking: bool,
    asked: Option<Durability>,
) -> Durability {
    let usual = if blocking { config.durability_blocking } else { config.durability_non_blocking };
    identity.limits.durability.unwrap_or(usual).max(asked.unwrap_or_default())
}

/// Begins what is due, and has the scheduler keep what is not, which holds no place among those in flight. Gives how far
/// the log must be safe before anybody is told, and what runs already.
pub(crate) fn begin_or_schedule(
    controller: &Arc<Controller>,
    request: Request,
    permit: Permit,
) -> Result<(Position, Option<Running>), ApiError> {
    if request.due.is_some() {
        return Ok((primitive::schedule(controller, request)?, None));
    }
    let (_, running) = admission::start(controller, request, permit)?;
    Ok((running.position(), Some(running)))
}

/// Which ends of an activation leave a record.
pub(crate) fn store_level(
    config: &ControllerConfig,
    identity: &Identity,
    blocking: bool,
    extra: bool,
) -> StoreLevel {
    match (identity.limits.store_activations, extra) {
        (Some(false), _) => StoreLevel::StoreNever,
        (_, true) => StoreLevel::StoreAlways,
        (_, false) if blocking => config.store_blocking,
        (_, false) => config.store_non_blocking,
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::{AuthKey, EntityName, Namespace, Subject, UserLimits};

    use super::*;

    #[test]
    fn the_namespace_wins_over_the_request_and_the_request_over_the_level() {
        let config = ControllerConfig {
            store_blocking: StoreLevel::StoreFailures,
            store_non_blocking: StoreLevel::StoreFailuresNotApplicationErrors,
            ..ControllerConfig::default()
        };
        let identity = |store_activations| Identity {
            subject: Subject::new("guest").unwrap(),
            namespace: Namespace { name: EntityName::new("guest").unwrap(), uuid: "id".into() },
            auth_key: AuthKey { uuid: "id".into(), key: "k".into() },
            limits: UserLimits { store_activations, ..UserLimits::default() },
        };
        for (own, blocking, extra, level) in [
            (None, true, false, StoreLevel::StoreFailures),
            (Some(true), false, false, StoreLevel::StoreFailuresNotApplicationErrors),
            (None, true, true, StoreLevel::StoreAlways),
            (Some(false), true, true, StoreLevel::StoreNever),
        ] {
            assert_eq!(store_level(&config, &identity(own), blocking, extra), level);
        }
    }
}

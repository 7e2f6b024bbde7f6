//! Namespaces: the one of the caller, and what it may do.

use chasen_entity::limits::Range;
use chasen_entity::{LimitBounds, UserLimits};
use chasen_spi::Privilege;
use serde_json::Value;

use super::info::UNLIMITED;
use crate::call::Call;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// `GET …/namespaces`
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    call.success(&[call.own()])
}

/// `GET …/namespaces/{ns}/limits`: those of the caller, with the system's filled in.
pub(crate) async fn limits(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, "limits", &namespace).await?.required()?;
    let controller = call.controller;
    let own = &call.caller.identity.limits;
    let rates = controller.throttles.rates();
    let bounds = bounds_for(own, controller.config.limit_bounds);
    let concurrent = controller.throttles.concurrency(own).unwrap_or(UNLIMITED);
    let or_unlimited = |own: Option<u32>, system: Option<u32>| Some(own.or(system).unwrap_or(UNLIMITED));
    let filled = UserLimits {
        invocations_per_minute: or_unlimited(own.invocations_per_minute, rates.invocations_per_minute),
        concurrent_invocations: Some(concurrent),
        fires_per_minute: or_unlimited(own.fires_per_minute, rates.fires_per_minute),
        min_action_memory: Some(bounds.memory.min),
        max_action_memory: Some(bounds.memory.max),
        min_action_logs: Some(bounds.logs.min),
        max_action_logs: Some(bounds.logs.max),
        min_action_timeout: Some(bounds.timeout.min),
        max_action_timeout: Some(bounds.timeout.max),
        min_action_concurrency: Some(bounds.concurrency.min),
        max_action_concurrency: Some(bounds.concurrency.max),
        max_action_instances: Some(own.max_action_instances.unwrap_or(concurrent)),
        ..own.clone()
    };
    let mut document = serde_json::to_value(&filled).map_err(|_| ApiError::internal())?;
    if let Value::Object(fields) = &mut document {
        let system = format!("{} B", controller.config.max_parameters.as_bytes());
        fields.entry("maxParameterSize").or_insert(Value::String(system));
    }
    call.success(&document)
}

/// The bounds of a namespace: its own ones within the system's.
pub(crate) fn bounds_for(own: &UserLimits, system: LimitBounds) -> LimitBounds {
    let within = |min: Option<u32>, max: Option<u32>, system: Range| Range {
        min: min.map_or(system.min, |min| min.max(system.min)),
        max: max.map_or(system.max, |max| max.min(system.max)),
    };
    LimitBounds {
        timeout: within(own.min_action_timeout, own.max_action_timeout, system.timeout),
        memory: within(own.min_action_memory, own.max_action_memory, system.memory),
        logs: within(own.min_action_logs, own.max_action_logs, system.logs),
        concurrency: within(own.min_action_concurrency, own.max_action_concurrency, system.concurrency),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_only_narrow_its_bounds() {
        let own = UserLimits {
            max_action_memory: Some(256),
            min_action_memory: Some(1),
            max_action_timeout: Some(900_000),
            ..UserLimits::default()
        };
        let bounds = bounds_for(&own, LimitBounds::default());
        assert_eq!((bounds.memory.min, bounds.memory.max, bounds.timeout.max), (128, 256, 300_000));
    }
}

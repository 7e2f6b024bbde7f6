//! Namespaces: the one of the caller, and what it may do.

use chasen_entity::UserLimits;
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
    let bounds = own.bounds(controller.config.limit_bounds);
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
        max_action_instances: Some(controller.throttles.instances(own).unwrap_or(UNLIMITED)),
        ..own.clone()
    };
    let mut document = serde_json::to_value(&filled).map_err(|_| ApiError::internal())?;
    if let Value::Object(fields) = &mut document {
        let system = format!("{} B", controller.config.max_parameters.as_bytes());
        let own = own.max_parameter_size.filter(|own| *own <= controller.config.max_parameters);
        fields
            .insert("maxParameterSize".to_owned(), Value::String(own.map_or(system, |own| own.to_string())));
    }
    call.success(&document)
}

//! How the node is: its invokers, what runs, and whether it takes new work.

use std::collections::BTreeSet;

use chasen_entity::{ByteSize, EntityName};
use chasen_spi::{InvokerState, NodeView};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::call::AdminCall;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// `GET /invokers`
pub(super) fn invokers(call: &AdminCall<'_>) -> Reply {
    let invokers = call.admin.status.invokers().into_iter();
    let states: Map<String, Value> = invokers.map(|(name, state)| (name, state.as_str().into())).collect();
    call.success(&states)
}

/// `GET /nodes`: what the invokers' nodes have. Memory is in MB, pressure in percent.
pub(super) fn nodes(call: &AdminCall<'_>) -> Reply {
    let nodes = call.admin.status.nodes().into_iter();
    let nodes: Map<String, Value> = nodes.map(|(name, view)| (name, shown(&view))).collect();
    call.success(&nodes)
}

fn shown(view: &NodeView) -> Value {
    let names = |names: &BTreeSet<EntityName>| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let stem = |(kind, memory): &(String, ByteSize)| json!({ "kind": kind, "memory": memory.as_mb() });
    json!({
        "state": view.state.as_str(),
        "memory": view.memory.as_mb(),
        "free": view.free.as_mb(),
        "idle": view.idle.as_mb(),
        "waiting": view.waiting,
        "cpuPressure": (view.cpu_pressure * 10.0).round() / 10.0,
        "labels": view.labels,
        "dedicatedNamespaces": names(&view.dedicated),
        "stemCells": view.stems.iter().map(stem).collect::<Vec<_>>(),
        "images": view.images,
    })
}

/// `GET /invokers/healthy/count`
pub(super) fn healthy_count(call: &AdminCall<'_>) -> Reply {
    call.success(&healthy(call).0)
}

/// `GET /invokers/ready`: all of them must be well, and there must be one. Work that callers wait for is taken even where
/// other work is refused because of the disk, which is said beside.
pub(super) fn ready(call: &AdminCall<'_>) -> Reply {
    let (up, all) = healthy(call);
    let share = format!("{up}/{all}");
    let (status, word) = match up == all && all > 0 {
        true => (StatusCode::OK, "healthy"),
        false => (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy"),
    };
    let mut told = Map::from_iter([(word.to_owned(), Value::from(share))]);
    told.extend(call.admin.status.refusal().map(|why| ("refuses".to_owned(), Value::from(why))));
    call.answer(status, &told)
}

/// `GET /activation`
pub(super) async fn activations(call: &AdminCall<'_>) -> Result<Reply, ApiError> {
    let status = call.admin.status.clone();
    let running =
        tokio::task::spawn_blocking(move || status.activations()).await.map_err(|_| ApiError::internal())?;
    Ok(call.success(&running))
}

/// `GET /activation/count`
pub(super) fn activation_count(call: &AdminCall<'_>) -> Reply {
    call.success(&call.admin.status.activation_count())
}

/// `POST /disable`: new work is refused, what runs goes on.
pub(super) fn disable(call: &AdminCall<'_>) -> Reply {
    call.controller.invoke.set_enabled(false);
    tracing::warn!("an operator disabled the controller: it takes no new invocations");
    call.text("controller is disabled")
}

/// `POST /enable`: the opposite.
pub(super) fn enable(call: &AdminCall<'_>) -> Reply {
    call.controller.invoke.set_enabled(true);
    tracing::warn!("an operator enabled the controller: it takes invocations");
    call.text("controller is enabled")
}

fn healthy(call: &AdminCall<'_>) -> (usize, usize) {
    let invokers = call.admin.status.invokers();
    let up = invokers.iter().filter(|(_, state)| *state == InvokerState::Up).count();
    (up, invokers.len())
}

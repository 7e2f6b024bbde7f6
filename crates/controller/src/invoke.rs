//! Invoking an action: charge, read, resolve, hand over, wait.
//!
//! On the path of an action that is known there is no database, no lock held across a wait, and no second reading of
//! the arguments. The wait happens in the task of the request; whatever ends it, the activation goes on to its record.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chasen_entity::json::JsonType;
use chasen_entity::{Activation, ActivationId, Invocation, Outcome, Parameters, RawJson, error_text};
use chasen_spi::Ticket;
use http::StatusCode;
use serde::Serialize;

use crate::action_cache::ResolvedAction;
use crate::api::actions;
use crate::body::RequestBody;
use crate::call::{ActionAddress, Call};
use crate::error::ApiError;
use crate::reply::Reply;
use crate::throttle::Permit;
use crate::{clock, entitle, media};

/// Longest `traceparent` that is taken over.
const MAX_TRACE_CONTEXT: usize = 128;

/// `POST …/actions/{name}`
pub(crate) async fn invoke(
    call: &Call<'_>,
    address: ActionAddress,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    let controller = call.controller;
    let caller = &call.caller;
    let permit = controller.throttles.charge(&caller.usage, &caller.identity.limits, call.arrived)?;
    entitle::read_action(call, &address)?;
    let own = caller.identity.limits.max_payload_size;
    let allowed = own.map_or(controller.config.max_payload, |own| own.min(controller.config.max_payload));
    let absent = body.is_absent();
    let body = body.read(controller, allowed).await?.within(allowed)?;
    let options = Options::read(call)?;
    let request = arguments(call, &body, absent)?;
    drop(body);
    if let Some(package) = &address.package {
        return Err(entitle::no_package(call, &address.namespace, package, ApiError::not_found()).await);
    }
    let action = actions::resolve(call, &address).await?;
    check(&action, &request)?;
    let invocation = invocation(call, &action, request, options.blocking);
    let id = invocation.activation_id;
    let running = Running { ticket: Some(controller.invoke.invoke(invocation)?), permit: Some(permit) };
    if !options.blocking {
        drop(running);
        return accepted(call, id);
    }
    match tokio::time::timeout(options.wait, running).await {
        Ok(record) => finished(call, &record, options.result_only),
        Err(_) => accepted(call, id),
    }
}

/// What the query asks for.
struct Options {
    blocking: bool,
    result_only: bool,
    wait: Duration,
}

impl Options {
    fn read(call: &Call<'_>) -> Result<Self, ApiError> {
        let longest = clock::millis(call.controller.config.max_blocking_wait);
        let blocking = call.query.flag("blocking", false)?;
        let result_only = call.query.flag("result", false)?;
        let text = |_: &str| error_text::timeout_range(longest);
        let wait = match call.query.parse::<u64>("timeout", text)? {
            None => longest,
            Some(millis) if (1..=longest).contains(&millis) => millis,
            Some(_) => return Err(ApiError::query("timeout", &text(""))),
        };
        Ok(Self { blocking, result_only, wait: Duration::from_millis(wait) })
    }
}

/// The arguments that a request brings: an object, or nothing.
fn arguments(call: &Call<'_>, body: &[u8], absent: bool) -> Result<RawJson, ApiError> {
    media::require_json(call.headers, absent)?;
    if body.is_empty() {
        return Ok(RawJson::empty_object());
    }
    let value = RawJson::parse(body).map_err(|error| ApiError::malformed(error.to_string()))?;
    if value.json_type() == JsonType::Object {
        Ok(value)
    } else {
        Err(ApiError::malformed("JSON object expected"))
    }
}

/// What keeps an action from being invoked with these arguments.
fn check(action: &ResolvedAction, request: &RawJson) -> Result<(), ApiError> {
    if action.deprecated {
        return Err(ApiError::bad_request(error_text::deprecated_kind(&action.executable.exec.kind)));
    }
    if action.finals.is_empty() {
        return Ok(());
    }
    let entries = request.entries().unwrap_or_default();
    if entries.iter().any(|(key, _)| action.finals.contains(&**key)) {
        return Err(ApiError::bad_request(error_text::FINAL_PARAMETERS));
    }
    Ok(())
}

fn invocation(call: &Call<'_>, action: &ResolvedAction, request: RawJson, blocking: bool) -> Invocation {
    let trace = call.headers.get("traceparent").and_then(|value| value.to_str().ok());
    Invocation {
        activation_id: ActivationId::generate(),
        transaction_id: call.transaction_id.clone(),
        identity: call.caller.identity.clone(),
        action: action.executable.clone(),
        binding: None,
        init_parameters: if action.has_init {
            action.parameters.environment(&request)
        } else {
            Parameters::new()
        },
        arguments: action.parameters.arguments(request),
        blocking,
        cause: None,
        accepted_at: call.arrived,
        delivery: action.delivery,
        attempt: 1,
        epoch: 0,
        trace_context: trace.filter(|trace| trace.len() <= MAX_TRACE_CONTEXT).map(str::to_owned),
    }
}

/// An activation under way and its place among those in flight. Dropped early, both go on in the background.
struct Running {
    ticket: Option<Ticket>,
    permit: Option<Permit>,
}

impl Future for Running {
    type Output = Arc<Activation>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.ticket.as_mut() else { return Poll::Pending };
        let poll = Pin::new(ticket).poll(cx);
        if poll.is_ready() {
            self.ticket = None;
            self.permit = None;
        }
        poll
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        let permit = self.permit.take();
        // Outside a runtime nothing can run any more: the process is ending, and recovery takes over.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                ticket.await;
                drop(permit);
            });
        }
    }
}

/// 202: the id alone.
fn accepted(call: &Call<'_>, id: ActivationId) -> Result<Reply, ApiError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Accepted {
        activation_id: ActivationId,
    }
    let reply = call.answer(StatusCode::ACCEPTED, &Accepted { activation_id: id })?;
    Ok(reply.with_activation_id(id))
}

/// The record of a blocking call, or its result; a result that is an array always goes alone.
fn finished(call: &Call<'_>, record: &Activation, result_only: bool) -> Result<Reply, ApiError> {
    let status = match record.response.outcome {
        Outcome::Success => StatusCode::OK,
        Outcome::ApplicationError | Outcome::DeveloperError => StatusCode::BAD_GATEWAY,
        Outcome::WhiskError => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let reply = match &record.response.result {
        Some(result) if result_only || result.json_type() == JsonType::Array => {
            call.answer(status, result)?
        }
        None if result_only => call.answer(status, &RawJson::empty_object())?,
        _ => call.answer(status, &record.api_without_logs())?,
    };
    Ok(reply.with_activation_id(record.activation_id))
}

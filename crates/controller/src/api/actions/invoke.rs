//! Invoking an action: charge, read, resolve, begin, wait.

use std::time::Duration;

use chasen_entity::json::JsonType;
use chasen_entity::{Activation, Outcome, RawJson, TimeoutStatus, error_text};
use chasen_spi::Privilege;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::activate::{Sort, admission};
use crate::call::Call;
use crate::clock;
use crate::entities::ActionAddress;
use crate::wire::body::{self, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Header that says what a call is answered that does not end in time.
const TIMEOUT_STATUS: HeaderName = HeaderName::from_static("x-chasen-timeout-status");
/// The same as people write it.
const TIMEOUT_STATUS_SHOWN: &str = "X-Chasen-Timeout-Status";

/// `POST …/actions/{name}`
pub(crate) async fn invoke(
    call: &Call<'_>,
    address: ActionAddress,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    let controller = call.controller;
    let caller = &call.caller;
    let permit = controller.throttles.charge(&caller.usage, &caller.identity.limits, call.arrived)?;
    call.rights().action(Privilege::Activate, &address).await?.required()?;
    let allowed = controller.config.max_payload_of(&caller.identity.limits);
    let absent = body.is_absent();
    let payload = body.read(controller, call.upload(), allowed).await?.within(allowed)?;
    let options = Options::read(call)?;
    let payload = body::payload(call.headers, &payload, absent)?;
    let action = admission::prepare(controller, &caller.identity, &address, &payload).await?;
    // The logs of an action are collected after its answer; those of a session are the ids of its steps.
    let with_logs = Sort::of(&action) != Sort::Action;
    let request = call.activation(action, payload, options.blocking);
    let (id, running) = admission::start(controller, request, permit)?;
    if !options.blocking {
        drop(running);
        return call.accepted(id);
    }
    match tokio::time::timeout(options.wait, running).await {
        Ok(record) => finished(call, &record, options.result_only, with_logs),
        Err(_) => match options.timeout_status {
            TimeoutStatus::Accepted => call.accepted(id),
            TimeoutStatus::GatewayTimeout => Err(ApiError::not_ended(id, clock::millis(options.wait))),
        },
    }
}

/// How the call is to be answered.
struct Options {
    blocking: bool,
    result_only: bool,
    wait: Duration,
    timeout_status: TimeoutStatus,
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
        let asked = timeout_status(call.headers)?;
        let usual = call.caller.identity.limits.blocking_timeout_status;
        let timeout_status = asked.or(usual).unwrap_or_default();
        Ok(Self { blocking, result_only, wait: Duration::from_millis(wait), timeout_status })
    }
}

/// Reads the header. What stands there several times is a list, as in every header, and no list is a status.
fn timeout_status(headers: &HeaderMap) -> Result<Option<TimeoutStatus>, ApiError> {
    let values: Vec<_> = headers.get_all(TIMEOUT_STATUS).iter().map(HeaderValue::as_bytes).collect();
    if values.is_empty() {
        return Ok(None);
    }
    let list = values.join(&b", "[..]);
    let text = String::from_utf8_lossy(&list);
    // As it is written, and in no other way: `0504` is a mistake.
    let known = [TimeoutStatus::Accepted, TimeoutStatus::GatewayTimeout];
    let asked = known.into_iter().find(|status| u16::from(*status).to_string() == text);
    asked.map(Some).ok_or_else(|| ApiError::header(TIMEOUT_STATUS_SHOWN, &error_text::timeout_status(&text)))
}

/// The record of a blocking call, or its result; a result that is an array always goes alone.
fn finished(
    call: &Call<'_>,
    record: &Activation,
    result_only: bool,
    with_logs: bool,
) -> Result<Reply, ApiError> {
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
        _ if with_logs => call.answer(status, &record.api())?,
        _ => call.answer(status, &record.api_without_logs())?,
    };
    Ok(reply.with_activation_id(record.activation_id))
}

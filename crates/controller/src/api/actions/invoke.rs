//! Invoking an action: charge, read, resolve, begin, wait.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::json::JsonType;
use chasen_entity::{Activation, ActivationId, Durability, Outcome, RawJson, TimeoutStatus, error_text};
use chasen_spi::{BoxFuture, Privilege};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::activate::{self, admission, repeat};
use crate::api::wishes;
use crate::call::Call;
use crate::clock;
use crate::entities::ActionAddress;
use crate::keys::{self, Earlier, Known};
use crate::throttle::Permit;
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
    let limits = &call.caller.identity.limits;
    // Whoever asks again under a key is told what was done, and pays nothing for it: the body is looked at first.
    let is_keyed = wishes::has_key(call.headers);
    let admitted = if is_keyed { None } else { Some(admit(call, &address).await?) };
    let allowed = controller.config.max_payload_of(limits);
    let absent = body.is_absent();
    let payload = body.read(controller, call.upload(), allowed).await?.within(allowed)?;
    let options = Options::read(call)?;
    let payload = body::payload(call.headers, &payload, absent)?;
    let what = || format!("action {}", address.qualified());
    let key = match keys::look(call, what, payload.as_str()).await? {
        Known::New(key) => key,
        Known::Earlier(id, earlier) => return again(call, id, earlier, &options).await,
    };
    let permit = match admitted {
        Some(permit) => permit,
        None => admit(call, &address).await?,
    };
    let due = wishes::due(call, options.blocking)?;
    let action = admission::prepare(controller, &call.caller.identity, &address, &payload).await?;
    let durability = call.durability(options.blocking, due, options.durability);
    let usual = call.activation(action, payload, options.blocking);
    let request = activate::Request { durability, due, ..usual };
    if !is_keyed && options.blocking {
        let id = request.id;
        let (_, running) = admission::start(controller, request, permit)?;
        return wait(call, id, running, durability, &options).await;
    }
    let (controller, blocking) = (controller.clone(), options.blocking);
    let accept = move |id| {
        let request = activate::Request { id, ..request };
        let (position, running) = activate::begin_or_schedule(&controller, request, permit)?;
        // What nobody waits for goes on in the background.
        Ok((position, running.filter(|_| blocking)))
    };
    match keys::accept(call, key, durability, accept).await? {
        (id, Some(running)) => wait(call, id, running, durability, &options).await,
        (id, None) => call.accepted(id),
    }
}

/// Charges the call, and asks whether the caller may invoke the action.
async fn admit(call: &Call<'_>, address: &ActionAddress) -> Result<Permit, ApiError> {
    let permit = repeat::charge(call)?;
    call.rights().action(Privilege::Activate, address).await?.required()?;
    Ok(permit)
}

/// Answers with the activation that an earlier request with the same key asked for.
async fn again(
    call: &Call<'_>,
    id: ActivationId,
    earlier: Earlier,
    options: &Options,
) -> Result<Reply, ApiError> {
    let end: BoxFuture<Arc<Activation>> = match earlier {
        Earlier::UnderWay(end) if options.blocking => end,
        Earlier::Ended(record) if options.blocking => Box::pin(std::future::ready(record)),
        _ => return call.accepted(id),
    };
    let durability = call.durability(options.blocking, None, options.durability);
    wait(call, id, end, durability, options).await
}

/// Waits for the record as long as the call wants to, and until that is as safe as the call is to be.
async fn wait(
    call: &Call<'_>,
    id: ActivationId,
    end: impl Future<Output = Arc<Activation>>,
    durability: Durability,
    options: &Options,
) -> Result<Reply, ApiError> {
    let end = admission::kept(call.controller, id, durability, end);
    match tokio::time::timeout(options.wait, end).await {
        Ok(record) => finished(call, record?.as_ref(), options.result_only),
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
    durability: Option<Durability>,
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
        let durability = wishes::durability(call.headers)?;
        let wait = Duration::from_millis(wait);
        Ok(Self { blocking, result_only, wait, timeout_status, durability })
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
        // The logs of an action are collected after its answer; those of a session are the ids of its steps.
        _ if record.is_session() => call.answer(status, &record.api())?,
        _ => call.answer(status, &record.api_without_logs())?,
    };
    Ok(reply.with_activation_id(record.activation_id))
}

//! Invoking an action: charge, read, resolve, begin, wait.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::json::JsonType;
use chasen_entity::{Activation, Durability, Millis, Outcome, RawJson, TimeoutStatus, error_text};
use chasen_spi::{BoxFuture, Position, Privilege};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::activate::{self, Running, Sort, admission};
use crate::api::wishes;
use crate::call::Call;
use crate::clock;
use crate::controller::Controller;
use crate::entities::ActionAddress;
use crate::keys::{Earlier, Keyed, Once};
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
    let durability = call.durability(options.blocking, options.durability);
    let keyed = wishes::key(call.headers)?.map(|key| {
        let what = format!("action {}", address.qualified());
        Keyed::new(call, key, &what, payload.as_str(), durability)
    });
    let usual = call.activation(action, payload, options.blocking);
    let request = activate::Request { durability, due: options.due, ..usual };
    let (id, running) = match keyed {
        None => {
            let id = request.id;
            let (position, running) = accept(controller, request, permit)?;
            let Some(running) = told_of(running, options.blocking) else {
                admission::committed(controller, id, durability, position).await?;
                return call.accepted(id);
            };
            (id, running)
        }
        Some(keyed) => {
            let (controller, blocking) = (controller.clone(), options.blocking);
            let accept = move |id| {
                let (position, running) = accept(&controller, activate::Request { id, ..request }, permit)?;
                Ok((position, told_of(running, blocking)))
            };
            match keyed.once(call, accept).await? {
                Once::New(id, Some(running)) => (id, running),
                Once::New(id, None) => return call.accepted(id),
                Once::Earlier(id, earlier) => match earlier {
                    Earlier::UnderWay(end) if options.blocking => (id, end),
                    Earlier::Ended(record) if options.blocking => {
                        return finished(call, &record, options.result_only, with_logs);
                    }
                    _ => return call.accepted(id),
                },
            }
        }
    };
    match tokio::time::timeout(options.wait, running).await {
        Ok(record) => finished(call, &record, options.result_only, with_logs),
        Err(_) => match options.timeout_status {
            TimeoutStatus::Accepted => call.accepted(id),
            TimeoutStatus::GatewayTimeout => Err(ApiError::not_ended(id, clock::millis(options.wait))),
        },
    }
}

/// Begins what is due, and has the scheduler keep what is not. Gives how far the log must be safe before anybody is told,
/// and what runs already.
fn accept(
    controller: &Arc<Controller>,
    request: activate::Request,
    permit: Permit,
) -> Result<(Position, Option<Running>), ApiError> {
    if request.due.is_some() {
        return Ok((activate::schedule(controller, request)?, None));
    }
    let (_, running) = admission::start(controller, request, permit)?;
    Ok((running.position(), Some(running)))
}

/// What a blocking call waits for; everything else goes on in the background from here.
fn told_of(running: Option<Running>, blocking: bool) -> Option<BoxFuture<Arc<Activation>>> {
    running.filter(|_| blocking).map(|running| Box::pin(running) as BoxFuture<_>)
}

/// How the call is to be answered.
struct Options {
    blocking: bool,
    result_only: bool,
    wait: Duration,
    timeout_status: TimeoutStatus,
    durability: Option<Durability>,
    due: Option<Millis>,
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
        let due = wishes::due(call, blocking)?;
        let wait = Duration::from_millis(wait);
        Ok(Self { blocking, result_only, wait, timeout_status, durability, due })
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

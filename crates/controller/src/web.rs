//! Web actions: any HTTP request runs an action in the name of its namespace, and the result is the answer.
//!
//! `POST /api/v1/web/guest/shop/order.json/x?y=1` runs `/guest/shop/order`. Whoever calls, the activation is charged
//! to, recorded in and paid for by the namespace in the path. The order of the checks is part of the contract.

mod address;
mod answer;
mod arguments;
mod cors;
mod export;
mod form;
mod media_type;
mod message;
mod transcode;
mod vanity;

use std::net::IpAddr;
use std::sync::Arc;

use chasen_entity::{RawJson, TransactionId, error_text};
use chasen_spi::Privilege;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use self::address::Extension;
pub(crate) use self::address::WebAddress;
use self::answer::Answer;
use self::arguments::WebRequest;
use self::export::Export;
pub(crate) use self::vanity::path;
use crate::activate::{self, admission};
use crate::aside;
use crate::authenticate::{Caller, has_key};
use crate::call::Call;
use crate::clock;
use crate::controller::Controller;
use crate::entities::{ActionAddress, LoadError, ResolvedAction};
use crate::throttle::Permit;
use crate::wire::body::RequestBody;
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::reply::{ACTIVATION_ID, Reply};

/// Any method on `/api/v1/web/{namespace}/{package}/{action}`.
pub(crate) async fn serve(
    controller: &Arc<Controller>,
    head: &Parts,
    address: WebAddress<'_>,
    body: RequestBody<'_>,
    transaction_id: &TransactionId,
) -> Result<Reply, ApiError> {
    let arrived = clock::now();
    let visitor = visitor(controller, &head.headers, body.peer()).await.map_err(ApiError::in_web)?;
    let caller = owner(controller, &address).await.map_err(ApiError::in_web)?;
    let query = Query(head.uri.query().unwrap_or_default());
    // The request goes on as a call of the namespace's owner, whoever sent it.
    let call = &Call { controller, transaction_id, arrived, headers: &head.headers, query, caller };
    let (place, action, export) = find(call, address.action).await.map_err(ApiError::in_web)?;
    let permit = admit(call, &place).await.map_err(ApiError::in_web)?;

    let allowed = controller.config.max_payload_of(&call.caller.identity.limits);
    if body.announced() > allowed.as_bytes() {
        return Err(ApiError::too_large("Request", body.announced(), allowed.as_bytes()).in_web());
    }
    let cors = if export.custom_options { HeaderMap::new() } else { cors::headers(call.headers) };
    let told = |error: ApiError| error.in_web().with_web_headers(cors.clone());
    match head.method {
        Method::OPTIONS if !export.custom_options => return Ok(Reply::empty(StatusCode::OK).extended(cors)),
        Method::OPTIONS => {}
        _ if export.admits(call.headers, visitor.is_some()) => {}
        _ => return Err(told(ApiError::refusal(StatusCode::UNAUTHORIZED, error_text::NOT_AUTHENTICATED))),
    }
    let bytes = body.read(controller, call.upload(), allowed).await.and_then(|body| body.within(allowed));
    let bytes = bytes.map_err(ApiError::in_web)?;
    let request = WebRequest {
        method: &head.method,
        headers: call.headers,
        path: address.rest,
        query: call.query.0,
        body: &bytes,
        user: visitor.as_ref().map(|visitor| visitor.identity.namespace.name.as_str()),
    };
    let arguments = if export.raw { Ok(request.raw_arguments()) } else { request.arguments(&action.finals) };
    let arguments = arguments.map_err(told)?;
    drop(bytes);
    run(call, Run { action, arguments, permit, extension: address.extension, cors }).await
}

/// Who calls, if its credentials are good; without them a web action is called by nobody in particular. Credentials
/// that could be a key of the platform are a guess like any other; an action may have its own ones.
async fn visitor(
    controller: &Controller,
    headers: &HeaderMap,
    peer: IpAddr,
) -> Result<Option<Caller>, ApiError> {
    let begun = Instant::now();
    match controller.identities.authenticate(headers, &controller.throttles).await {
        Ok(caller) => Ok(Some(caller)),
        Err(error) if error.is_unauthorized() => {
            if error.is_wrong_guess() && has_key(headers) {
                controller.guesses.hold_back(peer, headers, begun).await;
            }
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Who answers for the namespace.
async fn owner(controller: &Controller, address: &WebAddress<'_>) -> Result<Caller, ApiError> {
    let name = address.namespace.as_str();
    let owner = controller.identities.of_namespace(name, &controller.throttles).await?;
    owner.ok_or_else(ApiError::not_found)
}

/// The action at an address, if it is exported. Why it cannot be found is nobody's business on the web.
async fn find(
    call: &Call<'_>,
    address: Option<ActionAddress>,
) -> Result<(ActionAddress, Arc<ResolvedAction>, Export), ApiError> {
    let address = address.ok_or_else(ApiError::not_found)?;
    let action = match call.controller.entities.resolve_action(&address).await {
        Ok(action) => action,
        Err(LoadError::Store(error)) => return Err(error.into()),
        Err(LoadError::Corrupt(what, why)) => {
            tracing::warn!(transaction_id = %call.transaction_id, what, why, "a web action is unreadable");
            return Err(ApiError::not_found());
        }
        Err(_) => return Err(ApiError::not_found()),
    };
    let export = Export::of(&action.executable.annotations).ok_or_else(ApiError::not_found)?;
    Ok((address, action, export))
}

/// Charges the owner, who must be allowed to invoke the action.
async fn admit(call: &Call<'_>, address: &ActionAddress) -> Result<Permit, ApiError> {
    let Caller { identity, usage } = &call.caller;
    let permit = call.controller.throttles.charge(usage, &identity.limits, call.arrived)?;
    call.rights().action(Privilege::Activate, address).await?.required()?;
    Ok(permit)
}

/// What is to be run, and how it is to be answered.
struct Run {
    action: Arc<ResolvedAction>,
    arguments: RawJson,
    permit: Permit,
    extension: Extension,
    cors: HeaderMap,
}

/// Runs the action, once, and makes its result the answer.
async fn run(call: &Call<'_>, run: Run) -> Result<Reply, ApiError> {
    let Run { action, arguments, permit, extension, cors } = run;
    let controller = call.controller;
    let told = |error: ApiError| error.in_web().with_web_headers(cors.clone());
    admission::require_components(controller, &call.caller.identity, &action).await.map_err(told)?;
    admission::require_runnable(&action).map_err(told)?;
    let request = activate::Request { sets_environment: false, ..call.activation(action, arguments, true) };
    let durability = request.durability;
    let (id, running) = admission::start(controller, request, permit).map_err(told)?;
    let ended = admission::kept(controller, id, durability, running);
    let mut headers = cors.clone();
    headers.extend(HeaderValue::try_from(id.to_string()).map(|id| (ACTIVATION_ID, id)));
    let answer = match tokio::time::timeout(controller.config.max_blocking_wait, ended).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(record)) => {
            let length = record.response.result.as_ref().map_or(0, |result| result.as_str().len());
            aside::compute(length, move || transcode::answer(&record.response, extension)).await.flatten()
        }
        Err(_) => Err(ApiError::refusal(StatusCode::ACCEPTED, error_text::RESPONSE_NOT_READY)),
    };
    match answer {
        Ok(answer) => Ok(written(answer.negotiated(call.headers)?, headers)),
        Err(error) => Err(error.in_web().with_web_headers(headers)),
    }
}

/// The answer, its own headers beside the platform's.
fn written(answer: Answer, platform: HeaderMap) -> Reply {
    let Answer { status, headers, content } = answer;
    let reply = match content {
        Some(content) => Reply::whole(status, content.label, content.body),
        None => Reply::empty(status),
    };
    reply.extended(platform).extended(headers)
}

//! Every text that clients match on, in one place. Wire texts are exact; our own diagnostics do not belong here.

mod admin;
mod compositions;
mod durable;
pub mod network;
mod packages;
mod rules;
pub mod runtime;
mod web;

use crate::ByteSize;

pub use admin::*;
pub use compositions::*;
pub use durable::*;
pub use packages::*;
pub use rules::*;
pub use web::*;

/// 401: no credentials, another scheme, undecodable or empty value.
pub const NO_CREDENTIALS: &str =
    "The resource requires authentication, which was not supplied with the request";
/// 401: unknown key, wrong length, no colon.
pub const BAD_CREDENTIALS: &str = "The supplied authentication is invalid";
/// 404: no route, or wrong method below `/api/v1`.
pub const NO_ROUTE: &str = "The requested resource could not be found.";
/// 404: missing entity.
pub const NOT_FOUND: &str = "The requested resource does not exist.";
/// 409: create of something that exists.
pub const EXISTS: &str = "resource already exists";
/// 409: stale revision.
pub const CONFLICT: &str = "Concurrent modification to resource detected.";
/// 400: whoever is to be told of dead letters is no trigger.
pub const BAD_DEAD_LETTER_TRIGGER: &str = "The annotation 'dead-letter-trigger' must name a trigger: NAME, which lies in the namespace of the caller, or /NAMESPACE/NAME.";
/// 503: the store of keys does not answer.
pub const KEY_NOT_KNOWN: &str = "It cannot be told at the moment whether the Idempotency-Key was used before, and nothing was begun now. Try again later with the same key.";
/// 409: two requests would each do what only one may.
pub const LETTER_IN_HAND: &str = "Another request tries this dead letter again or drops it at the moment. Look for it again before trying again.";
/// 409: id exists but is another entity type.
pub const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";
/// 500: unreadable document.
pub const CORRUPT: &str = "Resource is corrupted and cannot be read.";
/// 500 default.
pub const INTERNAL: &str = "There was an internal server error.";
/// 503 default.
pub const UNAVAILABLE: &str =
    "The server is currently unavailable (because it is overloaded or down for maintenance).";
/// 503: bounded queues are full.
pub const OVERLOADED: &str = "System is overloaded, try again later.";
/// 400, text/plain: whole HTTP entity over its bound.
pub const REQUEST_TOO_LARGE: &str = "Request too large";
/// 408: the body did not arrive in time.
pub const REQUEST_TIMEOUT: &str = "The server timed out waiting for the request.";
/// 501, text/plain: a method that HTTP does not know.
pub const UNKNOWN_METHOD: &str = "Unsupported HTTP method";
/// 501, text/plain: a transfer coding that is not `chunked` by itself.
pub const UNKNOWN_TRANSFER_CODING: &str = "The only transfer coding that is understood is 'chunked'";
/// 400, text/plain: HTTP/1.1 without `Host`, with several, or with another one than the target's.
pub const HOST_UNCLEAR: &str =
    "A request must have one 'Host' header, and the host of its target must be the same";
/// 400: create without exec.
pub const EXEC_UNDEFINED: &str = "exec undefined";
/// 400: invocation sets a parameter that the action declares final.
pub const FINAL_PARAMETERS: &str =
    "Request defines parameters that are not allowed (e.g., reserved properties).";
/// 400: well-formed but non-hex activation id.
pub const ACTIVATION_ID_ILLEGAL: &str = "The activation id is not valid.";
/// 400: illegal namespace segment.
pub const NAMESPACE_ILLEGAL: &str = "The namespace contains illegal characters.";
/// 400: illegal entity segment.
pub const NAME_ILLEGAL: &str = "The name of the entity contains illegal characters.";
/// 400: a fully qualified name of fewer than two segments.
pub const NAME_NOT_QUALIFIED: &str = "requirement failed: The fully qualified name of the entity must contain at least the namespace and the name of the entity.";
/// 400: `docs=true` with `count=true`.
pub const DOCS_WITH_COUNT: &str = "The parameter 'docs' is not permitted with 'count'.";
/// 400: size string.
pub const SIZE_UNIT: &str =
    "Size Unit not supported. Only \"B\", \"K[B]\", \"M[B]\" and \"G[B]\" are supported.";
/// 400: limits sub-resource.
pub const LIMITS_INNER_ROUTE: &str = "Inner entity level routes for limits are not yet implemented.";
/// First line of every body that does not deserialize.
pub const MALFORMED_CONTENT: &str = "The request content was malformed:\n";

/// Result of an activation whose sandbox died without an answer.
pub const RUN_EXITED: &str = "The action did not produce a valid response and exited unexpectedly.";
/// Result of an activation whose initialisation died without an answer.
pub const INIT_EXITED: &str = "The action did not initialize and exited unexpectedly.";
/// Result of an activation whose sandbox ran out of memory.
pub const OUT_OF_MEMORY: &str = "The action exhausted its memory and was aborted.";
/// Result when no sandbox could be started.
pub const NOT_PROVISIONED: &str = "Failed to provision resources to run the action.";
/// Result when no node that is up serves the namespace and runs the kind.
pub const NO_INVOKER: &str = "no available invoker is found";
/// Result when none of the nodes that might run it is as large as the action's memory.
pub const NO_INVOKER_LARGE_ENOUGH: &str = "invoker(s) have not enough resources";
/// Result when the action vanished between acceptance and start.
pub const ACTION_GONE: &str = "Action could not be found or may have been deleted.";
/// Result when the action could not be read at start.
pub const ACTION_NOT_FETCHED: &str = "Action could not be fetched.";
/// Result when the platform has no key for a locked parameter, or the key does not fit.
pub const NOT_UNLOCKED: &str = "Failed to unlock parameters.";
/// Result of work that was started but whose end the platform did not see.
pub const INTERRUPTED: &str = "The activation was interrupted before its result was known.";

/// Result of work that waited and whose namespace may not run anything by now.
pub const BLACKLISTED: &str = "The action was not invoked due to a blacklisted namespace.";

/// Result of work that was ended because somebody wanted it to.
pub const CANCELLED: &str = "The activation was cancelled.";

/// Last log line after a developer error.
pub const LOGS_AFTER_DEVELOPER_ERROR: &str =
    "The action did not initialize or run as expected. Log data might be missing.";

/// Last log line when a log is not whole: its end was not seen, or those in one container printed too much together.
pub const LOGS_INCOMPLETE: &str = "There was an issue while collecting your logs. Data might be missing.";

/// Last log line when the log limit was reached.
#[must_use]
pub fn logs_truncated(limit_bytes: u64) -> String {
    format!("Logs were truncated because the total bytes size exceeds the limit of {limit_bytes} bytes.")
}

/// 400: activation id of the wrong length.
#[must_use]
pub fn activation_id_length(length: usize) -> String {
    format!("Activation id length is {length} but must be 32.")
}

/// 403 that names what was refused.
#[must_use]
pub fn not_authorized_for(resource: &str) -> String {
    format!("The supplied authentication is not authorized to access '{resource}'.")
}

/// 403: a kind that the namespace may not use.
#[must_use]
pub fn kind_not_allowed(kind: &str) -> String {
    format!("The supplied authentication is not authorized to access actions of kind '{kind}'.")
}

/// 400: namespace segment over the longest name. Lengths in characters.
#[must_use]
pub fn namespace_too_long(is: usize, allowed: usize) -> String {
    format!("Namespace longer than allowed: {is} > {allowed}.")
}

/// 400: any other segment over the longest name, in the spelling that clients know. Lengths in characters.
#[must_use]
pub fn segment_too_long(is: usize, allowed: usize) -> String {
    format!("Name segement longer than allowed: {is} > {allowed}.")
}

/// 400: more containers for one action than its namespace may have in flight.
#[must_use]
pub fn too_many_instances(allowed: u32) -> String {
    format!("Max action instance concurrency must not exceed your namespace concurrency of {allowed}.")
}

/// 404 that names a package.
#[must_use]
pub fn not_found_named(resource: &str) -> String {
    format!("The requested resource '{resource}' does not exist.")
}

/// 413: a field over its bound.
#[must_use]
pub fn larger_than_allowed(field: &str, is: u64, allowed: u64) -> String {
    format!("{field} larger than allowed: {is} > {allowed} bytes.")
}

/// 415.
#[must_use]
pub fn unsupported_content_type(is: &str) -> String {
    format!("The request's Content-Type [{is}] is not supported. Expected:\napplication/json")
}

/// 414, text/plain. The bound is in characters.
#[must_use]
pub fn uri_too_long(allowed: usize) -> String {
    format!("URI length exceeds the configured limit of {allowed} characters")
}

/// 405 outside `/api/v1`.
#[must_use]
pub fn method_not_allowed(allowed: &str) -> String {
    format!("HTTP method not allowed, supported methods: {allowed}")
}

/// 400: query value.
#[must_use]
pub fn bad_query(name: &str, reason: &str) -> String {
    format!("The query parameter '{name}' was malformed:\n{reason}")
}

/// 400: header value.
#[must_use]
pub fn bad_header(name: &str, reason: &str) -> String {
    format!("The value of HTTP header '{name}' was malformed:\n{reason}")
}

/// 400: boolean query value; goes through [`bad_query`].
#[must_use]
pub fn not_boolean(value: &str) -> String {
    format!("'{value}' is not a valid Boolean value")
}

/// 400: blocking wait out of range; goes through [`bad_query`].
#[must_use]
pub fn timeout_range(max_millis: u64) -> String {
    format!("Timeout must be number of milliseconds up to {max_millis}.")
}

/// 400: a status that no late call is answered with.
#[must_use]
pub fn timeout_status(value: &str) -> String {
    format!("'{value}' is not one of 202 and 504.")
}

/// 504: a blocking call whose activation has not ended in time.
#[must_use]
pub fn not_ended(waited_millis: u64) -> String {
    format!(
        "The activation has not ended within {waited_millis} milliseconds. It goes on; ask for its record by its id."
    )
}

/// 400: list page size.
#[must_use]
pub fn list_limit_range(value: &str, max: u64, collection: &str) -> String {
    format!("The value '{value}' is not in the range of 0 to {max} for {collection}.")
}

/// 400: negative skip.
#[must_use]
pub fn list_skip_range(value: &str, collection: &str) -> String {
    format!("The value '{value}' is not greater than or equal to 0 for {collection}.")
}

/// 400: list value that is no integer.
#[must_use]
pub fn list_not_integer(value: &str, collection: &str) -> String {
    format!("The value '{value}' is not an integer for {collection}.")
}

/// 400: `since` and `upto`.
#[must_use]
pub fn bad_epoch(value: &str) -> String {
    format!("Parameter is not a valid value for epoch seconds: {value}")
}

/// 400: `name` filter of the activation list.
#[must_use]
pub fn bad_name_filter(value: &str) -> String {
    format!("Parameter may be a 'simple' name or 'package-name/simple' name: {value}")
}

/// 400: unknown kind at create.
#[must_use]
pub fn unknown_kind(kind: &str, valid: &[String]) -> String {
    let valid = valid.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
    format!("The specified runtime '{kind}' is not supported by this platform. Valid values are: {valid}.")
}

/// 400: deprecated kind at update or invoke.
#[must_use]
pub fn deprecated_kind(kind: &str) -> String {
    format!(
        "The '{kind}' runtime is no longer supported. You may read and delete but not update or invoke this action."
    )
}

/// 400: an action of a kind that the platform had once.
#[must_use]
pub fn unsupported_kind(kind: &str) -> String {
    format!(
        "The '{kind}' runtime is not supported by this platform. You may read and delete but not invoke this action."
    )
}

/// 429: requests per minute.
#[must_use]
pub fn too_many_requests(count: u64, allowed: u64) -> String {
    format!("Too many requests in the last minute (count: {count}, allowed: {allowed}).")
}

/// 429: requests in flight.
#[must_use]
pub fn too_many_concurrent(count: u64, allowed: u64) -> String {
    format!("Too many concurrent requests in flight (count: {count}, allowed: {allowed}).")
}

/// 429: work that is not due yet.
#[must_use]
pub fn too_many_pending(count: u64, allowed: u64) -> String {
    format!(
        "Too many scheduled activations are pending (count: {count}, allowed: {allowed}); try again when some have run, or cancel some."
    )
}

/// Reason of a 400: annotation `delivery`. `value` is the JSON text that was given.
#[must_use]
pub fn unknown_delivery(value: &str) -> String {
    format!("{value} is not a delivery; there are at-most-once, at-least-once.")
}

/// Reason of a 400: annotation `max-attempts`. `value` is the JSON text that was given.
#[must_use]
pub fn bad_max_attempts(value: &str, most: u32) -> String {
    format!("{value} is not a number of attempts; it must be an integer from 1 to {most}.")
}

/// Result of a run over its time limit.
#[must_use]
pub fn run_timed_out(limit_millis: u64) -> String {
    format!("The action exceeded its time limits of {limit_millis} milliseconds.")
}

/// Result of an initialisation over its time limit.
#[must_use]
pub fn init_timed_out(limit_millis: u64) -> String {
    format!("The action exceeded its time limits of {limit_millis} milliseconds during initialization.")
}

/// Log line of an activation in which a process was ended for want of memory.
#[must_use]
pub fn memory_ran_out(limit_mb: u32, peak: Option<ByteSize>) -> String {
    const MB: u64 = 1 << 20;
    let peak = peak.map(|peak| format!(", peak {} MB", peak.as_bytes().saturating_add(MB / 2) / MB));
    let peak = peak.unwrap_or_default();
    format!("Memory ran out and a process of the action was ended: limit {limit_mb} MB{peak}.")
}

/// Result whose text is over the payload bound.
#[must_use]
pub fn result_truncated(is: u64, allowed: u64, kept: &str) -> String {
    format!(
        "The action produced a response that exceeded the allowed length: {is} > {allowed} bytes. The truncated response was: {kept}"
    )
}

/// Result of a run whose answer is no JSON object or array.
#[must_use]
pub fn invalid_run_response(raw: &str) -> String {
    with_detail("The action did not produce a valid JSON or JSON Array response", raw)
}

/// Result of an initialisation that was refused without an `error`.
#[must_use]
pub fn invalid_init_response(raw: &str) -> String {
    with_detail("The action failed during initialization", raw)
}

/// Result of an action whose image cannot be had.
#[must_use]
pub fn image_not_pulled(image: &str) -> String {
    format!("Failed to pull container image '{image}'.")
}

/// Result of an action whose image has nothing to execute.
#[must_use]
pub fn not_executable_in_image(image: &str) -> String {
    format!("executable file not found in image {image}")
}

/// Result of an action of a kind that this node advertises but cannot run.
#[must_use]
pub fn kind_not_runnable(kind: &str, missing: &str) -> String {
    format!("The '{kind}' runtime is not installed on this node: {missing}")
}

fn with_detail(text: &str, raw: &str) -> String {
    if raw.is_empty() { format!("{text}.") } else { format!("{text}: {raw}") }
}

/// Result when no node has all the labels that the action asks for.
#[must_use]
pub fn no_invoker_with(labels: &[String]) -> String {
    format!("no available invoker with the resources is found: {}", labels.join(", "))
}

/// 400: an action asks to be scheduled by something that is no policy.
#[must_use]
pub fn unknown_policy(value: &str, known: &[&str]) -> String {
    format!("{value} is not a scheduling policy; there are {}.", known.join(", "))
}

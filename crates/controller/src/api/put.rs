//! Bodies of PUT requests: what those of every collection have in common, read in the order of the API.

use bytes::Bytes;
use chasen_entity::{Identity, Manifest, Parameters, Version};
use chasen_spi::parameter_lock::of_client;
use serde_json::value::RawValue;

use super::actions::{ExecRules, NewExec};
use crate::aside;
use crate::call::Call;
use crate::config::ControllerConfig;
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::media;

/// Longest part of a refused value that an error repeats, in characters.
const ECHO: usize = 256;

/// Fields that every collection knows. `exec` is checked in all of them and means something for actions only.
pub(crate) struct PutBody {
    pub(crate) exec: Option<NewExec>,
    pub(crate) parameters: Option<Parameters>,
    pub(crate) annotations: Option<Parameters>,
    pub(crate) version: Option<Version>,
    pub(crate) publish: Option<bool>,
}

/// Receives a body and reads it: the sized fields, their sizes, then everything else, a collection's `own` fields
/// included.
pub(crate) async fn receive<T: Send + 'static>(
    call: &Call<'_>,
    body: RequestBody<'_>,
    own: impl FnOnce(&Fields<'_>) -> Result<T, ApiError> + Send + 'static,
) -> Result<(PutBody, T), ApiError> {
    media::require_json(call.headers, body.is_absent())?;
    let max_entity = call.controller.config.max_entity;
    let body: Bytes = body.read(call.controller, call.upload(), max_entity).await?.within(max_entity)?;
    let length = body.len();
    let (controller, identity) = (call.controller.clone(), call.caller.identity.clone());
    let read = move || {
        let fields = Fields::of_body(&body, "exec")?;
        let manifest = controller.runtimes.manifest();
        let mut common = PutBody::read(&fields, &controller.config, &identity, &manifest)?;
        let lock = &*controller.parameter_lock;
        common.parameters = common.parameters.map(|parameters| of_client(lock, parameters));
        Ok((common, own(&fields)?))
    };
    aside::compute(length, read).await?
}

impl PutBody {
    fn read(
        fields: &Fields<'_>,
        config: &ControllerConfig,
        identity: &Identity,
        manifest: &Manifest,
    ) -> Result<Self, ApiError> {
        let own = &identity.namespace.name;
        let rules = ExecRules { manifest, own, sequence_length: config.sequence_length };
        let exec = field(fields, "exec", |value| NewExec::read(value, &rules))?;
        let allowed = config.max_parameters_of(&identity.limits).as_bytes();
        let (parameters, parameters_size) = sized_parameters(fields, "parameters", allowed)?;
        let (annotations, annotations_size) = sized_parameters(fields, "annotations", allowed)?;
        within("exec", exec.as_ref().map_or(0, NewExec::size), config.max_exec.as_bytes())?;
        within("parameters", parameters_size, allowed)?;
        within("annotations", annotations_size, allowed)?;
        let version = field(fields, "version", |value| {
            serde_json::from_str(value.get()).map_err(|_| "semantic version malformed".to_owned())
        })?;
        let publish = field(fields, "publish", |value| {
            serde_json::from_str(value.get())
                .map_err(|_| format!("Expected JsBoolean, but got {}", excerpt(value)))
        })?;
        Ok(Self { exec, parameters, annotations, version, publish })
    }
}

/// Reads a field that may be left out. The error of `read` is the reason for the client.
pub(crate) fn field<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl FnOnce(&RawValue) -> Result<T, String>,
) -> Result<Option<T>, ApiError> {
    fields.optional(name).map(read).transpose().map_err(ApiError::malformed)
}

/// The beginning of a value, for an error about it.
pub(crate) fn excerpt(value: &RawValue) -> String {
    value.get().chars().take(ECHO).collect()
}

/// Parameters and their size. What is larger than allowed is measured, not read.
fn sized_parameters(
    fields: &Fields<'_>,
    name: &str,
    allowed: u64,
) -> Result<(Option<Parameters>, u64), ApiError> {
    let size = fields.optional(name).and_then(|value| Parameters::size_of(value.get())).unwrap_or_default();
    if size > allowed {
        return Ok((None, size));
    }
    let read =
        |value: &RawValue| serde_json::from_str(value.get()).map_err(|_| "parameters malformed!".to_owned());
    Ok((field(fields, name, read)?, size))
}

fn within(name: &str, is: u64, allowed: u64) -> Result<(), ApiError> {
    if is > allowed { Err(ApiError::too_large(name, is, allowed)) } else { Ok(()) }
}

//! Creating and updating an action: reading the request, merging it into what is there, storing both halves.

use bytes::Bytes;
use chasen_entity::exec::is_binary_code;
use chasen_entity::limits::LimitsUpdate;
use chasen_entity::{
    Action, ActionLimits, Exec, Location, Millis, Parameters, UserLimits, Version, error_text,
};
use chasen_spi::Privilege;
use http::StatusCode;
use serde_json::value::RawValue;

use super::exec::NewExec;
use super::{answer, read_code, room, writable};
use crate::api::namespaces::bounds_for;
use crate::call::Call;
use crate::controller::Controller;
use crate::entities::{ActionAddress, Batch, optional};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::media;
use crate::wire::reply::Reply;
use crate::{aside, clock};

const EXEC: &str = "exec";
const PROVIDE_API_KEY: &str = "provide-api-key";
/// Longest part of a refused value that an error repeats, in characters.
const ECHO: usize = 256;

/// `PUT …/actions/{name}`
pub(crate) async fn put(
    call: &Call<'_>,
    address: ActionAddress,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().action(Privilege::Put, &address).await?.required()?;
    media::require_json(call.headers, body.is_absent())?;
    let max_entity = call.controller.config.max_entity;
    let body = body.read(call.controller, max_entity).await?.within(max_entity)?;
    let length = body.len();
    let (controller, identity) = (call.controller.clone(), call.caller.identity.clone());
    let read = move || Update::read(&controller, &identity.limits, &body);
    let update = aside::compute(length, read).await??;
    let overwrite = call.query.flag("overwrite", false)?;
    update.check(call)?;
    writable(call, &address).await?;
    let found = optional(call.controller.entities.load::<Action>(&address.qualified()).await)?;
    if found.is_some() && !overwrite {
        return Err(ApiError::conflict(error_text::EXISTS));
    }
    let (old, revision) = found.map(|stored| (stored.entity, stored.revision)).unzip();
    let (mut action, code) = update.apply(&address, old, clock::now())?;
    refuse_deprecated(call, &action.exec.kind)?;
    let code = match (code, &action.exec.code) {
        (Some(code), _) => {
            action.exec.code = Some(call.controller.attachments.put(code.clone()).await?);
            Some(code)
        }
        (None, Some(kept)) => Some(read_code(call, &address, kept).await?),
        (None, None) => None,
    };
    let held = room(call, code.as_ref())?;
    let batch = Batch::default().put(&action, revision.unwrap_or(0))?;
    batch.commit(call.controller).await?;
    answer(call, action, code, None, held).await
}

fn refuse_deprecated(call: &Call<'_>, kind: &str) -> Result<(), ApiError> {
    match call.controller.runtimes.manifest().resolve(kind) {
        Some(runtime) if runtime.deprecated => Err(ApiError::bad_request(error_text::deprecated_kind(kind))),
        _ => Ok(()),
    }
}

/// The body of a request, read.
struct Update {
    exec: Option<NewExec>,
    parameters: Option<Parameters>,
    annotations: Option<Parameters>,
    limits: LimitsUpdate,
    version: Option<Version>,
    publish: Option<bool>,
    removed_annotations: Vec<String>,
}

impl Update {
    /// Reads a body in the order of the API: the sized fields, their sizes, everything else.
    fn read(controller: &Controller, own: &UserLimits, body: &[u8]) -> Result<Self, ApiError> {
        let fields = Fields::of_body(body, EXEC)?;
        let manifest = controller.runtimes.manifest();
        let exec = fields.optional(EXEC).map(|value| NewExec::read(value, &manifest)).transpose();
        let exec = exec.map_err(ApiError::malformed)?;
        let config = &controller.config;
        let max_parameters = config.max_parameters_of(own).as_bytes();
        let (parameters, parameters_size) = read_parameters(&fields, "parameters", max_parameters)?;
        let (annotations, annotations_size) = read_parameters(&fields, "annotations", max_parameters)?;
        within(EXEC, exec.as_ref().map_or(0, NewExec::size), config.max_exec.as_bytes())?;
        within("parameters", parameters_size, max_parameters)?;
        within("annotations", annotations_size, max_parameters)?;

        Ok(Self {
            exec,
            parameters,
            annotations,
            limits: read_field(&fields, "limits", |value| {
                let value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
                LimitsUpdate::parse(&value)
            })?
            .unwrap_or_default(),
            version: read_field(&fields, "version", |value| {
                serde_json::from_str(value.get()).map_err(|_| "semantic version malformed".to_owned())
            })?,
            publish: read_field(&fields, "publish", |value| {
                serde_json::from_str(value.get())
                    .map_err(|_| format!("Expected JsBoolean, but got {}", excerpt(value)))
            })?,
            removed_annotations: read_field(&fields, "delAnnotations", read_names)?.unwrap_or_default(),
        })
    }

    /// What the namespace may not have.
    fn check(&self, call: &Call<'_>) -> Result<(), ApiError> {
        let own = &call.caller.identity.limits;
        if let (Some(exec), Some(allowed)) = (&self.exec, &own.allowed_kinds)
            && !allowed.is_empty()
            && !allowed.contains(&exec.kind)
        {
            return Err(ApiError::refusal(StatusCode::FORBIDDEN, error_text::kind_not_allowed(&exec.kind)));
        }
        if let Some(text) = self.limits.violation(&bounds_for(own, call.controller.config.limit_bounds)) {
            return Err(ApiError::bad_request(text));
        }
        match (self.limits.instances, call.controller.throttles.concurrency(own)) {
            (Some(instances), Some(allowed)) if instances > allowed.into() => {
                Err(ApiError::bad_request(error_text::too_many_instances(allowed)))
            }
            _ => Ok(()),
        }
    }

    /// The action after this request, and its code if the request brought some.
    fn apply(
        self,
        address: &ActionAddress,
        old: Option<Action>,
        now: Millis,
    ) -> Result<(Action, Option<Bytes>), ApiError> {
        let exec = self.exec.map(NewExec::split);
        let (mut action, code) = match (old, exec) {
            (Some(old), exec) => {
                let (exec, code) = exec.unwrap_or((old.exec, None));
                let mut action = Action { exec, version: old.version.next_patch(), ..old };
                action.annotations.remove(&self.removed_annotations);
                (action, code)
            }
            (None, Some((exec, code))) => (blank(address, exec), code),
            (None, None) => return Err(ApiError::bad_request(error_text::EXEC_UNDEFINED)),
        };
        if let Some(parameters) = self.parameters {
            action.parameters = parameters;
        }
        if let Some(annotations) = self.annotations {
            action.annotations = action.annotations.merged_with(annotations);
        }
        action.annotations.set(EXEC, &action.exec.kind);
        action.limits = self.limits.apply(action.limits);
        action.version = self.version.unwrap_or(action.version);
        action.publish = self.publish.unwrap_or(action.publish);
        action.updated = now;
        Ok((action, code))
    }
}

/// A new action before anything of the request but its `exec`. Its functions get no key unless it asks for one.
fn blank(address: &ActionAddress, exec: Exec) -> Action {
    let mut annotations = Parameters::new();
    annotations.set(PROVIDE_API_KEY, &false);
    Action {
        location: Location { namespace: address.path(), name: address.name.clone() },
        exec,
        parameters: Parameters::new(),
        limits: ActionLimits::default(),
        version: Version::default(),
        publish: false,
        annotations,
        updated: 0,
    }
}

impl NewExec {
    /// The stored form, still without its code, and the text of the code.
    fn split(self) -> (Exec, Option<Bytes>) {
        let binary = self.code.as_deref().is_some_and(is_binary_code);
        let exec = Exec { kind: self.kind, binary, main: self.main, image: self.image, ..Exec::default() };
        (exec, self.code.map(Bytes::from))
    }
}

/// Parameters and their size. What is larger than allowed is measured, not read.
fn read_parameters(
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
    Ok((read_field(fields, name, read)?, size))
}

fn read_field<T>(
    fields: &Fields<'_>,
    name: &str,
    read: impl Fn(&RawValue) -> Result<T, String>,
) -> Result<Option<T>, ApiError> {
    fields.optional(name).map(read).transpose().map_err(ApiError::malformed)
}

fn read_names(value: &RawValue) -> Result<Vec<String>, String> {
    let names: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| format!("Expected Array as JsArray, but got {}", excerpt(value)))?;
    let name = |value: &&RawValue| {
        serde_json::from_str(value.get())
            .map_err(|_| format!("Expected String as JsString, but got {}", excerpt(value)))
    };
    names.iter().map(name).collect()
}

fn within(field: &str, is: u64, allowed: u64) -> Result<(), ApiError> {
    if is > allowed { Err(ApiError::too_large(field, is, allowed)) } else { Ok(()) }
}

fn excerpt(value: &RawValue) -> String {
    value.get().chars().take(ECHO).collect()
}

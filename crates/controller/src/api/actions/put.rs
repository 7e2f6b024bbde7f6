//! Creating and updating an action: reading the request, merging it into what is there, storing both halves.

use bytes::Bytes;
use chasen_entity::exec::{SEQUENCE, is_binary_code};
use chasen_entity::limits::LimitsUpdate;
use chasen_entity::{
    Action, ActionLimits, Delivery, Exec, FullyQualifiedName, Location, Manifest, Millis, NetworkPolicy,
    Parameters, SchedulingPolicy, Version, error_text, max_attempts,
};
use chasen_spi::Privilege;
use http::StatusCode;
use serde_json::value::RawValue;

use super::exec::{NewExec, unknown_kind};
use super::{answer, read_code, room, sequence, writable};
use crate::activate::death;
use crate::api::parameters;
use crate::api::put::{self, PutBody};
use crate::call::Call;
use crate::clock;
use crate::entities::{ActionAddress, Batch, KindState, optional};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

const EXEC: &str = "exec";
const PROVIDE_API_KEY: &str = "provide-api-key";

/// `PUT …/actions/{name}`
pub(crate) async fn put(
    call: &Call<'_>,
    address: ActionAddress,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().action(Privilege::Put, &address).await?.required()?;
    let (common, own) = put::receive(call, body, Own::read).await?;
    let update = Update { common, own };
    let overwrite = call.query.flag("overwrite", false)?;
    update.check(call)?;
    let components = update.components().map(<[_]>::to_vec);
    if let Some(components) = &components {
        sequence::require_readable(call, components).await?;
    }
    let passage = writable(call, &address).await?;
    let found = optional(call.controller.entities.load::<Action>(&address.qualified()).await)?;
    if found.is_some() && !overwrite {
        return Err(ApiError::conflict(error_text::EXISTS));
    }
    if let Some(components) = &components {
        sequence::require_shape(call, &address, components).await?;
    }
    let (old, revision) = found.map(|stored| (stored.entity, stored.revision)).unzip();
    let versions = match &old {
        Some(old) => {
            let most = call.caller.identity.limits.kept_versions.unwrap_or(0);
            call.controller.entities.versions_after(old, revision.unwrap_or(0), most).await?
        }
        None => Vec::new(),
    };
    let (mut action, code) =
        update.apply(&address, old, call.controller.config.default_limits, clock::now())?;
    require_kind(&action, &call.controller.runtimes.manifest())?;
    let code = match (code, &action.exec.code) {
        (Some(code), _) => {
            action.exec.code = Some(call.controller.attachments.put(code.clone()).await?);
            Some(code)
        }
        (None, Some(kept)) => Some(read_code(call, &address, kept).await?),
        (None, None) => None,
    };
    let held = room(call, code.as_ref())?;
    let parameters = parameters::lock(call, action.parameters.clone()).await?;
    let stored = Action { parameters, ..action.clone() };
    let batch = Batch::default().versions(versions).put(&stored, revision.unwrap_or(0))?.behind(passage);
    batch.commit(call.controller).await?;
    answer(call, action, code, None, held).await
}

/// Refuses an action of a kind that the platform runs no more, be it that only its exec stays as it was.
fn require_kind(action: &Action, manifest: &Manifest) -> Result<(), ApiError> {
    let kind = &action.exec.kind;
    match KindState::of(action, manifest) {
        KindState::Runs => Ok(()),
        KindState::Deprecated => Err(ApiError::bad_request(error_text::deprecated_kind(kind))),
        KindState::Removed => Err(ApiError::malformed(unknown_kind(kind, manifest))),
    }
}

/// The body of a request, read.
struct Update {
    common: PutBody,
    own: Own,
}

/// Fields that only actions know.
struct Own {
    limits: LimitsUpdate,
    removed_annotations: Vec<String>,
}

impl Own {
    fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let limits = put::field(fields, "limits", |value| {
            let value = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
            LimitsUpdate::parse(&value)
        })?;
        let removed_annotations = put::field(fields, "delAnnotations", read_names)?;
        Ok(Self {
            limits: limits.unwrap_or_default(),
            removed_annotations: removed_annotations.unwrap_or_default(),
        })
    }
}

impl Update {
    /// The components of a sequence to be.
    fn components(&self) -> Option<&[FullyQualifiedName]> {
        let exec = self.common.exec.as_ref().filter(|exec| exec.kind == SEQUENCE)?;
        Some(&exec.components)
    }

    /// What the namespace may not have.
    fn check(&self, call: &Call<'_>) -> Result<(), ApiError> {
        let own = &call.caller.identity.limits;
        let config = &call.controller.config;
        if let Some(NewExec { kind, .. }) = &self.common.exec
            && !config.allows_kind(own, kind)
        {
            return Err(ApiError::refusal(StatusCode::FORBIDDEN, error_text::kind_not_allowed(kind)));
        }
        let limits = &self.own.limits;
        if let Some(text) = limits.violation(&own.bounds(config.limit_bounds)) {
            return Err(ApiError::bad_request(text));
        }
        let annotations = self.common.annotations.as_ref();
        if let Some(asked) =
            annotations.map(NetworkPolicy::asked_by).transpose().map_err(ApiError::bad_request)?
            && let Some(asked) = asked
        {
            let namespace = own.network.clone().unwrap_or_default();
            if let Some(beyond) = namespace.exceeded_by(&asked) {
                return Err(ApiError::bad_request(error_text::network::wider(&beyond, &namespace)));
            }
        }
        match (limits.instances, call.controller.throttles.instances(own)) {
            (Some(instances), Some(allowed)) if instances > allowed.into() => {
                Err(ApiError::bad_request(error_text::too_many_instances(allowed)))
            }
            _ => Ok(()),
        }
    }

    /// The action after this request, a new one with these limits before, and its code if the request brought some.
    fn apply(
        self,
        address: &ActionAddress,
        old: Option<Action>,
        limits: ActionLimits,
        now: Millis,
    ) -> Result<(Action, Option<Bytes>), ApiError> {
        let Self { common, own } = self;
        let was_sequence = old.as_ref().is_some_and(|old| old.exec.is_sequence());
        let exec = common.exec.map(NewExec::split);
        let parameters = match &exec {
            Some((exec, _)) if exec.is_sequence() => Some(sequence::parameters(&exec.components)),
            // What tells the components of a sequence is nothing that code is called with.
            Some(_) if was_sequence => Some(common.parameters.unwrap_or_default()),
            None if was_sequence => None,
            _ => common.parameters,
        };
        let (mut action, code) = match (old, exec) {
            (Some(old), exec) => {
                let keeps = exec.as_ref().is_some_and(|(exec, _)| exec.is_sequence());
                let (exec, code) = exec.unwrap_or((old.exec, None));
                let mut action = Action { exec, version: old.version.next_patch(), ..old };
                if !keeps {
                    action.annotations.remove(&own.removed_annotations);
                }
                (action, code)
            }
            (None, Some((exec, code))) => (blank(address, exec, limits), code),
            (None, None) => return Err(ApiError::bad_request(error_text::EXEC_UNDEFINED)),
        };
        if let Some(parameters) = parameters {
            action.parameters = parameters;
        }
        if let Some(annotations) = common.annotations {
            SchedulingPolicy::asked_by(&annotations).map_err(ApiError::bad_request)?;
            Delivery::asked_by(&annotations).map_err(ApiError::bad_request)?;
            max_attempts(&annotations).map_err(ApiError::bad_request)?;
            death::require_trigger(&annotations, &address.namespace)?;
            action.annotations = action.annotations.merged_with(annotations);
        }
        action.annotations.set(EXEC, &action.exec.kind);
        action.limits = own.limits.apply(action.limits);
        action.version = common.version.unwrap_or(action.version);
        action.publish = common.publish.unwrap_or(action.publish);
        action.updated = now;
        Ok((action, code))
    }
}

/// A new action before anything of the request but its `exec`. Its functions get no key unless it asks for one.
fn blank(address: &ActionAddress, exec: Exec, limits: ActionLimits) -> Action {
    let mut annotations = Parameters::new();
    annotations.set(PROVIDE_API_KEY, &false);
    Action {
        location: Location { namespace: address.path(), name: address.name.clone() },
        exec,
        parameters: Parameters::new(),
        limits,
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
        let Self { kind, main, image, components, .. } = self;
        (Exec { kind, code: None, binary, main, image, components }, self.code.map(Bytes::from))
    }
}

fn read_names(value: &RawValue) -> Result<Vec<String>, String> {
    let names: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| format!("Expected Array as JsArray, but got {}", put::excerpt(value)))?;
    let name = |value: &&RawValue| {
        serde_json::from_str(value.get())
            .map_err(|_| format!("Expected String as JsString, but got {}", put::excerpt(value)))
    };
    names.iter().map(name).collect()
}

//! Creating and updating a trigger.

use chasen_entity::trigger::TriggerLimits;
use chasen_entity::{
    EntityPath, FullyQualifiedName, Location, Millis, Parameters, Trigger, Version, error_text,
};
use chasen_spi::Privilege;

use super::TRIGGERS;
use crate::api::put::{self, PutBody};
use crate::call::Call;
use crate::clock;
use crate::entities::{Batch, Tries, optional};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Annotation that names the action which feeds a trigger.
const FEED: &str = "feed";

/// `PUT …/triggers/{name}`
pub(crate) async fn put(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Put, TRIGGERS, &name).await?.required()?;
    let (body, ()) = put::receive(call, body, read_limits).await?;
    let overwrite = call.query.flag("overwrite", false)?;
    let mut tries = Tries::default();
    loop {
        let outcome = store(call, &name, &body, overwrite, &tries).await;
        if !tries.again(&outcome) {
            return call.document(&outcome?);
        }
    }
}

async fn store(
    call: &Call<'_>,
    name: &FullyQualifiedName,
    body: &PutBody,
    overwrite: bool,
    tries: &Tries,
) -> Result<Trigger, ApiError> {
    let entities = &call.controller.entities;
    let alone = entities.doors().close([name]).await;
    let found = optional(entities.trigger_to_change(name, tries).await)?;
    if found.is_some() && !overwrite {
        return Err(ApiError::conflict(error_text::EXISTS));
    }
    let (old, revision) = found.map(|stored| (stored.entity, stored.revision)).unzip();
    let trigger = apply(body, name, old, clock::now())?;
    let batch = Batch::default().put(&trigger, revision.unwrap_or(0))?.behind(Some(alone));
    batch.commit(call.controller).await?;
    Ok(trigger)
}

/// Triggers have no limits, but what stands for them must be an object.
fn read_limits(fields: &Fields<'_>) -> Result<(), ApiError> {
    let read = |value: &_| Fields::of(value).map(drop).ok_or_else(|| "Object expected".to_owned());
    put::field(fields, "limits", read).map(|_| ())
}

/// The trigger after this request. Links to rules stay.
fn apply(
    body: &PutBody,
    name: &FullyQualifiedName,
    old: Option<Trigger>,
    now: Millis,
) -> Result<Trigger, ApiError> {
    let mut trigger = match old {
        Some(old) => Trigger { version: old.version.next_patch(), ..old },
        None if has_illegal_feed(body) => return Err(ApiError::bad_request(error_text::FEED_NAME_ILLEGAL)),
        None => Trigger {
            location: Location { namespace: name.path.clone(), name: name.name.clone() },
            parameters: Parameters::new(),
            limits: TriggerLimits {},
            version: Version::default(),
            publish: false,
            annotations: Parameters::new(),
            rules: None,
            updated: now,
        },
    };
    trigger.parameters = body.parameters.clone().unwrap_or(trigger.parameters);
    trigger.annotations = body.annotations.clone().unwrap_or(trigger.annotations);
    trigger.version = body.version.unwrap_or(trigger.version);
    trigger.publish = body.publish.unwrap_or(trigger.publish);
    trigger.updated = now;
    Ok(trigger)
}

/// True if the annotation `feed` is there and is no path.
fn has_illegal_feed(body: &PutBody) -> bool {
    let feed = body.annotations.as_ref().and_then(|annotations| annotations.get(FEED));
    let is_path = |path: String| EntityPath::parse(&path).is_ok();
    feed.is_some_and(|feed| !feed.read::<String>().is_ok_and(is_path))
}

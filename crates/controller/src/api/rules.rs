//! Rules: the entity, its lists, its life. Whether a rule is active is written in its trigger, so a change of a rule and
//! of the links in its triggers is one change.

mod put;
mod references;
mod status;

use chasen_entity::trigger::MAX_LINKS;
use chasen_entity::{
    FullyQualifiedName, Location, Millis, Parameters, Rule, RuleLink, Status, Trigger, Version,
};
use chasen_spi::{Collection, Document, DocumentQuery, Privilege};
use serde::Serialize;

pub(crate) use self::put::put;
pub(crate) use self::status::set_status;
use super::listing::{self, EntityListing};
use crate::call::Call;
use crate::entities::{Batch, LoadError, Stored, Tries};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

const RULES: &str = "rules";

/// `GET …/rules`: without their status, which is not the rules' own.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, RULES, &namespace).await?.required()?;
    let push = |listing: &mut EntityListing<'_>, document: &Document| {
        listing.push_document(document, &listing::element::<Rule>(document)?)
    };
    listing::entities(call, DocumentQuery::at(Collection::Rules, namespace.to_string()), push).await
}

/// `GET …/rules/{name}`
pub(crate) async fn get(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Read, RULES, &name).await?.required()?;
    let entities = &call.controller.entities;
    let rule = entities.load::<Rule>(&name).await?.entity;
    let trigger = present(entities.trigger(&rule.trigger).await)?;
    let status = trigger.map_or(Status::Inactive, |(trigger, _)| trigger.status_of(&name.to_string()));
    call.document(&RuleView::new(&rule, status))
}

/// `DELETE …/rules/{name}`: active or not.
pub(crate) async fn delete(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Delete, RULES, &name).await?.required()?;
    let mut tries = Tries::default();
    loop {
        let outcome = remove(call, &name, &tries).await;
        if !tries.again(&outcome) {
            return call.document(&RuleView::new(&outcome?, Status::Inactive));
        }
    }
}

async fn remove(call: &Call<'_>, name: &FullyQualifiedName, tries: &Tries) -> Result<Rule, ApiError> {
    let entities = &call.controller.entities;
    let Stored { entity: rule, revision } = entities.load::<Rule>(name).await?;
    let alone = entities.doors().close([&rule.trigger]).await;
    let trigger = present(entities.trigger_to_change(&rule.trigger, tries).await)?;
    let batch = without_link(Batch::default().delete(name.clone(), revision), trigger, name)?;
    batch.behind(Some(alone)).commit(call.controller).await?;
    Ok(rule)
}

/// A rule as clients see it.
#[derive(Debug, Serialize)]
struct RuleView<'a> {
    #[serde(flatten)]
    location: &'a Location,
    status: Status,
    trigger: &'a FullyQualifiedName,
    action: &'a FullyQualifiedName,
    version: Version,
    publish: bool,
    annotations: &'a Parameters,
    updated: Millis,
}

impl<'a> RuleView<'a> {
    fn new(rule: &'a Rule, status: Status) -> Self {
        Self {
            location: &rule.location,
            status,
            trigger: &rule.trigger,
            action: &rule.action,
            version: rule.version,
            publish: rule.publish,
            annotations: &rule.annotations,
            updated: rule.updated,
        }
    }
}

/// The trigger of a rule, if there still is one.
fn present<T>(loaded: Result<T, LoadError>) -> Result<Option<T>, ApiError> {
    match loaded {
        Ok(found) => Ok(Some(found)),
        Err(LoadError::Store(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Sets the link of a rule (`ns/rule`) in a trigger that has room for it.
fn set_link(trigger: &mut Trigger, rule: &str, link: RuleLink) -> Result<(), ApiError> {
    trigger.set_link(rule, link);
    let (size, allowed) = (trigger.links_size(), MAX_LINKS.as_bytes());
    if size > allowed { Err(ApiError::too_large(RULES, size, allowed)) } else { Ok(()) }
}

/// Takes the link of a rule out of a trigger that has one.
fn without_link(
    batch: Batch,
    trigger: Option<Stored<Trigger>>,
    rule: &FullyQualifiedName,
) -> Result<Batch, ApiError> {
    let Some(Stored { mut entity, revision }) = trigger else { return Ok(batch) };
    if entity.remove_link(&rule.to_string()) { batch.put(&entity, revision) } else { Ok(batch) }
}

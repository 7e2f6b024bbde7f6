//! Triggers: the entity, its lists, its life, its fires.

mod fire;
mod put;

use chasen_entity::{FullyQualifiedName, Trigger};
use chasen_spi::{Collection, Document, DocumentQuery, Privilege};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub(crate) use self::fire::fire;
pub(crate) use self::put::put;
use super::listing::{self, EntityListing};
use crate::call::Call;
use crate::entities::{Batch, Stored, Tries};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

pub(crate) const TRIGGERS: &str = "triggers";

/// `GET …/triggers`
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, TRIGGERS, &namespace).await?.required()?;
    let push = |listing: &mut EntityListing<'_>, document: &Document| {
        listing.push_document(document, &listing::element::<Summary<'_>>(document)?)
    };
    listing::entities(call, DocumentQuery::at(Collection::Triggers, namespace.to_string()), push).await
}

/// `GET …/triggers/{name}`
pub(crate) async fn get(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Read, TRIGGERS, &name).await?.required()?;
    call.document(&*call.controller.entities.trigger(&name).await?.0)
}

/// `DELETE …/triggers/{name}`: its rules stay, and wait for nothing.
pub(crate) async fn delete(call: &Call<'_>, name: FullyQualifiedName) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Delete, TRIGGERS, &name).await?.required()?;
    let mut tries = Tries::default();
    loop {
        let outcome = remove(call, &name, &tries).await;
        if !tries.again(&outcome) {
            return call.document(&outcome?);
        }
    }
}

async fn remove(call: &Call<'_>, name: &FullyQualifiedName, tries: &Tries) -> Result<Trigger, ApiError> {
    let entities = &call.controller.entities;
    let alone = entities.doors().close([name]).await;
    let Stored { entity: trigger, revision } = entities.trigger_to_change(name, tries).await?;
    Batch::default().delete(name.clone(), revision).behind(Some(alone)).commit(call.controller).await?;
    Ok(trigger)
}

/// The element of a list: fields of the stored document, copied as text.
#[derive(Debug, Serialize, Deserialize)]
struct Summary<'a> {
    #[serde(borrow)]
    namespace: &'a RawValue,
    #[serde(borrow)]
    name: &'a RawValue,
    #[serde(borrow)]
    version: &'a RawValue,
    publish: bool,
    #[serde(borrow)]
    annotations: &'a RawValue,
    updated: u64,
}

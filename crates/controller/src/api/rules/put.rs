//! Creating and updating a rule, and moving it from trigger to trigger.

use chasen_entity::{
    FullyQualifiedName, Location, Millis, Parameters, Rule, RuleLink, Status, Version, error_text,
};
use chasen_spi::Privilege;
use serde_json::value::RawValue;

use super::{RULES, RuleView, present, references, set_link, without_link};
use crate::api::put::{self, PutBody};
use crate::call::Call;
use crate::clock;
use crate::entities::{Batch, Stored, Tries, optional};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// The body of a request, read.
struct Update {
    common: PutBody,
    trigger: Option<FullyQualifiedName>,
    action: Option<FullyQualifiedName>,
}

/// `PUT …/rules/{name}`
pub(crate) async fn put(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Put, RULES, &name).await?.required()?;
    let home = call.namespace(name.path.namespace())?;
    let read = move |fields: &Fields<'_>| {
        let reference = |value: &RawValue| {
            let name: FullyQualifiedName =
                serde_json::from_str(value.get()).map_err(|error| reason(&error))?;
            Ok(name.resolved(&home))
        };
        Ok((put::field(fields, "trigger", reference)?, put::field(fields, "action", reference)?))
    };
    let (common, (trigger, action)) = put::receive(call, body, read).await?;
    let update = Update { common, trigger, action };
    let overwrite = call.query.flag("overwrite", false)?;
    references::require_rights(call, update.trigger.as_ref(), update.action.as_ref()).await?;
    let mut tries = Tries::default();
    loop {
        let outcome = store(call, &name, &update, overwrite, &tries).await;
        if !tries.again(&outcome) {
            let (rule, status) = outcome?;
            return call.document(&RuleView::new(&rule, status));
        }
    }
}

/// Writes the rule and its links. A new rule is active; one that was there keeps its status, which is inactive if its
/// trigger did not know it any more.
async fn store(
    call: &Call<'_>,
    name: &FullyQualifiedName,
    update: &Update,
    overwrite: bool,
    tries: &Tries,
) -> Result<(Rule, Status), ApiError> {
    let entities = &call.controller.entities;
    let key = name.to_string();
    let found = optional(entities.load::<Rule>(name).await)?;
    if found.is_some() && !overwrite {
        return Err(ApiError::conflict(error_text::EXISTS));
    }
    let (old, revision) = found.map(|stored| (stored.entity, stored.revision)).unzip();
    let before = old.as_ref().map(|old| old.trigger.clone());
    let rule = update.apply(name, old, clock::now())?;
    let alone = entities.doors().close(before.iter().chain([&rule.trigger])).await;
    let Stored { entity: mut trigger, revision: known } =
        references::trigger(call, &rule.trigger, tries).await?;
    references::require_action(call, &rule.action).await?;
    let left = match &before {
        Some(before) if *before != rule.trigger => present(entities.trigger_to_change(before, tries).await)?,
        _ => None,
    };
    let status = match (&before, &left) {
        (None, _) => Status::Active,
        (Some(before), _) if *before == rule.trigger => trigger.status_of(&key),
        (Some(_), left) => left.as_ref().map_or(Status::Inactive, |left| left.entity.status_of(&key)),
    };
    let mut batch = Batch::default().put(&rule, revision.unwrap_or(0))?;
    let link = RuleLink { action: rule.action.clone(), status };
    if trigger.link(&key) != Some(&link) {
        set_link(&mut trigger, &key, link)?;
        batch = batch.put(&trigger, known)?;
    }
    without_link(batch, left, name)?.behind(Some(alone)).commit(call.controller).await?;
    Ok((rule, status))
}

impl Update {
    /// The rule after this request.
    fn apply(&self, name: &FullyQualifiedName, old: Option<Rule>, now: Millis) -> Result<Rule, ApiError> {
        let Self { common, trigger, action } = self;
        let (trigger, action) = (trigger.clone(), action.clone());
        let mut rule = match (old, trigger, action) {
            (Some(old), trigger, action) => Rule {
                trigger: trigger.unwrap_or(old.trigger),
                action: action.unwrap_or(old.action),
                version: old.version.next_patch(),
                ..old
            },
            (None, Some(trigger), Some(action)) => Rule {
                location: Location { namespace: name.path.clone(), name: name.name.clone() },
                trigger,
                action,
                version: Version::default(),
                publish: false,
                annotations: Parameters::new(),
                updated: now,
            },
            (None, _, _) => return Err(ApiError::bad_request(error_text::RULE_INCOMPLETE)),
        };
        rule.annotations = common.annotations.clone().unwrap_or(rule.annotations);
        rule.version = common.version.unwrap_or(rule.version);
        rule.publish = common.publish.unwrap_or(rule.publish);
        rule.updated = now;
        Ok(rule)
    }
}

/// Why a name does not read, without the position in the text.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

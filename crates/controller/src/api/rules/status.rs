//! Switching a rule on and off.

use chasen_entity::{FullyQualifiedName, Rule, RuleLink, Status, error_text};
use chasen_spi::Privilege;
use http::StatusCode;

use super::{RULES, present, set_link};
use crate::api::put::excerpt;
use crate::call::Call;
use crate::entities::{Batch, Stored, Tries};
use crate::wire::body::{Fields, RequestBody};
use crate::wire::error::ApiError;
use crate::wire::media;
use crate::wire::reply::{Cors, Reply};

const STATUS: &str = "status";

/// `POST …/rules/{name}`
pub(crate) async fn set_status(
    call: &Call<'_>,
    name: FullyQualifiedName,
    body: RequestBody<'_>,
) -> Result<Reply, ApiError> {
    call.rights().entity(Privilege::Activate, RULES, &name).await?.required()?;
    let allowed = call.controller.config.max_payload_of(&call.caller.identity.limits);
    let absent = body.is_absent();
    let body = body.read(call.controller, call.upload(), allowed).await?.within(allowed)?;
    media::require_json(call.headers, absent)?;
    let wanted = read(&body)?;
    let mut tries = Tries::default();
    loop {
        let outcome = set(call, &name, wanted, &tries).await;
        if !tries.again(&outcome) {
            return outcome.map(|()| Reply::text(StatusCode::OK, "OK").with_cors(Cors::Rest));
        }
    }
}

/// Writes the status into the link of the rule, which is made if the trigger has none.
async fn set(
    call: &Call<'_>,
    name: &FullyQualifiedName,
    wanted: Status,
    tries: &Tries,
) -> Result<(), ApiError> {
    let entities = &call.controller.entities;
    let key = name.to_string();
    let Stored { entity: rule, revision } = entities.load::<Rule>(name).await?;
    let alone = entities.doors().close([&rule.trigger]).await;
    let trigger = present(entities.trigger_to_change(&rule.trigger, tries).await)?;
    let is = trigger.as_ref().map_or(Status::Inactive, |trigger| trigger.entity.status_of(&key));
    if is == wanted {
        return Ok(());
    }
    let Some(Stored { entity: mut trigger, revision: known }) = trigger else {
        return Err(ApiError::refusal(StatusCode::NOT_FOUND, error_text::RULE_WITHOUT_TRIGGER));
    };
    set_link(&mut trigger, &key, RuleLink { action: rule.action.clone(), status: wanted })?;
    // The rule is written, too: one that is deleted meanwhile must not leave a link.
    let batch = Batch::default().put(&rule, revision)?.put(&trigger, known)?;
    batch.behind(Some(alone)).commit(call.controller).await.map(drop)
}

fn read(body: &[u8]) -> Result<Status, ApiError> {
    let fields = Fields::of_body(body, STATUS)?;
    let value = fields.get(STATUS).ok_or_else(|| ApiError::malformed(error_text::RULE_STATUS_MISSING))?;
    let text: String = serde_json::from_str(value.get())
        .map_err(|_| ApiError::malformed(error_text::rule_status_malformed(&excerpt(value))))?;
    match text.as_str() {
        "active" => Ok(Status::Active),
        "inactive" => Ok(Status::Inactive),
        "" => Err(ApiError::malformed(error_text::RULE_STATUS_EMPTY)),
        other => Err(ApiError::malformed(error_text::no_rule_status(other))),
    }
}

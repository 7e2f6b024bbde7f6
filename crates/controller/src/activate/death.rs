//! The trigger of a dead letter: fired when work was lost as often as it may be, if the action names one.

use std::sync::Arc;

use chasen_entity::{
    ActivationId, EntityName, EntityPath, FullyQualifiedName, Millis, Parameters, RawJson, TransactionId,
    error_text,
};
use chasen_spi::{DeadLetter, Privilege};
use serde::Serialize;

use super::fire::{self, Fire};
use crate::api::parameters::{self, Sight};
use crate::api::triggers::TRIGGERS;
use crate::clock;
use crate::controller::Controller;
use crate::wire::error::ApiError;

/// Annotation by which an action names the trigger.
const TRIGGER: &str = "dead-letter-trigger";

/// What the rules of the trigger are told.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    activation_id: ActivationId,
    /// `/ns/[package/]name`
    action: String,
    attempts: u32,
    died_at: Millis,
    arguments: &'a RawJson,
}

/// Refuses annotations that ask for something to be fired that is no trigger.
pub(crate) fn require_trigger(annotations: &Parameters, namespace: &EntityName) -> Result<(), ApiError> {
    match annotations.get(TRIGGER) {
        Some(name) if read(name, namespace).is_none() => {
            Err(ApiError::bad_request(error_text::BAD_DEAD_LETTER_TRIGGER))
        }
        _ => Ok(()),
    }
}

/// Fires the trigger that the action of a letter names, as whoever invoked the action.
pub(super) async fn tell(controller: &Arc<Controller>, letter: &DeadLetter) {
    let invocation = &letter.invocation;
    let Some(name) = invocation.action.annotations.get(TRIGGER) else { return };
    let fired = match read(name, letter.namespace()) {
        Some(name) => fire(controller, letter, &name).await,
        None => Err(ApiError::not_found()),
    };
    if let Err(error) = fired {
        let activation = invocation.activation_id;
        tracing::warn!(%activation, why = error.text(), "the trigger of a dead letter was not fired");
    }
}

async fn fire(
    controller: &Arc<Controller>,
    letter: &DeadLetter,
    name: &FullyQualifiedName,
) -> Result<(), ApiError> {
    let invocation = &letter.invocation;
    let identity = invocation.identity.clone();
    controller.rights(&identity).entity(Privilege::Activate, TRIGGERS, name).await?.required()?;
    let (trigger, revision) = controller.entities.trigger(name).await?;
    if !trigger.has_active_rule() {
        return Ok(());
    }
    // The record of the fire has its payload open: what is opened for whoever asks for the letter is not put into it.
    let lock = &controller.parameter_lock;
    let is_own = invocation.action.name.path.namespace() == letter.namespace().as_str();
    let sight = |algorithm: &str| match is_own && !lock.is_transparent(algorithm) {
        true => Sight::Locked,
        false => Sight::Veiled,
    };
    let (arguments, _) = parameters::of_work(&**lock, invocation, sight);
    let payload = RawJson::from_value(&Payload {
        activation_id: invocation.activation_id,
        action: format!("/{}", invocation.action.name),
        attempts: letter.attempts,
        died_at: letter.died_at,
        arguments: &arguments,
    });
    let beneath: Parameters = fire::arguments(&trigger);
    let durability = super::durability(&controller.config, &identity, false, None);
    let fire = Fire {
        id: ActivationId::generate(),
        beneath,
        trigger,
        revision,
        payload,
        durability,
        due: None,
        identity,
        transaction_id: TransactionId::generate(),
        arrived: clock::now(),
        trace_context: invocation.trace_context.clone(),
        extra_logging: false,
    };
    fire::begin(controller, fire)?;
    Ok(())
}

/// `name`, which lies in the namespace of the caller, or `/ns/name`.
fn read(name: &RawJson, namespace: &EntityName) -> Option<FullyQualifiedName> {
    let name: String = name.read().ok()?;
    match name.strip_prefix('/') {
        None => Some(FullyQualifiedName::new(EntityPath::root(namespace), EntityName::new(&name)?)),
        Some(rooted) => {
            let (namespace_of, name) = rooted.split_once('/')?;
            let name = FullyQualifiedName::new(
                EntityPath::root(&EntityName::new(namespace_of)?),
                EntityName::new(name)?,
            );
            Some(name.resolved(namespace))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activate::ledger::tests::json;

    #[test]
    fn triggers_are_named_in_the_namespace_of_the_caller_or_with_their_own() {
        let guest = EntityName::new("guest").unwrap();
        for (name, found) in [
            (r#""lost""#, Some("guest/lost")),
            (r#""/_/lost""#, Some("guest/lost")),
            (r#""/whisk.system/lost""#, Some("whisk.system/lost")),
            (r#""a/b""#, None),
            (r#""/a/b/c""#, None),
            (r#""/lost""#, None),
            (r#""""#, None),
            ("7", None),
        ] {
            assert_eq!(read(&json(name), &guest).map(|name| name.to_string()).as_deref(), found, "{name}");
        }
    }
}

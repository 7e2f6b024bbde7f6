//! Texts of durable work: how safe it is, when it runs, under which key it was asked for.

use crate::{ActivationId, FullyQualifiedName, Version};

/// 503: nothing that must be recorded is accepted at the moment.
pub const NOT_RECORDED: &str = "The activation cannot be recorded safely at the moment and was not accepted: nothing runs. Try again later.";

/// 503: accepted, and its record may be lost with the machine.
#[must_use]
pub fn not_known_safe(id: ActivationId) -> String {
    format!(
        "The activation {id} was accepted but is not known to be safe on the disk, and may run. Look for its record before you try again, or try again with an Idempotency-Key."
    )
}

/// 503: it has ended, and its record may be lost with the machine.
#[must_use]
pub fn record_not_known_safe(id: ActivationId) -> String {
    format!(
        "The activation {id} has ended, but its record is not known to be safe on the disk. Look for the record before you try again."
    )
}

/// 400: a header names no durability.
#[must_use]
pub fn bad_durability(value: &str) -> String {
    format!("'{value}' is not one of memory and synced.")
}

/// 400: a key of a client is none.
#[must_use]
pub fn bad_key(most: usize) -> String {
    format!("The key must be 1 to {most} visible ASCII characters.")
}

/// 422: a key of a client stands for another request.
pub const KEY_OF_ANOTHER_REQUEST: &str = "The Idempotency-Key was used for another action, trigger or body within the last 24 hours. Use a new key.";

/// 503: too many requests with keys at once.
pub const TOO_MANY_KEYS: &str = "Too many requests with an Idempotency-Key are under way, try again later.";

/// 400: a delay is none.
#[must_use]
pub fn bad_delay(most_days: u64) -> String {
    format!("The delay must be a number of seconds from 0 to {} ({most_days} days).", most_days * 86_400)
}

/// 400: a time is none.
#[must_use]
pub fn bad_time(value: &str) -> String {
    format!("'{value}' is not a time like 2026-01-31T12:00:00Z or 2026-01-31T12:00:00+01:00.")
}

/// 400: a time lies too far from now.
#[must_use]
pub fn time_out_of_range(most_days: u64) -> String {
    format!("The time must lie at most one minute in the past and {most_days} days in the future.")
}

/// 400: two times for one activation.
pub const DELAY_AND_AT: &str = "Use either 'delay' or 'at', not both.";

/// 400: nobody can wait for what runs later.
pub const DUE_AND_BLOCKING: &str = "An invocation with 'delay' or 'at' cannot be blocking: leave 'blocking=true' out and ask for the record later.";

/// 400: a status that lists cannot be asked for.
#[must_use]
pub fn bad_status(value: &str) -> String {
    format!("'{value}' is not a status that can be listed; there is 'pending'.")
}

/// 400: what is not accepted for pending activations.
pub const PENDING_LIST: &str = "A list of pending activations takes neither 'docs' nor 'cause'.";

/// 405: an activation that has ended cannot be ended.
#[must_use]
pub fn has_ended(id: ActivationId) -> String {
    format!("The activation {id} has ended and cannot be cancelled any more; its record stays.")
}

/// 409: there is nothing to repeat an activation with.
pub const PARAMETERS_NOT_KEPT: &str = "What the activation was called with was not kept. Have the limit 'keepParameters' of the namespace set to true; activations that are accepted from then on can be replayed.";

/// 409: a fire is repeated by its parts.
pub const FIRE_NOT_REPLAYED: &str = "The fire of a trigger cannot be replayed: fire the trigger again, or replay what its rules started; the ids are in its logs.";

/// 409: one run of a conductor is repeated as a whole with its composition.
#[must_use]
pub fn conducted(whole: ActivationId) -> String {
    format!(
        "The activation is one turn of a composition's conductor and cannot be replayed alone: replay the composition, {whole}."
    )
}

/// 404: what ran is not there any more.
#[must_use]
pub fn nothing_to_replay(action: &FullyQualifiedName) -> String {
    format!(
        "The action /{action} that ran is not there any more, or is not what was called here: there is nothing to replay."
    )
}

/// 404: a version of an action is not kept.
#[must_use]
pub fn version_not_kept(version: Version, kept: &[Version]) -> String {
    let kept: Vec<_> = kept.iter().map(Version::to_string).collect();
    let kept = kept.join(", ");
    format!(
        "Version {version} of the action is not kept; there is {kept}. How many are kept says the limit 'keptVersions' of the namespace."
    )
}

/// 403: earlier versions are for who owns the action.
pub const VERSIONS_OF_OTHERS: &str =
    "Earlier versions of an action can be run by its own namespace only: leave 'code-version' out.";

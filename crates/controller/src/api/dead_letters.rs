//! Dead letters: what was given up after its last try, to be looked at, tried again, or dropped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chasen_entity::{ActivationId, EntityName, Invocation, Millis, RawJson, Version, error_text};
use chasen_spi::{DeadLetter, DeadLetterQuery, Privilege};
use http::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;

use crate::activate::repeat::{self, Original};
use crate::activate::resume;
use crate::api::activations::{authorized, name_filter};
use crate::api::listing::Listing;
use crate::api::parameters::{self, Sight};
use crate::aside;
use crate::call::Call;
use crate::controller::Controller;
use crate::entities::LoadError;
use crate::entitle::Verdict;
use crate::keys::{self, Known};
use crate::wire::error::ApiError;
use crate::wire::query::Query;
use crate::wire::reply::{Cors, Reply};

/// What they are called in paths.
const COLLECTION: &str = "dead-letters";

/// What lists show of a letter.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    namespace: &'a EntityName,
    /// `[package/]name`
    name: String,
    version: Version,
    kind: &'a str,
    activation_id: ActivationId,
    attempts: u32,
    accepted: Millis,
    died_at: Millis,
}

/// A letter with what it holds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Whole<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    arguments: RawJson,
    /// Algorithms of arguments that are not open, by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    locked: BTreeMap<String, String>,
}

fn summary(letter: &DeadLetter) -> Summary<'_> {
    let invocation = &letter.invocation;
    Summary {
        namespace: letter.namespace(),
        name: letter.name(),
        version: invocation.action.version,
        kind: &invocation.action.exec.kind,
        activation_id: invocation.activation_id,
        attempts: letter.attempts,
        accepted: invocation.accepted_at,
        died_at: letter.died_at,
    }
}

/// `GET …/dead-letters`: the newest first.
pub(crate) async fn list(call: &Call<'_>, namespace: &str) -> Result<Reply, ApiError> {
    let namespace = call.namespace(namespace)?;
    call.rights().collection(Privilege::Read, COLLECTION, &namespace).await?.required()?;
    let config = &call.controller.config;
    let page = call.query.page(COLLECTION, config.default_list_limit, config.max_list_limit)?;
    let name = call.query.get("name").map(|value| name_filter(&value)).transpose()?.flatten();
    let mut query = DeadLetterQuery { namespace, name, skip: page.skip, limit: page.limit };
    let store = &call.controller.dead_letters;
    if page.count {
        let count = store.count(&query).await?.saturating_sub(page.skip);
        return call.success(&json!({ COLLECTION: count }));
    }
    let mut listing = Listing::begin(call, page).await;
    while let Some((skip, limit)) = listing.piece() {
        (query.skip, query.limit) = (skip, limit);
        let letters = store.list(&query).await?;
        listing.received(letters.len());
        for letter in &letters {
            let key = Reverse((letter.died_at, letter.invocation.activation_id));
            listing.push(key, &summary(letter))?;
        }
    }
    listing.finish()
}

/// `GET …/dead-letters/{id}`: with the arguments, as far as the caller may see the parameters of the action.
pub(crate) async fn get(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Read).await?;
    let found = call.controller.dead_letters.get(&namespace, &id).await?;
    let letter = found.ok_or_else(ApiError::not_found)?;
    let (lock, work) = (call.controller.parameter_lock.clone(), letter.invocation.clone());
    let is_own = call.rights().owns(work.action.name.path.namespace());
    let may_read = is_own || work.locked.is_empty() || may_read_action(call, &work).await?;
    let show = move || {
        parameters::of_work(&*lock, &work, |algorithm| match lock.is_transparent(algorithm) {
            true if may_read => Sight::Open,
            false if is_own => Sight::Locked,
            _ => Sight::Veiled,
        })
    };
    let (arguments, locked) = aside::compute(letter.invocation.arguments.as_str().len(), show).await?;
    call.document(&Whole { summary: summary(&letter), arguments, locked })
}

/// True if the caller may read the action that was invoked.
async fn may_read_action(call: &Call<'_>, work: &Invocation) -> Result<bool, ApiError> {
    let Some(address) = resume::address(work) else { return Ok(false) };
    match call.rights().action(Privilege::Read, &address).await {
        Ok(verdict) => Ok(verdict == Verdict::Allowed),
        Err(error @ LoadError::Store(_)) => Err(error.into()),
        // What is not there any more nobody reads.
        Err(_) => Ok(false),
    }
}

/// `POST …/dead-letters/{id}`: tries again as a new activation; the letter goes when that one is accepted.
pub(crate) async fn retry(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Activate).await?;
    let key = match keys::look(call, || format!("dead letter {id}"), "").await? {
        Known::New(key) => key,
        Known::Earlier(id, _) => return call.accepted(id),
    };
    let permit = repeat::charge(call)?;
    // Before the look at it: whoever had it before may have tried it again.
    let hold = Hold::take(call.controller, namespace, id)?;
    let letter = call.controller.dead_letters.get(&hold.namespace, &id).await?;
    let original = Original::of(&letter.ok_or_else(ApiError::not_found)?.invocation);
    let (transaction_id, headers) = (call.transaction_id.clone(), call.headers.clone());
    let (arrived, caller, query) = (call.arrived, call.caller.clone(), call.query.0.to_owned());
    let work = async move {
        let Hold { controller, namespace, .. } = &hold;
        let (transaction_id, headers, query) = (&transaction_id, &headers, Query(&query));
        let call = Call { controller, transaction_id, arrived, headers, query, caller };
        let retried = repeat::begin(&call, key, permit, original, None).await?;
        if let Err(error) = controller.dead_letters.remove(namespace, &id).await {
            tracing::warn!(activation = %id, %error, "a dead letter that was tried again could not be removed");
        }
        Ok(retried)
    };
    // A client that leaves in the middle leaves no letter of work that was accepted.
    call.accepted(aside::finish(work).await?)
}

/// `DELETE …/dead-letters/{id}`
pub(crate) async fn drop(call: &Call<'_>, namespace: &str, id: &str) -> Result<Reply, ApiError> {
    let (namespace, id) = authorized(call, namespace, id, Privilege::Delete).await?;
    let hold = Hold::take(call.controller, namespace, id)?;
    match call.controller.dead_letters.remove(&hold.namespace, &id).await? {
        true => Ok(Reply::empty(StatusCode::NO_CONTENT).with_cors(Cors::Rest)),
        false => Err(ApiError::not_found()),
    }
}

/// Letters that requests try again or drop at the moment: of many requests one may have a letter.
#[derive(Default)]
pub(crate) struct InHand(Mutex<HashSet<(EntityName, ActivationId)>>);

/// A letter that no other request has until it is dropped.
struct Hold {
    controller: Arc<Controller>,
    namespace: EntityName,
    id: ActivationId,
}

impl Hold {
    fn take(controller: &Arc<Controller>, namespace: EntityName, id: ActivationId) -> Result<Self, ApiError> {
        if !controller.letters_in_hand.0.lock().insert((namespace.clone(), id)) {
            return Err(ApiError::conflict(error_text::LETTER_IN_HAND));
        }
        Ok(Self { controller: controller.clone(), namespace, id })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.controller.letters_in_hand.0.lock().remove(&(self.namespace.clone(), self.id));
    }
}

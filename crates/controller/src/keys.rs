//! Keys of requests: what is asked for again under a key of its client is done once, and every asker gets the same
//! activation.

use std::collections::HashMap;
use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, Durability, EntityName, Identity, Millis, error_text};
use chasen_spi::{BoxFuture, Claim, IdempotencyStore, KeyedRequest, Position};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;

use crate::activate::{self, admission};
use crate::aside;
use crate::call::Call;
use crate::controller::Controller;
use crate::wire::error::ApiError;

/// Keys that are in use at the same time, or whose last use left something to do.
const IN_USE: usize = 20_000;

/// The keys of all namespaces.
pub(crate) struct Keys {
    store: Arc<dyn IdempotencyStore>,
    slots: Mutex<HashMap<Name, Arc<tokio::sync::Mutex<State>>>>,
}

type Name = (EntityName, String);

/// What the last use of a key left.
#[derive(Debug, Clone, Copy)]
enum State {
    Settled,
    /// It may be claimed under this id, and nothing was accepted.
    Unaccepted(ActivationId),
    /// Its activation was accepted, and is not known to be safe.
    Unsafe(ActivationId, Durability, Position),
}

/// A key that nobody else uses until it is dropped.
struct Held<'a> {
    keys: &'a Keys,
    name: Name,
    state: OwnedMutexGuard<State>,
}

/// What a request with a key asks for.
pub(crate) struct Keyed {
    key: String,
    digest: [u8; 32],
    durability: Durability,
    arrived: Millis,
}

/// What became of it.
pub(crate) enum Once<T> {
    /// It was accepted just now.
    New(ActivationId, T),
    /// An earlier one was, and this is its activation.
    Earlier(ActivationId, Earlier),
}

/// The activation of an earlier request.
pub(crate) enum Earlier {
    UnderWay(BoxFuture<Arc<Activation>>),
    Ended(Arc<Activation>),
    /// It ended and left no record.
    Gone,
}

impl Keyed {
    /// A request for this, an action or a trigger, with this body, and what its activation is to outlive.
    pub(crate) fn new(call: &Call<'_>, key: String, what: &str, body: &str, durability: Durability) -> Self {
        let mut digest = Sha256::new();
        digest.update(what);
        // No name has it, so that nothing else is cut elsewhere into the same.
        digest.update([0]);
        digest.update(body);
        Self { key, digest: digest.finalize().into(), durability, arrived: call.arrived }
    }

    /// Accepts what the request asks for unless an earlier one with its key did. `accept` gets the id that the activation
    /// must have, and gives how far the log must be safe. When this returns, it is as safe as it is to be.
    pub(crate) async fn once<T: Send + 'static>(
        self,
        call: &Call<'_>,
        accept: impl FnOnce(ActivationId) -> Result<(Position, T), ApiError> + Send + 'static,
    ) -> Result<Once<T>, ApiError> {
        let (controller, identity) = (call.controller.clone(), call.caller.identity.clone());
        let work =
            async move { controller.keys.claim_and_accept(&controller, &identity, self, accept).await };
        // A client that leaves in the middle leaves no key that nobody knows the state of.
        aside::finish(work).await
    }
}

impl Keys {
    pub(crate) fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self { store, slots: Mutex::default() }
    }

    /// Waits until nobody else uses the key.
    async fn hold(&self, name: Name) -> Result<Held<'_>, ApiError> {
        let slot = {
            let mut slots = self.slots.lock();
            if slots.len() >= IN_USE && !slots.contains_key(&name) {
                // What the failures of stores left goes before anybody is refused.
                slots.retain(|_, slot| Arc::strong_count(slot) > 1);
                if slots.len() >= IN_USE {
                    return Err(ApiError::busy(error_text::TOO_MANY_KEYS));
                }
            }
            let fresh = || Arc::new(tokio::sync::Mutex::new(State::Settled));
            slots.entry(name.clone()).or_insert_with(fresh).clone()
        };
        Ok(Held { keys: self, name, state: slot.lock_owned().await })
    }

    async fn claim_and_accept<T>(
        &self,
        controller: &Controller,
        identity: &Identity,
        keyed: Keyed,
        accept: impl FnOnce(ActivationId) -> Result<(Position, T), ApiError>,
    ) -> Result<Once<T>, ApiError> {
        let Keyed { durability, arrived, .. } = keyed;
        let namespace = identity.namespace.name.clone();
        let mut held = self.hold((namespace.clone(), keyed.key.clone())).await?;
        let (fresh, unaccepted) = match *held.state {
            State::Settled => (ActivationId::generate(), None),
            State::Unaccepted(id) => (id, Some(id)),
            State::Unsafe(id, durability, position) => {
                admission::committed(controller, id, durability, position).await?;
                (ActivationId::generate(), None)
            }
        };
        // Before the claim: where that fails, nobody knows whether the store took it.
        *held.state = State::Unaccepted(fresh);
        let request = KeyedRequest {
            namespace,
            key: keyed.key,
            digest: keyed.digest,
            activation_id: fresh,
            at: arrived,
        };
        let id = match self.store.claim(&request).await.map_err(|why| ApiError::key_not_known(&why))? {
            Claim::New => fresh,
            Claim::Same(id) if Some(id) == unaccepted => id,
            Claim::Same(id) => {
                if let Some(earlier) = earlier(controller, identity, id).await? {
                    *held.state = State::Settled;
                    return Ok(Once::Earlier(id, earlier));
                }
                id
            }
            Claim::Other => {
                // The key may be claimed by one that was refused: nobody may take its id for work that was accepted.
                if unaccepted.is_none() {
                    *held.state = State::Settled;
                }
                return Err(ApiError::unprocessable(error_text::KEY_OF_ANOTHER_REQUEST));
            }
        };
        *held.state = State::Unaccepted(id);
        match accept(id) {
            Ok((position, accepted)) => {
                *held.state = State::Unsafe(id, durability, position);
                admission::committed(controller, id, durability, position).await?;
                *held.state = State::Settled;
                Ok(Once::New(id, accepted))
            }
            Err(error) => {
                match self.store.release(&request.namespace, &request.key, &id).await {
                    Ok(()) => *held.state = State::Settled,
                    Err(why) => tracing::warn!(%why, "the key of a refused request could not be given back"),
                }
                Err(error)
            }
        }
    }
}

/// What became of the activation of an earlier request; `None` if it was never accepted.
async fn earlier(
    controller: &Controller,
    identity: &Identity,
    id: ActivationId,
) -> Result<Option<Earlier>, ApiError> {
    if let Some(end) = controller.invoke.under_way().end_of(&id) {
        return Ok(Some(Earlier::UnderWay(end)));
    }
    if let Some(record) = controller.activations.get(identity.namespace.name.as_str(), &id).await? {
        return Ok(Some(Earlier::Ended(record)));
    }
    // The node died between the claim and the acceptance, unless records are not kept: nothing runs twice.
    let are_kept =
        |blocking| activate::store_level(&controller.config, identity, blocking, false).is_always();
    let is_of_this_life = id.created_at() >= controller.started_at;
    Ok((is_of_this_life || !are_kept(true) || !are_kept(false)).then_some(Earlier::Gone))
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !matches!(*self.state, State::Settled) {
            return;
        }
        let mut slots = self.keys.slots.lock();
        // Two are the map's and this one's guard; whoever waits has one more.
        if slots.get(&self.name).is_some_and(|slot| Arc::strong_count(slot) <= 2) {
            slots.remove(&self.name);
        }
    }
}

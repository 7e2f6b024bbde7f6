//! Keys of requests: what is asked for again under a key of its client is done once, and every asker gets the same
//! activation, whatever it would cost or find now.

mod slots;

use std::sync::Arc;

use chasen_entity::{Activation, ActivationId, Durability, Identity, error_text};
use chasen_spi::{BoxFuture, Claim, IdempotencyStore, KeyedRequest, Position};
use sha2::{Digest, Sha256};

use self::slots::{Held, Slots, State};
use crate::activate::{self, admission};
use crate::api::wishes;
use crate::aside;
use crate::call::Call;
use crate::controller::Controller;
use crate::wire::error::ApiError;

/// The keys of all namespaces.
pub(crate) struct Keys {
    store: Arc<dyn IdempotencyStore>,
    slots: Slots,
}

/// What the key of a request stands for.
pub(crate) enum Known {
    /// Nothing yet: the request is to be done, under this key if it has one.
    New(Option<FreeKey>),
    /// An earlier one was accepted, and this is its activation.
    Earlier(ActivationId, Earlier),
}

/// The activation of an earlier request.
pub(crate) enum Earlier {
    UnderWay(BoxFuture<Arc<Activation>>),
    Ended(Arc<Activation>),
    /// It ended and left no record.
    Gone,
}

/// A key under which nothing was accepted, and that nobody else uses until this is dropped.
pub(crate) struct FreeKey {
    held: Held,
    request: KeyedRequest,
}

impl Keys {
    pub(crate) fn new(store: Arc<dyn IdempotencyStore>) -> Self {
        Self { store, slots: Slots::default() }
    }
}

/// Looks what the key of a request stands for, if it has one. `what` is asked for, an action say, with this body.
pub(crate) async fn look(
    call: &Call<'_>,
    what: impl FnOnce() -> String,
    body: &str,
) -> Result<Known, ApiError> {
    let Some(key) = wishes::key(call.headers)? else { return Ok(Known::New(None)) };
    let mut digest = Sha256::new();
    digest.update(what());
    // No name has it, so that nothing else is cut elsewhere into the same.
    digest.update([0]);
    digest.update(body);
    let (controller, identity) = (call.controller, &call.caller.identity);
    let namespace = identity.namespace.name.clone();
    let mut held = slots::hold(controller, (namespace.clone(), key.clone())).await?;
    held.settle_what_was_accepted(controller).await?;
    let unaccepted = match held.state() {
        State::Unaccepted(id) => Some(id),
        State::Settled | State::Unsafe(..) => None,
    };
    let mut request = KeyedRequest {
        namespace,
        key,
        digest: digest.finalize().into(),
        activation_id: unaccepted.unwrap_or_else(ActivationId::generate),
        at: call.arrived,
    };
    match controller.keys.store.look(&request).await.map_err(|why| ApiError::key_not_known(&why))? {
        Claim::New => {}
        Claim::Same(id) if Some(id) == unaccepted => {}
        Claim::Same(id) => {
            if let Some(earlier) = earlier(controller, identity, id).await? {
                return Ok(Known::Earlier(id, earlier));
            }
            request.activation_id = id;
        }
        Claim::Other => return Err(ApiError::unprocessable(error_text::KEY_OF_ANOTHER_REQUEST)),
    }
    Ok(Known::New(Some(FreeKey { held, request })))
}

/// Accepts what a request asks for, under its key if it has one. `accept` gets the id that the activation must have, and
/// gives how far the log must be safe. When this returns, it is as safe as it is to be.
pub(crate) async fn accept<T: Send + 'static>(
    call: &Call<'_>,
    key: Option<FreeKey>,
    durability: Durability,
    accept: impl FnOnce(ActivationId) -> Result<(Position, T), ApiError> + Send + 'static,
) -> Result<(ActivationId, T), ApiError> {
    let controller = call.controller.clone();
    match key {
        None => {
            let id = ActivationId::generate();
            let (position, accepted) = accept(id)?;
            admission::committed(&controller, id, durability, position).await?;
            Ok((id, accepted))
        }
        // A client that leaves in the middle leaves no key that nobody knows the state of.
        Some(free) => aside::finish(async move { free.accept(&controller, durability, accept).await }).await,
    }
}

impl FreeKey {
    async fn accept<T>(
        mut self,
        controller: &Controller,
        durability: Durability,
        accept: impl FnOnce(ActivationId) -> Result<(Position, T), ApiError>,
    ) -> Result<(ActivationId, T), ApiError> {
        let Self { held, request } = &mut self;
        let (store, id) = (&controller.keys.store, request.activation_id);
        // Before the claim: where that fails, nobody knows whether the store took it.
        held.set(State::Unaccepted(id));
        match store.claim(request).await.map_err(|why| ApiError::key_not_known(&why))? {
            Claim::New => {}
            Claim::Same(own) if own == id => {}
            // Nobody else of this node claims what is held here.
            Claim::Same(_) | Claim::Other => return Err(ApiError::busy(error_text::KEY_NOT_KNOWN)),
        }
        match accept(id) {
            Ok((position, accepted)) => {
                held.set(State::Unsafe(id, durability, position));
                held.settle_what_was_accepted(controller).await?;
                Ok((id, accepted))
            }
            Err(error) => {
                match store.release(&request.namespace, &request.key, &id).await {
                    Ok(()) => held.set(State::Settled),
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

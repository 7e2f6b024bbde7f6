//! Dead letters and keys of requests in maps.

use std::collections::HashMap;

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Millis};
use parking_lot::Mutex;

use super::page;
use crate::idempotency_store::KEPT;
use crate::{
    Claim, DeadLetter, DeadLetterQuery, DeadLetterStore, IdempotencyStore, KeyedRequest, StoreError,
};

/// Dead letters in a map.
#[derive(Default)]
pub struct MemoryDeadLetterStore {
    letters: Mutex<HashMap<ActivationId, DeadLetter>>,
}

impl MemoryDeadLetterStore {
    fn matching(&self, query: &DeadLetterQuery) -> Vec<DeadLetter> {
        let letters = self.letters.lock();
        let mut found: Vec<_> = letters
            .values()
            .filter(|letter| *letter.namespace() == query.namespace)
            .filter(|letter| query.name.as_ref().is_none_or(|name| letter.name() == *name))
            .cloned()
            .collect();
        found.sort_by_key(|letter| std::cmp::Reverse((letter.died_at, letter.invocation.activation_id)));
        found
    }
}

#[async_trait]
impl DeadLetterStore for MemoryDeadLetterStore {
    async fn put(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.letters.lock().insert(letter.invocation.activation_id, letter.clone());
        Ok(())
    }

    async fn get(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<DeadLetter>, StoreError> {
        Ok(self.letters.lock().get(id).filter(|letter| letter.namespace() == namespace).cloned())
    }

    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(page(self.matching(query), query.skip, query.limit))
    }

    async fn count(&self, query: &DeadLetterQuery) -> Result<u64, StoreError> {
        Ok(self.matching(query).len() as u64)
    }

    async fn remove(&self, namespace: &EntityName, id: &ActivationId) -> Result<bool, StoreError> {
        let mut letters = self.letters.lock();
        let is_there = letters.get(id).is_some_and(|letter| letter.namespace() == namespace);
        Ok(is_there && letters.remove(id).is_some())
    }
}

/// Keys of requests in a map.
#[derive(Default)]
pub struct MemoryIdempotencyStore {
    claims: Mutex<HashMap<(EntityName, String), Claimed>>,
}

struct Claimed {
    digest: [u8; 32],
    id: ActivationId,
    at: Millis,
}

impl Claimed {
    /// What it is to this request.
    fn to(&self, request: &KeyedRequest) -> Claim {
        match self {
            old if old.at.saturating_add(KEPT) <= request.at => Claim::New,
            same if same.digest == request.digest => Claim::Same(same.id),
            _ => Claim::Other,
        }
    }
}

#[async_trait]
impl IdempotencyStore for MemoryIdempotencyStore {
    async fn look(&self, request: &KeyedRequest) -> Result<Claim, StoreError> {
        let key = (request.namespace.clone(), request.key.clone());
        Ok(self.claims.lock().get(&key).map_or(Claim::New, |claimed| claimed.to(request)))
    }

    async fn claim(&self, request: &KeyedRequest) -> Result<Claim, StoreError> {
        let mut claims = self.claims.lock();
        let key = (request.namespace.clone(), request.key.clone());
        let claim = claims.get(&key).map_or(Claim::New, |claimed| claimed.to(request));
        if claim == Claim::New {
            let KeyedRequest { digest, activation_id: id, at, .. } = *request;
            claims.insert(key, Claimed { digest, id, at });
        }
        Ok(claim)
    }

    async fn release(&self, namespace: &EntityName, key: &str, id: &ActivationId) -> Result<(), StoreError> {
        let mut claims = self.claims.lock();
        let key = (namespace.clone(), key.to_owned());
        if claims.get(&key).is_some_and(|claimed| claimed.id == *id) {
            claims.remove(&key);
        }
        Ok(())
    }
}

//! What stores of dead letters and of keys of requests must do.

use std::sync::Arc;

use chasen_entity::{ActivationId, EntityName, Millis};

use crate::idempotency_store::KEPT;
use crate::memory::invocation;
use crate::{Claim, DeadLetter, DeadLetterQuery, DeadLetterStore, IdempotencyStore, KeyedRequest};

fn namespace(name: &str) -> EntityName {
    EntityName::new(name).unwrap()
}

fn letter(of: &str, action: &str, died_at: Millis) -> DeadLetter {
    let one = invocation(of, action, "memory:1", r#"{"text":"a word"}"#);
    DeadLetter { invocation: Arc::new(one), attempts: 3, died_at }
}

fn of_guest() -> DeadLetterQuery {
    DeadLetterQuery { namespace: namespace("guest"), name: None, skip: 0, limit: 100 }
}

/// The suite for stores of dead letters. Leaves the namespaces `guest` and `alice` as empty as they must be before.
pub async fn dead_letter_store(store: &dyn DeadLetterStore) {
    assert!(store.list(&of_guest()).await.unwrap().is_empty());
    let letters = [("guest", "a", 10), ("guest", "b", 30), ("guest", "a", 20), ("alice", "a", 40)]
        .map(|(namespace, action, died_at)| letter(namespace, action, died_at));
    for letter in &letters {
        store.put(letter).await.unwrap();
    }
    let times = async |query: DeadLetterQuery| {
        let count = store.count(&query).await.unwrap();
        let listed: Vec<_> = store.list(&query).await.unwrap().iter().map(|letter| letter.died_at).collect();
        (listed, count)
    };
    assert_eq!(times(of_guest()).await, (vec![30, 20, 10], 3), "the newest first");
    assert_eq!(times(DeadLetterQuery { skip: 1, limit: 1, ..of_guest() }).await, (vec![20], 3));
    let named = |name: &str| DeadLetterQuery { name: Some(name.to_owned()), ..of_guest() };
    assert_eq!(times(named("a")).await, (vec![20, 10], 2));
    assert_eq!(times(named("pkg/a")).await, (vec![], 0));

    let [first, _, last, foreign] = &letters;
    let (guest, alice) = (namespace("guest"), namespace("alice"));
    let id = first.invocation.activation_id;
    let found = store.get(&guest, &id).await.unwrap().unwrap();
    assert_eq!((&found.invocation, found.attempts, found.died_at), (&first.invocation, 3, 10));
    assert!(store.get(&alice, &id).await.unwrap().is_none(), "another namespace sees nothing");
    assert!(!store.remove(&alice, &id).await.unwrap(), "and takes nothing away");
    store.put(&DeadLetter { attempts: 4, died_at: 50, ..first.clone() }).await.unwrap();
    assert_eq!(times(of_guest()).await, (vec![50, 30, 20], 3), "one letter of an activation");
    assert!(store.remove(&guest, &id).await.unwrap());
    assert!(!store.remove(&guest, &id).await.unwrap());
    assert!(store.get(&guest, &id).await.unwrap().is_none());
    assert!(store.get(&guest, &last.invocation.activation_id).await.unwrap().is_some());
    for (owner, letter) in [(&guest, &letters[1]), (&guest, last), (&alice, foreign)] {
        assert!(store.remove(owner, &letter.invocation.activation_id).await.unwrap());
    }
}

fn request(of: &str, key: &str, digest: u8, at: Millis) -> KeyedRequest {
    KeyedRequest {
        namespace: namespace(of),
        key: key.to_owned(),
        digest: [digest; 32],
        activation_id: ActivationId::generate(),
        at,
    }
}

/// The suite for stores of keys. Times are those of the requests: `now` is that of the first one.
pub async fn idempotency_store(store: &dyn IdempotencyStore, now: Millis) {
    let first = request("guest", "one", 1, now);
    for _ in 0..2 {
        assert_eq!(store.look(&first).await, Ok(Claim::New), "looking claims nothing");
    }
    assert_eq!(store.claim(&first).await, Ok(Claim::New));
    let id = first.activation_id;
    for (of, digest, at, claim) in [
        ("guest", 1, now + 1, Claim::Same(id)),
        ("guest", 2, now + 1, Claim::Other),
        ("guest", 2, now + KEPT, Claim::New),
        ("alice", 1, now + 1, Claim::New),
    ] {
        assert_eq!(store.look(&request(of, "one", digest, at)).await, Ok(claim));
    }
    assert_eq!(store.claim(&request("guest", "one", 1, now + 1)).await, Ok(Claim::Same(id)));
    assert_eq!(store.claim(&request("guest", "one", 2, now + 1)).await, Ok(Claim::Other));
    assert_eq!(
        store.claim(&request("alice", "one", 2, now + 1)).await,
        Ok(Claim::New),
        "of another namespace"
    );
    assert_eq!(store.claim(&request("guest", "two", 2, now)).await, Ok(Claim::New));

    // Only who claimed it gives it back.
    let guest = namespace("guest");
    store.release(&guest, "one", &ActivationId::generate()).await.unwrap();
    assert_eq!(store.claim(&request("guest", "one", 1, now)).await, Ok(Claim::Same(id)));
    store.release(&guest, "one", &id).await.unwrap();
    store.release(&guest, "one", &id).await.unwrap();
    let second = request("guest", "one", 2, now);
    assert_eq!(store.claim(&second).await, Ok(Claim::New));

    // A key is a new one when its time is over.
    let id = second.activation_id;
    assert_eq!(store.claim(&request("guest", "one", 2, now + KEPT - 1)).await, Ok(Claim::Same(id)));
    assert_eq!(store.claim(&request("guest", "one", 3, now + KEPT)).await, Ok(Claim::New));
}

//! Dead letters: looked at, tried again, dropped, and told of.

use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::{ActivationId, EntityName, Invocation, RawJson};
use chasen_spi::{DeadLetter, DeadLetterQuery, DeadLetterStore, Sessions, StoreError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::Request;
use crate::world::{World, alice, eventually, guest};

const LETTERS: &str = "/api/v1/namespaces/_/dead-letters";
const NAMESPACE: &str = "/api/v1/namespaces/_";

/// A letter of the action `echo`, or of another one.
async fn letter(world: &World, action: &str, died_at: u64) -> Arc<DeadLetter> {
    let before = world.ended();
    world.guest_json(&format!("POST {NAMESPACE}/actions/{action}"), r#"{"x":1.0}"#).await;
    eventually("it ends", || world.ended() > before).await;
    let invocation = world.invoker.taken.lock().last().unwrap().clone();
    let activation_id = ActivationId::generate();
    let invocation = Arc::new(Invocation { activation_id, ..invocation });
    let letter = DeadLetter { invocation, attempts: 3, died_at };
    world.letters.put(&letter).await.unwrap();
    Arc::new(letter)
}

#[tokio::test]
async fn letters_are_listed_shown_and_dropped() {
    let world = World::new().await;
    for name in ["echo", "other"] {
        world.create(name, "").await;
    }
    let old = letter(&world, "echo", 10).await.invocation.activation_id;
    let new = letter(&world, "other", 20).await.invocation.activation_id;
    let list = world.guest(&format!("GET {LETTERS}")).await.json();
    assert_eq!((&list[0]["activationId"], &list[1]["activationId"]), (&json!(new), &json!(old)));
    assert_eq!(
        (&list[0]["attempts"], &list[0]["diedAt"], &list[0]["name"]),
        (&json!(3), &json!(20), &json!("other"))
    );
    assert_eq!(list[0].get("arguments"), None);
    for (query, count) in [("?name=echo", 1), ("?limit=1", 1), ("?skip=1", 1), ("?skip=2", 0)] {
        let list = world.guest(&format!("GET {LETTERS}{query}")).await.json();
        assert_eq!(list.as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(world.guest(&format!("GET {LETTERS}?count=true")).await.json(), json!({"dead-letters": 2}));
    assert_eq!(world.guest(&format!("GET {LETTERS}?limit=201")).await.status, 400);
    let shown = world.guest(&format!("GET {LETTERS}/{old}")).await;
    assert!(shown.text().contains(r#""arguments":{"x":1.0}"#), "{}", shown.text());
    for (line, status) in [
        (format!("GET {LETTERS}/{old}"), 404),
        (format!("DELETE {LETTERS}/{old}"), 404),
        (format!("POST {LETTERS}/{old}"), 404),
        (format!("GET /api/v1/namespaces/guest/dead-letters/{old}"), 403),
        ("GET /api/v1/namespaces/guest/dead-letters".to_owned(), 403),
        (format!("DELETE /api/v1/namespaces/guest/dead-letters/{old}"), 403),
        (format!("POST /api/v1/namespaces/guest/dead-letters/{old}"), 403),
    ] {
        assert_eq!(world.send(Request::new(&line).auth(&alice())).await.status, status, "{line}");
    }
    assert_eq!(world.guest(&format!("DELETE {LETTERS}/{old}")).await.status, 204);
    assert_eq!(world.guest(&format!("DELETE {LETTERS}/{old}")).await.status, 404);
    assert_eq!(world.guest(&format!("GET {LETTERS}/abc")).await.status, 400);
    assert_eq!(world.guest(&format!("PUT {LETTERS}/{old}")).await.status, 404, "no route");
}

#[tokio::test]
async fn a_retry_is_a_new_activation_and_the_letter_goes_when_it_is_accepted() {
    let world = World::new().await;
    world.create("echo", "").await;
    let old = letter(&world, "echo", 10).await.invocation.activation_id;
    world.guest(&format!("DELETE {NAMESPACE}/actions/echo")).await;
    assert_eq!(world.guest(&format!("POST {LETTERS}/{old}")).await.status, 404, "nothing to run");
    assert_eq!(world.guest(&format!("GET {LETTERS}/{old}")).await.status, 200, "the letter stays");
    world.create("echo", r#","parameters":[{"key":"x","value":2},{"key":"new","value":1}]"#).await;
    let before = world.ended();
    let retried = world.guest(&format!("POST {LETTERS}/{old}")).await;
    assert_eq!(retried.status, 202, "{retried:?}");
    eventually("it ends", || world.ended() > before).await;
    let taken = world.invoker.taken.lock().last().unwrap().clone();
    assert_eq!((taken.replay_of, taken.attempt), (Some(old), 1));
    let arguments: Value = taken.arguments.read().unwrap();
    assert_eq!(arguments, json!({"x": 1.0, "new": 1}), "its own arguments over those of the action");
    assert_eq!(world.guest(&format!("GET {LETTERS}/{old}")).await.status, 404);
}

#[tokio::test]
async fn a_retry_with_a_key_is_one_activation_and_may_be_due_later() {
    let world = World::new().await;
    world.create("echo", "").await;
    let old = letter(&world, "echo", 10).await.invocation.activation_id;
    let line = format!("POST {LETTERS}/{old}?delay=60");
    let retry = async || {
        let request = Request::new(&line).auth(&guest()).header("idempotency-key", "k");
        world.send(request).await
    };
    let before = world.invoker.taken.lock().len();
    let first = retry().await;
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(world.guest(&format!("GET {LETTERS}/{old}")).await.status, 404);
    let again = retry().await;
    assert_eq!((again.status, again.json()), (202, first.json()), "although the letter has gone");
    assert_eq!(world.invoker.taken.lock().len(), before, "it is not due");
    world.let_due();
    eventually("it ends", || world.is_idle()).await;
    assert_eq!(world.invoker.taken.lock().last().unwrap().replay_of, Some(old));
    let bad = world.guest(&format!("POST {LETTERS}/{old}?delay=x")).await;
    assert_eq!(bad.status, 404, "the letter first");
}

/// A store whose letters go when they are let go.
struct Gated {
    inner: Arc<dyn DeadLetterStore>,
    removals: Arc<Semaphore>,
}

#[async_trait]
impl DeadLetterStore for Gated {
    async fn put(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.inner.put(letter).await
    }

    async fn get(&self, namespace: &EntityName, id: &ActivationId) -> Result<Option<DeadLetter>, StoreError> {
        self.inner.get(namespace, id).await
    }

    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.list(query).await
    }

    async fn count(&self, query: &DeadLetterQuery) -> Result<u64, StoreError> {
        self.inner.count(query).await
    }

    async fn remove(&self, namespace: &EntityName, id: &ActivationId) -> Result<bool, StoreError> {
        self.removals.acquire().await.unwrap().forget();
        self.inner.remove(namespace, id).await
    }
}

#[tokio::test]
async fn of_many_requests_one_has_a_letter_and_sees_it_through_whoever_leaves() {
    let removals = Arc::new(Semaphore::new(0));
    let gate = removals.clone();
    let world = World::of(|parts| {
        parts.dead_letters = Arc::new(Gated { inner: parts.dead_letters.clone(), removals: gate });
    })
    .await;
    let world = Arc::new(world);
    world.create("echo", "").await;
    let letter = letter(&world, "echo", 10).await.invocation.activation_id;
    let before = world.ended();
    let (asked, line) = (world.clone(), format!("POST {LETTERS}/{letter}"));
    let first = tokio::spawn(async move { asked.guest(&line).await });
    eventually("it was tried again", || world.ended() > before).await;
    for method in ["POST", "DELETE"] {
        let refused = world.guest(&format!("{method} {LETTERS}/{letter}")).await;
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.error().contains("Another request tries this dead letter"), "{}", refused.error());
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled(), "its client has left");
    removals.add_permits(1);
    eventually("the letter goes", || removals.available_permits() == 0).await;
    loop {
        // It goes a moment after it was let go.
        let again = world.guest(&format!("POST {LETTERS}/{letter}")).await.status;
        if again == 404 {
            break;
        }
        assert_eq!(again, 409);
    }
    assert_eq!(world.ended(), before + 1, "it ran once");
    assert_eq!(world.guest(&format!("GET {LETTERS}/{letter}")).await.status, 404);
}

#[tokio::test]
async fn the_trigger_that_an_action_names_is_fired() {
    let world = World::new().await;
    world.create("echo", r#","annotations":[{"key":"dead-letter-trigger","value":"lost"}]"#).await;
    world.create("mourner", "").await;
    for wrong in ["7", "\"\"", "\"a/b\"", "\"/lost\"", "null"] {
        let body = format!(r#"{{"annotations":[{{"key":"dead-letter-trigger","value":{wrong}}}]}}"#);
        let refused = world.guest_json(&format!("PUT {NAMESPACE}/actions/echo?overwrite=true"), body).await;
        assert_eq!(refused.status, 400, "{wrong}");
        assert!(refused.error().contains("must name a trigger"), "{}", refused.error());
    }
    let told = letter(&world, "echo", 10).await;
    let before = world.ended();
    world.controller.died(told.clone());
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/lost"), "{}").await;
    let rule = json!({"trigger": "/_/lost", "action": "/_/mourner"});
    world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), rule).await;
    world.controller.died(told.clone());
    eventually("the rule reacts", || world.ended() >= before + 2).await;
    let taken = world.invoker.taken.lock();
    let mourner = taken.iter().find(|one| one.action.name.name.as_str() == "mourner").unwrap();
    let arguments: Value = RawJson::read(&mourner.arguments).unwrap();
    assert_eq!(
        arguments,
        json!({"activationId": told.invocation.activation_id, "action": "/guest/echo", "attempts": 3, "diedAt": 10,
            "arguments": {"x": 1.0}})
    );
}

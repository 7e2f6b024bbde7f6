//! Keys of requests: done once, however often they are asked for.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chasen_entity::{ActivationId, EntityName, Event, UserLimits};
use chasen_spi::memory::MemoryIdempotencyStore;
use chasen_spi::{Claim, EventLog, IdempotencyStore, KeyedRequest, SubjectStore};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Request, Response, SOON};
use crate::sequences;
use crate::world::{World, alice, eventually, guest, later};

const NAMESPACE: &str = "/api/v1/namespaces/_";
const OTHER: &str = "The Idempotency-Key was used for another action, trigger or body within the last 24 hours. Use a new key.";

async fn world() -> World {
    let world = World::new().await;
    for name in ["echo", "slow", "overloaded", "failing"] {
        world.create(name, "").await;
    }
    world
}

async fn post(world: &World, path: &str, key: &str, body: &str) -> Response {
    let request = Request::new(&format!("POST {NAMESPACE}/{path}")).auth(&guest());
    world.send(request.header("idempotency-key", key).json(body)).await
}

fn id(response: &Response) -> String {
    assert!([200, 202, 502].contains(&response.status), "{response:?}");
    response.header("x-openwhisk-activation-id").unwrap().to_owned()
}

#[tokio::test]
async fn the_same_request_is_one_activation_and_another_one_is_refused() {
    let world = world().await;
    let first = id(&post(&world, "actions/echo", "k", r#"{"x":1}"#).await);
    eventually("it ends", || world.ended() == 1).await;
    assert_eq!(id(&post(&world, "actions/echo", "k", r#"{"x":1}"#).await), first);
    let blocking = post(&world, "actions/echo?blocking=true", "k", r#"{"x":1}"#).await;
    assert_eq!((blocking.status, id(&blocking)), (200, first.clone()));
    assert_eq!(blocking.json()["response"]["result"], json!({"x": 1}));
    for (path, body) in [("actions/echo", r#"{"x":2}"#), ("actions/slow", r#"{"x":1}"#)] {
        let other = post(&world, path, "k", body).await;
        assert_eq!((other.status, other.error().as_str()), (422, OTHER));
    }
    assert_ne!(id(&post(&world, "actions/echo", "k2", r#"{"x":1}"#).await), first);
    assert_ne!(id(&post(&world, "actions/echo", "K", r#"{"x":1}"#).await), first);
    eventually("all end", || world.ended() == 3).await;
    assert_eq!(world.invoker.taken.lock().len(), 3);
    // Another namespace has keys of its own.
    let line = "PUT /api/v1/namespaces/_/actions/echo";
    let action = json!({"exec": {"kind": "nodejs:20", "code": "x"}}).to_string();
    world.send(Request::new(line).auth(&alice()).json(action)).await;
    let theirs = Request::new(&format!("POST {NAMESPACE}/actions/echo")).auth(&alice());
    let theirs = world.send(theirs.header("idempotency-key", "k").json(r#"{"y":1}"#)).await;
    assert_ne!(id(&theirs), first);
}

#[tokio::test]
async fn duplicates_at_the_same_time_wait_for_the_one_result() {
    let world = world().await;
    let calls = join_all((0..20).map(|number| {
        let blocking = if number % 2 == 0 { "?blocking=true" } else { "" };
        let world = &world;
        async move { post(world, &format!("actions/slow{blocking}"), "k", "{}").await }
    }));
    let release = async {
        eventually("it runs", || world.invoker.taken.lock().len() == 1).await;
        eventually("all are told or wait", || !world.log.inherited().is_empty()).await;
        world.invoker.release.notify_one();
    };
    let (answers, ()) = tokio::join!(calls, release);
    let ids: HashSet<String> = answers.iter().map(id).collect();
    assert_eq!(ids.len(), 1);
    assert!(answers.iter().step_by(2).all(|answer| answer.status == 200), "who waits gets the result");
    assert_eq!(world.invoker.taken.lock().len(), 1);
    // The time that a duplicate waits is its own.
    let first = id(&post(&world, "actions/slow", "k2", "{}").await);
    let late = post(&world, "actions/slow?blocking=true&timeout=20", "k2", "{}").await;
    assert_eq!((late.status, id(&late)), (202, first));
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let world = world().await;
    assert_eq!(post(&world, "actions/overloaded", "k", "{}").await.status, 503);
    assert_eq!(post(&world, "actions/missing", "k", "{}").await.status, 404);
    assert_eq!(post(&world, "actions/echo", "k", "{}").await.status, 202, "nothing was accepted under it");
    for key in ["", "two words", &"x".repeat(256)] {
        let refused = post(&world, "actions/echo", key, "{}").await;
        assert_eq!(refused.status, 400);
        assert!(refused.error().contains("1 to 255 visible ASCII characters"), "{}", refused.error());
    }
}

#[tokio::test]
async fn fires_have_keys_too() {
    let world = world().await;
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    let rule = json!({"trigger": "/_/t", "action": "/_/echo"});
    world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), rule).await;
    let first = id(&post(&world, "triggers/t", "k", "{}").await);
    assert_eq!(id(&post(&world, "triggers/t", "k", "{}").await), first);
    assert_eq!(post(&world, "triggers/t", "k", r#"{"x":1}"#).await.status, 422);
    assert_eq!(post(&world, "actions/echo", "k", "{}").await.status, 422, "an action is no trigger");
    eventually("both end", || world.ended() == 2).await;
    assert_eq!(world.invoker.taken.lock().len(), 1);
}

#[tokio::test]
async fn what_left_no_record_is_not_done_again() {
    let world = world().await;
    let limits = UserLimits { store_activations: Some(false), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    let first = id(&post(&world, "actions/echo", "k", "{}").await);
    eventually("it ends", || world.ended() == 1).await;
    for life in [&world, &world.next_life(|_| {}).await] {
        for blocking in ["", "?blocking=true"] {
            let again = post(life, &format!("actions/echo{blocking}"), "k", "{}").await;
            assert_eq!((again.status, id(&again)), (202, first.clone()));
        }
        assert_eq!(life.ended(), 1);
    }
}

#[tokio::test]
async fn a_key_whose_request_was_never_accepted_keeps_its_id() {
    let world = world().await;
    let accepted = id(&post(&world, "actions/echo", "probe", "{}").await);
    eventually("it ends", || world.is_idle()).await;
    // The node died between the claim and the acceptance; lives do not share a millisecond.
    later();
    let next = world.next_life(|_| {}).await;
    next.log.truncate(0);
    let again = post(&next, "actions/echo?blocking=true", "probe", "{}").await;
    assert_eq!((again.status, id(&again)), (200, accepted.clone()));
    assert_eq!(id(&post(&next, "actions/echo", "probe", "{}").await), accepted);
    assert_eq!(next.invoker.taken.lock().len(), 1);
    let is_accepted = |event: &Event| matches!(event, Event::Accepted(_));
    assert_eq!(next.log.events().iter().filter(|event| is_accepted(event)).count(), 1);
}

#[tokio::test]
async fn what_was_not_safe_is_made_safe_before_a_duplicate_is_told() {
    let world = world().await;
    world.invoker.is_unsafe.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = post(&world, "actions/echo", "k", "{}").await;
        assert_eq!(refused.status, 503);
        assert!(refused.json()["activationId"].is_string());
    }
    world.invoker.is_unsafe.store(false, Ordering::SeqCst);
    assert_eq!(post(&world, "actions/echo", "k", "{}").await.status, 202);
    eventually("it ends", || world.is_idle()).await;
    assert_eq!(world.invoker.taken.lock().len(), 1, "once");
}

#[tokio::test]
async fn what_was_refused_is_not_taken_for_accepted_whatever_the_store_and_others_do() {
    #[derive(Default)]
    struct Keeping(MemoryIdempotencyStore, AtomicBool);
    #[async_trait::async_trait]
    impl IdempotencyStore for Keeping {
        async fn look(&self, request: &KeyedRequest) -> Result<Claim, chasen_spi::StoreError> {
            self.0.look(request).await
        }

        async fn claim(&self, request: &KeyedRequest) -> Result<Claim, chasen_spi::StoreError> {
            self.0.claim(request).await
        }

        async fn release(
            &self,
            namespace: &chasen_entity::EntityName,
            key: &str,
            id: &chasen_entity::ActivationId,
        ) -> Result<(), chasen_spi::StoreError> {
            if self.1.load(Ordering::SeqCst) {
                return self.0.release(namespace, key, id).await;
            }
            Err(chasen_spi::StoreError::Unavailable("locked".to_owned()))
        }
    }
    let store = std::sync::Arc::new(Keeping::default());
    let world = World::of(|parts| parts.idempotency = store.clone()).await;
    world.create("overloaded", "").await;
    assert_eq!(post(&world, "actions/overloaded", "k", "{}").await.status, 503);
    assert_eq!(post(&world, "actions/overloaded", "k", r#"{"x":1}"#).await.status, 422);
    assert_eq!(
        post(&world, "actions/overloaded", "k", "{}").await.status,
        503,
        "it is refused again, not accepted"
    );
    // The key is given back when the store works again, whether anybody asks or not.
    store.1.store(true, Ordering::SeqCst);
    let other = KeyedRequest {
        namespace: EntityName::new("guest").unwrap(),
        key: "k".to_owned(),
        digest: [0; 32],
        activation_id: ActivationId::generate(),
        at: 0,
    };
    let is_free = async || store.look(&other).await == Ok(Claim::New);
    let deadline = tokio::time::Instant::now() + SOON;
    while !is_free().await {
        assert!(tokio::time::Instant::now() < deadline, "the key is free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_known_key_is_answered_whatever_has_happened_since() {
    let world = world().await;
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    let rule = json!({"trigger": "/_/t", "action": "/_/echo"});
    world.guest_json(&format!("PUT {NAMESPACE}/rules/r"), rule).await;
    sequences::put(&world, "chain", &["/_/echo"]).await;
    let limit = async |limits: UserLimits| world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    limit(UserLimits {
        concurrent_invocations: Some(1),
        keep_parameters: Some(true),
        ..UserLimits::default()
    })
    .await;
    // One call runs, and no other has room; whoever asks for the same one waits with it.
    let running = id(&post(&world, "actions/slow", "running", "{}").await);
    assert_eq!(post(&world, "actions/slow", "other", "{}").await.status, 429);
    assert_eq!(id(&post(&world, "actions/slow", "running", "{}").await), running);
    let waiting = post(&world, "actions/slow?blocking=true", "running", "{}");
    let release = async {
        eventually("it runs", || !world.invoker.taken.lock().is_empty()).await;
        world.invoker.release.notify_one();
    };
    let (waited, ()) = tokio::join!(waiting, release);
    assert_eq!((waited.status, id(&waited)), (200, running.clone()));
    limit(UserLimits { keep_parameters: Some(true), ..UserLimits::default() }).await;
    let soon = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(30);
    let replay = format!("activations/{running}/replay");
    let requests = [&format!("actions/echo?at={soon}"), "actions/chain?blocking=true", "triggers/t", &replay];
    let mut firsts = Vec::new();
    for (number, path) in requests.iter().enumerate() {
        firsts.push(post(&world, path, &format!("k{number}"), "{}").await);
    }
    world.invoker.release.notify_one();
    eventually("all end", || world.is_idle()).await;
    let runs = world.invoker.taken.lock().len();
    for path in ["rules/r", "triggers/t", "actions/chain", "actions/echo", "actions/slow"] {
        assert_eq!(world.guest(&format!("DELETE {NAMESPACE}/{path}")).await.status, 200, "{path}");
    }
    limit(UserLimits { invocations_per_minute: Some(0), fires_per_minute: Some(0), ..UserLimits::default() })
        .await;
    for (number, (path, first)) in requests.iter().zip(&firsts).enumerate() {
        let path = path
            .split_once("?at=")
            .map_or(path.to_string(), |(path, _)| format!("{path}?at=2001-01-01T00:00:00Z"));
        let again = post(&world, &path, &format!("k{number}"), "{}").await;
        assert_eq!((again.status, id(&again)), (first.status, id(first)), "{path}");
        assert_eq!(again.json(), first.json(), "{path}");
    }
    let unknown = post(&world, "actions/echo", "new", "{}").await;
    assert_eq!(unknown.status, 429, "a new one pays: {unknown:?}");
    let other = post(&world, "actions/echo", "k0", r#"{"x":1}"#).await;
    assert_eq!((other.status, other.error().as_str()), (422, OTHER));
    assert_eq!(world.invoker.taken.lock().len(), runs, "nothing ran again");
}

#[tokio::test]
async fn stores_that_fail_refuse_before_anything_runs() {
    struct Failing;
    #[async_trait::async_trait]
    impl IdempotencyStore for Failing {
        async fn look(&self, _: &KeyedRequest) -> Result<Claim, chasen_spi::StoreError> {
            Err(chasen_spi::StoreError::Unavailable("locked".to_owned()))
        }

        async fn claim(&self, _: &KeyedRequest) -> Result<Claim, chasen_spi::StoreError> {
            Err(chasen_spi::StoreError::Unavailable("locked".to_owned()))
        }

        async fn release(
            &self,
            _: &chasen_entity::EntityName,
            _: &str,
            _: &chasen_entity::ActivationId,
        ) -> Result<(), chasen_spi::StoreError> {
            Ok(())
        }
    }
    let world = World::of(|parts| parts.idempotency = std::sync::Arc::new(Failing)).await;
    world.create("echo", "").await;
    let refused = post(&world, "actions/echo", "k", "{}").await;
    assert_eq!((refused.status, refused.json().get("activationId")), (503, None::<&Value>));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(refused.error().contains("with the same key"), "{}", refused.error());
    assert_eq!(world.invoker.taken.lock().len(), 0);
    assert_eq!(world.guest(&format!("POST {NAMESPACE}/actions/echo")).await.status, 202);
}

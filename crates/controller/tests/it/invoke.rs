//! Invoking: waiting or not, results and records, parameters, throttles.

use std::sync::Arc;

use chasen_entity::{Delivery, UserLimits};
use chasen_spi::SubjectStore as _;
use serde_json::json;

use crate::client::{Connection, Request, Response};
use crate::world::{World, alice, early_in_a_minute, eventually, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";

async fn invoke(world: &World, call: &str, body: &str) -> Response {
    world.guest_json(&format!("POST {ACTIONS}/{call}"), body).await
}

#[tokio::test]
async fn a_blocking_call_gets_the_record_without_logs() {
    let world = World::new().await;
    world.create("hello", "").await;
    let response = invoke(&world, "hello?blocking=true", r#"{ "z": 1.0, "a": "\u00e9" }"#).await;
    assert_eq!((response.status, response.has_cors()), (200, true));
    let record = response.json();
    assert_eq!(record["activationId"].as_str(), response.header("x-openwhisk-activation-id"));
    assert_eq!(
        record["response"],
        json!({"result":{"z":1.0,"a":"é"},"size":2,"success":true,"status":"success"})
    );
    assert_eq!(record["logs"], json!([]));
    assert!(response.text().contains(r#"{ "z": 1.0, "a": "\u00e9" }"#), "arguments pass untouched");
    let invocation = world.invoker.taken.lock().pop().unwrap();
    assert!(invocation.blocking && invocation.attempt == 1 && invocation.cause.is_none());
    assert_eq!(invocation.identity.namespace.name.as_str(), "guest");
    assert_eq!(Some(invocation.transaction_id.as_str()), response.header("x-request-id"));
    assert_eq!(invocation.delivery, Delivery::AtMostOnce);
}

#[tokio::test]
async fn statuses_and_shapes_follow_the_outcome() {
    let world = World::new().await;
    for (name, status, result) in [
        ("hello", 200, "{\"a\":1}"),
        ("array", 200, "[1,2]"),
        ("failing", 502, "{\"error\":\"no\"}"),
        ("broken", 502, "{\"error\":\"died\"}"),
        ("whisk", 500, "{\"error\":\"lost\"}"),
        ("silent", 200, "{}"),
    ] {
        world.create(name, "").await;
        let response = invoke(&world, &format!("{name}?blocking=true&result=true"), "{\"a\":1}").await;
        assert_eq!((response.status, response.text().as_str()), (status, result), "{name}");
        assert!(response.header("x-openwhisk-activation-id").is_some());
        let response = invoke(&world, &format!("{name}?blocking=true&result=false"), "{\"a\":1}").await;
        assert_eq!(response.status, status, "{name}");
        assert!(response.json().get("code").is_none(), "the record must not look like an API error");
        if name == "array" {
            assert_eq!(response.text(), "[1,2]");
        } else {
            assert_eq!(response.json()["name"], name);
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_a_non_blocking_call() {
    let world = World::new().await;
    world.create("slow", "").await;
    let response = invoke(&world, "slow?blocking=false&result=true", "{}").await;
    assert_eq!((response.status, response.has_cors()), (202, true));
    let id = response.header("x-openwhisk-activation-id").unwrap();
    assert_eq!(response.json(), json!({"activationId": id}));
    let get = format!("GET /api/v1/namespaces/_/activations/{id}");
    assert_eq!(world.guest(&get).await.status, 404, "still running");
    world.invoker.release.notify_one();
    eventually("the activation ends", || world.ended() == 1).await;
    assert_eq!(world.guest(&get).await.json()["activationId"], id);
}

#[tokio::test]
async fn a_wait_that_is_too_long_turns_into_202() {
    let world = World::new().await;
    world.create("slow", "").await;
    let response = invoke(&world, "slow?blocking=true&timeout=20", "{}").await;
    assert_eq!(response.status, 202);
    assert_eq!(response.json().as_object().unwrap().len(), 1);
    assert_eq!(world.ended(), 0);
    world.invoker.release.notify_one();
    eventually("the activation goes on to its end", || world.ended() == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_nothing() {
    let world = World::new().await;
    world.create("slow", "").await;
    let mut connection = Connection::open(world.address).await;
    let request = Request::new(&format!("POST {ACTIONS}/slow?blocking=true")).auth(&guest());
    connection.write(&request.bytes()).await;
    eventually("the activation begins", || world.invoker.taken.lock().len() == 1).await;
    drop(connection);
    world.invoker.release.notify_one();
    eventually("the activation goes on to its end", || world.ended() == 1).await;
}

#[tokio::test]
async fn parameters_lie_under_the_request() {
    let world = World::new().await;
    let extra = r#","parameters":[{"key":"a","value":1},{"key":"b","value":2},{"key":"I","value":"x","init":true},{"key":"J","value":1,"init":true}],
        "annotations":[{"key":"delivery","value":"at-least-once"}]"#;
    world.create("hello", extra).await;
    let response = invoke(&world, "hello?blocking=true&result=true", r#"{"b":3.0,"c":4,"I":"y"}"#).await;
    assert_eq!(response.text(), r#"{"a":1,"b":3.0,"c":4}"#);
    let invocation = world.invoker.taken.lock().pop().unwrap();
    let init: Vec<_> =
        invocation.init_parameters.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
    assert_eq!(init, [("I", "\"y\""), ("J", "1")]);
    assert_eq!(invocation.delivery, Delivery::AtLeastOnce);
}

#[tokio::test]
async fn final_parameters_may_not_be_set_unless_they_are_null() {
    let world = World::new().await;
    let extra = r#","parameters":[{"key":"a","value":1},{"key":"n","value":null}],"annotations":[{"key":"final","value":true}]"#;
    world.create("hello", extra).await;
    let response = invoke(&world, "hello", r#"{"a":1}"#).await;
    let text = "Request defines parameters that are not allowed (e.g., reserved properties).";
    assert_eq!((response.status, response.error().as_str(), response.has_cors()), (400, text, true));
    assert!(response.header("x-openwhisk-activation-id").is_none());
    assert_eq!(invoke(&world, "hello", r#"{"n":1,"b":2}"#).await.status, 202);
    let lenient = extra.replace("\"value\":true", "\"value\":\"true\"");
    world.create("other", &lenient).await;
    assert_eq!(invoke(&world, "other", r#"{"a":1}"#).await.status, 202);
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_call() {
    let world = World::new().await;
    world.create("hello", r#","parameters":[{"key":"v","value":0}]"#).await;
    for version in 1..20 {
        let result = invoke(&world, "hello?blocking=true&result=true", "{}").await;
        assert_eq!(result.json(), json!({"v": version - 1}));
        let body = json!({"parameters":[{"key":"v","value":version}]});
        world.guest_json(&format!("PUT {ACTIONS}/hello?overwrite=true"), body).await;
    }
    world.guest(&format!("DELETE {ACTIONS}/hello")).await;
    assert_eq!(invoke(&world, "hello", "{}").await.status, 404);
    world.create("hello", "").await;
    assert_eq!(invoke(&world, "hello?blocking=true&result=true", "{}").await.json(), json!({}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_is_seen_by_the_next_call_among_many_readers() {
    let world = Arc::new(World::new().await);
    world.create("hello", "").await;
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(world.address).await;
                let call = Request::new(&format!("POST {ACTIONS}/hello?blocking=true")).auth(&guest());
                loop {
                    assert!([200, 404].contains(&connection.send(&call).await.status));
                }
            })
        })
        .collect();
    for version in 0..100 {
        if version % 10 == 9 {
            assert_eq!(world.guest(&format!("DELETE {ACTIONS}/hello")).await.status, 200);
            assert_eq!(invoke(&world, "hello", "{}").await.status, 404);
        }
        let body = json!({"exec":{"kind":"nodejs:20","code":""},"parameters":[{"key":"v","value":version}]});
        assert_eq!(world.guest_json(&format!("PUT {ACTIONS}/hello?overwrite=true"), body).await.status, 200);
        let result = invoke(&world, "hello?blocking=true&result=true", "{}").await;
        assert_eq!(result.json(), json!({"v": version}));
    }
    assert!(readers.iter().all(|reader| !reader.is_finished()), "a reader failed");
    readers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn refusals_of_the_platform_are_503() {
    let world = World::new().await;
    for (name, text) in [
        ("overloaded", "System is overloaded, try again later."),
        (
            "draining",
            "The server is currently unavailable (because it is overloaded or down for maintenance).",
        ),
    ] {
        world.create(name, "").await;
        let response = invoke(&world, name, "{}").await;
        assert_eq!((response.status, response.error().as_str(), response.has_cors()), (503, text, true));
        assert!(response.header("x-openwhisk-activation-id").is_none());
    }
}

#[tokio::test]
async fn rates_are_charged_before_rights_and_existence() {
    let world = World::with(|config| config.rates.invocations_per_minute = Some(3)).await;
    world.create("hello", "").await;
    early_in_a_minute().await;
    assert_eq!(invoke(&world, "missing", "{}").await.status, 404);
    let foreign = "POST /api/v1/namespaces/alice/actions/x";
    assert_eq!(world.guest(foreign).await.status, 403);
    assert_eq!(world.guest(&format!("POST {ACTIONS}/-illegal")).await.status, 400, "not charged");
    assert_eq!(invoke(&world, "hello", "{}").await.status, 202);
    for count in 4..6 {
        let response = invoke(&world, "hello", "not JSON").await;
        let text = format!("Too many requests in the last minute (count: {count}, allowed: 3).");
        assert_eq!((response.status, response.error(), response.has_cors()), (429, text, true));
        let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
    }
    let other = world.send(Request::new(&format!("POST {ACTIONS}/x")).auth(&alice())).await;
    assert_eq!(other.status, 404, "another namespace has its own window");
    let more = UserLimits { invocations_per_minute: Some(100), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&more)).await.unwrap();
    assert_eq!(invoke(&world, "hello", "{}").await.status, 202);
}

#[tokio::test]
async fn the_number_in_flight_is_exact_and_ends_with_the_activation() {
    let world = World::with(|config| config.rates.concurrent_invocations = Some(2)).await;
    world.create("slow", "").await;
    assert_eq!(invoke(&world, "slow", "{}").await.status, 202, "in the background");
    assert_eq!(invoke(&world, "slow?blocking=true&timeout=1", "{}").await.status, 202, "waited for in vain");
    let response = invoke(&world, "slow", "{}").await;
    assert_eq!(response.status, 429);
    assert_eq!(response.error(), "Too many concurrent requests in flight (count: 2, allowed: 2).");
    assert_eq!(response.header("retry-after"), Some("1"));
    eventually("both wait", || world.invoker.taken.lock().len() == 2).await;
    world.invoker.release.notify_waiters();
    world.invoker.release.notify_one();
    eventually("one ends", || world.ended() > 0).await;
    let deadline = tokio::time::Instant::now() + crate::client::SOON;
    while invoke(&world, "slow", "{}").await.status == 429 {
        assert!(tokio::time::Instant::now() < deadline, "its place is free");
    }
}

/// JSON has keys that no text can hold. They must not hide the others from the platform.
#[tokio::test]
async fn keys_that_are_no_texts_hide_nothing() {
    let world = World::new().await;
    world.create("defaults", r#","parameters":[{"key":"own","value":1}]"#).await;
    let parameters =
        r#","parameters":[{"key":"own","value":1}],"annotations":[{"key":"final","value":true}]"#;
    world.create("closed", parameters).await;
    let line = |name: &str| format!("POST /api/v1/namespaces/_/actions/{name}?blocking=true&result=true");
    let body = r#"{"\ud800":0,"own":2,"other":3}"#;
    let reply = world.guest_json(&line("defaults"), body).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, "{\"own\":2,\"\u{fffd}\u{fffd}\u{fffd}\":0,\"other\":3}")
    );
    let refused = world.guest_json(&line("closed"), body).await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.error().starts_with("Request defines parameters that are not allowed"));
}

//! Activations that have not ended: those that wait for their time, what is shown of them, and their cancelling.

use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::sequences::put;
use crate::world::{World, alice, eventually};

const NAMESPACE: &str = "/api/v1/namespaces/_";
const ACTIVATIONS: &str = "/api/v1/namespaces/_/activations";

async fn world() -> World {
    let world = World::new().await;
    for name in ["echo", "hangs"] {
        world.create(name, r#","parameters":[{"key":"own","value":1}]"#).await;
    }
    put(&world, "s", &["/_/echo"]).await;
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    world
}

async fn invoke(world: &World, action: &str) -> Response {
    world.guest_json(&format!("POST {NAMESPACE}/actions/{action}"), r#"{"x":1}"#).await
}

fn id(response: &Response) -> String {
    assert_eq!(response.status, 202, "{response:?}");
    response.json()["activationId"].as_str().unwrap().to_owned()
}

async fn pending(world: &World, query: &str) -> Value {
    let response = world.guest(&format!("GET {ACTIVATIONS}?status=pending{query}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn what_is_due_later_is_listed_in_the_order_of_its_time() {
    let world = world().await;
    let late = id(&invoke(&world, "echo?delay=2592000").await);
    let soon = id(&invoke(&world, "s?delay=60.5").await);
    let all = pending(&world, "").await;
    assert_eq!(all[0]["activationId"], json!(soon));
    assert_eq!(all[1]["activationId"], json!(late));
    let one = &all[0];
    let keys: Vec<&str> = one.as_object().unwrap().keys().map(String::as_str).collect();
    for key in
        ["namespace", "name", "version", "publish", "annotations", "activationId", "start", "status", "due"]
    {
        assert!(keys.contains(&key), "{key}: {one}");
    }
    assert_eq!((&one["status"], &one["name"], &one["start"]), (&json!("pending"), &json!("s"), &one["due"]));
    let wait = one["due"].as_u64().unwrap() - one["accepted"].as_u64().unwrap();
    assert_eq!(wait, 60_500);
    assert!(world.invoker.taken.lock().is_empty());
    assert_eq!(pending(&world, "&count=true").await, json!({"activations": 2}));
    assert_eq!(pending(&world, "&count=true&skip=1").await, json!({"activations": 1}));
    assert_eq!(pending(&world, "&limit=1&skip=1").await[0]["activationId"], json!(late));
    assert_eq!(pending(&world, "&name=echo").await.as_array().unwrap().len(), 1);
    let due = one["due"].as_u64().unwrap();
    assert_eq!(pending(&world, &format!("&upto={due}")).await.as_array().unwrap().len(), 1);
    assert_eq!(pending(&world, &format!("&since={}", due + 1)).await.as_array().unwrap().len(), 1);
    let theirs = world.send(Request::new(&format!("GET {ACTIVATIONS}?status=pending")).auth(&alice())).await;
    assert_eq!(theirs.json(), json!([]));
    world.let_due();
    eventually("all end", || world.is_idle()).await;
    for (id, result) in [(&late, json!({"own": 1, "x": 1})), (&soon, json!({"own": 1, "x": 1}))] {
        let record = world.guest(&format!("GET {ACTIVATIONS}/{id}")).await.json();
        assert_eq!(record["response"]["result"], result);
    }
    assert_eq!(pending(&world, "").await, json!([]));
}

#[tokio::test]
async fn fires_wait_for_their_time_and_the_rules_of_then_react() {
    let world = world().await;
    world.guest_json(&format!("PUT {NAMESPACE}/triggers/t"), "{}").await;
    let link = async |rule: &str, action: &str| {
        let body = json!({"trigger": "/_/t", "action": action});
        assert_eq!(world.guest_json(&format!("PUT {NAMESPACE}/rules/{rule}"), body).await.status, 200);
    };
    let fire = async |query: &str| {
        world.guest_json(&format!("POST {NAMESPACE}/triggers/t?{query}"), r#"{"x":1}"#).await
    };
    assert_eq!(fire("delay=60").await.status, 204, "nobody waits for it");
    link("r", "/_/echo").await;
    for query in ["delay=x", "at=2001-01-01T00:00:00Z", "delay=1&at=2001-01-01T00:00:00Z"] {
        assert_eq!(fire(query).await.status, 400, "{query}");
    }
    let (fired, dropped) = (id(&fire("delay=60").await), id(&fire("delay=90").await));
    let listed = pending(&world, "&name=t").await;
    assert_eq!((&listed[0]["activationId"], &listed[1]["activationId"]), (&json!(fired), &json!(dropped)));
    let cancelled = world.guest(&format!("DELETE {ACTIVATIONS}/{dropped}")).await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    assert!(world.invoker.taken.lock().is_empty());
    link("r2", "/_/echo").await;
    world.let_due();
    eventually("all end", || world.is_idle() && world.ended() == 4).await;
    let record = world.guest(&format!("GET {ACTIVATIONS}/{fired}")).await.json();
    assert_eq!(record["logs"].as_array().unwrap().len(), 2, "{record}");
    assert_eq!(record["start"], listed[0]["due"]);
    assert_eq!(pending(&world, "").await, json!([]));
}

#[tokio::test]
async fn times_that_are_none_are_refused() {
    let world = world().await;
    for (query, part) in [
        ("delay=-1", "The delay must be a number of seconds from 0 to 2592000 (30 days)."),
        ("delay=", "The delay must be"),
        ("delay=NaN", "The delay must be"),
        ("delay=2592001", "The delay must be"),
        ("at=", "is not a time like"),
        ("at=tomorrow", "is not a time like"),
        (
            "at=2001-01-01T00:00:00Z",
            "The time must lie at most one minute in the past and 30 days in the future.",
        ),
        ("at=2999-01-01T00:00:00Z", "The time must lie"),
        ("delay=1&at=2999-01-01T00:00:00Z", "Use either 'delay' or 'at', not both."),
        ("delay=1&blocking=true", "cannot be blocking"),
        ("delay=0&blocking=true", "cannot be blocking"),
    ] {
        let response = invoke(&world, &format!("echo?{query}")).await;
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().contains(part), "{query}: {}", response.error());
    }
    assert!(world.invoker.taken.lock().is_empty());
    assert_eq!(pending(&world, "").await, json!([]));
    assert_eq!(invoke(&world, "echo?delay=0").await.status, 202);
    eventually("it runs at once", || world.ended() == 1).await;
    for (query, part) in [
        ("status=running", "'running' is not a status that can be listed; there is 'pending'."),
        ("status=", "is not a status"),
        ("status=pending&docs=true", "takes neither 'docs' nor 'cause'"),
        ("status=pending&cause=0", "takes neither"),
        ("status=pending&limit=201", "limit"),
    ] {
        let response = world.guest(&format!("GET {ACTIVATIONS}?{query}")).await;
        assert_eq!(response.status, 400, "{query}");
        assert!(response.error().contains(part), "{query}: {}", response.error());
    }
}

#[tokio::test]
async fn what_has_not_ended_is_shown_to_who_asks_for_it() {
    let world = world().await;
    let waits = id(&invoke(&world, "echo?delay=60").await);
    let runs = id(&invoke(&world, "hangs").await);
    for (id, status) in [(&waits, "pending"), (&runs, "running")] {
        assert_eq!(world.guest(&format!("GET {ACTIVATIONS}/{id}")).await.status, 404);
        assert_eq!(world.guest(&format!("GET {ACTIVATIONS}/{id}/result?pending=true")).await.status, 404);
        let shown = world.guest(&format!("GET {ACTIVATIONS}/{id}?pending=true")).await;
        assert_eq!((shown.status, &shown.json()["status"]), (200, &json!(status)));
        assert_eq!(&shown.json()["activationId"], id);
        assert_eq!(shown.json().get("arguments"), None);
        let theirs = Request::new(&format!("GET {ACTIVATIONS}/{id}?pending=true")).auth(&alice());
        assert_eq!(world.send(theirs).await.status, 404);
        let foreign = Request::new(&format!("GET /api/v1/namespaces/guest/activations/{id}?pending=true"));
        assert_eq!(world.send(foreign.auth(&alice())).await.status, 403);
    }
    let ended = id(&invoke(&world, "echo").await);
    eventually("it ends", || world.ended() == 1).await;
    let shown = world.guest(&format!("GET {ACTIVATIONS}/{ended}?pending=true")).await;
    assert_eq!((shown.status, &shown.json()["response"]["success"]), (200, &json!(true)));
}

#[tokio::test]
async fn what_is_cancelled_ends_in_a_record_and_what_ended_stays() {
    let world = world().await;
    let waits = id(&invoke(&world, "echo?delay=60").await);
    let runs = id(&invoke(&world, "hangs").await);
    for id in [&waits, &runs] {
        for (line, credentials, status) in [
            (format!("DELETE {ACTIVATIONS}/{id}"), alice(), 404),
            (format!("DELETE /api/v1/namespaces/guest/activations/{id}"), alice(), 403),
            (format!("DELETE {ACTIVATIONS}/{id}"), crate::world::guest(), 200),
            (format!("DELETE {ACTIVATIONS}/{id}"), crate::world::guest(), 405),
        ] {
            let response = world.send(Request::new(&line).auth(&credentials)).await;
            assert_eq!(response.status, status, "{line}");
            if status == 200 {
                let record = response.json();
                assert_eq!(record["response"]["result"]["error"], "The activation was cancelled.");
                assert_eq!(
                    (&record["activationId"], &record["response"]["success"]),
                    (&json!(id), &json!(false))
                );
            }
        }
    }
    assert_eq!(pending(&world, "").await, json!([]));
    let unknown = "0".repeat(32);
    assert_eq!(world.guest(&format!("DELETE {ACTIVATIONS}/{unknown}")).await.status, 404);
    assert_eq!(world.guest(&format!("DELETE {ACTIVATIONS}/abc")).await.status, 400);
}

//! Blocking calls that do not end in time: 202, or 504 where the caller or the namespace wants an error.

use chasen_entity::{TimeoutStatus, UserLimits};
use chasen_spi::SubjectStore as _;
use serde_json::json;

use crate::client::{Request, Response};
use crate::world::{World, eventually, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";

async fn call(world: &World, name: &str, header: Option<&str>) -> Response {
    let request = Request::new(&format!("POST {ACTIONS}/{name}")).auth(&guest()).json("{}");
    world
        .send(match header {
            Some(status) => request.header("X-Chasen-Timeout-Status", status),
            None => request,
        })
        .await
}

async fn set(world: &World, status: Option<TimeoutStatus>) {
    let limits = UserLimits { blocking_timeout_status: status, ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
}

/// An action that waits, a sequence of it, and a composition that begins with it.
async fn world() -> World {
    let world = World::new().await;
    world.create("slow", "").await;
    let sequence = json!({"exec": {"kind": "sequence", "components": ["/_/slow"]}});
    let put = world.guest_json(&format!("PUT {ACTIONS}/sequence"), sequence).await;
    assert_eq!(put.status, 200, "{put:?}");
    world.create("conductor", r#","annotations":[{"key":"conductor","value":true}]"#).await;
    world
}

#[tokio::test]
async fn the_header_wins_over_the_limit_and_the_limit_over_the_rule() {
    let world = world().await;
    let late = Some(TimeoutStatus::GatewayTimeout);
    for (limit, header, status) in [
        (None, None, 202),
        (None, Some("202"), 202),
        (None, Some("504"), 504),
        (late, None, 504),
        (late, Some("504"), 504),
        (late, Some("202"), 202),
        (Some(TimeoutStatus::Accepted), Some("504"), 504),
        (Some(TimeoutStatus::Accepted), None, 202),
    ] {
        set(&world, limit).await;
        let response = call(&world, "slow?blocking=true&timeout=5", header).await;
        assert_eq!(response.status, status, "{limit:?} {header:?}");
        assert!(response.has_cors());
    }
}

#[tokio::test]
async fn a_late_call_gets_an_error_with_the_id_and_the_activation_goes_on() {
    let world = world().await;
    for (name, call_of) in [("slow", "slow"), ("sequence", "sequence"), ("slow", "slow&result=true")] {
        let (path, extra) = call_of.split_once('&').unwrap_or((call_of, ""));
        let path = format!("{path}?blocking=true&timeout=20&{extra}");
        let response = call(&world, &path, Some("504")).await;
        let id = response.header("x-openwhisk-activation-id").unwrap().to_owned();
        let text =
            "The activation has not ended within 20 milliseconds. It goes on; ask for its record by its id.";
        let code = response.header("x-request-id").unwrap();
        assert_eq!(response.json(), json!({"error": text, "code": code, "activationId": id}));
        assert_eq!(response.status, 504);
        world.invoker.release.notify_one();
        let record = format!("GET /api/v1/namespaces/_/activations/{id}");
        eventually("the activation goes on to its end", || {
            world.log.events().iter().any(|event| {
                matches!(event, chasen_entity::Event::Finished(record) if record.activation_id.to_string() == id)
            })
        })
        .await;
        assert_eq!(world.guest(&record).await.json()["name"], name);
    }
}

#[tokio::test]
async fn a_composition_is_late_like_an_action() {
    let world = world().await;
    let request = Request::new(&format!("POST {ACTIONS}/conductor?blocking=true&timeout=20"))
        .auth(&guest())
        .header("x-chasen-timeout-status", "504")
        .json(json!({"plan": [{"action": "/_/slow"}]}));
    let response = world.send(request).await;
    assert_eq!(response.status, 504, "{response:?}");
    assert_eq!(response.json()["activationId"].as_str(), response.header("x-openwhisk-activation-id"));
    world.invoker.release.notify_one();
}

#[tokio::test]
async fn what_ends_in_time_and_what_nobody_waits_for_is_answered_as_ever() {
    let world = World::new().await;
    for name in ["hello", "failing", "slow"] {
        world.create(name, "").await;
    }
    for (path, status) in [("hello?blocking=true", 200), ("failing?blocking=true", 502), ("slow", 202)] {
        let response = call(&world, path, Some("504")).await;
        assert_eq!(response.status, status, "{path}");
        assert!(response.json().get("error").is_none(), "{path}");
    }
    world.invoker.release.notify_one();
}

#[tokio::test]
async fn other_statuses_are_refused_whether_anybody_waits_or_not() {
    let world = World::new().await;
    world.create("hello", "").await;
    for (value, shown) in [
        ("500", "500"),
        ("200", "200"),
        ("", ""),
        ("504.0", "504.0"),
        ("-504", "-504"),
        ("+504", "+504"),
        ("0504", "0504"),
        ("99999999999", "99999999999"),
        ("late", "late"),
        ("\u{ff}", "\u{ff}"),
    ] {
        for path in ["hello?blocking=true", "hello"] {
            let request = Request::new(&format!("POST {ACTIONS}/{path}")).auth(&guest()).json("{}");
            let text = format!(
                "The value of HTTP header 'X-Chasen-Timeout-Status' was malformed:\n'{shown}' is not one of 202 and 504."
            );
            world.refused(request.header("X-Chasen-Timeout-Status", value), 400, &text).await;
        }
    }
    let twice = Request::new(&format!("POST {ACTIONS}/hello")).auth(&guest()).json("{}");
    let twice = twice.header("X-Chasen-Timeout-Status", "504").header("x-chasen-timeout-status", "202");
    let text = "The value of HTTP header 'X-Chasen-Timeout-Status' was malformed:\n'504, 202' is not one of 202 and 504.";
    world.refused(twice, 400, text).await;
}

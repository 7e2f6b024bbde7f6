//! What actions get: arguments by source, and what wins.

use chasen_entity::StoreLevel;
use chasen_spi::Collection;
use serde_json::{Value, json};

use crate::client::{Request, basic};
use crate::web::{WEB, assert_error, assert_rejection, echoed, export};
use crate::world::{World, alice, guest};

const COLLISION: &str = "Request defines parameters that are not allowed (e.g., reserved properties).";

#[tokio::test]
async fn requests_are_told_to_the_action() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    let request = Request::new(&format!("PUT {WEB}/echo.json/a%20b/%2Fc//d?q=1&q=x+y&e"))
        .auth(&alice())
        .header("X-Mine", "first")
        .header("x-mine", "last")
        .header("X-OW-EXTRA-LOGGING", "on")
        .json(r#"{"big":123456789012345678901234567890,"q2":[1.50]}"#);
    let response = world.send(request).await;
    let arguments = echoed(&response);
    assert!(response.text().contains("\"big\": 123456789012345678901234567890"), "{}", response.text());
    assert_eq!(arguments["__ow_method"], "put");
    assert_eq!(arguments["__ow_path"], "/a%20b/%2Fc//d");
    assert_eq!(arguments["__ow_user"], "alice");
    assert_eq!((&arguments["q"], &arguments["e"]), (&json!("x y"), &json!("")));
    assert_eq!(arguments["q2"], json!([1.5]));
    let expected = json!({"host": "test", "authorization": basic(&alice()), "x-mine": "last", "content-type": "application/json"});
    assert_eq!(arguments["__ow_headers"], expected);
    assert!(arguments.get("__ow_body").is_none() && arguments.get("__ow_query").is_none());

    let invocation = world.invoker.taken.lock().pop().unwrap();
    assert_eq!(invocation.identity.namespace.name.as_str(), "guest", "the owner's, whoever calls");
    assert!(invocation.blocking && invocation.arguments.as_str().contains("1.50"));
}

#[tokio::test]
async fn a_record_can_be_asked_for() {
    let world = World::with(|config| config.store_blocking = StoreLevel::StoreFailures).await;
    export(&world, "echo", &[], &[]).await;
    for (header, level) in
        [("X-OW-EXTRA-LOGGING", StoreLevel::StoreAlways), ("X-Other", StoreLevel::StoreFailures)]
    {
        let request = Request::new(&format!("GET {WEB}/echo.json")).header(header, "on");
        let shown = echoed(&world.send(request).await)["__ow_headers"].as_object().unwrap().len();
        assert_eq!(shown, if header == "X-Other" { 2 } else { 1 }, "it is not shown to the action");
        assert_eq!(world.invoker.taken.lock().pop().unwrap().store, level);
    }
}

#[tokio::test]
async fn everything_may_be_called_without_a_key() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    for (authorization, user) in [
        (None, None),
        (Some(basic(&guest())), Some("guest")),
        (Some(basic(&alice())), Some("alice")),
        (Some(basic(&format!("guest-id:{}", "x".repeat(64)))), None),
        (Some("Basic ****".to_owned()), None),
        (Some("Bearer x".to_owned()), None),
    ] {
        for method in ["GET", "DELETE", "POST", "PUT", "PATCH"] {
            let mut request = Request::new(&format!("{method} {WEB}/echo.json"));
            if let Some(value) = &authorization {
                request = request.header("authorization", value);
            }
            let arguments = echoed(&world.send(request).await);
            assert_eq!(arguments.get("__ow_user").and_then(Value::as_str), user, "{authorization:?}");
            assert_eq!(arguments["__ow_method"], method.to_lowercase());
            assert_eq!((arguments["__ow_path"].as_str(), arguments.get("__ow_body")), (Some(""), None));
        }
    }
}

#[tokio::test]
async fn later_sources_win() {
    let world = World::new().await;
    let all = |value: i32, keys: &[&str]| {
        let parameters: Vec<_> = keys.iter().map(|key| json!({"key": key, "value": value})).collect();
        json!({"parameters": parameters, "publish": true})
    };
    let put = async |line: &str, body: Value| {
        let response = world.guest_json(&format!("PUT /api/v1/namespaces/_/{line}"), body).await;
        assert_eq!(response.status, 200, "{response:?}");
    };
    put("packages/p", all(1, &["p", "b", "a", "q", "o", "__ow_path"])).await;
    put(
        "packages/b",
        json!({"binding": {"namespace": "_", "name": "p"},
            "parameters": [{"key": "b", "value": 2}, {"key": "a", "value": 2}, {"key": "q", "value": 2}]}),
    )
    .await;
    export(&world, "p/echo", &[], &[("a", "3"), ("q", "3"), ("o", "3")]).await;
    let request = Request::new("POST /api/v1/web/guest/b/echo.json?q=4&o=4").json(r#"{"o":5}"#);
    let arguments = echoed(&world.send(request).await);
    let found: Vec<_> = ["p", "b", "a", "q", "o", "__ow_path"].map(|key| arguments[key].clone()).into();
    assert_eq!(found, [json!(1), json!(2), json!(3), json!("4"), json!(5), json!("")]);
    let invocation = world.invoker.taken.lock().pop().unwrap();
    assert_eq!(invocation.binding.as_deref(), Some("guest/b"));
}

#[tokio::test]
async fn final_and_reserved_names_cannot_be_sent() {
    let world = World::new().await;
    export(&world, "echo", &[("final", "true")], &[("mine", "1"), ("open", "null")]).await;
    for request in [
        Request::new(&format!("GET {WEB}/echo.json?mine=2")),
        Request::new(&format!("GET {WEB}/echo.json?__ow_user=2")),
        Request::new(&format!("POST {WEB}/echo.json")).json(r#"{"mine":2}"#),
        Request::new(&format!("POST {WEB}/echo.json")).json(r#"{"__ow_headers":{}}"#),
        Request::new(&format!("POST {WEB}/echo.json"))
            .header("content-type", "application/x-www-form-urlencoded")
            .raw_body("a=1&__ow_body=x"),
    ] {
        let response = world.send(request).await;
        assert_error(&response, 400, COLLISION);
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_none());
    }
    assert!(world.invoker.taken.lock().is_empty(), "nothing ran");
    let arguments = echoed(&world.send(Request::new(&format!("GET {WEB}/echo.json?open=2"))).await);
    assert_eq!((&arguments["mine"], &arguments["open"]), (&json!(1), &json!("2")));
}

#[tokio::test]
async fn raw_actions_get_requests_as_they_are() {
    let world = World::new().await;
    export(&world, "raw", &[("raw-http", "true"), ("final", "true")], &[("mine", "1")]).await;
    let request = Request::new(&format!("POST {WEB}/raw.json?mine=2&__ow_body=3&a=b%20c"));
    let arguments = echoed(&world.send(request.clone().json("{\"mine\":4}")).await);
    assert_eq!(arguments["__ow_query"], "mine=2&__ow_body=3&a=b+c");
    assert_eq!((&arguments["__ow_body"], &arguments["mine"]), (&json!("eyJtaW5lIjo0fQ=="), &json!(1)));
    assert!(arguments.get("a").is_none());
    let arguments = echoed(&world.send(request.header("content-type", "text/plain").raw_body("hé")).await);
    assert_eq!(arguments["__ow_body"], "hé");
    let arguments = echoed(&world.send(Request::new(&format!("GET {WEB}/raw.json"))).await);
    assert_eq!((&arguments["__ow_query"], &arguments["__ow_body"]), (&json!(""), &json!("")));
}

#[tokio::test]
async fn malformed_json_is_rejected_before_anything_runs() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    for body in ["{", "[1,]", "x", "{\"a\":\u{1}}"] {
        let response = world.send(Request::new(&format!("POST {WEB}/echo.json")).json(body)).await;
        assert_rejection(&response, 400, "The request content was malformed:\n");
    }
    assert!(world.invoker.taken.lock().is_empty());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let response = world.send(Request::new(&format!("POST {WEB}/echo.json")).json(&deep)).await;
    assert!(response.status == 200 && response.text().contains(&deep));
}

#[tokio::test]
async fn packages_that_begin_with_default_are_packages() {
    let world = World::new().await;
    world.store(Collection::Packages, "guest", "defaults", &package("defaults")).await;
    export(&world, "defaults/echo", &[], &[]).await;
    let response = world.send(Request::new("GET /api/v1/web/guest/defaults/echo.json")).await;
    echoed(&response);
    let response = world.send(Request::new(&format!("GET {WEB}/echo.json"))).await;
    assert_error(&response, 404, crate::web::NOT_FOUND);
}

fn package(name: &str) -> String {
    json!({"namespace": "guest", "name": name, "version": "0.0.1", "publish": false, "parameters": [],
        "annotations": [], "updated": 1})
    .to_string()
}

//! What becomes of results: every extension, every outcome.

use std::time::Duration;

use serde_json::json;

use crate::client::Request;
use crate::web::{WEB, assert_error, assert_rejection, export, returned};
use crate::world::{World, alice, eventually};

const HTML: &str = "text/html; charset=UTF-8";
const PLAIN: &str = "text/plain; charset=UTF-8";
const SVG: &str = "image/svg+xml";
const JSON: &str = "application/json";

#[tokio::test]
async fn extensions_take_what_they_stand_for() {
    let world = World::new().await;
    for (extension, result, content_type, body) in [
        (".json", r#"{"a":1.50,"b":[{}]}"#, JSON, "{\n  \"a\": 1.50,\n  \"b\": [{\n\n  }]\n}"),
        (".json", "[1,\"x\"]", JSON, "[1, \"x\"]"),
        (".json", "{}", JSON, "{\n\n}"),
        (".html", "\"<p>\"", HTML, "<p>"),
        (".html", r#"{"html":"<p>","other":1}"#, HTML, "<p>"),
        (".html", r#"{"html":"no","body":"<b>"}"#, HTML, "<b>"),
        (".svg", r#"{"svg":"<svg/>"}"#, SVG, "<svg/>"),
        (".svg", r#"{"body":"<svg/>"}"#, SVG, "<svg/>"),
        (".text", r#"{"text":"hé"}"#, PLAIN, "hé"),
        (".text", r#"{"body":{"a":[]},"text":"no"}"#, PLAIN, "{\n  \"a\": []\n}"),
        (".text", r#"{"text":null}"#, PLAIN, "null"),
        (".text", r#"{"text":1e400}"#, PLAIN, "1e400"),
        (".text", "true", PLAIN, "true"),
        (".text", "[1,2]", PLAIN, "[1, 2]"),
        (".http", r#"{"body":"<p>"}"#, HTML, "<p>"),
        ("", r#"{"body":{"a":1},"statusCode":200}"#, JSON, "{\n  \"a\": 1\n}"),
    ] {
        let response = returned(&world, "returns", extension, result).await;
        let found = (response.status, response.header("content-type"), response.text());
        assert_eq!(found, (200, Some(content_type), body.to_owned()), "{extension} {result}");
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_some());
    }
}

#[tokio::test]
async fn errors_of_the_application_are_answered_like_results() {
    let world = World::new().await;
    for (extension, error, status, content_type, body) in [
        (".http", r#"{"statusCode":404,"body":"gone"}"#, 404, HTML, "gone"),
        (".http", r#"{"body":"200 unless it says so"}"#, 200, HTML, "200 unless it says so"),
        (".json", r#"{"a":1}"#, 200, JSON, "{\n  \"a\": 1\n}"),
        (".text", "\"no\"", 200, PLAIN, "no"),
        (".text", r#"{"text":"no"}"#, 200, PLAIN, "no"),
        (".html", "\"no\"", 200, HTML, "no"),
    ] {
        let response = returned(&world, "fails", extension, error).await;
        let found = (response.status, response.header("content-type"), response.text());
        assert_eq!(found, (status, Some(content_type), body.to_owned()), "{extension} {error}");
    }
    for (extension, error, status, text) in [
        (".http", "\"no\"", 400, "Response is not valid 'message/http'."),
        (".json", "\"no\"", 400, "Response is not valid 'application/json'."),
        (".text", "{}", 404, "Response does not include requested property."),
    ] {
        let response = returned(&world, "fails", extension, error).await;
        assert_error(&response, status, text);
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_some());
    }
}

#[tokio::test]
async fn results_that_do_not_fit_are_refused() {
    let world = World::new().await;
    for (extension, result, status, text) in [
        (".http", "[1]", 400, "Response is not valid 'message/http'."),
        ("", r#"{"statusCode":"x"}"#, 400, "Response is not valid 'message/http'."),
        (".http", r#"{"statusCode":101}"#, 400, "Response is not valid 'message/http'."),
        (".json", "1", 400, "Response is not valid 'application/json'."),
        (".html", r#"{"html":1}"#, 400, "Response is not valid 'text/html'."),
        (".html", r#"{"body":1,"html":"x"}"#, 400, "Response is not valid 'text/html'."),
        (".html", "[]", 400, "Response is not valid 'text/html'."),
        (".html", "{}", 400, "Response is not valid 'text/html'."),
        (".svg", r#"{"html":"x"}"#, 400, "Response is not valid 'image/svg+xml'."),
        (".text", r#"{"html":"x"}"#, 404, "Response does not include requested property."),
        (
            ".http",
            r#"{"body":"x","headers":{"content-type":"xyz"}}"#,
            400,
            "Response did not specify a known content-type.",
        ),
        (
            ".http",
            r#"{"body":"?","headers":{"content-type":"image/png"}}"#,
            400,
            "Response type in header did not match generated content type.",
        ),
    ] {
        let response = returned(&world, "returns", extension, result).await;
        assert_error(&response, status, text);
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_some());
    }
    for action in ["broken", "whisk"] {
        export(&world, action, &[], &[]).await;
        let response = world.send(Request::new(&format!("GET {WEB}/{action}.text"))).await;
        assert_error(&response, 400, "There was an error processing your request.");
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_some());
    }
    export(&world, "silent", &[], &[]).await;
    assert_eq!(world.send(Request::new(&format!("GET {WEB}/silent"))).await.status, 204);
}

#[tokio::test]
async fn messages_say_status_headers_and_body() {
    let world = World::new().await;
    let result = r#"{"statusCode":"799","headers":{}}"#;
    assert_eq!(returned(&world, "returns", "", result).await.status, 400);
    let result = r#"{"statusCode":578,"body":"x","headers":{"Set-Cookie":["a=1","b=2"],"X-Request-ID":"mine",
        "Access-Control-Allow-Origin":"https://mine","location":"/there","Server":"mine","Content-Length":"999","x":1}}"#;
    let response = returned(&world, "returns", "", result).await;
    assert_eq!((response.status, response.reason.as_str(), response.text().as_str()), (578, "", "x"));
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.all("access-control-allow-origin"), ["*", "https://mine"]);
    let ids = response.all("x-request-id");
    assert!(ids.len() == 2 && ids.contains(&"mine"), "{ids:?}");
    assert_eq!((response.all("location"), response.all("x")), (vec!["/there"], vec!["1"]));
    assert_eq!((response.all("server"), response.all("content-length")), (vec![], vec!["1"]));

    let response = returned(&world, "returns", "", r#"{"statusCode":302,"headers":{"location":"/x"}}"#).await;
    assert_eq!((response.status, response.header("content-type")), (302, None));
    let response = returned(&world, "returns", "", r#"{"statusCode":204,"body":"gone"}"#).await;
    assert_eq!((response.status, response.header("content-type"), response.body.len()), (204, None, 0));
    let png = r#"{"body":"iVBORw0KGgo=","headers":{"content-type":"image/png"}}"#;
    let response = returned(&world, "returns", ".http", png).await;
    assert_eq!(
        (response.header("content-type"), &response.body[..]),
        (Some("image/png"), &b"\x89PNG\r\n\x1a\n"[..])
    );
}

#[tokio::test]
async fn what_a_client_does_not_take_is_406_after_one_run() {
    let world = World::new().await;
    export(&world, "returns", &[], &[("result", r#"{"text":"é","html":"<p>"}"#)]).await;
    let ask = |extension: &str, accept: &str| {
        Request::new(&format!("GET {WEB}/returns{extension}")).header("accept", accept)
    };
    for (extension, types) in
        [(".json", "application/json"), (".html", "text/html; charset=UTF-8"), (".text", "text/plain")]
    {
        let text = format!("Resource representation is only available with these types:\n{types}");
        let before = world.invoker.taken.lock().len();
        let request = ask(extension, "image/png, video/*").auth(&alice());
        assert_rejection(&world.send(request).await, 406, &text);
        assert_eq!(world.invoker.taken.lock().len(), before + 1);
        for accept in ["*/*", types, "image/png, */*;q=0.1", "nonsense"] {
            assert_eq!(world.send(ask(extension, accept)).await.status, 200, "{extension} {accept}");
        }
    }
    let response = world.send(ask(".text", "*/*").header("accept-charset", "iso-8859-1")).await;
    assert_eq!(response.body, b"\xe9");
    assert_eq!(response.header("content-type"), Some("text/plain; charset=ISO-8859-1"));
    // Errors and answers without a body suit everybody.
    assert_error(&world.send(ask(".svg", "image/png")).await, 400, "Response is not valid 'image/svg+xml'.");
    assert_eq!(world.send(ask("", "image/png")).await.status, 204);
}

#[tokio::test]
async fn heads_have_everything_but_the_body() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    export(&world, "returns", &[], &[("result", r#"{"body":"hello"}"#)]).await;
    let response = world.send(Request::new(&format!("HEAD {WEB}/returns"))).await;
    assert_eq!((response.status, response.header("content-length")), (200, Some("5")));
    assert!(response.body.is_empty() && response.has_cors());
    world.send(Request::new(&format!("HEAD {WEB}/echo.json"))).await;
    let arguments = world.invoker.taken.lock().pop().unwrap().arguments;
    assert_eq!(arguments.get("__ow_method").unwrap().as_str(), "\"head\"");
    let response = world.send(Request::new(&format!("HEAD {WEB}/echo")).raw_body("x")).await;
    assert_eq!(response.status, 422);
}

#[tokio::test]
async fn a_run_that_is_too_long_is_not_waited_for() {
    let world = World::with(|config| config.max_blocking_wait = Duration::from_millis(20)).await;
    export(&world, "slow", &[], &[]).await;
    let response = world.send(Request::new(&format!("GET {WEB}/slow.json"))).await;
    assert_error(&response, 202, "Response not yet ready.");
    assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_some());
    world.invoker.release.notify_one();
    eventually("the activation goes on to its end", || world.ended() == 1).await;
}

#[tokio::test]
async fn sequences_are_web_actions_too() {
    let world = World::new().await;
    world.create("echo", "").await;
    world.create("array", "").await;
    for (name, components, body) in
        [("twice", ["/_/echo", "/_/echo"], "\"a\": \"1\""), ("list", ["/_/echo", "/_/array"], "[1, 2]")]
    {
        let document = json!({"exec": {"kind": "sequence", "components": components},
            "annotations": [{"key": "web-export", "value": true}]});
        let put = format!("PUT /api/v1/namespaces/_/actions/{name}");
        assert_eq!(world.guest_json(&put, document).await.status, 200);
        let response = world.send(Request::new(&format!("GET {WEB}/{name}.json?a=1"))).await;
        assert!(response.status == 200 && response.text().contains(body), "{response:?}");
        assert!(response.header("x-openwhisk-activation-id").is_some());
    }
    let text = "Response is not valid 'message/http'.";
    assert_error(&world.send(Request::new(&format!("GET {WEB}/list"))).await, 400, text);
}

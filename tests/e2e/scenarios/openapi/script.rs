//! A life of everything that the API keeps: made, listed, read, changed, set off, refused and deleted.

use chasen_testkit::Client;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Builder;
use http::{Method, Request};
use serde_json::Value;

use super::document::Document;
use crate::functions::record;

/// A web action that says hello.
pub(super) const HELLO: &str = r##"{
    "exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '{\"body\":\"hello\",\"statusCode\":418}'\n"},
    "parameters": [{"key": "a", "value": [1, null]}, {"key": "b", "value": "x", "init": true}],
    "annotations": [{"key": "web-export", "value": true}]
}"##;
const ARRAY: &str = r##"{"exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '[1,2]'\n"}}"##;
const FAILING: &str = r##"{
    "exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '{\"error\":\"no\"}'\n"},
    "annotations": [{"key": "web-export", "value": true}]
}"##;
const GUARDED: &str = r##"{
    "exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '{\"body\":\"in\"}'\n"},
    "annotations": [{"key": "web-export", "value": true}, {"key": "require-whisk-auth", "value": "secret"}]
}"##;
const OWN_OPTIONS: &str = r##"{
    "exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\necho '{\"statusCode\":299}'\n"},
    "annotations": [{"key": "web-export", "value": true}, {"key": "web-custom-options", "value": true}]
}"##;
const SLOW: &str = r##"{"exec": {"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": "#!/bin/sh\nsleep 600\n"}, "limits": {"timeout": 2000}}"##;
const SEQUENCE: &str = r#"{"exec": {"kind": "sequence", "components": ["/_/hello", "/_/hello"]}}"#;

/// One request: what is asked, as `METHOD path` below the namespace, with which body, and the status to come. `$ID`
/// stands for the activation that was last named in an answer.
struct Row {
    ask: &'static str,
    body: &'static str,
    status: u16,
    accept: &'static str,
}

const fn row(ask: &'static str, body: &'static str, status: u16) -> Row {
    Row { ask, body, status, accept: "application/json" }
}

/// A client that does not take JSON: 406, after the operation.
const fn picky(ask: &'static str, body: &'static str) -> Row {
    Row { ask, body, status: 406, accept: "text/x-other" }
}

/// A client that takes anything.
const fn plain(ask: &'static str, body: &'static str, status: u16) -> Row {
    Row { ask, body, status, accept: "*/*" }
}

const NONE: &str = "";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // What the API says about itself.
    row("GET /", NONE, 200),
    row("GET /api-docs", NONE, 200),
    plain("GET /docs", NONE, 308),
    plain("GET /docs/index.html?url=/api/v1/api-docs", NONE, 200),
    row("GET /namespaces", NONE, 200),
    picky("GET /namespaces", NONE),
    row("GET limits", NONE, 200),
    picky("GET limits", NONE),

    // Actions.
    picky("PUT actions/hello", HELLO),
    row("PUT actions/hello", HELLO, 409),
    row("PUT actions/hello?overwrite=true", r#"{"limits": {"timeout": 10000, "memory": 128, "instances": 3}}"#, 200),
    row("PUT actions/no-exec", "{}", 400),
    row("PUT actions/no-component", r#"{"exec": {"kind": "sequence", "components": ["/_/no-package/x"]}}"#, 404),
    row("GET actions/hello?code=true", NONE, 200),
    row("GET actions/hello?code=false", NONE, 200),
    row("GET actions/hello?code=what", NONE, 400),
    picky("GET actions/hello", NONE),
    row("PUT actions/array", ARRAY, 200),
    row("PUT actions/failing", FAILING, 200),
    row("PUT actions/twice", SEQUENCE, 200),
    row("GET actions/twice", NONE, 200),
    row("PUT actions/twice?overwrite=true", SEQUENCE, 200),
    row("GET actions?limit=2&skip=1&count=false", NONE, 200),
    row("GET actions?count=true", NONE, 200),
    picky("GET actions", NONE),

    // Invocations.
    row("POST actions/hello", "{}", 202),
    row("POST actions/hello?blocking=true&timeout=60000", r#"{"name": "Ada"}"#, 200),
    row("POST actions/hello?blocking=true&result=true", NONE, 200),
    row("POST actions/array?blocking=true", NONE, 200),
    row("POST actions/failing?blocking=true", NONE, 502),
    row("POST actions/failing?blocking=true&result=true", NONE, 502),
    row("POST actions/hello", "[]", 400),
    picky("POST actions/hello", "{}"),
    row("POST actions/twice?blocking=true", NONE, 200),
    row("GET activations/$ID", NONE, 200),
    row("GET activations?cause=$ID", NONE, 200),
    row("GET activations/$ID/result", NONE, 200),
    row("GET activations/$ID/logs", NONE, 200),
    picky("GET activations/$ID", NONE),
    picky("GET activations/$ID/result", NONE),
    picky("GET activations/$ID/logs", NONE),
    row("GET activations?limit=10&skip=0&count=false&docs=false", NONE, 200),
    row("GET activations?docs=true&name=hello&since=0&upto=99999999999999", NONE, 200),
    row("GET activations?count=true", NONE, 200),
    picky("GET activations", NONE),

    // What the activations of an action have left.
    row("GET actions/hello/logs?limit=2&skip=0&since=0&upto=99999999999999", NONE, 200),
    row("GET actions/twice/logs", NONE, 200),
    picky("GET actions/hello/logs", NONE),
    row("GET actions/hello/summary?since=0&upto=99999999999999", NONE, 200),
    row("GET actions/twice/summary", NONE, 200),
    picky("GET actions/hello/summary", NONE),

    // Packages.
    picky("PUT packages/greetings", r#"{"publish": true, "parameters": [{"key": "p", "value": {}}]}"#),
    row("PUT packages/greetings", "{}", 409),
    row("PUT packages/greetings?overwrite=true", r#"{"annotations": [{"key": "description", "value": "d"}]}"#, 200),
    row("PUT packages/mine", r#"{"binding": {"namespace": "_", "name": "greetings"}}"#, 200),
    row("PUT packages/lost", r#"{"binding": {"namespace": "_", "name": "nothing"}}"#, 400),
    row("GET packages?limit=0&skip=0&count=false&public=true", NONE, 200),
    row("GET packages?count=true", NONE, 200),
    picky("GET packages", NONE),
    row("PUT actions/greetings/hello", HELLO, 200),
    row("PUT actions/greetings/hello", HELLO, 409),
    picky("PUT actions/greetings/hello?overwrite=true", HELLO),
    row("PUT actions/greetings/failing", FAILING, 200),
    row("PUT actions/greetings/feed", r#"{"exec": {"kind": "sequence", "components": ["/_/hello"]}, "annotations": [{"key": "feed", "value": true}]}"#, 200),
    row("PUT actions/mine/hello", HELLO, 400),
    row("GET packages/greetings", NONE, 200),
    row("GET packages/mine", NONE, 200),
    picky("GET packages/mine", NONE),
    row("GET actions/greetings/?limit=1&skip=0&count=false", NONE, 200),
    row("GET actions/mine/", NONE, 200),
    row("GET actions/greetings/?count=true", NONE, 200),
    picky("GET actions/greetings/", NONE),
    row("GET actions/mine/hello?code=false", NONE, 200),
    row("GET actions/greetings/hello?code=true", NONE, 200),
    picky("GET actions/greetings/hello", NONE),
    row("POST actions/mine/hello?blocking=true&timeout=60000&result=false", "{}", 200),
    row("GET activations/$ID", NONE, 200),
    row("POST actions/greetings/hello", NONE, 202),
    picky("POST actions/greetings/hello", NONE),
    row("POST actions/greetings/failing?blocking=true&result=true", NONE, 502),
    row("GET actions/greetings/hello/logs?limit=2&skip=0&since=0&upto=99999999999999", NONE, 200),
    row("GET actions/mine/hello/logs", NONE, 200),
    picky("GET actions/greetings/hello/logs", NONE),
    row("GET actions/greetings/hello/summary?since=0&upto=99999999999999", NONE, 200),
    row("GET actions/mine/hello/summary", NONE, 200),
    picky("GET actions/greetings/hello/summary", NONE),

    // Triggers and rules.
    picky("PUT triggers/tick", r#"{"parameters": [{"key": "t", "value": 1}]}"#),
    row("PUT triggers/tick", "{}", 409),
    row("PUT triggers/tick?overwrite=true", r#"{"annotations": [{"key": "a", "value": 1}]}"#, 200),
    row("GET triggers/tick", NONE, 200),
    plain("POST triggers/tick", "{}", 204),
    row("PUT rules/hello-on-tick", r#"{"trigger": "/_/tick", "action": "/_/mine/hello"}"#, 200),
    row("PUT rules/hello-on-tick", r#"{"trigger": "/_/tick", "action": "/_/hello"}"#, 409),
    row("PUT rules/hello-on-tick?overwrite=true", r#"{"trigger": {"path": "_", "name": "tick"}, "action": "/_/hello"}"#, 200),
    row("PUT rules/no-package", r#"{"trigger": "/_/tick", "action": "/_/no-package/x"}"#, 404),
    row("PUT rules/no-action", r#"{"trigger": "/_/tick", "action": "/_/nothing"}"#, 400),
    row("GET rules/hello-on-tick", NONE, 200),
    picky("GET rules/hello-on-tick", NONE),
    row("GET rules?limit=1&skip=0&count=false", NONE, 200),
    row("GET rules?count=true", NONE, 200),
    picky("GET rules", NONE),
    row("POST triggers/tick", r#"{"event": 1}"#, 202),
    row("GET activations/$ID", NONE, 200),
    picky("POST triggers/tick", "{}"),
    row("GET activations?docs=true", NONE, 200),
    row("GET activations", NONE, 200),
    row("GET triggers/tick", NONE, 200),
    picky("GET triggers/tick", NONE),
    row("GET triggers?limit=1&skip=0&count=false", NONE, 200),
    row("GET triggers?count=true", NONE, 200),
    picky("GET triggers", NONE),
    plain("POST rules/hello-on-tick", r#"{"status": "inactive"}"#, 200),
    plain("POST rules/hello-on-tick", r#"{"status": "sleepy"}"#, 400),
    plain("POST rules/hello-on-tick", r#"{"status": "active"}"#, 200),
    picky("PUT rules/hello-on-tick?overwrite=true", "{}"),

    // Everything is of one kind only.
    row("GET actions/greetings", NONE, 409),
    row("PUT actions/greetings", HELLO, 409),
    row("POST actions/greetings", "{}", 409),
    row("DELETE actions/greetings", NONE, 409),
    row("GET actions/hello/", NONE, 409),
    row("GET actions/hello/x", NONE, 409),
    row("PUT actions/hello/x", HELLO, 409),
    row("POST actions/hello/x", "{}", 409),
    row("DELETE actions/hello/x", NONE, 409),
    row("GET actions/tick/logs", NONE, 409),
    row("GET actions/tick/summary", NONE, 409),
    row("GET actions/hello/x/logs", NONE, 409),
    row("GET actions/hello/x/summary", NONE, 409),
    row("GET triggers/hello", NONE, 409),
    row("PUT triggers/hello?overwrite=true", "{}", 409),
    row("POST triggers/hello", "{}", 409),
    row("DELETE triggers/hello", NONE, 409),
    row("GET rules/hello", NONE, 409),
    row("POST rules/hello", r#"{"status": "active"}"#, 409),
    row("DELETE rules/hello", NONE, 409),
    row("GET packages/hello", NONE, 409),
    row("DELETE packages/hello", NONE, 409),

    // The end.
    row("DELETE rules/hello-on-tick", NONE, 200),
    row("PUT rules/again", r#"{"trigger": "/_/tick", "action": "/_/hello"}"#, 200),
    row("DELETE triggers/tick", NONE, 200),
    row("GET rules/again", NONE, 200),
    picky("DELETE rules/again", NONE),
    row("PUT triggers/again", "{}", 200),
    picky("DELETE triggers/again", NONE),
    row("DELETE actions/greetings/failing", NONE, 200),
    picky("DELETE actions/greetings/feed", NONE),
    row("DELETE packages/greetings", NONE, 409),
    picky("DELETE packages/mine", NONE),
    row("DELETE packages/greetings?force=true", NONE, 200),
    row("DELETE actions/twice", NONE, 200),
    picky("DELETE actions/array", NONE),
];

/// Calls of web actions, with every method: path after the namespace, extra header, and the status to come.
const WEB: &[(&str, &str, &str, u16)] = &[
    ("default/hello.text", "", "", 200),
    ("default/hello.http", "", "", 418),
    ("default/hello.json", "accept", "image/png", 406),
    ("default/failing.json", "", "", 400),
    ("default/guarded.text", "", "", 401),
    ("default/guarded.text", "x-require-whisk-auth", "secret", 200),
];

/// Puts everything that the document's examples name.
pub(super) async fn populate(client: &Client) {
    for (path, text) in [
        ("actions/hello", HELLO),
        ("packages/greetings", "{}"),
        ("actions/greetings/hello", HELLO),
        ("triggers/tick", "{}"),
        ("rules/hello-on-tick", r#"{"trigger":"/_/tick","action":"/_/hello"}"#),
    ] {
        let request = Request::put(format!("{}/api/v1/namespaces/_/{path}?overwrite=true", client.base()));
        let reply = client.send(json(request, text).map(Into::into)).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
    }
}

/// Plays all of it.
pub(super) async fn play(document: &mut Document, client: &Client, anonymous: &Client) {
    let mut id = String::new();
    for row in ROWS {
        let (method, path) = row.ask.split_once(' ').expect("a method and a path");
        let base = if path.starts_with('/') { "/api/v1" } else { "/api/v1/namespaces/_/" };
        let uri = format!("{}{base}{}", client.base(), path.replace("$ID", &id));
        let request = Request::builder().method(method).uri(uri).header(ACCEPT, row.accept);
        let reply = document.ask(client, json(request, row.body)).await;
        assert_eq!(reply.status.as_u16(), row.status, "{}: {}", row.ask, reply.text());
        let named = reply.headers.get("x-openwhisk-activation-id").and_then(|value| value.to_str().ok());
        if let Some(named) = named {
            named.clone_into(&mut id);
        }
        // What nobody waited for has its record a moment later than its answer.
        if row.status == 202 {
            record(client, &id).await;
        }
        if row.ask.starts_with("POST") && row.status < 400 && reply.json()["activationId"] != Value::Null {
            let is_record = row.ask.contains("blocking=true");
            document.is_a(if is_record { "Activation" } else { "ActivationId" }, &reply.json());
        }
    }
    play_web(document, client, anonymous).await;
}

async fn play_web(document: &mut Document, client: &Client, anonymous: &Client) {
    for (name, text) in [("hello", HELLO), ("failing", FAILING), ("guarded", GUARDED), ("own", OWN_OPTIONS)] {
        let uri = format!("{}/api/v1/namespaces/_/actions/{name}?overwrite=true", client.base());
        let reply = document.ask(client, json(Request::put(uri), text)).await;
        assert_eq!(reply.status.as_u16(), 200, "{name}: {}", reply.text());
    }
    for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD, Method::PATCH] {
        for (path, header, value, status) in WEB {
            let uri = format!("{}/api/v1/web/guest/{path}", client.base());
            let request = Request::builder().method(method.clone()).uri(uri);
            let request = if header.is_empty() { request } else { request.header(*header, *value) };
            let reply = document.ask(anonymous, request.body(Vec::new()).unwrap()).await;
            assert_eq!(reply.status.as_u16(), *status, "{method} {path}: {}", reply.text());
        }
    }
    for (path, status) in [("default/hello.http", 200), ("default/own.http", 299)] {
        let uri = format!("{}/api/v1/web/guest/{path}", client.base());
        let request = Request::builder().method(Method::OPTIONS).uri(uri).header("x-require-whisk-auth", "");
        let reply = document.ask(anonymous, request.body(Vec::new()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), status, "OPTIONS {path}: {}", reply.text());
    }
}

/// Calls that do not end in time and want an error, and such as cannot want what they say.
pub(super) async fn be_late(document: &mut Document, client: &Client) {
    for name in ["slow", "greetings/slow"] {
        let uri = format!("{}/api/v1/namespaces/_/actions/{name}", client.base());
        let reply = document.ask(client, json(Request::put(&uri), SLOW)).await;
        assert_eq!(reply.status.as_u16(), 200, "{name}: {}", reply.text());
        for (asked, status) in [("504", 504), ("202", 202), ("408", 400)] {
            let call = Request::post(format!("{uri}?blocking=true&timeout=1"));
            let call = call.header("X-Chasen-Timeout-Status", asked).body(Vec::new()).unwrap();
            let reply = document.ask(client, call).await;
            assert_eq!(reply.status.as_u16(), status, "{name}: {}", reply.text());
        }
    }
}

/// The request with a JSON body, or with none.
pub(super) fn json(request: Builder, text: &str) -> Request<Vec<u8>> {
    if text.is_empty() {
        return request.body(Vec::new()).unwrap();
    }
    request.header(CONTENT_TYPE, "application/json").body(text.as_bytes().to_vec()).unwrap()
}

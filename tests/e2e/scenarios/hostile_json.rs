//! JSON that is hard to read, in every place where JSON is read: an answer in the usual form, and nothing changed by
//! what was refused.

use chasen_testkit::{Client, Node, Reply, node};
use http::{Method, Request};
use serde_json::Value;

use crate::functions::{Function, eventually};
use crate::scenario::Scenario;

/// Answers its arguments.
const ECHO: &str = "#!/bin/sh\nprintf '%s' \"$1\"\n";
/// Nesting that no recursion survives.
const DEPTH: usize = 10_000;
const API: &str = "/api/v1/namespaces/_";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("hostile_json::bodies_are_answered_or_refused_without_a_trace", bodies),
        Scenario::new("hostile_json::what_was_stored_is_listed_run_and_fired", stored),
        Scenario::new("hostile_json::functions_may_answer_anything", results),
    ]
}

/// Values, from odd to invalid.
fn values() -> Vec<(&'static str, String)> {
    let named = |name, text: &str| (name, text.to_owned());
    vec![
        ("deep arrays", deep()),
        ("deep objects", r#"{"a":"#.repeat(DEPTH) + "1" + &"}".repeat(DEPTH)),
        ("open arrays", "[".repeat(DEPTH)),
        named("doubled key", r#"{"a":1,"a":2}"#),
        named("half of a pair", r#""\ud800""#),
        named("half of a pair as key", r#"{"\ud800":1}"#),
        named("NUL", r#""\u0000""#),
        named("NUL as key", r#"{"\u0000":1}"#),
        named("raw NUL", "\"\0\""),
        named("huge exponent", "1e999999"),
        ("400 digits", "9".repeat(400)),
        named("byte order mark", "\u{feff}{}"),
        named("cut off", r#"{"a":"#),
    ]
}

fn deep() -> String {
    "[".repeat(DEPTH) + &"]".repeat(DEPTH)
}

/// Method, path, and bodies with an `@` where the value goes.
const PLACES: &[(Method, &str, &[&str])] = &[
    (
        Method::PUT,
        "/actions/other?overwrite=true",
        &[
            "@",
            r#"{"parameters":@}"#,
            r#"{"parameters":[{"key":"a","value":@}]}"#,
            r#"{"parameters":[{"key":@,"value":1}]}"#,
            r#"{"annotations":[{"key":"conductor","value":@}]}"#,
            r#"{"exec":@}"#,
            r#"{"exec":{"kind":@}}"#,
            r#"{"exec":{"kind":"sequence","components":@}}"#,
            r#"{"exec":{"kind":"sequence","components":[@]}}"#,
            r#"{"exec":{"kind":"nodejs:default","code":@}}"#,
            r#"{"exec":{"kind":"nodejs:default","code":"x","main":@}}"#,
            r#"{"limits":@}"#,
            r#"{"limits":{"memory":@}}"#,
            r#"{"version":@}"#,
            r#"{"publish":@}"#,
            r#"{"delAnnotations":[@]}"#,
            r#"{"unknown":@}"#,
        ],
    ),
    (
        Method::PUT,
        "/packages/package?overwrite=true",
        &["@", r#"{"parameters":[{"key":"a","value":@}]}"#, r#"{"binding":@}"#, r#"{"publish":@}"#],
    ),
    (Method::PUT, "/packages/new", &[r#"{"binding":{"namespace":@,"name":"package"}}"#]),
    (
        Method::PUT,
        "/triggers/trigger?overwrite=true",
        &["@", r#"{"annotations":[{"key":"feed","value":@}]}"#, r#"{"limits":@}"#],
    ),
    (
        Method::PUT,
        "/rules/rule?overwrite=true",
        &["@", r#"{"trigger":@}"#, r#"{"action":{"path":@,"name":"x"}}"#, r#"{"status":@}"#],
    ),
    (Method::POST, "/rules/rule", &["@", r#"{"status":@}"#]),
    (Method::POST, "/triggers/trigger", &["@", r#"{"a":@}"#]),
    (Method::POST, "/actions/there?blocking=true&result=true", &["@", r#"{"a":@}"#]),
];

async fn send(client: &Client, method: &Method, path: &str, body: String) -> Reply {
    let request = Request::builder().method(method).uri(format!("{}{path}", client.base()));
    client.send(request.header("content-type", "application/json").body(body.into()).unwrap()).await.unwrap()
}

async fn put(client: &Client, path: &str, body: String) {
    let reply = send(client, &Method::PUT, &format!("{API}/{path}"), body).await;
    assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
}

/// Everything that the namespace has.
async fn everything(client: &Client) -> Vec<String> {
    let mut all = Vec::new();
    for path in [
        "actions",
        "actions/other",
        "packages",
        "packages/package",
        "triggers",
        "triggers/trigger",
        "rules",
        "rules/rule",
    ] {
        let reply = client.get(&format!("{API}/{path}")).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{path}");
        all.push(reply.text());
    }
    all
}

async fn stage() -> (Node, Client) {
    let node = node().start();
    let client = node.client();
    Function::native("there", ECHO).annotation("web-export", true.into()).put(&client).await;
    Function::native("other", ECHO).put(&client).await;
    put(&client, "packages/package", "{}".to_owned()).await;
    put(&client, "triggers/trigger", "{}".to_owned()).await;
    put(&client, "rules/rule", r#"{"trigger":"/_/trigger","action":"/_/there"}"#.to_owned()).await;
    (node, client)
}

async fn bodies() {
    let (node, client) = stage().await;
    for (method, path, bodies) in PLACES {
        for (body, (name, value)) in
            bodies.iter().flat_map(|body| values().into_iter().map(move |value| (body, value)))
        {
            let before = everything(&client).await;
            let reply = send(&client, method, &format!("{API}{path}"), body.replace('@', &value)).await;
            let told = format!("{method} {path} {body} with {name}: {} {}", reply.status, reply.text());
            assert!(reply.status.is_success() || reply.status.is_client_error(), "{told}");
            if reply.status.is_client_error() {
                let error: Value = serde_json::from_slice(&reply.body).expect("an error is JSON");
                assert!(error["error"].is_string() && error["code"].is_string(), "{told}");
                assert!(reply.body.len() < 4096, "{told}");
                assert_eq!(everything(&client).await, before, "{told}");
            }
        }
    }
    let nobody = node.anonymous();
    for (name, value) in values() {
        for extension in ["", ".json", ".text"] {
            let path = format!("/api/v1/web/guest/default/there{extension}");
            let reply = send(&nobody, &Method::POST, &path, value.clone()).await;
            assert!(!reply.status.is_server_error(), "{extension} with {name}: {}", reply.text());
        }
    }
}

async fn stored() {
    let (_node, client) = stage().await;
    let parts = format!(
        r#""parameters":[{{"key":"a","value":{0}}}],"annotations":[{{"key":"feed","value":{0}}}]"#,
        deep()
    );
    let exec = Value::from(ECHO);
    let action = format!(
        r#"{{"exec":{{"kind":"blackbox","image":"openwhisk/dockerskeleton","code":{exec}}},{parts}}}"#
    );
    put(&client, "packages/deep", format!("{{{parts}}}")).await;
    let binding = format!(r#"{{"binding":{{"namespace":"_","name":"deep"}},{parts}}}"#);
    put(&client, "packages/bound", binding).await;
    put(&client, "actions/deep/action", action).await;
    let sequence = r#"{"exec":{"kind":"sequence","components":["/_/bound/action","/_/there"]}}"#;
    put(&client, "actions/all", sequence.to_owned()).await;
    put(&client, "triggers/deep-trigger", format!("{{{}}}", parts.replace("feed", "a"))).await;
    let rule = format!(
        r#"{{"trigger":"/_/deep-trigger","action":"/_/all","annotations":[{{"key":"a","value":{}}}]}}"#,
        deep()
    );
    put(&client, "rules/deep-rule", rule).await;
    for path in [
        "actions",
        "packages",
        "triggers",
        "rules",
        "packages/deep",
        "packages/bound",
        "actions/bound/action",
        "actions/deep/",
        "triggers/deep-trigger",
        "rules/deep-rule",
    ] {
        let reply = client.get(&format!("{API}/{path}")).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{path}");
        assert!(reply.text().contains(&deep()), "{path}");
    }
    for path in ["actions/bound/action", "actions/all"] {
        let path = format!("{API}/{path}?blocking=true&result=true");
        let reply = send(&client, &Method::POST, &path, "{}".to_owned()).await;
        assert_eq!((reply.status.as_u16(), reply.text()), (200, format!(r#"{{"a":{}}}"#, deep())), "{path}");
    }
    let reply = send(&client, &Method::POST, &format!("{API}/triggers/deep-trigger"), "{}".to_owned()).await;
    assert_eq!(reply.status.as_u16(), 202);
    eventually("the rule has run its sequence", async || {
        let list = client.get(&format!("{API}/activations?docs=true&name=all")).await.unwrap();
        (list.text().matches(&deep()).count() >= 2).then_some(())
    })
    .await;
}

async fn results() {
    let (node, client) = stage().await;
    let nobody = node.anonymous();
    const ANSWER: &str = "#!/bin/sh\nprintf '%s' \"$1\" | sed 's/^{\"say\":\"//; s/\"}$//' | base64 -d\n";
    Function::native("web", ANSWER).annotation("web-export", true.into()).put(&client).await;
    Function::native("conductor", ANSWER).annotation("conductor", true.into()).put(&client).await;
    let says = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    for (name, value) in values() {
        for result in
            ["@", r#"{"error":@}"#, r#"{"body":@}"#, r#"{"headers":{"x":@}}"#, r#"{"statusCode":@}"#]
        {
            let said = says(&result.replace('@', &value));
            for extension in [".http", ".json", ".html", ".svg", ".text"] {
                let path = format!("/api/v1/web/guest/default/web{extension}");
                let body = format!(r#"{{"say":"{said}"}}"#);
                let reply = send(&nobody, &Method::PUT, &path, body).await;
                assert!(
                    !reply.status.is_server_error(),
                    "{extension}, {result} with {name}: {}",
                    reply.text()
                );
            }
        }
        for result in
            [r#"{"action":@}"#, r#"{"action":"there","params":@}"#, r#"{"action":"there","state":@}"#]
        {
            let body = format!(r#"{{"say":"{}"}}"#, says(&result.replace('@', &value)));
            let path = format!("{API}/actions/conductor?blocking=true");
            let reply = send(&client, &Method::POST, &path, body).await;
            assert!([200, 502].contains(&reply.status.as_u16()), "{result} with {name}: {}", reply.text());
        }
    }
}

//! Limits: of the platform by settings, of namespaces by their limits, seen from outside.

use chasen_testkit::{Client, node};
use serde_json::{Value, json};

use crate::admin::said;
use crate::functions::record;
use crate::functions::{Function, Language, call, path, start};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("limits::namespaces_narrow_what_actions_may_ask_for", narrowed),
        Scenario::new("limits::payloads_and_results_of_a_namespace_are_bounded", payloads)
            .needing(Language::Nodejs.need()),
        Scenario::new("limits::code_of_48_mb_is_taken_and_not_a_byte_more", code),
        Scenario::new("limits::settings_say_what_namespaces_have", settings),
        Scenario::new("limits::store_levels_say_which_records_are_kept", store_levels),
    ]
}

async fn shown(client: &Client) -> Value {
    client.get("/api/v1/namespaces/_/limits").await.unwrap().json()
}

async fn narrowed() {
    let node = node().set("limits.action-concurrency-max", "4").start();
    let client = node.client();
    Function::native("usual", crate::functions::HELLO).put(&client).await;
    let set = ["limits", "set", "guest", "--maxActionMemory", "200", "--minActionTimeout", "1000"];
    said(node.data(), &set);
    said(
        node.data(),
        &[
            "limits",
            "set",
            "guest",
            "--maxActionLogs",
            "1",
            "--minActionLogs",
            "1",
            "--maxActionConcurrency",
            "2",
            "--maxActionInstances",
            "3",
        ],
    );
    for (limit, value, text) in [
        ("memory", 201, "requirement failed: memory size 201 MB exceeds allowed threshold of 200 MB"),
        (
            "timeout",
            999,
            "requirement failed: duration 999 milliseconds below allowed threshold of 1000 milliseconds",
        ),
        ("logs", 2, "requirement failed: log size 2 MB exceeds allowed threshold of 1 MB"),
        ("logs", 0, "requirement failed: log size 0 MB below allowed threshold of 1 MB"),
        ("concurrency", 3, "requirement failed: concurrency 3 exceeds allowed threshold of 2"),
        ("instances", 4, "Max action instance concurrency must not exceed your namespace concurrency of 3."),
    ] {
        let refused =
            Function::native("narrow", crate::functions::HELLO).limit(limit, value).offer(&client).await;
        assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (400, Some(text)));
        assert_eq!(client.get(&path("narrow")).await.unwrap().status.as_u16(), 404, "nothing was stored");
    }
    let limits = shown(&client).await;
    for (field, value) in [
        ("maxActionMemory", 200),
        ("minActionTimeout", 1000),
        ("maxActionLogs", 1),
        ("minActionLogs", 1),
        ("maxActionConcurrency", 2),
        ("maxActionInstances", 3),
        ("minActionMemory", 128),
        ("maxActionTimeout", 300_000),
    ] {
        assert_eq!(limits[field], json!(value), "{field}");
    }
    // An action of before runs no more; its activations say why.
    let id = start(&client, "usual", &json!({})).await;
    let response = &record(&client, &id).await["response"];
    let text = "requirement failed: memory size 256 MB exceeds allowed threshold of 200 MB";
    assert_eq!(
        (&response["status"], &response["result"]["error"]),
        (&json!("application error"), &json!(text))
    );
}

async fn payloads() {
    let node = node().start();
    let client = node.client();
    let code = "function main(args) { return { text: 'x'.repeat(args.length) }; }";
    Function::nodejs("repeats", code).put(&client).await;
    said(node.data(), &["limits", "set", "guest", "--maxPayloadSize", "1000 B", "--truncationSize", "20 B"]);
    let body = json!({"padding": "x".repeat(1000 - 14)});
    let fits = client.invoke("repeats", &body, false).await.unwrap();
    assert_eq!(fits.status.as_u16(), 202, "{}", fits.text());
    let body = json!({"padding": "x".repeat(1001 - 14)});
    let refused = client.invoke("repeats", &body, false).await.unwrap();
    assert_eq!(refused.status.as_u16(), 413);
    assert_eq!(refused.json()["error"], "Request larger than allowed: 1001 > 1000 bytes.");
    assert_eq!(call(&client, "repeats", &json!({"length": 1000 - 11})).await.status, 200);
    let (status, error) = {
        let called = call(&client, "repeats", &json!({"length": 1001 - 11})).await;
        let (status, error) = called.failure();
        (status.to_owned(), error)
    };
    assert_eq!(status, "application error");
    assert_eq!(
        error,
        "The action produced a response that exceeded the allowed length: 1001 > 1000 bytes. The truncated response was: {\"text\":\"xxxxxxxxxxx"
    );
    said(node.data(), &["limits", "set", "guest", "--maxParameterSize", "100 B"]);
    let refused =
        Function::nodejs("repeats", code).parameter("p", json!("x".repeat(98))).offer(&client).await;
    assert_eq!(refused.status.as_u16(), 413);
    assert_eq!(refused.json()["error"], "parameters larger than allowed: 101 > 100 bytes.");
}

async fn code() {
    let node = node().start();
    let client = node.client();
    const MOST: usize = 48 << 20;
    let image = "openwhisk/dockerskeleton".len();
    let padded = |length: usize| {
        let code = format!("{}#", crate::functions::HELLO);
        format!("{code}{}", "x".repeat(length - image - code.len()))
    };
    let large = Function::native("large", &padded(MOST));
    large.put(&client).await;
    assert_eq!(call(&client, "large", &json!({})).await.result(), &json!({"hello": true}));
    let refused = Function::native("larger", &padded(MOST + 1)).offer(&client).await;
    assert_eq!(refused.status.as_u16(), 413);
    assert_eq!(refused.json()["error"], "exec larger than allowed: 50331649 > 50331648 bytes.");
    assert_eq!(client.get(&path("larger")).await.unwrap().status.as_u16(), 404);
}

async fn settings() {
    let node = node()
        .set("namespace-limits.action-memory-max", "256 MB")
        .set("limits.exec-max", "1 KB")
        .set("limits.list-max", "2")
        .set("limits.list-default", "1")
        .set("limits.action-timeout-default", "5 s")
        .set("runtimes.whitelist", "blackbox")
        .start();
    let client = node.client();
    assert_eq!(shown(&client).await["maxActionMemory"], 256);
    let document = node.anonymous().get("/").await.unwrap().json();
    assert_eq!(document["limits"]["default_max_action_memory"], 256 << 20);
    assert_eq!(document["limits"]["max_action_memory"], 512 << 20);
    for name in ["one", "two", "three"] {
        Function::native(name, crate::functions::HELLO).put(&client).await;
    }
    let action = client.get(&path("one")).await.unwrap().json();
    assert_eq!(action["limits"]["timeout"], 5000);
    let page = async |query: &str| {
        let reply = client.get(&format!("/api/v1/namespaces/_/actions{query}")).await.unwrap();
        reply.json().as_array().map(Vec::len)
    };
    assert_eq!((page("").await, page("?limit=2").await, page("?limit=0").await), (Some(1), Some(2), Some(2)));
    let beyond = client.get("/api/v1/namespaces/_/actions?limit=3").await.unwrap();
    assert!(
        beyond.text().contains("The value '3' is not in the range of 0 to 2 for actions."),
        "{}",
        beyond.text()
    );
    let long = Function::native("long", &"x".repeat(1025)).offer(&client).await;
    assert_eq!(long.status.as_u16(), 413, "{}", long.text());
    let kind = Function::nodejs("kind", "function main() {}").offer(&client).await;
    assert_eq!(kind.status.as_u16(), 403, "{}", kind.text());
    said(node.data(), &["limits", "set", "guest", "--maxActionMemory", "512"]);
    assert_eq!(shown(&client).await["maxActionMemory"], 512, "its own goes before the default");
}

async fn store_levels() {
    let node = node()
        .set("activations.store-blocking-level", "STORE_FAILURES")
        .set("activations.store-non-blocking-level", "STORE_FAILURES_NOT_APPLICATION_ERRORS")
        .start();
    let client = node.client();
    Function::native("good", crate::functions::HELLO).put(&client).await;
    Function::native("bad", "#!/bin/sh\necho '{\"error\":\"no\"}'\n").put(&client).await;
    let kept = async |id: &str| client.activation(id).await.unwrap().status.as_u16();
    let good = call(&client, "good", &json!({})).await;
    assert_eq!((good.status, kept(good.id()).await), (200, 404));
    let bad = call(&client, "bad", &json!({})).await;
    assert_eq!((bad.status, kept(bad.id()).await), (502, 200));
    let dropped = start(&client, "bad", &json!({})).await;
    let wanted = {
        let uri = format!("{}{}", client.base(), path("bad"));
        let request = http::Request::post(uri).header("x-ow-extra-logging", "on").body(Default::default());
        client.send(request.unwrap()).await.unwrap().json()
    };
    // What comes later and is wanted is there: so is the end of what came before it and is not.
    record(&client, wanted["activationId"].as_str().unwrap()).await;
    assert_eq!(kept(&dropped).await, 404);
    said(node.data(), &["limits", "set", "guest", "--storeActivations", "false"]);
    let unwanted = call(&client, "bad", &json!({})).await;
    assert_eq!((unwanted.status, kept(unwanted.id()).await), (502, 404));
}

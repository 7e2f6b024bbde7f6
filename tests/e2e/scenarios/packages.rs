//! Packages: shared between tenants, bound, merged beneath arguments, and gone with what is in them.

use chasen_testkit::{Client, Node, Reply, chasen, node, run};
use serde_json::{Value, json};

use crate::functions::{Function, annotation, call, eventually, record, start};
use crate::scenario::Scenario;

/// Answers its arguments.
const ECHO: &str = "#!/bin/sh\nprintf '%s' \"$1\"\n";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("packages::tenants_share_what_they_publish", share),
        Scenario::new("packages::parameters_merge_from_the_package_to_the_call", merge),
        Scenario::new("packages::updates_are_seen_by_the_next_call", updates),
        Scenario::new("packages::every_binding_has_its_own_environment", environments),
        Scenario::new("packages::a_package_goes_with_what_is_in_it", force),
        Scenario::new("packages::shared_packages_may_be_for_execution_only", execute_only),
    ]
}

async fn put(client: &Client, path: &str, body: Value) -> Value {
    let reply = client.put(&format!("/api/v1/namespaces/_/{path}?overwrite=true"), &body).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
    reply.json()
}

async fn get(client: &Client, path: &str) -> Reply {
    client.get(&format!("/api/v1/namespaces/{path}")).await.unwrap()
}

/// Another tenant, `whisker`.
pub(crate) async fn neighbour(node: &Node) -> Client {
    let mut create = chasen();
    create.args(["admin", "user", "create", "whisker", "--data"]).arg(node.data());
    let created = run(create);
    let client = node.anonymous().with_credentials(created.stdout.trim());
    eventually("the node knows the user", async || {
        client.get("/api/v1/namespaces").await.unwrap().status.is_success().then_some(())
    })
    .await;
    client
}

fn refusal(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.json()["error"].as_str().unwrap_or_default().to_owned())
}

async fn share() {
    let node = node().start();
    let (guest, whisker) = (node.client(), neighbour(&node).await);
    put(&whisker, "packages/tools", json!({"publish": true})).await;
    put(&whisker, "packages/private", json!({})).await;
    Function::native("tools/echo", ECHO).put(&whisker).await;
    Function::native("private/echo", ECHO).put(&whisker).await;

    let list = get(&guest, "whisker/packages").await.json();
    assert_eq!((list[0]["name"].as_str(), list.as_array().map(Vec::len)), (Some("tools"), Some(1)), "{list}");
    let package = get(&guest, "whisker/packages/tools").await.json();
    assert_eq!(package["actions"][0]["name"], "echo", "{package}");
    assert_eq!(get(&guest, "whisker/actions/tools/echo").await.status.as_u16(), 200);
    for path in ["whisker/packages/private", "whisker/actions/private/echo", "whisker/actions/private/"] {
        let text = "The supplied authentication is not authorized to access 'whisker/private'.";
        assert_eq!(refusal(&get(&guest, path).await), (403, text.to_owned()));
    }
    let uri = "/api/v1/namespaces/whisker/actions/tools/echo?blocking=true";
    let reply = guest.post(uri, &json!({"a": 1})).await.unwrap();
    let called = reply.json();
    assert_eq!(called["response"]["result"], json!({"a": 1}), "{called}");
    assert_eq!(called["namespace"], "guest", "what others run is theirs");
    let stored = record(&guest, called["activationId"].as_str().unwrap()).await;
    assert_eq!(annotation(&stored, "path"), "whisker/tools/echo");

    put(&guest, "packages/mine", json!({"binding": {"namespace": "whisker", "name": "tools"}})).await;
    assert_eq!(call(&guest, "mine/echo", &json!({"b": 2})).await.result(), &json!({"b": 2}));
    put(&whisker, "packages/tools", json!({"publish": false})).await;
    let called = call(&guest, "mine/echo", &json!({})).await;
    let text = "The supplied authentication is not authorized to access 'guest/mine'.";
    assert_eq!((called.status, called.record["error"].as_str()), (403, Some(text)));
    assert_eq!(guest.delete("/api/v1/namespaces/_/packages/mine").await.unwrap().status.as_u16(), 200);
}

async fn merge() {
    let node = node().start();
    let client = node.client();
    let values = |value: &str, keys: &[&str]| -> Value {
        keys.iter().map(|key| json!({"key": key, "value": value})).collect()
    };
    put(&client, "packages/p", json!({"parameters": values("package", &["a", "b", "c", "d"])})).await;
    let binding = json!({"binding": {"namespace": "_", "name": "p"}, "parameters": values("binding", &["b", "c", "d"])});
    put(&client, "packages/b", binding).await;
    let echo = Function::native("p/echo", ECHO);
    echo.parameter("c", json!("action")).parameter("d", json!("action")).put(&client).await;
    let called = call(&client, "b/echo", &json!({"d": "call"})).await;
    assert_eq!(called.result(), &json!({"a": "package", "b": "binding", "c": "action", "d": "call"}));
    assert_eq!(called.annotation("binding"), "guest/b");
    assert_eq!(called.annotation("path"), "guest/p/echo");
    let called = call(&client, "p/echo", &json!({"d": "call"})).await;
    assert_eq!(called.result(), &json!({"a": "package", "b": "package", "c": "action", "d": "call"}));
    assert_eq!(called.annotation("binding"), &Value::Null);
    let id = start(&client, "b/echo", &json!({})).await;
    let stored = record(&client, &id).await;
    assert_eq!(stored["response"]["result"]["d"], "action", "{stored}");
}

/// A container that was initialised for one binding or package state never serves another. What a call sets is seen
/// only where the call starts the container.
async fn environments() {
    const SHOW: &str = "#!/bin/sh\nprintf '{\"color\":\"%s\"}' \"$COLOR\"\n";
    let node = node().start();
    let client = node.client();
    let color = |value: &str| json!([{"key": "COLOR", "value": value, "init": true}]);
    put(&client, "packages/p", json!({"parameters": color("black")})).await;
    for name in ["red", "blue"] {
        let binding = json!({"binding": {"namespace": "_", "name": "p"}, "parameters": color(name)});
        put(&client, &format!("packages/{name}"), binding).await;
    }
    Function::native("p/show", SHOW).put(&client).await;
    let show = async |package: &str, arguments: &Value| {
        call(&client, &format!("{package}/show"), arguments).await.result()["color"].clone()
    };
    for _ in 0..3 {
        for (package, color) in [("p", "black"), ("red", "red"), ("blue", "blue")] {
            assert_eq!(show(package, &json!({})).await, color);
        }
        assert_eq!(show("red", &json!({"COLOR": "green"})).await, "red", "a warm container keeps its value");
    }
    put(&client, "packages/p", json!({"parameters": color("white")})).await;
    assert_eq!(show("p", &json!({"COLOR": "green"})).await, "green", "the call starts the container");
    let warm = call(&client, "blue/show", &json!({})).await;
    assert_eq!(warm.annotation("initTime"), &Value::Null, "the same environment is the same container");
}

async fn updates() {
    let node = node().start();
    let client = node.client();
    put(&client, "packages/p", json!({})).await;
    put(&client, "packages/b", json!({"binding": {"namespace": "_", "name": "p"}})).await;
    Function::native("p/echo", ECHO).put(&client).await;
    for round in 0..5 {
        for path in ["packages/p", "packages/b", "actions/p/echo"] {
            let written = json!({"parameters": [{"key": path, "value": round}]});
            put(&client, path, written).await;
            assert_eq!(call(&client, "b/echo", &json!({})).await.result()[path], round);
        }
    }
}

async fn force() {
    let node = node().start();
    let client = node.client();
    put(&client, "packages/p", json!({})).await;
    for name in ["one", "two"] {
        Function::native(&format!("p/{name}"), ECHO).put(&client).await;
    }
    let path = "/api/v1/namespaces/_/packages/p";
    let text = "Package not empty (contains 2 entities). Set force param or delete package contents.";
    assert_eq!(refusal(&client.delete(path).await.unwrap()), (409, text.to_owned()));
    assert_eq!(client.delete(&format!("{path}?force=true")).await.unwrap().status.as_u16(), 200);
    let text = "The requested resource 'guest/p' does not exist.";
    assert_eq!(refusal(&client.get(path).await.unwrap()), (404, text.to_owned()));
    assert_eq!(get(&client, "_/actions").await.json(), json!([]));
    assert_eq!(call(&client, "p/one", &json!({})).await.status, 404);
}

async fn execute_only() {
    let node = node().set("packages.shared-execute-only", "true").start();
    let (guest, whisker) = (node.client(), neighbour(&node).await);
    put(&whisker, "packages/tools", json!({"publish": true})).await;
    Function::native("tools/echo", ECHO).put(&whisker).await;
    put(&guest, "packages/mine", json!({"binding": {"namespace": "whisker", "name": "tools"}})).await;
    for (path, text) in [
        ("whisker/packages/tools", "GET not permitted for 'whisker/tools' since it's a shared package"),
        ("_/packages/mine", "GET not permitted since mine is a binding of a shared package"),
        (
            "whisker/actions/tools/echo",
            "GET not permitted for 'whisker/tools' since it's an action in a shared package",
        ),
        (
            "_/actions/mine/echo",
            "GET not permitted for 'guest/mine/echo'. Resource does not exist or is an action in a shared package binding.",
        ),
    ] {
        assert_eq!(refusal(&get(&guest, path).await), (403, text.to_owned()), "{path}");
    }
    assert_eq!(call(&guest, "mine/echo", &json!({"a": 1})).await.result(), &json!({"a": 1}));
}

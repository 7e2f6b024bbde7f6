//! What one request wrote the next one sees, on whatever connection.

use chasen_spi::Collection;
use serde_json::{Value, json};

use crate::client::{Connection, Request};
use crate::world::{World, alice, guest};

/// Two connections that stay open: one writes, the other calls.
struct Two {
    writer: Connection,
    caller: Connection,
}

impl Two {
    async fn open(world: &World) -> Self {
        Self { writer: Connection::open(world.address).await, caller: Connection::open(world.address).await }
    }

    /// Writes as the tenant of these credentials.
    async fn write(&mut self, credentials: &str, line: &str, body: Value) {
        let line = line.replacen(' ', " /api/v1/namespaces/_/", 1);
        let response = self.writer.send(&Request::new(&line).auth(credentials).json(body)).await;
        assert_eq!(response.status, 200, "{line}: {response:?}");
    }

    /// The arguments that an action of guest's gets.
    async fn call(&mut self, action: &str) -> Value {
        let response = self.send(action).await;
        assert_eq!(response.status, 200, "{action}: {response:?}");
        response.json()
    }

    async fn status(&mut self, action: &str) -> u16 {
        self.send(action).await.status
    }

    async fn send(&mut self, action: &str) -> crate::client::Response {
        let line = format!("POST /api/v1/namespaces/_/actions/{action}?blocking=true&result=true");
        self.caller.send(&Request::new(&line).auth(&guest()).json("{}")).await
    }
}

fn value(value: u32) -> Value {
    json!({"parameters":[{"key":"v","value":value}]})
}

fn action() -> Value {
    json!({"exec":{"kind":"nodejs:20","code":""}})
}

#[tokio::test]
async fn updates_are_seen_by_the_next_call() {
    let world = World::new().await;
    let two = &mut Two::open(&world).await;
    two.write(&alice(), "PUT packages/shared", json!({"publish":true})).await;
    two.write(&alice(), "PUT actions/shared/act", action()).await;
    two.write(&alice(), "PUT packages/other", json!({"publish":true,"parameters":[{"key":"o","value":1}]}))
        .await;
    two.write(&alice(), "PUT actions/other/act", action()).await;
    let bind = |name: &str| json!({"binding":{"namespace":"alice","name":name}});
    two.write(&guest(), "PUT packages/b", bind("shared")).await;
    assert_eq!(two.call("b/act").await, json!({}));
    assert_eq!(two.call("b/act").await, json!({}), "known by now");

    two.write(&alice(), "PUT packages/shared?overwrite=true", value(1)).await;
    assert_eq!(two.call("b/act").await, json!({"v":1}), "the package that a binding stands for");
    two.write(&guest(), "PUT packages/b?overwrite=true", value(2)).await;
    assert_eq!(two.call("b/act").await, json!({"v":2}), "the binding");
    two.write(&alice(), "PUT actions/shared/act?overwrite=true", value(3)).await;
    assert_eq!(two.call("b/act").await, json!({"v":3}), "the action");
    two.write(&guest(), "PUT packages/b?overwrite=true", bind("other")).await;
    assert_eq!(two.call("b/act").await, json!({"v":2,"o":1}), "what the binding stands for");
    two.write(&alice(), "DELETE actions/other/act", json!({})).await;
    assert_eq!(two.status("b/act").await, 404, "the action is gone");
    two.write(&alice(), "PUT actions/other/act", action()).await;
    assert_eq!(two.call("b/act").await, json!({"v":2,"o":1}), "and back");
    two.write(&alice(), "PUT packages/other?overwrite=true", json!({"publish":false})).await;
    assert_eq!(two.status("b/act").await, 403, "shared no more");
    two.write(&guest(), "PUT packages/b?overwrite=true", bind("shared")).await;
    two.write(&alice(), "DELETE packages/shared?force=true", json!({})).await;
    assert_eq!(two.status("b/act").await, 403, "gone with its package");

    two.write(&guest(), "PUT actions/plain", action()).await;
    for round in 0..20 {
        two.write(&guest(), "PUT actions/plain?overwrite=true", value(round)).await;
        assert_eq!(two.call("plain").await, json!({"v":round}));
    }
    two.write(&guest(), "DELETE actions/plain", json!({})).await;
    assert_eq!(two.status("plain").await, 404);
    two.write(&guest(), "PUT packages/plain", json!({})).await;
    assert_eq!(two.status("plain").await, 409, "a package by now");
}

#[tokio::test]
async fn actions_are_of_another_sort_or_unreadable_where_they_are_needed() {
    let world = World::new().await;
    let package = world.guest_json("PUT /api/v1/namespaces/_/packages/p", json!({})).await;
    assert_eq!(package.status, 200);
    world
        .store(
            Collection::Packages,
            "guest",
            "other",
            r#"{"namespace":"guest","name":"other","version":"0.0.1","updated":1}"#,
        )
        .await;
    world.store(Collection::Actions, "guest", "corrupt", "{}").await;
    world.store(Collection::Actions, "guest/p", "corrupt", "{}").await;
    world
        .store(
            Collection::Triggers,
            "guest/p",
            "other",
            r#"{"namespace":"guest/p","name":"other","version":"0.0.1","updated":1}"#,
        )
        .await;
    let conformance = "Resource by this name exists but is not in this collection.";
    let corrupt = "Resource is corrupted and cannot be read.";
    for method in ["GET", "PUT", "DELETE", "POST"] {
        for (path, status, text) in [
            ("other", 409, conformance),
            ("corrupt", 500, corrupt),
            ("p/other", 409, conformance),
            ("p/corrupt", 500, corrupt),
        ] {
            let line = format!("{method} /api/v1/namespaces/_/actions/{path}?overwrite=true");
            world.refused(Request::new(&line).auth(&guest()).json(action()), status, text).await;
        }
    }
    for path in ["actions", "actions/p/"] {
        let request = Request::new(&format!("GET /api/v1/namespaces/_/{path}")).auth(&guest());
        world.refused(request, 500, corrupt).await;
    }
}

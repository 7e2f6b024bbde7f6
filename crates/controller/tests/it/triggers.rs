//! Triggers: create, read, update, delete, list.

use chasen_entity::{ByteSize, UserLimits};
use chasen_spi::{Collection, Privilege, Resource, SubjectStore as _};
use serde_json::{Value, json};

use crate::client::{Request, Response};
use crate::world::{World, guest};

const TRIGGERS: &str = "/api/v1/namespaces/_/triggers";
const MISSING: &str = "The requested resource does not exist.";
const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";

pub(crate) async fn put(world: &World, call: &str, body: Value) -> Value {
    let response = world.guest_json(&format!("PUT {TRIGGERS}/{call}"), body).await;
    assert_eq!((response.status, response.has_cors()), (200, true), "{response:?}");
    response.json()
}

async fn get(world: &World, name: &str) -> Response {
    world.guest(&format!("GET {TRIGGERS}/{name}")).await
}

fn request(line: &str) -> Request {
    Request::new(line).auth(&guest())
}

#[tokio::test]
async fn a_trigger_is_created_read_and_deleted() {
    let world = World::new().await;
    let created = put(&world, "t", json!({"namespace":"_","name":"zz","limits":null,"publish":null})).await;
    let updated = created["updated"].as_u64().unwrap();
    let expected = json!({"namespace":"guest","name":"t","parameters":[],"limits":{},"version":"0.0.1",
        "publish":false,"annotations":[],"updated":updated});
    assert_eq!(created, expected);
    let response = get(&world, "t").await;
    assert_eq!((response.json(), response.has_cors()), (expected.clone(), true));
    assert_eq!(world.guest("GET /api/v1/namespaces/guest/triggers/%74").await.json(), expected);
    assert_eq!(world.guest(&format!("DELETE {TRIGGERS}/t")).await.json(), expected);
    for method in ["GET", "DELETE", "POST"] {
        world.refused(request(&format!("{method} {TRIGGERS}/t")), 404, MISSING).await;
    }
}

#[tokio::test]
async fn updates_replace_what_they_name_and_keep_links() {
    let world = World::new().await;
    world.create("a", "").await;
    let body = json!({"parameters":[{"key":"p","value":1.0}],"annotations":[{"key":"x","value":1}],
        "publish":true,"version":"1.2","limits":{"anything":[]}});
    let created = put(&world, "t", body).await;
    assert_eq!((&created["version"], &created["limits"]), (&json!("1.2.0"), &json!({})));
    assert!(created.get("rules").is_none(), "it never had one");
    let rule = json!({"trigger":"/_/t","action":"/_/a"});
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/rules/r", rule).await.status, 200);
    let linked = get(&world, "t").await.json();
    let link = json!({"guest/r":{"action":{"path":"guest","name":"a"},"status":"active"}});
    assert_eq!(
        (&linked["rules"], &linked["version"], &linked["updated"]),
        (&link, &json!("1.2.0"), &created["updated"])
    );

    let updated = put(&world, "t?overwrite=true", json!({})).await;
    assert_eq!(updated["version"], "1.2.1");
    for field in ["parameters", "annotations", "publish", "limits"] {
        assert_eq!(updated[field], created[field], "{field}");
    }
    assert_eq!(updated["rules"], link);
    let body =
        json!({"parameters":[],"annotations":[{"key":"y","value":2}],"publish":false,"version":"7.0.0"});
    let updated = put(&world, "t?overwrite=true", body).await;
    assert_eq!(
        (&updated["parameters"], &updated["publish"], &updated["version"]),
        (&json!([]), &json!(false), &json!("7.0.0"))
    );
    assert_eq!(updated["annotations"], json!([{"key":"y","value":2}]), "replaced as a whole");
    assert_eq!(get(&world, "t").await.json(), updated);

    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/rules/r").await.status, 200);
    assert_eq!(get(&world, "t").await.json()["rules"], json!({}), "it had one");
    assert_eq!(world.guest(&format!("DELETE {TRIGGERS}/t")).await.json()["rules"], json!({}));
}

#[tokio::test]
async fn existence_decides_between_409_and_creation() {
    let world = World::new().await;
    assert_eq!(put(&world, "t?overwrite=true", json!({})).await["version"], "0.0.1");
    let again = request(&format!("PUT {TRIGGERS}/t")).json("{}");
    let response = world.refused(again, 409, "resource already exists").await;
    assert!(response.has_cors());
    let feed = json!({"annotations":[{"key":"feed","value":1}]});
    let again = request(&format!("PUT {TRIGGERS}/t")).json(feed);
    world.refused(again, 409, "resource already exists").await;

    world.create("a", "").await;
    for line in ["GET", "PUT", "DELETE", "POST"].map(|method| format!("{method} {TRIGGERS}/a")) {
        world.refused(request(&line).json("{}"), 409, CONFORMANCE).await;
    }
    let line = format!("PUT {TRIGGERS}/a?overwrite=true");
    world.refused(request(&line).json("{}"), 409, CONFORMANCE).await;
}

#[tokio::test]
async fn bad_bodies_say_why_and_change_nothing() {
    let world = World::new().await;
    put(&world, "there", json!({})).await;
    for (body, reason) in [
        (r#"[]"#, "Object expected in field 'exec'"),
        (r#"{"parameters":{}}"#, "parameters malformed!"),
        (r#"{"parameters":[{"value":1}]}"#, "parameters malformed!"),
        (r#"{"annotations":[{"key":"a"}]}"#, "parameters malformed!"),
        (r#"{"limits":[]}"#, "Object expected"),
        (r#"{"limits":"none"}"#, "Object expected"),
        (r#"{"version":1}"#, "semantic version malformed"),
        (r#"{"version":"0.0.0"}"#, "semantic version malformed"),
        (r#"{"publish":"yes"}"#, "Expected JsBoolean, but got \"yes\""),
    ] {
        for name in ["new", "there?overwrite=true"] {
            let put = request(&format!("PUT {TRIGGERS}/{name}")).json(body);
            let text = format!("The request content was malformed:\n{reason}");
            assert!(!world.refused(put, 400, &text).await.has_cors());
        }
    }
    let untyped = request(&format!("PUT {TRIGGERS}/new")).raw_body("{}");
    let text =
        "The request's Content-Type [application/octet-stream] is not supported. Expected:\napplication/json";
    world.refused(untyped, 415, text).await;
    let empty = world.send(request(&format!("PUT {TRIGGERS}/new"))).await;
    assert!(
        empty.error().starts_with("The request content was malformed:\nUnexpected end-of-input"),
        "{empty:?}"
    );
    let query = request(&format!("PUT {TRIGGERS}/new?overwrite=maybe")).json("{}");
    let text = "The query parameter 'overwrite' was malformed:\n'maybe' is not a valid Boolean value";
    world.refused(query, 400, text).await;
}

#[tokio::test]
async fn feeds_are_named_by_paths_when_a_trigger_is_created() {
    let world = World::new().await;
    let body = |feed: Value| json!({"annotations":[{"key":"feed","value":feed}]});
    for feed in [json!(1), json!(null), json!({}), json!(""), json!("/"), json!("a b/c=d"), json!("/-a/b")] {
        let put = request(&format!("PUT {TRIGGERS}/t")).json(body(feed));
        assert!(world.refused(put, 400, "Feed name is not valid").await.has_cors());
    }
    for (name, feed) in ["/_/feed", "feed", "ns/pkg/feed", "/whisk.system/alarms/alarm"].iter().enumerate() {
        put(&world, &format!("t{name}"), body(json!(feed))).await;
    }
    put(&world, "t0?overwrite=true", body(json!(1))).await;
}

#[tokio::test]
async fn sizes_are_bounded_for_the_system_and_the_namespace() {
    let world = World::new().await;
    put(&world, "there", json!({})).await;
    let large = "x".repeat(1024 * 1024);
    for field in ["parameters", "annotations"] {
        let body = json!({ field: [{"key":"ab","value":large}] });
        let text = format!("{field} larger than allowed: 1048580 > 1048576 bytes.");
        for name in ["new", "there?overwrite=true"] {
            let put = request(&format!("PUT {TRIGGERS}/{name}")).json(&body);
            assert!(world.refused(put, 413, &text).await.has_cors());
        }
    }
    let body = || request(&format!("POST {TRIGGERS}/missing")).json(json!({"a":large}));
    world.refused(body(), 413, "Request larger than allowed: 1048584 > 1048576 bytes.").await;
    let own = UserLimits {
        max_parameter_size: Some(ByteSize::bytes(10)),
        max_payload_size: Some(ByteSize::bytes(20)),
        ..UserLimits::default()
    };
    world.subjects.set_limits("guest", Some(&own)).await.unwrap();
    let small =
        request(&format!("PUT {TRIGGERS}/new")).json(json!({"parameters":[{"key":"a","value":"12345678"}]}));
    world.refused(small, 413, "parameters larger than allowed: 11 > 10 bytes.").await;
    world.refused(body(), 413, "Request larger than allowed: 1048584 > 20 bytes.").await;
}

#[tokio::test]
async fn lists_show_summaries_newest_first() {
    let world = World::new().await;
    world.create("a", "").await;
    for name in ["t1", "t2", "t3"] {
        put(
            &world,
            name,
            json!({"annotations":[{"key":"k","value":name}],"parameters":[{"key":"p","value":1}]}),
        )
        .await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let rule = json!({"trigger":"/_/t1","action":"/_/a"});
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/rules/r", rule).await.status, 200);
    let list = world.guest(&format!("GET {TRIGGERS}")).await.json();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t3", "t2", "t1"], "a link is no update");
    let first = get(&world, "t3").await.json();
    let expected = json!({"namespace":"guest","name":"t3","version":"0.0.1","publish":false,
        "annotations":[{"key":"k","value":"t3"}],"updated":first["updated"]});
    assert_eq!(list[0], expected);
    let page = world.guest(&format!("GET {TRIGGERS}/?skip=1&limit=1&docs=true")).await.json();
    assert_eq!(page, json!([list[1]]));
    let count = world.guest(&format!("GET {TRIGGERS}?count=true&skip=1")).await.json();
    assert_eq!(count, json!({"triggers":2}));
    for (query, name, text) in [
        ("limit=201", "limit", "The value '201' is not in the range of 0 to 200 for triggers."),
        ("skip=-1", "skip", "The value '-1' is not greater than or equal to 0 for triggers."),
        ("limit=x", "limit", "The value 'x' is not an integer for triggers."),
    ] {
        let text = format!("The query parameter '{name}' was malformed:\n{text}");
        world.refused(request(&format!("GET {TRIGGERS}?{query}")), 400, &text).await;
    }
}

#[tokio::test]
async fn triggers_are_their_owners_alone() {
    let world = World::new().await;
    let text = |path: &str| format!("The supplied authentication is not authorized to access '{path}'.");
    for (line, path) in [
        ("GET /api/v1/namespaces/alice/triggers?limit=x", "alice"),
        ("GET /api/v1/namespaces/alice/triggers/t", "alice/t"),
        ("PUT /api/v1/namespaces/alice/triggers/t?overwrite=x", "alice/t"),
        ("DELETE /api/v1/namespaces/alice/triggers/t", "alice/t"),
        ("POST /api/v1/namespaces/alice/triggers/t", "alice/t"),
    ] {
        world.refused(request(line).raw_body("not JSON"), 403, &text(path)).await;
    }
    let entity = Some("t".to_owned());
    let resource = Resource { collection: "triggers", namespace: "alice".to_owned(), entity };
    world.grants.grant("guest", Privilege::Put, resource);
    let created = world.guest_json("PUT /api/v1/namespaces/alice/triggers/t", "{}").await;
    assert_eq!((created.status, &created.json()["namespace"]), (200, &json!("alice")));
    world.refused(request("GET /api/v1/namespaces/alice/triggers/t"), 403, &text("alice/t")).await;
}

#[tokio::test]
async fn what_has_no_route_is_404() {
    let world = World::new().await;
    put(&world, "t", json!({})).await;
    for line in [
        "GET /api/v1/namespaces/_/triggers/t/",
        "GET /api/v1/namespaces/_/triggers/t/extra",
        "POST /api/v1/namespaces/_/triggers/t/",
        "PATCH /api/v1/namespaces/_/triggers/t",
        "HEAD /api/v1/namespaces/_/triggers/t",
        "POST /api/v1/namespaces/_/triggers",
        "PUT /api/v1/namespaces/_/triggers/",
        "DELETE /api/v1/namespaces/_/triggers/",
    ] {
        let response = world.guest(line).await;
        assert_eq!(response.status, 404, "{line}");
        if !line.starts_with("HEAD") {
            assert_eq!(response.error(), "The requested resource could not be found.", "{line}");
        }
    }
}

#[tokio::test]
async fn unreadable_documents_are_500() {
    let world = World::new().await;
    world.store(Collection::Triggers, "guest", "bad", "{}").await;
    for (method, body) in [("GET", ""), ("PUT", "{}"), ("DELETE", ""), ("POST", "")] {
        let mut line = request(&format!("{method} {TRIGGERS}/bad?overwrite=true"));
        if !body.is_empty() {
            line = line.json(body);
        }
        world.refused(line, 500, "Resource is corrupted and cannot be read.").await;
    }
}

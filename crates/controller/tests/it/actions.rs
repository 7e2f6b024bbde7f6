//! Actions: create, read, update, delete, list.

use chasen_entity::UserLimits;
use chasen_spi::Collection;
use chasen_spi::SubjectStore as _;
use serde_json::{Value, json};

use crate::client::{Connection, Request, SOON};
use crate::world::{World, eventually, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";
const CODE: &str = "function main() { return {} }";

fn node() -> Value {
    json!({"exec":{"kind":"nodejs:default","code":CODE}})
}

async fn put(world: &World, query: &str, body: Value) -> Value {
    let response = world.guest_json(&format!("PUT {ACTIONS}/a{query}"), body).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

fn annotations(action: &Value) -> Value {
    let pairs = action["annotations"].as_array().unwrap().iter();
    pairs
        .map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[tokio::test]
async fn an_action_is_created_read_and_deleted() {
    let world = World::new().await;
    let created = put(&world, "", json!({"exec":{"kind":"nodejs:default","code":CODE,"main":"m"},"namespace":"_","name":"zz","publish":null})).await;
    let updated = created["updated"].as_u64().unwrap();
    let expected = json!({"namespace":"guest","name":"a","exec":{"kind":"nodejs:20","code":CODE,"binary":false,"main":"m"},
        "parameters":[],"limits":{"timeout":60000,"memory":256,"logs":10,"concurrency":1},"version":"0.0.1","publish":false,
        "annotations":[{"key":"provide-api-key","value":false},{"key":"exec","value":"nodejs:20"}],"updated":updated});
    assert_eq!(created, expected);
    let response = world.guest(&format!("GET {ACTIONS}/a")).await;
    assert_eq!((response.json(), response.has_cors()), (expected.clone(), true));
    assert_eq!(world.guest("GET /api/v1/namespaces/guest/actions/%61?code=true").await.json(), expected);
    let mut bare = expected.clone();
    bare["exec"].as_object_mut().unwrap().remove("code");
    assert_eq!(world.guest(&format!("GET {ACTIONS}/a?code=false")).await.json(), bare);
    assert_eq!(world.guest(&format!("DELETE {ACTIONS}/a")).await.json(), expected);
    for method in ["GET", "DELETE", "POST"] {
        let response = world.guest(&format!("{method} {ACTIONS}/a")).await;
        assert_eq!(
            (response.status, response.error().as_str()),
            (404, "The requested resource does not exist.")
        );
    }
}

#[tokio::test]
async fn updates_merge_into_what_is_there() {
    let world = World::new().await;
    let first = json!({"exec":{"kind":"nodejs:20","code":"one","main":"m"},"parameters":[{"key":"p","value":1}],
        "annotations":[{"key":"x","value":1},{"key":"y","value":2},{"key":"provide-api-key","value":true},{"key":"exec","value":"lie"}],
        "limits":{"timeout":100,"logs":1},"publish":true,"version":"1.2"});
    let created = put(&world, "", first).await;
    assert_eq!(created["version"], "1.2.0");
    assert_eq!(created["limits"], json!({"timeout":100,"memory":256,"logs":1,"concurrency":1}));
    assert_eq!(annotations(&created), json!({"x":1,"y":2,"provide-api-key":true,"exec":"nodejs:20"}));

    let updated = put(&world, "?overwrite=true", json!({})).await;
    assert_eq!(updated["version"], "1.2.1");
    for field in ["exec", "parameters", "annotations", "limits", "publish"] {
        assert_eq!(updated[field], created[field], "{field}");
    }
    let body = json!({"annotations":[{"key":"y","value":3},{"key":"z","value":4}],
        "delAnnotations":["x","provide-api-key","z"],"limits":{"memory":128},"parameters":[],"version":"7.0.0"});
    let updated = put(&world, "?overwrite=true", body).await;
    assert_eq!(annotations(&updated), json!({"y":3,"z":4,"exec":"nodejs:20"}));
    assert_eq!(updated["limits"], json!({"timeout":100,"memory":128,"logs":1,"concurrency":1}));
    assert_eq!((&updated["parameters"], &updated["version"]), (&json!([]), &json!("7.0.0")));

    let body = json!({"exec":{"kind":"python:3.11","code":"dHdv"}});
    let updated = put(&world, "?overwrite=true", body).await;
    assert_eq!(updated["exec"], json!({"kind":"python:3.11","code":"dHdv","binary":true}));
    assert_eq!(annotations(&updated)["exec"], "python:3.11");
    assert_eq!(world.guest(&format!("GET {ACTIONS}/a")).await.json(), updated);
}

#[tokio::test]
async fn existence_decides_between_409_400_and_creation() {
    let world = World::new().await;
    let response = world.guest_json(&format!("PUT {ACTIONS}/a?overwrite=true"), json!({})).await;
    assert_eq!(
        (response.status, response.error().as_str(), response.has_cors()),
        (400, "exec undefined", true)
    );
    put(&world, "?overwrite=true", node()).await;
    for body in [node(), json!({})] {
        let response = world.guest_json(&format!("PUT {ACTIONS}/a"), body).await;
        assert_eq!((response.status, response.error().as_str()), (409, "resource already exists"));
    }
}

#[tokio::test]
async fn bad_fields_are_malformed_with_their_reasons() {
    let world = World::new().await;
    world.create("kept", "").await;
    for (body, reason) in [
        (json!([]), "Object expected in field 'exec'"),
        (json!({"exec":1}), "JSON object expected"),
        (
            json!({"exec":{"kind":"cobol:1","code":""}}),
            "The specified runtime 'cobol:1' is not supported by this platform. Valid values are: 'nodejs:20', 'nodejs:6', 'python:3.11', 'sequence', 'blackbox'.",
        ),
        (json!({"exec":{}}), "'kind' must be a string defined in 'exec'"),
        (
            json!({"exec":{"kind":"nodejs:20","code":"","main":1}}),
            "if defined, 'main' be a string in 'exec' for 'nodejs:20' actions",
        ),
        (
            json!({"exec":{"kind":"nodejs:20","code":null}}),
            "Could not deserialize as attachment record: null",
        ),
        (
            json!({"exec":{"kind":"blackbox"}}),
            "'image' must be a string defined in 'exec' for 'blackbox' actions",
        ),
        (json!({"exec":{"kind":"blackbox","image":"A B"}}), "could not parse image name"),
        (json!({"exec":{"kind":"sequence"}}), "'components' must be defined for sequence kind"),
        (json!({"exec":{"kind":"sequence","components":{}}}), "'components' must be an array"),
        (
            json!({"exec":{"kind":"nodejs:20"}}),
            "'code' must be a string or attachment object defined in 'exec' for 'nodejs:20' actions",
        ),
        (json!({"parameters":{}}), "parameters malformed!"),
        (json!({"annotations":[{"key":"a"}]}), "parameters malformed!"),
        (json!({"parameters":[["a", 1]]}), "parameters malformed!"),
        (json!({"parameters":[{"key":"a","value":1,"encryption":null}]}), "parameters malformed!"),
        (json!({"limits":[]}), "Object expected in field 'timeout'"),
        (json!({"limits":{"timeout":"1"}}), "time limit malformed"),
        (json!({"limits":{"memory":{}}}), "memory limit malformed"),
        (json!({"limits":{"logs":[]}}), "log limit malformed"),
        (json!({"limits":{"concurrency":true}}), "concurrency limit malformed"),
        (json!({"limits":{"instances":"1"}}), "instance concurrency limit malformed"),
        (json!({"limits":{"timeout":1.5}}), "requirement failed: time limit must be whole number"),
        (json!({"limits":{"memory":1.5}}), "requirement failed: memory limit must be whole number"),
        (json!({"limits":{"logs":1.5}}), "requirement failed: log limit must be whole number"),
        (
            json!({"limits":{"concurrency":1.5}}),
            "requirement failed: intra concurrency limit must be whole number",
        ),
        (
            json!({"limits":{"instances":1.5}}),
            "requirement failed: instance concurrency limit must be whole number",
        ),
        (json!({"limits":{"memory":-1}}), "requirement failed: a negative size of an object is not allowed."),
        (json!({"limits":{"logs":-1}}), "requirement failed: a negative size of an object is not allowed."),
        (
            json!({"limits":{"instances":-1}}),
            "requirement failed: Action container concurrency must be greater than or equal to 0.",
        ),
        (json!({"version":1}), "semantic version malformed"),
        (json!({"version":"x"}), "semantic version malformed"),
        (json!({"publish":"yes"}), "Expected JsBoolean, but got \"yes\""),
        (json!({"delAnnotations":"x"}), "Expected Array as JsArray, but got \"x\""),
        (json!({"delAnnotations":[1]}), "Expected String as JsString, but got 1"),
    ] {
        let text = format!("The request content was malformed:\n{reason}");
        let request = Request::new(&format!("PUT {ACTIONS}/kept?overwrite=true")).auth(&guest());
        assert!(!world.refused(request.json(&body), 400, &text).await.has_cors(), "{body}");
    }
}

#[tokio::test]
async fn limits_are_refused_outside_the_bounds_of_the_namespace() {
    let world = World::with(|config| config.rates.concurrent_invocations = Some(3)).await;
    world.create("kept", "").await;
    let own =
        UserLimits { max_action_timeout: Some(1000), min_action_memory: Some(200), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&own)).await.unwrap();
    for (limits, text) in [
        (
            json!({"memory":1024,"timeout":1}),
            "requirement failed: memory size 1024 MB exceeds allowed threshold of 512 MB",
        ),
        (json!({"memory":199}), "requirement failed: memory size 199 MB below allowed threshold of 200 MB"),
        (
            json!({"timeout":1001}),
            "requirement failed: duration 1001 milliseconds exceeds allowed threshold of 1000 milliseconds",
        ),
        (
            json!({"timeout":99}),
            "requirement failed: duration 99 milliseconds below allowed threshold of 100 milliseconds",
        ),
        (json!({"logs":11}), "requirement failed: log size 11 MB exceeds allowed threshold of 10 MB"),
        (json!({"concurrency":2}), "requirement failed: concurrency 2 exceeds allowed threshold of 1"),
        (
            json!({"instances":4}),
            "Max action instance concurrency must not exceed your namespace concurrency of 3.",
        ),
    ] {
        let request = Request::new(&format!("PUT {ACTIONS}/kept")).auth(&guest());
        let response = world.refused(request.json(json!({"limits":limits})), 400, text).await;
        assert!(response.has_cors());
    }
    let body =
        json!({"exec":{"kind":"nodejs:20","code":""},"limits":{"instances":3,"memory":null,"future":1}});
    let created = put(&world, "", body).await;
    assert_eq!(created["limits"]["instances"], 3);
    assert_eq!(created["limits"]["timeout"], 60_000, "defaults are not measured");
}

const LIMITS: &str = r#"{"timeout":60000,"memory":256,"logs":10,"concurrency":1}"#;

/// Puts an action of this kind into the store, as an earlier manifest allowed it.
async fn store_action(world: &World, name: &str, kind: &str) {
    let body = format!(
        r#"{{"namespace":"guest","name":"{name}","exec":{{"kind":"{kind}","binary":false}},"limits":{LIMITS},"version":"0.0.1","updated":1}}"#
    );
    world.store(Collection::Actions, "guest", name, &body).await;
}

#[tokio::test]
async fn actions_of_deprecated_and_removed_kinds_can_be_read_and_deleted() {
    let world = World::new().await;
    store_action(&world, "old", "nodejs:6").await;
    store_action(&world, "gone", "cobol:1").await;
    let old = "The 'nodejs:6' runtime is no longer supported. You may read and delete but not update or invoke this action.";
    let unknown = "The request content was malformed:\nThe specified runtime 'cobol:1' is not supported by this platform. Valid values are: 'nodejs:20', 'nodejs:6', 'python:3.11', 'sequence', 'blackbox'.";
    let gone = "The 'cobol:1' runtime is not supported by this platform. You may read and delete but not invoke this action.";
    for (line, body, text) in [
        ("PUT old?overwrite=true", json!({}), old),
        ("PUT old?overwrite=true", json!({"exec":{"kind":"nodejs:6","code":""}}), old),
        ("PUT new", json!({"exec":{"kind":"nodejs:6","code":""}}), old),
        ("POST old", json!({}), old),
        ("PUT gone?overwrite=true", json!({"publish":true}), unknown),
        ("PUT gone?overwrite=true", json!({"exec":{"kind":"cobol:1","code":""}}), unknown),
        ("POST gone", json!({}), gone),
    ] {
        let line = line.replacen(' ', &format!(" {ACTIONS}/"), 1);
        world.refused(Request::new(&line).auth(&guest()).json(body), 400, text).await;
    }
    assert!(world.invoker.taken.lock().is_empty());
    for name in ["old", "gone"] {
        assert_eq!(world.guest(&format!("GET {ACTIONS}/{name}")).await.json()["name"], *name);
        let path = format!("{ACTIONS}/{name}?overwrite=true");
        let moved =
            world.guest_json(&format!("PUT {path}"), json!({"exec":{"kind":"nodejs:20","code":""}})).await;
        assert_eq!(moved.status, 200, "to a kind that there is");
        world.guest(&format!("DELETE {ACTIONS}/{name}")).await;
        store_action(&world, name, "nodejs:6").await;
        assert_eq!(world.guest(&format!("DELETE {ACTIONS}/{name}")).await.status, 200);
    }
}

#[tokio::test]
async fn blackboxes_have_images() {
    let world = World::new().await;
    let action = put(&world, "", json!({"exec":{"kind":"blackbox","image":"example/image:1"}})).await;
    assert_eq!(action["exec"], json!({"kind":"blackbox","image":"example/image:1","binary":false}));
    assert_eq!(annotations(&action)["exec"], "blackbox");
    let action =
        put(&world, "?overwrite=true", json!({"exec":{"kind":"blackbox","image":"i","code":"AAAA"}})).await;
    assert_eq!(action["exec"], json!({"kind":"blackbox","image":"i","code":"AAAA","binary":true}));
}

#[tokio::test]
async fn unreadable_documents_are_500() {
    let world = World::new().await;
    world.store(Collection::Actions, "guest", "a", "{}").await;
    for line in ["GET /actions/a", "POST /actions/a", "DELETE /actions/a", "GET /actions"] {
        let response = world.guest(&line.replacen(" /", " /api/v1/namespaces/_/", 1)).await;
        assert_eq!(
            (response.status, response.error().as_str()),
            (500, "Resource is corrupted and cannot be read."),
            "{line}"
        );
    }
}

#[tokio::test]
async fn lists_are_pages_newest_first() {
    let world = World::new().await;
    for name in ["one", "two", "three"] {
        world.create(name, r#","parameters":[{"key":"k","value":1}]"#).await;
        // Lists are sorted by milliseconds.
        let before = std::time::SystemTime::now();
        while before.elapsed().unwrap().as_millis() < 2 {
            tokio::task::yield_now().await;
        }
    }
    let list = world.guest(&format!("GET {ACTIONS}?docs=true&public=x")).await.json();
    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&list), ["three", "two", "one"]);
    let element = list[0].as_object().unwrap();
    let mut keys: Vec<&String> = element.keys().collect();
    keys.sort();
    assert_eq!(keys, ["annotations", "exec", "limits", "name", "namespace", "publish", "updated", "version"]);
    assert_eq!(element["exec"], json!({"binary":false}));
    for (query, expected) in [
        ("limit=1", vec!["three"]),
        ("skip=1&limit=1", vec!["two"]),
        ("limit=0&skip=2", vec!["one"]),
        ("skip=9", vec![]),
    ] {
        assert_eq!(names(&world.guest(&format!("GET {ACTIONS}/?{query}")).await.json()), expected, "{query}");
    }
    for (query, count) in [("count=true", 3), ("count=true&skip=2&limit=1", 1), ("count=on&skip=9", 0)] {
        assert_eq!(
            world.guest(&format!("GET {ACTIONS}?{query}")).await.json(),
            json!({"actions":count}),
            "{query}"
        );
    }
}

#[tokio::test]
async fn writers_at_the_same_time_conflict_or_succeed_but_never_mix() {
    let world = std::sync::Arc::new(World::new().await);
    put(&world, "", node()).await;
    let writers = (0..16).map(|number| {
        let world = world.clone();
        tokio::spawn(async move {
            let body = json!({"parameters":[{"key":"n","value":number}]});
            world.guest_json(&format!("PUT {ACTIONS}/a?overwrite=true"), body).await
        })
    });
    let mut written = 0;
    for writer in writers.collect::<Vec<_>>() {
        let response = writer.await.unwrap();
        match response.status {
            200 => written += 1,
            409 => assert_eq!(response.error(), "Concurrent modification to resource detected."),
            _ => panic!("{response:?}"),
        }
    }
    let action = world.guest(&format!("GET {ACTIONS}/a")).await.json();
    assert_eq!(action["version"], format!("0.0.{}", 1 + written));
}

#[tokio::test]
async fn a_write_whose_client_left_is_seen_by_invocations() {
    let world = World::new().await;
    let value = |number: u32| json!({"parameters":[{"key":"v","value":number}]});
    world.create("a", r#","parameters":[{"key":"v","value":1}]"#).await;
    let call = format!("POST {ACTIONS}/a?blocking=true&result=true");
    assert_eq!(world.guest(&call).await.json(), json!({"v":1}));

    world.artifacts.set_open(false);
    let before = *world.artifacts.writes.borrow();
    let mut connection = Connection::open(world.address).await;
    let put = Request::new(&format!("PUT {ACTIONS}/a?overwrite=true")).auth(&guest()).json(value(2));
    connection.write(&put.bytes()).await;
    eventually("the write begins", || *world.artifacts.writes.borrow() > before).await;
    drop(connection);
    assert_eq!(world.guest(&call).await.json(), json!({"v":1}));
    world.artifacts.set_open(true);
    let deadline = tokio::time::Instant::now() + SOON;
    while world.guest(&call).await.json() != json!({"v":2}) {
        assert!(tokio::time::Instant::now() < deadline, "the old action runs on");
    }
}

#[tokio::test]
async fn large_code_goes_in_and_out_unchanged() {
    let world = World::new().await;
    let code = "console.log(\"☃\\n\")\n".repeat(200_000);
    let created = put(&world, "", json!({"exec":{"kind":"nodejs:20","code":code}})).await;
    assert_eq!(created["exec"]["code"].as_str(), Some(code.as_str()));
    assert_eq!(world.guest(&format!("GET {ACTIONS}/a")).await.json(), created);
    assert_eq!(world.guest(&format!("DELETE {ACTIONS}/a")).await.json(), created);
}

#[tokio::test]
async fn large_documents_on_their_way_out_hold_bounded_memory() {
    let world = World::with(|config| config.max_download_memory = chasen_entity::ByteSize::mb(1)).await;
    let large = json!({"exec":{"kind":"nodejs:20","code":"x".repeat(2 << 20)}});
    let response = world.guest_json(&format!("PUT {ACTIONS}/a"), large).await;
    assert_eq!((response.status, response.error().as_str()), (503, "System is overloaded, try again later."));
    assert_eq!(world.guest(&format!("GET {ACTIONS}/a")).await.status, 404, "nothing was written");
    let annotation = "x".repeat(250_000);
    for name in ["a", "b", "c", "d"] {
        world.create(name, &format!(r#","annotations":[{{"key":"k","value":"{annotation}"}}]"#)).await;
    }
    assert_eq!(world.guest(&format!("GET {ACTIONS}")).await.status, 503);
    assert_eq!(world.guest(&format!("GET {ACTIONS}?limit=3")).await.json().as_array().unwrap().len(), 3);
}

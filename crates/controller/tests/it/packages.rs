//! Packages: create, read, update, delete, list, and what is in them.

use chasen_entity::ByteSize;
use chasen_spi::Collection;
use serde_json::{Value, json};

use crate::client::Request;
use crate::world::{World, alice, guest, later};

const PACKAGES: &str = "/api/v1/namespaces/_/packages";
const CORRUPT: &str = "Resource is corrupted and cannot be read.";
const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";
const MISSING: &str = "The requested resource does not exist.";
const EXISTS: &str = "resource already exists";

pub(crate) fn put(name: &str, body: Value) -> Request {
    Request::new(&format!("PUT {PACKAGES}/{name}")).auth(&guest()).json(body)
}

pub(crate) async fn created(world: &World, name: &str, body: Value) -> Value {
    let response = world.send(put(name, body)).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

#[tokio::test]
async fn a_package_is_created_read_and_deleted() {
    let world = World::new().await;
    let body =
        json!({"namespace":"_","name":"other","parameters":[{"key":"a","value":1.50}],"publish":null,"x":1});
    let package = created(&world, "p", body).await;
    let updated = package["updated"].as_u64().unwrap();
    let expected = json!({"namespace":"guest","name":"p","binding":{},"parameters":[{"key":"a","value":1.50}],
        "version":"0.0.1","publish":false,"annotations":[],"updated":updated});
    assert_eq!(package, expected);
    let mut shown = expected.clone();
    shown["actions"] = json!([]);
    shown["feeds"] = json!([]);
    let response = world.guest(&format!("GET {PACKAGES}/p")).await;
    assert_eq!((response.json(), response.has_cors()), (shown.clone(), true));
    assert_eq!(world.guest("GET /api/v1/namespaces/guest/packages/%70").await.json(), shown);
    assert_eq!(world.guest(&format!("DELETE {PACKAGES}/p")).await.json(), expected);
    let named = "The requested resource 'guest/p' does not exist.";
    for (method, text) in [("GET", named), ("DELETE", MISSING)] {
        world.refused(Request::new(&format!("{method} {PACKAGES}/p")).auth(&guest()), 404, text).await;
    }
}

#[tokio::test]
async fn updates_keep_what_they_do_not_name() {
    let world = World::new().await;
    let body = json!({"parameters":[{"key":"a","value":1}],"annotations":[{"key":"x","value":1},{"key":"binding","value":"lie"}],
        "publish":true,"version":"1.2","binding":{}});
    let first = created(&world, "p", body).await;
    assert_eq!(first["annotations"], json!([{"key":"x","value":1}]), "the platform's own annotation");
    assert_eq!((&first["version"], &first["publish"]), (&json!("1.2.0"), &json!(true)));

    let second = created(&world, "p?overwrite=true", json!({})).await;
    assert_eq!(second["version"], "1.2.1");
    for field in ["parameters", "annotations", "publish", "binding"] {
        assert_eq!(second[field], first[field], "{field}");
    }
    let body = json!({"parameters":[],"annotations":[{"key":"y","value":2}],"publish":false,"version":"7.0.0","binding":{}});
    let third = created(&world, "p?overwrite=yes", body).await;
    assert_eq!(
        (&third["parameters"], &third["annotations"], &third["publish"], &third["version"]),
        (&json!([]), &json!([{"key":"y","value":2}]), &json!(false), &json!("7.0.0"))
    );
    created(&world, "new?overwrite=true", json!({})).await;
}

#[tokio::test]
async fn refused_packages_change_nothing() {
    let world = World::with(|config| config.max_parameters = ByteSize::bytes(1000)).await;
    created(&world, "p", json!({})).await;
    world.create("a", "").await;
    let long = "x".repeat(2000);
    let malformed = |reason: &str| format!("The request content was malformed:\n{reason}");
    let name = "a".repeat(257);
    for (path, body, status, text) in [
        ("p", json!({}), 409, EXISTS.to_owned()),
        ("a", json!({}), 409, CONFORMANCE.to_owned()),
        ("a?overwrite=true", json!({}), 409, CONFORMANCE.to_owned()),
        ("default", json!([]), 400, "Package name 'default' is reserved.".to_owned()),
        ("default?overwrite=true", json!({}), 400, "Package name 'default' is reserved.".to_owned()),
        (&name, json!({}), 400, "Name segement longer than allowed: 257 > 256.".to_owned()),
        ("-p", json!({}), 400, "The name of the entity contains illegal characters.".to_owned()),
        (
            "q?overwrite=maybe",
            json!({}),
            400,
            "The query parameter 'overwrite' was malformed:\n'maybe' is not a valid Boolean value".to_owned(),
        ),
        ("q", json!([]), 400, malformed("Object expected in field 'exec'")),
        ("q", json!({"exec":1}), 400, malformed("JSON object expected")),
        ("q", json!({"parameters":{}}), 400, malformed("parameters malformed!")),
        ("q", json!({"annotations":[{"key":"a"}]}), 400, malformed("parameters malformed!")),
        ("q", json!({"publish":"yes"}), 400, malformed("Expected JsBoolean, but got \"yes\"")),
        ("q", json!({"version":"x"}), 400, malformed("semantic version malformed")),
        ("q", json!({"version":"0.0.0"}), 400, malformed("semantic version malformed")),
        ("q", json!({"binding":null}), 400, malformed("Object expected in field 'namespace'")),
        ("q", json!({"binding":"guest/p"}), 400, malformed("Object expected in field 'namespace'")),
        (
            "q",
            json!({"binding":{"namespace":"_"}}),
            400,
            malformed("Object is missing required member 'name'"),
        ),
        (
            "q",
            json!({"binding":{"name":"p"}}),
            400,
            malformed("Object is missing required member 'namespace'"),
        ),
        (
            "q",
            json!({"parameters":[{"key":"k","value":long}],"version":"x"}),
            413,
            "parameters larger than allowed: 2003 > 1000 bytes.".to_owned(),
        ),
        (
            "p?overwrite=true",
            json!({"annotations":[{"key":"k","value":long}]}),
            413,
            "annotations larger than allowed: 2003 > 1000 bytes.".to_owned(),
        ),
    ] {
        world.refused(put(path, body), status, &text).await;
    }
    let plain = Request::new(&format!("PUT {PACKAGES}/q")).auth(&guest());
    let media = "The request's Content-Type [text/plain] is not supported. Expected:\napplication/json";
    world.refused(plain.header("content-type", "text/plain").raw_body("{}"), 415, media).await;
}

#[tokio::test]
async fn paths_that_are_no_routes_of_packages() {
    let world = World::new().await;
    created(&world, "p", json!({})).await;
    for line in [
        "POST p",
        "POST refresh",
        "PATCH p",
        "HEAD p",
        "GET p/",
        "GET p/extra",
        "PUT p/",
        "DELETE p/",
        "POST ",
        "PUT ",
        "DELETE ",
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::new(&format!("{method} {PACKAGES}/{path}")).auth(&guest());
        let before = world.entities().await;
        let bodiless = method == "HEAD";
        let response = world.send(if bodiless { request } else { request.json("{}") }).await;
        assert_eq!(response.status, 404, "{line}");
        if !bodiless {
            assert_eq!(response.error(), "The requested resource could not be found.", "{line}");
        }
        assert_eq!(world.entities().await, before);
    }
}

#[tokio::test]
async fn lists_show_own_packages_and_what_others_publish() {
    let world = World::new().await;
    created(&world, "private", json!({"parameters":[{"key":"a","value":1}]})).await;
    later();
    created(&world, "public", json!({"publish":true})).await;
    later();
    let binding = json!({"binding":{"namespace":"_","name":"public"},"publish":true});
    created(&world, "bound", binding).await;
    world.create("public/action", "").await;
    world.create("other", "").await;

    let list = world.guest(&format!("GET {PACKAGES}?public=true&docs=true")).await.json();
    let names = |list: &Value| {
        list.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&list), ["bound", "public", "private"]);
    assert_eq!(list[0]["binding"], json!({"namespace":"guest","name":"public"}));
    let updated = list[2]["updated"].clone();
    assert_eq!(
        list[2],
        json!({"namespace":"guest","name":"private","version":"0.0.1","publish":false,"annotations":[],
            "updated":updated,"binding":false})
    );
    for (query, expected) in [
        ("limit=1", vec!["bound"]),
        ("skip=1&limit=1", vec!["public"]),
        ("limit=0&skip=2", vec!["private"]),
        ("skip=9", vec![]),
    ] {
        assert_eq!(
            names(&world.guest(&format!("GET {PACKAGES}/?{query}")).await.json()),
            expected,
            "{query}"
        );
    }
    for (query, count) in [("count=true", 3), ("count=true&skip=2&limit=1", 1), ("count=on&skip=9", 0)] {
        let counted = world.guest(&format!("GET {PACKAGES}?{query}")).await.json();
        assert_eq!(counted, json!({"packages":count}), "{query}");
    }

    let foreign =
        |query: &str| Request::new(&format!("GET /api/v1/namespaces/guest/packages{query}")).auth(&alice());
    assert_eq!(names(&world.send(foreign("")).await.json()), ["public"]);
    assert_eq!(world.send(foreign("?count=true")).await.json(), json!({"packages":1}));
    assert_eq!(world.send(foreign("?skip=1")).await.json(), json!([]));
    assert_eq!(world.guest("GET /api/v1/namespaces/nobody/packages").await.json(), json!([]));
    for (query, text) in [
        (
            "limit=201",
            "The query parameter 'limit' was malformed:\nThe value '201' is not in the range of 0 to 200 for packages.",
        ),
        (
            "skip=-1&limit=x",
            "The query parameter 'skip' was malformed:\nThe value '-1' is not greater than or equal to 0 for packages.",
        ),
        (
            "limit=1.5&count=true",
            "The query parameter 'limit' was malformed:\nThe value '1.5' is not an integer for packages.",
        ),
        ("count=2", "The query parameter 'count' was malformed:\n'2' is not a valid Boolean value"),
    ] {
        world.refused(foreign(&format!("?{query}")), 400, text).await;
    }
}

#[tokio::test]
async fn a_package_tells_what_is_in_it() {
    let world = World::new().await;
    created(&world, "p", json!({"parameters":[{"key":"a","value":1},{"key":"b","value":2}]})).await;
    world.create("p/one", r#","annotations":[{"key":"x","value":[1, 2]}],"version":"3.0.0""#).await;
    later();
    world.create("p/two", r#","annotations":[{"key":"feed","value":false}]"#).await;
    world.create("outside", "").await;
    let package = world.guest(&format!("GET {PACKAGES}/p")).await.json();
    assert_eq!(
        package["actions"],
        json!([{"name":"one","version":"3.0.0","annotations":[
            {"key":"provide-api-key","value":false},{"key":"x","value":[1,2]},{"key":"exec","value":"nodejs:20"}]}])
    );
    assert_eq!(package["feeds"][0]["name"], "two");
    assert_eq!(package["feeds"].as_array().unwrap().len(), 1);

    for at in 0..25 {
        world.create(&format!("p/many{at}"), "").await;
    }
    let package = world.guest(&format!("GET {PACKAGES}/p")).await.json();
    assert_eq!(package["actions"].as_array().unwrap().len(), 26);
    assert_eq!(package["feeds"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn packages_with_something_in_them_need_force() {
    let world = World::new().await;
    created(&world, "p", json!({})).await;
    created(&world, "pp", json!({})).await;
    created(&world, "bound", json!({"binding":{"namespace":"_","name":"p"}})).await;
    world.create("p/one", "").await;
    world.create("pp/kept", "").await;
    let delete = |query: &str| Request::new(&format!("DELETE {PACKAGES}/p{query}")).auth(&guest());
    let text = |what: &str| {
        format!("Package not empty (contains {what}). Set force param or delete package contents.")
    };
    world.refused(delete(""), 409, &text("1 entity")).await;
    for at in 0..24 {
        world.create(&format!("p/a{at}"), "").await;
    }
    world.refused(delete("?force=false"), 409, &text("25 entities")).await;
    let force = "The query parameter 'force' was malformed:\n'x' is not a valid Boolean value";
    world.refused(delete("?force=x"), 400, force).await;
    let writes = *world.artifacts.writes.borrow();
    let deleted = world.send(delete("?force=true")).await;
    assert_eq!((deleted.status, deleted.json()["name"].as_str()), (200, Some("p")));
    assert_eq!(*world.artifacts.writes.borrow(), writes + 1, "all or nothing");
    let left: Vec<_> = world.entities().await.into_iter().map(|left| left.id.name).collect();
    assert_eq!(left, ["kept", "bound", "pp"].map(str::to_owned).to_vec());

    // Its name is free, and what it held does not come back.
    created(&world, "p", json!({})).await;
    assert_eq!(world.guest(&format!("GET {PACKAGES}/p")).await.json()["actions"], json!([]));
    assert_eq!(world.guest(&format!("DELETE {PACKAGES}/bound")).await.status, 200);
    assert_eq!(world.send(delete("")).await.status, 200);
}

#[tokio::test]
async fn nothing_is_put_into_a_package_that_is_being_deleted() {
    let world = std::sync::Arc::new(World::new().await);
    for round in 0..10 {
        created(&world, "p", json!({})).await;
        let writers = (0..4).map(|number| {
            let world = world.clone();
            tokio::spawn(async move {
                let body = json!({"exec":{"kind":"nodejs:20","code":""}});
                let line = format!("PUT /api/v1/namespaces/_/actions/p/a{number}");
                world.guest_json(&line, body).await.status
            })
        });
        let writers: Vec<_> = writers.collect();
        let deleted = world.guest(&format!("DELETE {PACKAGES}/p?force=true")).await;
        assert_eq!(deleted.status, 200, "{deleted:?}");
        for writer in writers {
            assert!(matches!(writer.await.unwrap(), 200 | 404));
        }
        assert_eq!(world.entities().await, [], "round {round}");
    }
}

#[tokio::test]
async fn documents_of_packages_may_be_of_another_sort_unreadable_or_refer_to_themselves() {
    let world = World::new().await;
    world.create("action", "").await;
    world.store(Collection::Packages, "guest", "corrupt", r#"{"namespace":"guest"}"#).await;
    let own = r#"{"namespace":"guest","name":"own","binding":{"namespace":"guest","name":"own"},"version":"0.0.1","updated":1}"#;
    world.store(Collection::Packages, "guest", "own", own).await;
    let circular = "Package binding 'guest/own' contains a circular reference.";
    for (line, status, text) in [
        ("GET packages/action", 409, CONFORMANCE),
        ("DELETE packages/action", 409, CONFORMANCE),
        ("GET actions/action/", 409, CONFORMANCE),
        ("GET actions/action/x", 409, CONFORMANCE),
        ("POST actions/action/x", 409, CONFORMANCE),
        ("DELETE actions/action/x", 409, CONFORMANCE),
        ("GET packages/corrupt", 500, CORRUPT),
        ("DELETE packages/corrupt", 500, CORRUPT),
        ("GET actions/corrupt/", 500, CORRUPT),
        ("GET actions/corrupt/x", 500, CORRUPT),
        ("POST actions/corrupt/x", 500, CORRUPT),
        ("DELETE actions/corrupt/x", 500, CORRUPT),
        ("GET packages", 500, CORRUPT),
        ("GET packages/own", 422, circular),
        ("GET actions/own/", 422, circular),
        ("GET actions/own/x", 422, circular),
        ("POST actions/own/x", 422, circular),
    ] {
        let line = line.replacen(' ', " /api/v1/namespaces/_/", 1);
        world.refused(Request::new(&line).auth(&guest()), status, text).await;
    }
    for name in ["corrupt", "corrupt/x"] {
        let (collection, name) = match name.split_once('/') {
            Some(_) => ("actions", name),
            None => ("packages", name),
        };
        let line = format!("PUT /api/v1/namespaces/_/{collection}/{name}?overwrite=true");
        let body = json!({"exec":{"kind":"nodejs:20","code":""}});
        world.refused(Request::new(&line).auth(&guest()).json(body), 500, CORRUPT).await;
    }
    created(&world, "p", json!({})).await;
    world.store(Collection::Actions, "guest/p", "corrupt", "{}").await;
    let package = Request::new(&format!("GET {PACKAGES}/p")).auth(&guest());
    world.refused(package, 500, CORRUPT).await;
    let deleted = world.guest(&format!("DELETE {PACKAGES}/p?force=true")).await;
    assert_eq!(deleted.status, 200, "what is unreadable can be deleted with its package");
}

#[tokio::test]
async fn large_packages_hold_bounded_memory() {
    let world = World::with(|config| config.max_download_memory = ByteSize::mb(1)).await;
    created(&world, "p", json!({})).await;
    let annotation = "x".repeat(300_000);
    for name in ["a", "b", "c", "d"] {
        world
            .create(
                &format!("p/{name}"),
                &format!(r#","annotations":[{{"key":"k","value":"{annotation}"}}]"#),
            )
            .await;
    }
    let text = "System is overloaded, try again later.";
    world.refused(Request::new(&format!("GET {PACKAGES}/p")).auth(&guest()), 503, text).await;
    assert_eq!(world.guest(&format!("DELETE {PACKAGES}/p?force=true")).await.status, 200);
}

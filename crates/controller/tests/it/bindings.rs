//! Bindings: packages that stand for packages, of one's own or of others.

use chasen_entity::EntityPath;
use chasen_spi::Collection;
use serde_json::{Value, json};

use crate::client::Request;
use crate::packages::{created, put};
use crate::world::{World, alice, guest};

const PACKAGES: &str = "/api/v1/namespaces/_/packages";
const CORRUPT: &str = "Resource is corrupted and cannot be read.";
const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";
const MISSING: &str = "The requested resource does not exist.";
const EXISTS: &str = "resource already exists";

#[tokio::test]
async fn bindings_stand_for_packages() {
    let world = World::new().await;
    let provided = json!({"publish":true,"parameters":[{"key":"a","value":1},{"key":"b","value":1}],
        "annotations":[{"key":"x","value":1}]});
    let request = Request::new("PUT /api/v1/namespaces/_/packages/shared").auth(&alice()).json(provided);
    assert_eq!(world.send(request).await.status, 200);
    let action = json!({"exec":{"kind":"nodejs:20","code":"c"},"parameters":[{"key":"b","value":3},{"key":"c","value":3}]});
    let request = Request::new("PUT /api/v1/namespaces/_/actions/shared/act").auth(&alice()).json(action);
    assert_eq!(world.send(request).await.status, 200);

    let body = json!({"binding":{"namespace":"alice","name":"shared"},"parameters":[{"key":"b","value":2},{"key":"d","value":2}],
        "annotations":[{"key":"binding","value":"lie"},{"key":"y","value":1}]});
    let binding = created(&world, "b", body).await;
    let target = json!({"namespace":"alice","name":"shared"});
    assert_eq!(binding["binding"], target);
    assert_eq!(binding["annotations"], json!([{"key":"y","value":1},{"key":"binding","value":target}]));
    assert_eq!(binding["parameters"], json!([{"key":"b","value":2},{"key":"d","value":2}]));
    assert!(binding.get("actions").is_none());

    let shown = world.guest(&format!("GET {PACKAGES}/b")).await.json();
    assert_eq!(
        (&shown["namespace"], &shown["name"], &shown["binding"]),
        (&json!("guest"), &json!("b"), &target)
    );
    assert_eq!(shown["annotations"], binding["annotations"]);
    let values = |parameters: &Value| {
        let pairs = parameters.as_array().unwrap().iter();
        pairs.map(|p| format!("{}={}", p["key"].as_str().unwrap(), p["value"])).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(values(&shown["parameters"]), "a=1 b=2 d=2");
    assert_eq!(shown["actions"][0]["name"], "act");

    // The action through the binding: its own parameters on top, the provider's place.
    let action = world.guest("GET /api/v1/namespaces/_/actions/b/act").await.json();
    assert_eq!(values(&action["parameters"]), "a=1 b=3 d=2 c=3");
    assert_eq!((&action["namespace"], action.get("binding")), (&json!("alice/shared"), None));
    assert_eq!(action["exec"]["code"], "c");
    let bare = world.guest("GET /api/v1/namespaces/_/actions/b/act?code=false").await.json();
    assert_eq!((&bare["binding"], bare["exec"].get("code")), (&json!("guest/b"), None));
    let direct = world.guest("GET /api/v1/namespaces/alice/actions/shared/act?code=false").await.json();
    assert_eq!((values(&direct["parameters"]).as_str(), direct.get("binding")), ("a=1 b=3 c=3", None));
    let list = world.guest("GET /api/v1/namespaces/_/actions/b/").await.json();
    assert_eq!((&list[0]["namespace"], &list[0]["name"]), (&json!("alice/shared"), &json!("act")));
    let call = "POST /api/v1/namespaces/_/actions/b/act?blocking=true&result=true";
    let result = world.guest_json(call, json!({"d":9,"e":9})).await.json();
    assert_eq!(result, json!({"a":1,"b":3,"c":3,"d":9,"e":9}));
    assert_eq!(world.invoker.taken.lock().last().unwrap().binding.as_deref(), Some("guest/b"));
    assert_eq!(
        world.invoker.taken.lock().last().unwrap().action.name.path,
        EntityPath::parse("alice/shared").unwrap()
    );

    // An update leaves it where it is, or points it elsewhere.
    created(&world, "own", json!({})).await;
    let kept = created(&world, "b?overwrite=true", json!({"binding":{},"annotations":[]})).await;
    assert_eq!((&kept["binding"], &kept["version"]), (&target, &json!("0.0.2")));
    assert_eq!(kept["annotations"], json!([{"key":"binding","value":target}]));
    let moved = json!({"binding":{"namespace":"_","name":"own"}});
    let moved = created(&world, "b?overwrite=true", moved).await;
    let target = json!({"namespace":"guest","name":"own"});
    assert_eq!(moved["binding"], target);
    assert_eq!(moved["annotations"], json!([{"key":"binding","value":target}]));
    assert_eq!(values(&moved["parameters"]), "b=2 d=2");
}

#[tokio::test]
async fn refused_bindings_change_nothing() {
    let world = World::new().await;
    for (name, body) in [
        ("private", json!({})),
        ("shared", json!({"publish":true})),
        ("bound", json!({"binding":{"namespace":"_","name":"shared"},"publish":true})),
    ] {
        let line = format!("PUT /api/v1/namespaces/_/packages/{name}");
        let response = world.send(Request::new(&line).auth(&alice()).json(body)).await;
        assert_eq!(response.status, 200, "{response:?}");
    }
    world.store(Collection::Packages, "alice", "corrupt", "{}").await;
    world.store(Collection::Packages, "guest", "corrupt", "{}").await;
    created(&world, "plain", json!({})).await;
    created(&world, "bound", json!({"binding":{"namespace":"alice","name":"shared"}})).await;
    world.create("action", "").await;
    let missing = "Binding references a package that does not exist.";
    let denied = |name: &str| format!("The supplied authentication is not authorized to access '{name}'.");
    let nested = "Cannot bind to another package binding.";
    for (path, namespace, target, status, text) in [
        ("new", "_", "nothing", 400, missing.to_owned()),
        ("new", "guest", "nothing", 400, missing.to_owned()),
        ("new", "guest", "new", 400, missing.to_owned()),
        ("new", "_", "action", 409, "Cannot bind to a resource that is not a package.".to_owned()),
        ("new", "_", "bound", 400, nested.to_owned()),
        ("new", "_", "corrupt", 500, CORRUPT.to_owned()),
        ("new", "alice", "private", 403, denied("alice/private")),
        ("new", "alice", "nothing", 403, denied("alice/nothing")),
        ("new", "alice", "bound", 403, denied("alice/bound")),
        ("new", "alice", "corrupt", 403, denied("alice/corrupt")),
        ("new", "nobody", "nothing", 403, denied("nobody/nothing")),
        ("bound", "alice", "shared", 409, EXISTS.to_owned()),
        ("bound", "alice", "private", 403, denied("alice/private")),
        ("bound?overwrite=true", "_", "nothing", 400, missing.to_owned()),
        ("bound?overwrite=true", "_", "bound", 400, nested.to_owned()),
        (
            "plain?overwrite=true",
            "alice",
            "shared",
            409,
            "Resource is a package and cannot be converted into a binding.".to_owned(),
        ),
        ("action?overwrite=true", "alice", "shared", 409, CONFORMANCE.to_owned()),
    ] {
        let body = json!({"binding":{"namespace":namespace,"name":target}});
        world.refused(put(path, body), status, &text).await;
    }
}

#[tokio::test]
async fn bindings_whose_package_is_gone_can_be_updated_and_deleted() {
    let world = World::new().await;
    created(&world, "p", json!({})).await;
    created(&world, "b", json!({"binding":{"namespace":"_","name":"p"}})).await;
    assert_eq!(world.guest(&format!("DELETE {PACKAGES}/p")).await.status, 200);
    let named = "The requested resource 'guest/b' does not exist.";
    for line in ["GET packages/b", "GET actions/b/", "GET actions/b/x"] {
        let line = line.replacen(' ', " /api/v1/namespaces/_/", 1);
        world.refused(Request::new(&line).auth(&guest()), 404, named).await;
    }
    let line = "POST /api/v1/namespaces/_/actions/b/x";
    world.refused(Request::new(line).auth(&guest()).json("{}"), 404, MISSING).await;
    for method in ["PUT", "DELETE"] {
        let body = json!({"exec":{"kind":"nodejs:20","code":""}});
        let request = Request::new(&format!("{method} /api/v1/namespaces/_/actions/b/x")).auth(&guest());
        world.refused(request.json(body), 400, "Operation not permitted on package binding.").await;
    }
    created(&world, "b?overwrite=true", json!({"parameters":[{"key":"a","value":1}]})).await;

    // What takes its place may be anything.
    world.create("p", "").await;
    world.refused(Request::new(&format!("GET {PACKAGES}/b")).auth(&guest()), 409, CONFORMANCE).await;
    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/actions/p").await.status, 200);
    created(&world, "q", json!({})).await;
    created(&world, "p", json!({"binding":{"namespace":"_","name":"q"}})).await;
    let nested = "Cannot bind to another package binding.";
    for line in ["GET packages/b", "GET actions/b/", "GET actions/b/x", "POST actions/b/x"] {
        let line = line.replacen(' ', " /api/v1/namespaces/_/", 1);
        world.refused(Request::new(&line).auth(&guest()), 400, nested).await;
    }
    assert_eq!(world.guest(&format!("DELETE {PACKAGES}/b")).await.status, 200);
}

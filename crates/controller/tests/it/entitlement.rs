//! Who may do what: privilege by collection by owner, sharing, binding and grant, in tables.

use chasen_entity::UserLimits;
use chasen_spi::{Collection, Privilege, Resource, SubjectStore as _};
use serde_json::{Value, json};

use crate::client::Request;
use crate::world::{World, alice, guest};

const CONFORMANCE: &str = "Resource by this name exists but is not in this collection.";
const CORRUPT: &str = "Resource is corrupted and cannot be read.";

fn denied(resource: &str) -> String {
    format!("The supplied authentication is not authorized to access '{resource}'.")
}

async fn of_alice(world: &World, path: &str, body: Value) {
    let request = Request::new(&format!("PUT /api/v1/namespaces/_/{path}")).auth(&alice()).json(body);
    let response = world.send(request).await;
    assert_eq!(response.status, 200, "{path}: {response:?}");
}

fn action() -> Value {
    json!({"exec":{"kind":"nodejs:20","code":"secret"}})
}

/// What alice has; `guest` looks at it.
async fn world_of_alice(change: impl FnOnce(&mut chasen_controller::ControllerConfig)) -> World {
    let world = World::with(change).await;
    of_alice(&world, "packages/shared", json!({"publish":true})).await;
    of_alice(&world, "packages/private", json!({})).await;
    of_alice(&world, "packages/bound", json!({"publish":true,"binding":{"namespace":"_","name":"shared"}}))
        .await;
    for name in ["act", "shared/act", "private/act"] {
        of_alice(&world, &format!("actions/{name}"), action()).await;
    }
    world.store(Collection::Packages, "alice", "corrupt", "{}").await;
    world
}

#[tokio::test]
async fn others_read_and_run_what_is_shared_and_nothing_else() {
    let world = world_of_alice(|_| {}).await;
    for (line, refused) in [
        // Lists of a whole namespace.
        ("GET actions", Some("alice")),
        ("GET triggers", Some("alice")),
        ("GET rules", Some("alice")),
        ("GET activations", Some("alice")),
        ("GET limits", Some("alice")),
        ("GET packages", None),
        // Packages.
        ("GET packages/shared", None),
        ("PUT packages/shared?overwrite=true", Some("alice/shared")),
        ("DELETE packages/shared?force=true", Some("alice/shared")),
        ("GET packages/private", Some("alice/private")),
        ("PUT packages/private?overwrite=true", Some("alice/private")),
        ("DELETE packages/private", Some("alice/private")),
        ("GET packages/bound", Some("alice/bound")),
        ("PUT packages/new", Some("alice/new")),
        ("DELETE packages/bound", Some("alice/bound")),
        ("GET packages/missing", Some("alice/missing")),
        ("DELETE packages/missing", Some("alice/missing")),
        ("GET packages/act", Some("alice/act")),
        ("GET packages/corrupt", Some("alice/corrupt")),
        // Actions outside of packages.
        ("GET actions/act", Some("alice/act")),
        ("PUT actions/act?overwrite=true", Some("alice/act")),
        ("DELETE actions/act", Some("alice/act")),
        ("POST actions/act", Some("alice/act")),
        ("GET actions/missing", Some("alice/missing")),
        // Actions in packages.
        ("GET actions/shared/", None),
        ("GET actions/shared/act", None),
        ("POST actions/shared/act", None),
        ("PUT actions/shared/act?overwrite=true", Some("alice/shared/act")),
        ("PUT actions/shared/new", Some("alice/shared/new")),
        ("DELETE actions/shared/act", Some("alice/shared/act")),
        ("GET actions/private/", Some("alice/private")),
        ("GET actions/private/act", Some("alice/private")),
        ("POST actions/private/act", Some("alice/private")),
        ("PUT actions/private/act?overwrite=true", Some("alice/private/act")),
        ("DELETE actions/private/act", Some("alice/private/act")),
        ("GET actions/bound/", Some("alice/bound")),
        ("GET actions/bound/act", Some("alice/bound")),
        ("POST actions/bound/act", Some("alice/bound")),
        ("PUT actions/bound/act", Some("alice/bound/act")),
        ("DELETE actions/bound/act", Some("alice/bound/act")),
        ("GET actions/missing/act", Some("alice/missing")),
        ("POST actions/missing/act", Some("alice/missing")),
        ("GET actions/act/act", Some("alice/act")),
        ("GET actions/corrupt/act", Some("alice/corrupt")),
        ("POST actions/corrupt/act", Some("alice/corrupt")),
    ] {
        let line = line.replacen(' ', " /api/v1/namespaces/alice/", 1);
        let request = Request::new(&line).auth(&guest()).json(action());
        match refused {
            Some(resource) => drop(world.refused(request, 403, &denied(resource)).await),
            None => assert!(world.send(request).await.status < 300, "{line}"),
        }
    }
    // What is shared is shared in full; what is missing in it is missing.
    let code = world.guest("GET /api/v1/namespaces/alice/actions/shared/act").await.json();
    assert_eq!(code["exec"]["code"], "secret");
    let missing = Request::new("GET /api/v1/namespaces/alice/actions/shared/none").auth(&guest());
    world.refused(missing, 404, "The requested resource does not exist.").await;
    assert_eq!(world.invoker.taken.lock().len(), 1);
    let namespace = world.invoker.taken.lock()[0].identity.namespace.name.to_string();
    assert_eq!(namespace, "guest", "what others run is theirs");
}

#[tokio::test]
async fn owners_may_everything_and_are_told_what_is_wrong() {
    let world = world_of_alice(|_| {}).await;
    let gone = "The requested resource 'alice/missing' does not exist.";
    let missing = "The requested resource does not exist.";
    for (line, status, text) in [
        ("GET packages/missing", 404, gone),
        ("GET actions/missing/", 404, gone),
        ("GET actions/missing/act", 404, gone),
        ("POST actions/missing/act", 404, missing),
        ("PUT actions/missing/act", 404, missing),
        ("DELETE actions/missing/act", 404, missing),
        ("GET packages/act", 409, CONFORMANCE),
        ("GET packages/corrupt", 500, CORRUPT),
        ("POST packages/shared", 404, "The requested resource could not be found."),
    ] {
        let line = line.replacen(' ', " /api/v1/namespaces/alice/", 1);
        world.refused(Request::new(&line).auth(&alice()).json(action()), status, text).await;
    }
    for line in [
        "GET actions",
        "GET packages?count=true",
        "GET packages/private",
        "GET packages/bound",
        "GET actions/private/",
        "GET actions/bound/act",
        "POST actions/bound/act",
        "POST actions/private/act",
        "PUT actions/private/act?overwrite=true",
        "DELETE actions/private/act",
        "DELETE packages/private",
    ] {
        let line = line.replacen(' ', " /api/v1/namespaces/_/", 1);
        let response = world.send(Request::new(&line).auth(&alice()).json(action())).await;
        assert!(response.status < 300, "{line}: {response:?}");
    }
}

#[tokio::test]
async fn bindings_end_where_the_right_to_their_package_ends() {
    let world = world_of_alice(|_| {}).await;
    let bind = json!({"binding":{"namespace":"alice","name":"shared"}});
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/packages/mine", bind).await.status, 200);
    let lines = ["GET packages/mine", "GET actions/mine/", "GET actions/mine/act", "POST actions/mine/act"];
    let request =
        |line: &str| Request::new(&line.replacen(' ', " /api/v1/namespaces/_/", 1)).auth(&guest()).json("{}");
    for line in lines {
        assert!(world.send(request(line)).await.status < 300, "{line}");
    }
    of_alice(&world, "packages/shared?overwrite=true", json!({"publish":false})).await;
    for line in lines {
        world.refused(request(line), 403, &denied("guest/mine")).await;
    }
    let line = "DELETE /api/v1/namespaces/_/packages/shared?force=true";
    assert_eq!(world.send(Request::new(line).auth(&alice())).await.status, 200);
    for line in lines {
        world.refused(request(line), 403, &denied("guest/mine")).await;
    }
    assert_eq!(world.guest("DELETE /api/v1/namespaces/_/packages/mine").await.status, 200);
}

#[tokio::test]
async fn grants_add_rights_one_by_one() {
    let world = world_of_alice(|_| {}).await;
    let resource = |collection, entity: Option<&str>| Resource {
        collection,
        namespace: "alice".to_owned(),
        entity: entity.map(str::to_owned),
    };
    for (privilege, resource, line) in [
        (Privilege::Read, resource("actions", None), "GET actions"),
        (Privilege::Read, resource("actions", Some("act")), "GET actions/act"),
        (Privilege::Activate, resource("actions", Some("act")), "POST actions/act"),
        (Privilege::Put, resource("actions", Some("act")), "PUT actions/act?overwrite=true"),
        (Privilege::Delete, resource("actions", Some("act")), "DELETE actions/act"),
        (Privilege::Read, resource("packages", Some("private")), "GET packages/private"),
        (Privilege::Read, resource("packages", Some("private")), "GET actions/private/act"),
        (Privilege::Read, resource("packages", Some("private")), "POST actions/private/act"),
        (Privilege::Put, resource("actions", Some("private/new")), "PUT actions/private/new"),
        (Privilege::Delete, resource("actions", Some("private/act")), "DELETE actions/private/act"),
        (Privilege::Put, resource("packages", Some("new")), "PUT packages/new"),
        (Privilege::Delete, resource("packages", Some("new")), "DELETE packages/new"),
    ] {
        let line = line.replacen(' ', " /api/v1/namespaces/alice/", 1);
        let request = || Request::new(&line).auth(&guest()).json(action());
        assert_eq!(world.send(request()).await.status, 403, "{line}");
        world.grants.grant("guest", privilege, resource.clone());
        let response = world.send(request()).await;
        assert!(response.status < 300, "{line}: {response:?}");
        world.grants.revoke("guest", privilege, resource);
        if !line.starts_with("DELETE") {
            assert_eq!(world.send(request()).await.status, 403, "{line}");
        }
    }
    // Who may read the collection sees all of it.
    world.grants.grant("guest", Privilege::Read, resource("packages", None));
    let count = world.guest("GET /api/v1/namespaces/alice/packages?count=true").await.json();
    assert_eq!(count, json!({"packages":4}));
}

#[tokio::test]
async fn shared_packages_may_be_for_execution_only() {
    let world = world_of_alice(|config| config.shared_packages_execute_only = true).await;
    let bind = json!({"binding":{"namespace":"alice","name":"shared"}});
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/packages/mine", bind).await.status, 200);
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/packages/own", json!({})).await.status, 200);
    let bind = json!({"binding":{"namespace":"_","name":"own"}});
    assert_eq!(world.guest_json("PUT /api/v1/namespaces/_/packages/ownbound", bind).await.status, 200);
    world.create("own/act", "").await;
    for (line, text) in [
        ("GET alice/packages/shared", "GET not permitted for 'alice/shared' since it's a shared package"),
        ("GET _/packages/mine", "GET not permitted since mine is a binding of a shared package"),
        (
            "GET alice/actions/shared/act",
            "GET not permitted for 'alice/shared' since it's an action in a shared package",
        ),
        (
            "GET alice/actions/shared/act?code=false",
            "GET not permitted for 'alice/shared' since it's an action in a shared package",
        ),
        (
            "GET _/actions/mine/act",
            "GET not permitted for 'guest/mine/act'. Resource does not exist or is an action in a shared package binding.",
        ),
        (
            "GET _/actions/mine/none",
            "GET not permitted for 'guest/mine/none'. Resource does not exist or is an action in a shared package binding.",
        ),
        (
            "GET alice/packages/private",
            "The supplied authentication is not authorized to access 'alice/private'.",
        ),
    ] {
        let request = Request::new(&line.replacen(' ', " /api/v1/namespaces/", 1)).auth(&guest());
        let response = world.refused(request, 403, text).await;
        assert!(response.has_cors());
    }
    for line in [
        "POST alice/actions/shared/act",
        "POST _/actions/mine/act",
        "GET _/packages/own",
        "GET _/packages/ownbound",
        "GET _/actions/own/act",
        "GET _/actions/ownbound/act",
    ] {
        let request = Request::new(&line.replacen(' ', " /api/v1/namespaces/", 1)).auth(&guest());
        assert!(world.send(request).await.status < 300, "{line}");
    }
}

#[tokio::test]
async fn kinds_are_those_of_the_namespace_and_of_the_platform_together() {
    let blackbox = json!({"kind":"blackbox","image":"a/b"});
    let node = json!({"kind":"nodejs:default","code":""});
    let python = json!({"kind":"python:3.11","code":""});
    for (own, whitelist, refused) in [
        (None, vec![], [false, false, false]),
        (Some(vec![]), vec![], [false, false, false]),
        (Some(vec!["nodejs:20"]), vec![], [false, true, true]),
        (None, vec!["python:3.11"], [true, false, true]),
        (Some(vec!["nodejs:20"]), vec!["blackbox"], [false, true, false]),
        (Some(vec!["nodejs"]), vec![], [true, true, true]),
    ] {
        let texts = |kinds: Vec<&str>| kinds.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let whitelist = texts(whitelist);
        let world = World::with(|config| config.runtimes_whitelist = whitelist).await;
        let kept = r#"{"namespace":"guest","name":"kept","exec":{"kind":"nodejs:20","main":"m"},
            "limits":{"timeout":60000,"memory":256,"logs":10,"concurrency":1},"version":"0.0.1","updated":1}"#;
        world.store(Collection::Actions, "guest", "kept", kept).await;
        let own = UserLimits { allowed_kinds: own.map(texts), ..UserLimits::default() };
        world.subjects.set_limits("guest", Some(&own)).await.unwrap();
        for ((exec, kind), refused) in
            [(&node, "nodejs:20"), (&python, "python:3.11"), (&blackbox, "blackbox")].into_iter().zip(refused)
        {
            let request = Request::new("PUT /api/v1/namespaces/_/actions/a?overwrite=true").auth(&guest());
            let request = request.json(json!({"exec":exec}));
            if refused {
                let text = format!(
                    "The supplied authentication is not authorized to access actions of kind '{kind}'."
                );
                world.refused(request, 403, &text).await;
            } else {
                assert_eq!(world.send(request).await.status, 200, "{kind}");
            }
        }
        // Only a request with exec is asked for its kind.
        let kept = world.guest_json("PUT /api/v1/namespaces/_/actions/kept?overwrite=true", json!({})).await;
        assert_eq!(kept.status, 200);
    }
}

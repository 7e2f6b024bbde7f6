//! Who may call what: addresses, keys and secrets, throttles, sizes, browsers, and the order of the checks.

use chasen_entity::{ByteSize, UserLimits};
use chasen_spi::{Collection, SubjectStore as _};
use serde_json::json;

use crate::client::{Request, Response};
use crate::web::{NOT_FOUND, WEB, assert_error, assert_rejection, export};
use crate::world::{World, alice, guest};

const METHODS: &str = "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH";
const UNAUTHENTICATED: &str = "Authentication is possible but has failed or not yet been provided.";

fn cors(response: &Response) -> [Option<&str>; 3] {
    ["origin", "methods", "headers"].map(|what| response.header(&format!("access-control-allow-{what}")))
}

#[tokio::test]
async fn what_is_not_exported_does_not_exist() {
    let world = World::new().await;
    world.create("private", "").await;
    for value in ["false", "\"true\"", "1", "null"] {
        let extra = format!(r#","annotations":[{{"key":"web-export","value":{value}}}]"#);
        world.create(&format!("hidden{}", value.len()), &extra).await;
    }
    export(&world, "echo", &[], &[]).await;
    world.store(Collection::Actions, "guest", "corrupt", "{").await;
    for path in [
        "guest/default/missing",
        "guest/default/private.json",
        "guest/default/hidden1",
        "guest/default/hidden4.text",
        "guest/default/hidden5",
        "guest/default/hidden6",
        "guest/default/corrupt",
        "guest/default/echo.xml",
        "guest/nosuch/echo",
        "nosuch/default/echo",
        "_/default/echo",
        "alice/default/echo",
    ] {
        for request in [
            Request::new(&format!("GET /api/v1/web/{path}")),
            Request::new(&format!("OPTIONS /api/v1/web/{path}")),
        ] {
            for request in [request.clone(), request.auth(&guest())] {
                let response = world.send(request).await;
                assert_error(&response, 404, NOT_FOUND);
                assert!(!response.has_cors(), "{path}");
            }
        }
    }
    assert!(world.invoker.taken.lock().is_empty());
}

#[tokio::test]
async fn browsers_are_let_in_before_anything_runs() {
    let world = World::new().await;
    export(&world, "echo", &[("require-whisk-auth", "true")], &[]).await;
    let response = world.send(Request::new(&format!("OPTIONS {WEB}/echo"))).await;
    let usual = "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent";
    assert_eq!((response.status, response.body.len(), response.header("content-type")), (200, 0, None));
    assert_eq!(cors(&response), [Some("*"), Some(METHODS), Some(usual)]);
    let asked =
        Request::new(&format!("OPTIONS {WEB}/echo")).header("Access-Control-Request-Headers", "X-a, x-B");
    assert_eq!(cors(&world.send(asked).await), [Some("*"), Some(METHODS), Some("X-a, x-B")]);
    assert!(world.invoker.taken.lock().is_empty());

    // Paths that are no web actions have the answer of the API.
    for path in ["/api/v1/web", "/api/v1/web/guest/default", "/api/v1/web/guest/default/-a", "/api/v1/x"] {
        let response = world.send(Request::new(&format!("OPTIONS {path}"))).await;
        assert_eq!((response.status, response.text().as_str()), (200, "OK"), "{path}");
        assert_eq!(response.header("access-control-allow-methods"), Some("GET, DELETE, POST, PUT, HEAD"));
    }
}

#[tokio::test]
async fn actions_may_speak_to_browsers_themselves() {
    let world = World::new().await;
    let own = [("web-custom-options", "true"), ("require-whisk-auth", "\"secret\"")];
    let result = r#"{"statusCode":200,"headers":{"Access-Control-Allow-Methods":"PATCH"}}"#;
    export(&world, "returns", &own, &[("result", result)]).await;
    let response = world.send(Request::new(&format!("OPTIONS {WEB}/returns"))).await;
    assert_eq!((response.status, cors(&response)), (200, [None, Some("PATCH"), None]));
    assert_eq!(world.invoker.taken.lock().len(), 1, "the action ran, without the secret");
    let response = world.send(Request::new(&format!("GET {WEB}/returns"))).await;
    assert_error(&response, 401, UNAUTHENTICATED);
    assert!(!response.has_cors());
}

#[tokio::test]
async fn secrets_open_what_asks_for_them() {
    let world = World::new().await;
    for (annotation, credentials, secret, open) in [
        ("true", None, None, false),
        ("true", Some(alice()), None, true),
        ("true", Some("nobody:x".to_owned()), None, false),
        ("false", None, None, true),
        ("\"s3cret\"", None, Some("s3cret"), true),
        ("\"s3cret\"", Some(guest()), Some("S3cret"), false),
        ("\"s3cret\"", Some(guest()), None, false),
        ("7423", None, Some("7423"), true),
        ("7423", None, Some("07423"), false),
        ("\"\"", None, None, false),
        ("\"\"", None, Some(""), true),
        ("null", Some(guest()), Some("null"), false),
        ("{}", Some(guest()), None, false),
        ("[]", Some(guest()), None, false),
    ] {
        export(&world, "echo", &[("require-whisk-auth", annotation)], &[]).await;
        let mut request = Request::new(&format!("GET {WEB}/echo.json"));
        if let Some(credentials) = &credentials {
            request = request.auth(credentials);
        }
        if let Some(secret) = secret {
            request = request.header("X-Require-Whisk-Auth", secret);
        }
        let response = world.send(request).await;
        assert!(response.has_cors(), "{annotation}");
        if open {
            assert_eq!(response.status, 200, "{annotation} {secret:?}");
        } else {
            assert_error(&response, 401, UNAUTHENTICATED);
        }
    }
}

#[tokio::test]
async fn the_owner_is_charged() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    let zero = UserLimits { invocations_per_minute: Some(0), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&zero)).await.unwrap();
    let response = world.send(Request::new(&format!("GET {WEB}/echo.json")).auth(&alice())).await;
    assert_error(&response, 429, "Too many requests in the last minute (count: 1, allowed: 0).");
    assert!(!response.has_cors() && response.header("retry-after").is_some());
    let none = UserLimits { concurrent_invocations: Some(0), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&none)).await.unwrap();
    let response = world.send(Request::new(&format!("GET {WEB}/echo.json"))).await;
    assert_error(&response, 429, "Too many concurrent requests in flight (count: 0, allowed: 0).");
    world.subjects.set_limits("guest", None).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.send(Request::new(&format!("GET {WEB}/echo.json"))).await.status, 200);
    }
}

#[tokio::test]
async fn large_bodies_are_refused_by_the_owners_limit() {
    let world = World::with(|config| config.max_payload = ByteSize::bytes(1000)).await;
    export(&world, "echo", &[("require-whisk-auth", "true")], &[]).await;
    let post = |length: usize| {
        Request::new(&format!("POST {WEB}/echo.json"))
            .header("content-type", "text/plain")
            .raw_body("x".repeat(length))
    };
    let response = world.send(post(1001)).await;
    assert_error(&response, 413, "Request larger than allowed: 1001 > 1000 bytes.");
    assert!(!response.has_cors(), "before the key is asked for");
    assert_error(&world.send(post(1000)).await, 401, UNAUTHENTICATED);
    assert_eq!(world.send(post(1000).auth(&guest())).await.status, 200);
    let own = UserLimits { max_payload_size: Some(ByteSize::bytes(10)), ..UserLimits::default() };
    world.subjects.set_limits("guest", Some(&own)).await.unwrap();
    let response = world.send(post(11).auth(&alice())).await;
    assert_error(&response, 413, "Request larger than allowed: 11 > 10 bytes.");
    let response = world.send(Request::new(&format!("OPTIONS {WEB}/echo")).raw_body("x".repeat(11))).await;
    assert_eq!(response.status, 413);
}

#[tokio::test]
async fn long_targets_are_refused() {
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    let response = world.send(Request::new(&format!("GET {WEB}/echo.json?a={}", "x".repeat(8192)))).await;
    assert_eq!(response.status, 414);
    assert_eq!(response.text(), "URI length exceeds the configured limit of 8192 characters");
}

#[tokio::test]
async fn bindings_are_followed_with_the_owners_rights() {
    let world = World::new().await;
    let put = async |credentials: String, line: &str, body: serde_json::Value| {
        let request = Request::new(&format!("PUT /api/v1/namespaces/_/{line}?overwrite=true"));
        let response = world.send(request.auth(&credentials).json(body)).await;
        assert_eq!(response.status, 200, "{response:?}");
    };
    let exported = json!({"exec": {"kind": "nodejs:20", "code": "x"}, "annotations": [{"key": "web-export", "value": true}]});
    put(alice(), "packages/shared", json!({"publish": true})).await;
    put(alice(), "actions/shared/echo", exported).await;
    let unbound =
        json!([{"key": "web-export", "value": false}, {"key": "require-whisk-auth", "value": true}]);
    put(
        guest(),
        "packages/bound",
        json!({"binding": {"namespace": "alice", "name": "shared"}, "annotations": unbound}),
    )
    .await;

    let get = || Request::new("GET /api/v1/web/guest/bound/echo.json");
    assert_eq!(world.send(get()).await.status, 200, "annotations of the binding do not count");
    assert_eq!(world.invoker.taken.lock().pop().unwrap().identity.namespace.name.as_str(), "guest");

    put(alice(), "packages/shared", json!({"publish": false})).await;
    for request in [get(), get().auth(&alice())] {
        let text = "The supplied authentication is not authorized to access 'guest/bound'.";
        assert_error(&world.send(request).await, 403, text);
    }
    for line in ["actions/shared/echo", "packages/shared"] {
        let request = Request::new(&format!("DELETE /api/v1/namespaces/_/{line}"));
        assert_eq!(world.send(request.auth(&alice())).await.status, 200);
        assert_error(&world.send(get()).await, 404, NOT_FOUND);
    }
}

#[tokio::test]
async fn a_platform_without_room_says_so() {
    let world = World::new().await;
    for (action, text) in [
        ("overloaded", "System is overloaded, try again later."),
        (
            "draining",
            "The server is currently unavailable (because it is overloaded or down for maintenance).",
        ),
    ] {
        export(&world, action, &[], &[]).await;
        let response = world.send(Request::new(&format!("GET {WEB}/{action}.json"))).await;
        assert_error(&response, 503, text);
        assert!(response.has_cors() && response.header("x-openwhisk-activation-id").is_none());
    }
    let old = json!({"namespace": "guest", "name": "old", "exec": {"kind": "nodejs:6"}, "parameters": [], "version": "0.0.1",
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}, "publish": false, "updated": 1,
        "annotations": [{"key": "web-export", "value": true}]});
    world.store(Collection::Actions, "guest", "old", &old.to_string()).await;
    let response = world.send(Request::new(&format!("GET {WEB}/old.json"))).await;
    let text = "The 'nodejs:6' runtime is no longer supported. You may read and delete but not update or invoke this action.";
    assert_error(&response, 400, text);
}

#[tokio::test]
async fn vanity_hosts_are_namespaces() {
    let world = World::with(|config| config.domain = Some("api.example".to_owned())).await;
    export(&world, "echo", &[], &[]).await;
    let send = async |host: &str, line: &str| world.send(Request::new(line).header("host", host)).await;
    let put = "PUT /api/v1/namespaces/_/packages/public";
    assert_eq!(world.guest_json(put, "{}").await.status, 200);
    export(&world, "public/index", &[], &[("html", "\"welcome\"")]).await;

    let response = send("guest.api.example:3233", "GET /default/echo.json/rest?a=1").await;
    let arguments = response.json();
    assert_eq!((&arguments["__ow_path"], &arguments["a"]), (&json!("/rest"), &json!("1")));
    assert_eq!(arguments["__ow_headers"]["host"], "guest.api.example:3233");
    assert_eq!(send("guest.api.example", "GET /").await.text(), "welcome");
    let response = send("guest.api.example", "OPTIONS /default/echo").await;
    assert_eq!((response.status, response.header("access-control-allow-methods")), (200, Some(METHODS)));
    assert_error(&send("nosuch.api.example", "GET /default/echo").await, 404, NOT_FOUND);
    assert_rejection(
        &send("guest.api.example", "GET /ping").await,
        401,
        "The resource requires authentication",
    );
    for host in ["api.example", "other.example", "guest.localhost", "a.b.api.example"] {
        assert_eq!(send(host, "GET /ping").await.text(), "pong", "{host}");
    }
    let world = World::new().await;
    export(&world, "echo", &[], &[]).await;
    let request = Request::new("GET /default/echo.json").header("host", "guest.localhost:1");
    assert_eq!(world.send(request).await.status, 200, "browsers find it on this machine");
}

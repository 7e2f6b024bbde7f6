//! Which paths exist, for whom, and what everything around them answers.

use chasen_spi::SubjectStore as _;
use futures_util::future::join_all;
use serde_json::json;

use crate::client::Request;
use crate::world::{World, guest};

const MISSING: &str = "The resource requires authentication, which was not supplied with the request";
const INVALID: &str = "The supplied authentication is invalid";
const NO_ROUTE: &str = "The requested resource could not be found.";

#[tokio::test]
async fn the_platform_describes_itself_to_anybody() {
    let world = World::new().await;
    let response = world.send(Request::new("GET /")).await;
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    assert!(!response.has_cors());
    let document = response.json();
    assert_eq!(document["api_paths"], json!(["/api/v1"]));
    assert_eq!(document["limits"]["sequence_length"], 50);
    assert_eq!(document["runtimes"]["nodejs"][0]["image"], "openwhisk/action-nodejs-v20:nightly");

    for path in ["/api/v1", "/api/v1/"] {
        let response = world.send(Request::new(&format!("GET {path}"))).await;
        assert_eq!((response.status, response.has_cors()), (200, true));
        assert_eq!(response.json()["api_version_path"], "v1");
        assert!(response.json()["build"].as_str().unwrap().starts_with("20"));
    }
    let response = world.send(Request::new("GET /ping")).await;
    assert_eq!((response.status, response.text().as_str()), (200, "pong"));
    assert!(response.header("content-type").unwrap().starts_with("text/plain"));
}

#[tokio::test]
async fn methods_beside_the_api_are_405_and_options_is_free() {
    let world = World::new().await;
    for (line, allow) in [
        ("POST /ping", "GET, OPTIONS"),
        ("HEAD /", "GET, OPTIONS"),
        ("GET /nosuch", "OPTIONS"),
        ("GET /api/v2/x", "OPTIONS"),
        ("GET /ping/", "OPTIONS"),
        ("GET /api/v1x", "OPTIONS"),
    ] {
        let response = world.send(Request::new(line)).await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{line}");
        if !line.starts_with("HEAD") {
            let text = format!("HTTP method not allowed, supported methods: {allow}");
            assert_eq!(response.error(), text, "{line}");
        }
    }
    for (line, methods) in [
        ("OPTIONS /api/v1", "GET, DELETE, POST, PUT, HEAD"),
        ("OPTIONS /api/v1/no/such/path/at/all/or/ever/x", "GET, DELETE, POST, PUT, HEAD"),
        ("OPTIONS /nosuch", "OPTIONS, GET, POST"),
    ] {
        let response = world.send(Request::new(line)).await;
        assert_eq!((response.status, response.text().as_str()), (200, "OK"), "{line}");
        assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        assert_eq!(response.header("access-control-allow-methods"), Some(methods), "{line}");
        assert_eq!(
            response.header("access-control-allow-headers"),
            Some("Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent")
        );
    }
}

#[tokio::test]
async fn below_the_api_credentials_come_first_and_then_404() {
    let world = World::new().await;
    // All at the same time, as answers to wrong credentials are held back.
    let lines = [
        "GET /api/v1/nosuch",
        "POST /api/v1",
        "POST /api/v1/namespaces",
        "GET /api/v1/namespaces/guest",
        "GET /api/v1/namespaces/a=b/",
        "DELETE /api/v1/namespaces/_/actions",
        "POST /api/v1/namespaces/_/actions/",
        "PUT /api/v1/namespaces/_/actions/p/",
        "POST /api/v1/namespaces/_/limits",
        "PATCH /api/v1/namespaces/_/actions/a",
        "HEAD /api/v1/namespaces",
        "GET /api/v1/namespaces/_/actions/a/b/c",
        "GET /api/v1/namespaces/_/actions/a/b/c/d/e/f",
        "POST /api/v1/namespaces/_/activations",
        "GET /api/v1/namespaces/_/activations/x/bogus",
        "GET /api/v1/namespaces/_/activations/x/logs/",
        "GET /api/v1/namespaces/_/triggers/t/extra",
        "POST /api/v1/namespaces/_/packages/p",
        "GET /api/v1/web/guest/default",
        "GET /api/v1/web/guest/default/",
        "GET /api/v1/web/guest/p/-a",
        "TRACE /api/v1/web/guest/default/a",
        "POST /api/v1/namespaces/_/limits/x",
    ];
    let world = &world;
    let tries = lines.into_iter().flat_map(|line| {
        let refused = |credentials: String| Request::new(line).auth(&credentials);
        let tries = [
            (Request::new(line), 401, MISSING),
            (Request::new(line).header("authorization", "Bearer x"), 401, MISSING),
            (Request::new(line).header("authorization", "Basic ****"), 401, MISSING),
            (refused("nobody:x".to_owned()), 401, INVALID),
            (refused(guest().replace('g', "h")), 401, INVALID),
            (refused("no colon".to_owned()), 401, INVALID),
            (refused(guest()), 404, NO_ROUTE),
        ];
        tries.into_iter().map(move |(request, status, text)| async move {
            let response = world.send(request).await;
            assert_eq!(response.status, status, "{line}");
            assert!(!response.has_cors() && response.header("x-request-id").is_some(), "{line}");
            let challenge = response.header("www-authenticate");
            let expected = (status == 401).then_some("Basic realm=\"OpenWhisk secure realm\",charset=UTF-8");
            assert_eq!(challenge, expected);
            if !line.starts_with("HEAD") {
                assert_eq!(response.error(), text, "{line}");
            }
        })
    });
    join_all(tries).await;
}

#[tokio::test]
async fn request_ids_are_echoed_and_are_the_code_of_errors() {
    let world = World::new().await;
    let request = Request::new("GET /api/v1/nosuch").auth(&guest());
    let response = world.send(request.clone().header("X-Request-ID", "my id 7")).await;
    assert_eq!(response.header("x-request-id"), Some("my id 7"));
    assert_eq!(response.json(), json!({"error": NO_ROUTE, "code": "my id 7"}));
    assert_eq!(response.header("content-type"), Some("application/json"));
    for internal in ["sid_x", &"x".repeat(1000)] {
        let response = world.send(request.clone().header("X-Request-ID", internal)).await;
        assert_eq!(response.header("x-request-id").map(str::len), Some(32));
        assert_eq!(response.json()["code"].as_str(), response.header("x-request-id"));
    }
}

#[tokio::test]
async fn namespaces_are_the_callers_own() {
    let world = World::new().await;
    for line in ["GET /api/v1/namespaces", "GET /api/v1/namespaces/"] {
        assert_eq!(world.guest(line).await.json(), json!(["guest"]));
    }
}

#[tokio::test]
async fn limits_are_filled_in_and_a_namespace_may_have_its_own() {
    let world = World::with(|config| {
        config.rates.invocations_per_minute = Some(60);
        config.rates.concurrent_invocations = Some(30);
        config.rates.fires_per_minute = Some(60);
    })
    .await;
    let defaults = json!({"invocationsPerMinute":60,"concurrentInvocations":30,"firesPerMinute":60,"minActionMemory":128,
        "maxActionMemory":512,"minActionLogs":0,"maxActionLogs":10,"minActionTimeout":100,"maxActionTimeout":300000,
        "minActionConcurrency":1,"maxActionConcurrency":1,"maxParameterSize":"1048576 B","maxActionInstances":30});
    for line in ["GET /api/v1/namespaces/_/limits", "GET /api/v1/namespaces/guest/limits/"] {
        let response = world.guest(line).await;
        assert_eq!((response.json(), response.has_cors()), (defaults.clone(), true));
    }
    let own: chasen_entity::UserLimits = serde_json::from_value(json!({
        "invocationsPerMinute": 5, "maxActionMemory": 256, "allowedKinds": ["nodejs:20"], "storeActivations": false
    }))
    .unwrap();
    world.subjects.set_limits("guest", Some(&own)).await.unwrap();
    let limits = world.guest("GET /api/v1/namespaces/_/limits").await.json();
    assert_eq!(limits["invocationsPerMinute"], 5);
    assert_eq!(limits["maxActionMemory"], 256);
    assert_eq!(limits["allowedKinds"], json!(["nodejs:20"]));
    assert_eq!(limits["storeActivations"], false);

    let response = world.guest("GET /api/v1/namespaces/_/limits/x").await;
    assert_eq!(response.status, 400);
    assert_eq!(response.error(), "Inner entity level routes for limits are not yet implemented.");
    let response = world.guest("GET /api/v1/namespaces/alice/limits").await;
    assert_eq!(response.status, 403);
    assert_eq!(response.error(), "The supplied authentication is not authorized to access 'alice'.");
}

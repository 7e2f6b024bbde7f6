//! The operator's door: who may, what it changes and what it refuses, and what the API shows of it at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_controller::admin::{Admin, AdminCredentials};
use chasen_entity::manifest::RuntimeKind;
use chasen_entity::{ActivationId, ByteSize, EntityName, Manifest};
use chasen_spi::{InvokerState, NodeStatus, NodeView, RuntimesKeeper, StoreError, SubjectStore as _};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::client::{Connection, Request, Response};
use crate::world::{World, guest};

const OPERATOR: &str = "admin:a-long-password";

/// A node with two invokers, as well as they are set to be, that refuses work for this reason.
struct Status(Mutex<[InvokerState; 2]>, Mutex<Option<String>>);

impl NodeStatus for Status {
    fn invokers(&self) -> Vec<(String, InvokerState)> {
        let states = *self.0.lock();
        states.iter().enumerate().map(|(index, state)| (format!("invoker{index}/{index}"), *state)).collect()
    }

    fn nodes(&self) -> Vec<(String, NodeView)> {
        let mb = ByteSize::mb;
        let view = NodeView {
            id: "invoker0".to_owned(),
            state: InvokerState::Up,
            memory: mb(1024),
            free: mb(512),
            idle: mb(256),
            waiting: 1,
            labels: ["gpu".to_owned()].into(),
            dedicated: [EntityName::new("guest").unwrap()].into(),
            cpu_pressure: 12.34,
            kinds: ["nodejs:20".to_owned()].into(),
            stems: [("nodejs:20".to_owned(), mb(256))].into(),
            images: ["i".to_owned()].into(),
        };
        vec![("invoker0/0".to_owned(), view)]
    }

    fn activations(&self) -> Vec<(ActivationId, String)> {
        vec![(id(), "guest/pkg/hello@0.0.7".to_owned())]
    }

    fn refusal(&self) -> Option<String> {
        self.1.lock().clone()
    }

    fn activation_count(&self) -> usize {
        1
    }
}

fn id() -> ActivationId {
    ActivationId::parse("0123456789abcdef0123456789abcdef").unwrap()
}

/// Keeps in memory; refuses kinds named `cobol`.
#[derive(Default)]
struct Keeper {
    kept: Mutex<Option<Manifest>>,
    is_full: Mutex<bool>,
}

const INITIAL: &str = r#"{"runtimes":{"go":[{"kind":"go:1","image":{"name":"g"}}]}}"#;

#[async_trait]
impl RuntimesKeeper for Keeper {
    fn complete(&self, manifest: Manifest) -> Manifest {
        manifest
    }

    fn check(&self, kind: &RuntimeKind) -> Result<(), String> {
        match kind.kind.starts_with("cobol") {
            true => Err(format!("kind '{}': nothing runs it", kind.kind)),
            false => Ok(()),
        }
    }

    async fn keep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        if *self.is_full.lock() {
            return Err(StoreError::Full("no space".to_owned()));
        }
        *self.kept.lock() = Some(manifest.clone());
        Ok(())
    }

    async fn forget(&self) -> Result<Manifest, StoreError> {
        *self.kept.lock() = None;
        Ok(Manifest::parse(INITIAL).unwrap())
    }
}

struct Door {
    world: World,
    address: SocketAddr,
    status: Arc<Status>,
    keeper: Arc<Keeper>,
}

impl Door {
    async fn open() -> Self {
        let world = World::new().await;
        let status = Arc::new(Status(Mutex::new([InvokerState::Up; 2]), Mutex::default()));
        let keeper = Arc::new(Keeper::default());
        let admin = Admin::new(status.clone(), keeper.clone(), AdminCredentials::new(OPERATOR));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(world.controller.clone().serve_admin(listener, admin, std::future::pending()));
        Self { world, address, status, keeper }
    }

    async fn send(&self, request: Request) -> Response {
        Connection::open(self.address).await.send(&request).await
    }

    /// A request of nobody.
    async fn nobody(&self, line: &str) -> Response {
        self.send(Request::new(line)).await
    }

    /// A request of the operator, with a body if it is not null.
    async fn operator(&self, line: &str, body: Value) -> Response {
        let request = Request::new(line).auth(OPERATOR);
        self.send(if body.is_null() { request } else { request.json(body) }).await
    }

    /// The kinds that the API shows.
    async fn shown_kinds(&self) -> Vec<String> {
        let document = self.world.send(Request::new("GET /")).await.json();
        let families = document["runtimes"].as_object().unwrap().values();
        let kinds = families.flat_map(|kinds| kinds.as_array().unwrap());
        kinds.map(|kind| kind["kind"].as_str().unwrap().to_owned()).collect()
    }

    /// Everything that could have changed.
    async fn state(&self) -> (Vec<String>, Option<Manifest>, String) {
        let subjects = self.world.subjects.list(None, u64::MAX).await.unwrap();
        let mut limits = BTreeMap::new();
        for name in ["guest", "alice", "whisker"] {
            limits.insert(name, self.world.subjects.limits(name).await.unwrap());
        }
        let kept = self.keeper.kept.lock().clone();
        (self.shown_kinds().await, kept, format!("{subjects:?} {limits:?}"))
    }
}

#[tokio::test]
async fn operators_may_ask_how_the_node_is() {
    let door = Door::open().await;
    for (path, body) in [
        ("/invokers", json!({"invoker0/0": "up", "invoker1/1": "up"})),
        ("/invokers/", json!({"invoker0/0": "up", "invoker1/1": "up"})),
        ("/invokers/healthy/count", json!(2)),
        ("/invokers/ready", json!({"healthy": "2/2"})),
        (
            "/nodes",
            json!({"invoker0/0": {
                "state": "up", "memory": 1024, "free": 512, "idle": 256, "waiting": 1, "cpuPressure": 12.3,
                "labels": ["gpu"], "dedicatedNamespaces": ["guest"], "images": ["i"],
                "stemCells": [{"kind": "nodejs:20", "memory": 256}],
            }}),
        ),
        ("/activation", json!([[id().to_string(), "guest/pkg/hello@0.0.7"]])),
        ("/activation/", json!([[id().to_string(), "guest/pkg/hello@0.0.7"]])),
        ("/activation/count", json!(1)),
    ] {
        let response = door.operator(&format!("GET {path}"), Value::Null).await;
        assert_eq!((response.status, response.json()), (200, body), "{path}");
        assert_eq!(response.header("access-control-allow-methods"), Some("OPTIONS, GET, POST"));
        let options = door.nobody(&format!("OPTIONS {path}")).await;
        assert_eq!((options.status, options.text().as_str()), (200, "OK"));
    }
    *door.status.0.lock() = [InvokerState::Up, InvokerState::Unhealthy];
    let ready = door.operator("GET /invokers/ready", Value::Null).await;
    assert_eq!((ready.status, ready.json()), (500, json!({"unhealthy": "1/2"})));
    *door.status.0.lock() = [InvokerState::Up; 2];
    *door.status.1.lock() = Some("the disk is slow".to_owned());
    let ready = door.operator("GET /invokers/ready", Value::Null).await;
    assert_eq!((ready.status, ready.json()), (200, json!({"healthy": "2/2", "refuses": "the disk is slow"})));
    *door.status.0.lock() = [InvokerState::Up, InvokerState::Unhealthy];
    assert_eq!(door.operator("GET /invokers", Value::Null).await.json()["invoker1/1"], "unhealthy");
    assert_eq!(door.nobody("GET /ping").await.text(), "pong");
}

/// Method and path of everything that needs credentials.
const GUARDED: [&str; 23] = [
    "GET /invokers",
    "GET /invokers/ready",
    "GET /nodes",
    "GET /activation",
    "POST /disable",
    "POST /enable",
    "GET /runtimes",
    "PUT /runtimes",
    "DELETE /runtimes",
    "GET /runtimes/nodejs:20",
    "PUT /runtimes/nodejs:20",
    "DELETE /runtimes/nodejs:20",
    "POST /whois",
    "GET /users/guest",
    "DELETE /users/guest",
    "POST /users/guest/block",
    "POST /users/guest/unblock",
    "GET /users/guest/namespaces/guest",
    "PUT /users/guest/namespaces/guest",
    "DELETE /users/guest/namespaces/guest",
    "GET /namespaces/guest/limits",
    "PUT /namespaces/guest/limits",
    "GET /db/subjects",
];

#[tokio::test]
async fn nobody_else_may_change_or_see_anything() {
    let door = Door::open().await;
    let before = door.state().await;
    // All at the same time, as answers to wrong credentials are held back.
    let asked = &door;
    let tries = GUARDED.into_iter().map(async |line| {
        for (authorization, text) in [
            (None, "Authentication is possible but has failed or not yet been provided."),
            (Some("Bearer x"), "Authentication is possible but has failed or not yet been provided."),
            (Some("Basic YTpi"), "username or password are wrong."),
            (Some("Basic YWRtaW46YS1sb25nLXBhc3N3b3I="), "username or password are wrong."),
        ] {
            let request = Request::new(line).json(json!({"firesPerMinute": 1}));
            let request = match authorization {
                Some(value) => request.header("authorization", value),
                None => request,
            };
            let response = asked.send(request).await;
            assert_eq!((response.status, response.error().as_str()), (401, text), "{line}");
            assert!(response.text().starts_with("{\n  \"error\": "), "pretty: {}", response.text());
            assert_eq!(response.header("www-authenticate"), None);
        }
        let tenant = asked.send(Request::new(line).auth(&guest())).await;
        assert_eq!(tenant.status, 401, "keys of tenants open nothing: {line}");
    });
    join_all(tries).await;
    assert_eq!(door.state().await, before);
}

#[tokio::test]
async fn what_is_not_there_and_wrong_methods_are_405() {
    let door = Door::open().await;
    for (line, allowed) in [
        ("GET /disable", "POST, OPTIONS"),
        ("POST /invokers", "GET, OPTIONS"),
        ("HEAD /invokers/ready", "GET, OPTIONS"),
        ("PATCH /runtimes", "GET, PUT, DELETE, OPTIONS"),
        ("PUT /users/guest", "GET, DELETE, OPTIONS"),
        ("POST /namespaces/guest/limits", "GET, PUT, PATCH, DELETE, OPTIONS"),
        ("GET /", "OPTIONS"),
        ("GET /nosuch", "OPTIONS"),
        ("GET /invokers/healthy", "OPTIONS"),
        ("GET /api/v1/namespaces", "OPTIONS"),
        ("GET /1/2/3/4/5/6/7/8/9", "OPTIONS"),
    ] {
        let response = door.send(Request::new(line).auth(OPERATOR)).await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allowed)), "{line}");
        if !line.starts_with("HEAD") {
            let text = format!("HTTP method not allowed, supported methods: {allowed}");
            assert_eq!(response.error(), text);
        }
    }
    let api = door.world.send(Request::new("GET /invokers")).await;
    assert_eq!(api.status, 405, "the API knows nothing of this door");
}

#[tokio::test]
async fn a_closed_door_takes_no_new_work_and_lets_the_rest_go_on() {
    let door = Door::open().await;
    door.world.create("slow", "").await;
    let slow = "POST /api/v1/namespaces/_/actions/slow?blocking=true";
    let mut running = Connection::open(door.world.address).await;
    running.write(&Request::new(slow).auth(&guest()).bytes()).await;
    crate::world::eventually("it runs", || !door.world.invoker.taken.lock().is_empty()).await;
    let disabled = door.operator("POST /disable", Value::Null).await;
    assert_eq!((disabled.status, disabled.text().as_str()), (200, "controller is disabled"));
    let refused = door.world.guest("POST /api/v1/namespaces/_/actions/slow").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(
        door.world.guest("GET /api/v1/namespaces/_/actions/slow").await.status,
        200,
        "entities are served"
    );
    door.world.invoker.release.notify_waiters();
    assert_eq!(running.receive(false).await.unwrap().status, 200, "what runs goes on");
    assert_eq!(door.operator("POST /enable", Value::Null).await.text(), "controller is enabled");
    assert_eq!(door.world.guest("POST /api/v1/namespaces/_/actions/slow").await.status, 202);
}

#[tokio::test]
async fn subjects_are_created_blocked_and_deleted_and_the_next_request_knows() {
    let door = Door::open().await;
    let made = door.operator("PUT /users/whisker/namespaces/whisker", Value::Null).await.json();
    let auth = made["auth"].as_str().unwrap().to_owned();
    assert_eq!(made, json!({"namespace": "whisker", "auth": auth}));
    // One connection, kept open: what changes is known at its very next request.
    let mut open = Connection::open(door.world.address).await;
    let request = Request::new("GET /api/v1/namespaces").auth(&auth);
    assert_eq!(open.send(&request).await.json(), json!(["whisker"]));
    assert_eq!(
        door.operator("POST /users/whisker/block", Value::Null).await.json(),
        json!({"subject": "whisker", "blocked": true})
    );
    assert_eq!(open.send(&request).await.status, 401);
    assert_eq!(door.operator("GET /users/whisker", Value::Null).await.json()["blocked"], true);
    assert_eq!(door.operator("GET /namespaces/whisker/users", Value::Null).await.json(), json!([]));
    assert_eq!(door.operator("POST /whois", json!({"auth": auth})).await.status, 404);
    door.operator("POST /users/whisker/unblock", Value::Null).await;
    assert_eq!(open.send(&request).await.status, 200);
    assert_eq!(
        door.operator("POST /whois", json!({"auth": auth})).await.json(),
        json!({"subject": "whisker", "namespace": "whisker"})
    );
    assert_eq!(
        door.operator("GET /namespaces/whisker/users", Value::Null).await.json(),
        json!([{"subject": "whisker", "auth": auth}])
    );
    let renewed =
        door.operator("PUT /users/whisker/namespaces/whisker", json!({"revoke": true})).await.json();
    assert_ne!(renewed["auth"].as_str().unwrap(), auth);
    assert_eq!(open.send(&request).await.status, 401, "the old key is no more");
    assert_eq!(door.operator("GET /users/whisker/namespaces/whisker", Value::Null).await.json(), renewed);
    assert_eq!(
        door.operator("DELETE /users/whisker", Value::Null).await.json(),
        json!({"subject": "whisker"})
    );
    assert_eq!(door.operator("GET /users/whisker", Value::Null).await.status, 404);
}

#[tokio::test]
async fn limits_of_a_namespace_count_from_the_next_request_on() {
    let door = Door::open().await;
    let mut open = Connection::open(door.world.address).await;
    let limits = Request::new("GET /api/v1/namespaces/_/limits").auth(&guest());
    let before = open.send(&limits).await.json();
    assert_eq!(door.operator("GET /namespaces/guest/limits", Value::Null).await.status, 404);
    let patch = "PATCH /namespaces/guest/limits";
    door.operator(patch, json!({"firesPerMinute": 7, "maxParameterSize": "2 KB"})).await;
    let merged =
        door.operator(patch, json!({"maxActionMemory": 256, "maxActionTimeout": 900_000})).await.json();
    let set = json!({"firesPerMinute": 7, "maxParameterSize": "2 KB", "maxActionMemory": 256, "maxActionTimeout": 900_000});
    assert_eq!(merged, set);
    assert_eq!(door.operator("GET /namespaces/guest/limits", Value::Null).await.json(), set);
    let mut expected = before.clone();
    expected["firesPerMinute"] = json!(7);
    expected["maxParameterSize"] = json!("2 KB");
    expected["maxActionMemory"] = json!(256);
    assert_eq!(open.send(&limits).await.json(), expected, "none beyond the platform's");
    let body = r#"{"exec":{"kind":"nodejs:20","code":"x"},"limits":{"memory":300}}"#;
    let refused = door.world.guest_json("PUT /api/v1/namespaces/_/actions/large", body).await;
    assert_eq!(refused.error(), "requirement failed: memory size 300 MB exceeds allowed threshold of 256 MB");
    let replaced = door.operator("PUT /namespaces/guest/limits", json!({"concurrentInvocations": 0})).await;
    assert_eq!(replaced.json(), json!({"concurrentInvocations": 0}));
    door.world.create("hello", "").await;
    let throttled = door.world.guest("POST /api/v1/namespaces/_/actions/hello").await;
    assert_eq!(throttled.error(), "Too many concurrent requests in flight (count: 0, allowed: 0).");
    door.operator("DELETE /namespaces/guest/limits", Value::Null).await;
    assert_eq!(open.send(&limits).await.json(), before);
}

#[tokio::test]
async fn mistakes_change_nothing() {
    let door = Door::open().await;
    let long_key = format!("23bc46b1-71f6-4ed5-8c54-816aa4f8c502:{}", "k".repeat(65));
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let malformed = |why: &str| format!("The request content was malformed:\n{why}");
    let before = door.state().await;
    for (line, body, status, text) in [
        ("PUT /users/who/namespaces/who", "{}", 400, "Subject name must be at least 5 characters".to_owned()),
        ("PUT /users/guest/namespaces/guest", "{}", 409, "Namespace already exists".to_owned()),
        (
            "PUT /users/whisker/namespaces/a%2Fb",
            "{}",
            400,
            "namespace 'a/b' contains characters that names cannot have".to_owned(),
        ),
        (
            "PUT /users/whisker/namespaces/whisker",
            r#"{"auth":"x:y"}"#,
            400,
            "authorization id is not a valid UUID".to_owned(),
        ),
        (
            "PUT /users/whisker/namespaces/whisker",
            &format!("{{\"auth\":\"{long_key}\"}}"),
            400,
            "authorization key must be at most 64 characters long".to_owned(),
        ),
        (
            "PUT /users/whisker/namespaces/whisker",
            r#"{"aut":"x"}"#,
            400,
            malformed("unknown field `aut`, expected `auth` or `revoke` at line 1 column 6"),
        ),
        ("DELETE /users/nobody", "", 404, "there is no subject 'nobody'".to_owned()),
        ("POST /users/nobody/block", "", 404, "there is no subject 'nobody'".to_owned()),
        (
            "DELETE /users/guest/namespaces/other",
            "",
            404,
            "subject 'guest' has no namespace 'other'".to_owned(),
        ),
        ("POST /whois", r#"{"auth":"nobody"}"#, 404, "Subject id is not recognized".to_owned()),
        ("PUT /namespaces/guest/limits", "[]", 400, malformed("a limits document is a JSON object")),
        (
            "PATCH /namespaces/guest/limits",
            r#"{"maxPayloadSize":"1 XB"}"#,
            400,
            malformed(
                "maxPayloadSize: Size Unit not supported. Only \"B\", \"K[B]\", \"M[B]\" and \"G[B]\" are supported.",
            ),
        ),
        (
            "PUT /runtimes/cobol:1",
            r#"{"image":{"name":"c"}}"#,
            400,
            malformed("kind 'cobol:1': nothing runs it"),
        ),
        ("PUT /runtimes/go:1", "{}", 400, malformed("kind 'go:1': missing field `image`")),
        (
            "PUT /runtimes/Go:1",
            r#"{"image":{"name":"c"}}"#,
            400,
            malformed(
                "'Go:1' in family 'Go' is no name of a kind: write family:version in lower-case letters, digits and . _ -",
            ),
        ),
        ("DELETE /runtimes/go:1", "", 404, "there is no kind 'go:1'".to_owned()),
        ("GET /runtimes/go:1", "", 404, "The requested resource does not exist.".to_owned()),
        ("GET /db/nosuch", "", 404, "The requested resource does not exist.".to_owned()),
        ("GET /db/whisks?next=x", "", 400, "'x' is no place in this list; begin it anew".to_owned()),
        (
            "GET /db/whisks?docs=perhaps",
            "",
            400,
            "The query parameter 'docs' was malformed:\n'perhaps' is not a valid Boolean value".to_owned(),
        ),
        (
            "PUT /runtimes",
            &deep,
            400,
            malformed("the runtimes manifest is not readable: invalid type: sequence"),
        ),
        (
            "PUT /runtimes",
            "",
            400,
            malformed("the runtimes manifest is not readable: EOF while parsing a value"),
        ),
    ] {
        let request = Request::new(line).auth(OPERATOR);
        let request = if body.is_empty() { request } else { request.json(body) };
        let response = door.send(request).await;
        let error = response.error();
        assert_eq!(response.status, status, "{line} {error}");
        assert!(error.starts_with(&text), "{line}\n{error}\n{text}");
        assert_eq!(door.state().await, before, "{line}");
    }
    let large = Request::new("PUT /runtimes").auth(OPERATOR).json(format!("\"{}\"", "x".repeat(2 << 20)));
    assert_eq!(door.send(large).await.status, 413);
    let plain = Request::new("PUT /runtimes").auth(OPERATOR).raw_body("{}");
    assert_eq!(door.send(plain).await.status, 415);
    *door.keeper.is_full.lock() = true;
    assert_eq!(
        door.operator("DELETE /runtimes/nodejs:6", Value::Null).await.status,
        503,
        "not kept, not in force"
    );
    assert_eq!(door.state().await, before);
}

#[tokio::test]
async fn kinds_change_while_actions_run() {
    let door = Door::open().await;
    let world = &door.world;
    world.create("slow", "").await;
    let put = |kind: &str| {
        let body = json!({"exec": {"kind": kind, "code": "x"}});
        world.guest_json("PUT /api/v1/namespaces/_/actions/other?overwrite=true", body)
    };
    let unknown = put("go:1").await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.error().contains("The specified runtime 'go:1' is not supported by this platform."));

    let added = door.operator("PUT /runtimes/go:1", json!({"image": {"name": "g"}, "attached": {}})).await;
    assert_eq!(added.json()["runtimes"]["go"][0]["default"], true, "{added:?}");
    assert_eq!(door.shown_kinds().await, ["go:1", "nodejs:20", "nodejs:6", "python:3.11"]);
    assert_eq!(put("go:default").await.json()["exec"]["kind"], "go:1");
    assert_eq!(door.operator("GET /runtimes/go:default", Value::Null).await.json()["kind"], "go:1");

    let mut running = Connection::open(world.address).await;
    let slow = "POST /api/v1/namespaces/_/actions/slow";
    running.write(&Request::new(&format!("{slow}?blocking=true")).auth(&guest()).bytes()).await;
    crate::world::eventually("it runs", || !world.invoker.taken.lock().is_empty()).await;
    let deprecated = json!({"image": {"name": "n"}, "deprecated": true, "default": true, "attached": {}});
    door.operator("PUT /runtimes/nodejs:20", deprecated).await;
    let text = "The 'nodejs:20' runtime is no longer supported. You may read and delete but not update or invoke this action.";
    assert_eq!(world.guest(slow).await.error(), text);

    let removed = door.operator("DELETE /runtimes/nodejs:20", Value::Null).await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let refused = world.guest(slow).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("'nodejs:20' runtime is not supported"), "{}", refused.error());
    let unknown = "The specified runtime 'nodejs:20' is not supported by this platform.";
    assert!(put("nodejs:20").await.error().contains(unknown));
    let update = world.guest_json("PUT /api/v1/namespaces/_/actions/slow?overwrite=true", "{}").await;
    assert_eq!(update.status, 400);
    assert!(update.error().contains(unknown), "{}", update.error());
    let stored = world.guest("GET /api/v1/namespaces/_/actions/slow").await.json();
    assert_eq!((&stored["exec"]["kind"], &stored["version"]), (&json!("nodejs:20"), &json!("0.0.1")));
    world.invoker.release.notify_waiters();
    assert_eq!(running.receive(false).await.unwrap().status, 200, "what runs goes on");

    let initial: Value = serde_json::from_str(INITIAL).unwrap();
    assert_eq!(
        door.operator("DELETE /runtimes", Value::Null).await.json()["runtimes"]["go"][0]["kind"],
        "go:1"
    );
    assert_eq!(door.shown_kinds().await, ["go:1"]);
    assert_eq!(door.keeper.kept.lock().clone(), None);
    door.operator("PUT /runtimes", initial).await;
    assert!(door.keeper.kept.lock().is_some());
}

#[tokio::test]
async fn of_manifests_at_the_same_time_one_wins_whole() {
    let door = Door::open().await;
    let manifest = |index: usize| {
        let kinds: Vec<Value> = (0..20)
            .map(|version| json!({"kind": format!("k{index}:{version}"), "image": {"name": "i"}, "default": version == 0}))
            .collect();
        json!({"runtimes": {format!("k{index}"): kinds}})
    };
    let puts = (0..8).map(|index| door.operator("PUT /runtimes", manifest(index)));
    let done = futures_util::future::join_all(puts).await;
    assert!(done.iter().all(|response| response.status == 200));
    let shown = door.shown_kinds().await;
    let family = shown[0].split(':').next().unwrap();
    assert_eq!(shown.len(), 20, "{shown:?}");
    assert!(shown.iter().all(|kind| kind.starts_with(family)), "{shown:?}");
    let kept = door.keeper.kept.lock().clone().unwrap();
    assert_eq!(kept.kinds().next().unwrap().kind, shown[0], "what is kept is what is in force");
    // Changes of single kinds at the same time are all made.
    let lines: Vec<String> = (0..8).map(|index| format!("PUT /runtimes/new{index}:1")).collect();
    let puts = lines.iter().map(|line| door.operator(line, json!({"image": {"name": "i"}})));
    futures_util::future::join_all(puts).await;
    assert_eq!(door.shown_kinds().await.len(), 28);
}

#[tokio::test]
async fn stores_are_dumped_page_by_page() {
    let door = Door::open().await;
    for index in 0..25 {
        door.world.create(&format!("a{index}"), "").await;
    }
    let mut rows = Vec::new();
    let mut next = String::new();
    loop {
        let page = door.operator(&format!("GET /db/whisks?docs=true{next}"), Value::Null).await.json();
        rows.extend(page["rows"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(place) => next = format!("&next={}", place.replace('"', "%22")),
            None => break,
        }
    }
    assert_eq!(rows.len(), 25);
    assert!(rows.iter().all(|row| row["doc"]["exec"]["kind"] == "nodejs:20"), "{rows:?}");
    let subjects = door.operator("GET /db/subjects", Value::Null).await.json();
    assert_eq!(subjects["rows"].as_array().unwrap().len(), 2);
    assert_eq!(subjects["rows"][0].get("doc"), None, "keys only where they are asked for");
}

//! Bad input: names, media types, bodies and sizes, each with its status, its text and its place in the order.

use chasen_spi::SubjectStore as _;
use serde_json::json;

use crate::client::{Connection, Request};
use crate::world::{World, alice, guest};

const ACTIONS: &str = "/api/v1/namespaces/_/actions";

#[tokio::test]
async fn names_are_checked_before_rights_and_bodies() {
    let world = World::new().await;
    let long = "a".repeat(257);
    for (path, text) in [
        ("/api/v1/namespaces/a=b/actions/x".to_owned(), "The namespace contains illegal characters."),
        ("/api/v1/namespaces/%C3%A9/actions/x".to_owned(), "The namespace contains illegal characters."),
        (format!("/api/v1/namespaces/{long}/actions/x"), "Namespace longer than allowed: 257 > 256."),
        (format!("{ACTIONS}/{long}"), "Name segement longer than allowed: 257 > 256."),
        (format!("{ACTIONS}/a%2Fb"), "The name of the entity contains illegal characters."),
        (format!("{ACTIONS}/%20a"), "The name of the entity contains illegal characters."),
        (format!("{ACTIONS}/a%0a"), "The name of the entity contains illegal characters."),
        (format!("{ACTIONS}/p/-a"), "The name of the entity contains illegal characters."),
        (
            "/api/v1/namespaces/alice/actions/-a".to_owned(),
            "The name of the entity contains illegal characters.",
        ),
    ] {
        for method in ["GET", "PUT", "DELETE", "POST"] {
            let request = Request::new(&format!("{method} {path}")).auth(&guest()).raw_body("not JSON");
            let response = world.refused(request, 400, text).await;
            assert!(!response.has_cors());
        }
    }
}

#[tokio::test]
async fn other_namespaces_are_403_whatever_the_rest_is() {
    let world = World::new().await;
    let denied =
        |resource: &str| format!("The supplied authentication is not authorized to access '{resource}'.");
    for (line, resource) in [
        ("GET /api/v1/namespaces/alice/actions", "alice"),
        ("GET /api/v1/namespaces/alice/actions/p/", "alice/p"),
        ("GET /api/v1/namespaces/alice/actions/x", "alice/x"),
        ("GET /api/v1/namespaces/alice/actions/p/x", "alice/p"),
        ("POST /api/v1/namespaces/alice/actions/p/x", "alice/p"),
        ("POST /api/v1/namespaces/alice/actions/x?blocking=nonsense", "alice/x"),
        ("PUT /api/v1/namespaces/alice/actions/x?overwrite=nonsense", "alice/x"),
        ("PUT /api/v1/namespaces/alice/actions/p/x", "alice/p/x"),
        ("DELETE /api/v1/namespaces/alice/actions/p/x", "alice/p/x"),
        ("GET /api/v1/namespaces/nobody/actions/x", "nobody/x"),
        ("GET /api/v1/namespaces/alice/activations", "alice"),
    ] {
        let request = Request::new(line).auth(&guest()).raw_body("not JSON");
        let response = world.refused(request, 403, &denied(resource)).await;
        assert!(response.has_cors());
    }
    let id = "0".repeat(32);
    let request = Request::new(&format!("GET /api/v1/namespaces/alice/activations/{id}/logs")).auth(&guest());
    world.refused(request, 403, &denied(&format!("alice/{id}"))).await;
}

#[tokio::test]
async fn packaged_paths_are_paths_of_missing_packages() {
    let world = World::new().await;
    world.create("taken", "").await;
    let named = "The requested resource 'guest/p' does not exist.";
    let plain = "The requested resource does not exist.";
    let conformance = "Resource by this name exists but is not in this collection.";
    for (method, path, status, text) in [
        ("GET", "p/", 404, named),
        ("GET", "p/x", 404, named),
        ("POST", "p/x", 404, plain),
        ("PUT", "p/x", 404, plain),
        ("DELETE", "p/x", 404, plain),
        ("GET", "taken/", 409, conformance),
        ("GET", "taken/x", 409, conformance),
        ("PUT", "taken/x", 409, conformance),
    ] {
        let request = Request::new(&format!("{method} {ACTIONS}/{path}")).auth(&guest()).json("{}");
        world.refused(request, status, text).await;
    }
}

#[tokio::test]
async fn bodies_must_be_json() {
    let world = World::new().await;
    world.create("hello", "").await;
    let refused =
        |is: &str| format!("The request's Content-Type [{is}] is not supported. Expected:\napplication/json");
    let put = || Request::new(&format!("PUT {ACTIONS}/x")).auth(&guest());
    let post = || Request::new(&format!("POST {ACTIONS}/hello")).auth(&guest());
    for request in [put(), post()] {
        for (request, is) in [
            (request.clone().raw_body("{}"), "application/octet-stream"),
            (request.clone().header("content-type", "nonsense").raw_body("{}"), "application/octet-stream"),
            (request.clone().header("content-type", "text/plain").raw_body("{}"), "text/plain"),
            (
                request.clone().header("content-type", "application/vnd.x+json").raw_body("{}"),
                "application/vnd.x+json",
            ),
        ] {
            let response = world.refused(request, 415, &refused(is)).await;
            assert!(!response.has_cors());
        }
    }
    world
        .refused(post().header("content-type", "text/plain").raw_body(""), 415, &refused("text/plain"))
        .await;
    let mut connection = Connection::open(world.address).await;
    let head = String::from_utf8(post().header("transfer-encoding", "chunked").bytes()).unwrap();
    connection.write(format!("{head}0\r\n\r\n").as_bytes()).await;
    let response = connection.receive(false).await.unwrap();
    assert_eq!((response.status, response.error()), (415, refused("application/octet-stream")));

    for request in [post(), post().raw_body(""), post().json(""), post().json("{}")] {
        assert_eq!(world.send(request).await.status, 202);
    }
    let utf8 = post().header("content-type", "application/json; charset=utf-8").raw_body("{}");
    assert_eq!(world.send(utf8).await.status, 202);

    for (request, reason) in [
        (put().json(""), "Unexpected end-of-input"),
        (put(), "Unexpected end-of-input"),
        (put().json("{\"exec\":"), ""),
        (post().json("[1]"), "JSON object expected"),
        (post().json("null"), "JSON object expected"),
        (post().json("\"x\""), "JSON object expected"),
        (post().json("{\"a\":1"), ""),
        (post().json("{} {}"), ""),
    ] {
        let response = world.send(request).await;
        assert_eq!(response.status, 400);
        let text = response.error();
        assert!(text.starts_with(&format!("The request content was malformed:\n{reason}")), "{text}");
        assert!(!response.has_cors());
    }
    let raw = put().header("content-type", "application/json").raw_body(vec![b'"', 0xff, b'"']);
    assert_eq!(world.send(raw).await.status, 400);
}

#[tokio::test]
async fn sizes_are_bounded_each_with_its_text() {
    let world = World::with(|config| config.max_exec = chasen_entity::ByteSize::bytes(1000)).await;
    world.create("hello", "").await;
    let mb = 1 << 20;
    let text = "x".repeat(mb);
    let put = |body: serde_json::Value| Request::new(&format!("PUT {ACTIONS}/x")).auth(&guest()).json(body);
    for (body, error) in [
        (
            json!({"exec":{"kind":"nodejs:20","code":"x".repeat(999),"main":"mm"}}),
            "exec larger than allowed: 1001 > 1000 bytes.",
        ),
        (
            json!({"parameters":[{"key":"kk","value":text}]}),
            "parameters larger than allowed: 1048580 > 1048576 bytes.",
        ),
        (
            json!({"annotations":[{"key":"k","value":text}]}),
            "annotations larger than allowed: 1048579 > 1048576 bytes.",
        ),
    ] {
        let response = world.refused(put(body), 413, error).await;
        assert!(response.has_cors());
    }
    // The size comes before the text is understood, and before the action is looked for.
    let body = vec![b'x'; mb + 1];
    let post = Request::new(&format!("POST {ACTIONS}/missing")).auth(&guest());
    let error = "Request larger than allowed: 1048577 > 1048576 bytes.";
    world
        .refused(post.clone().header("content-type", "application/json").raw_body(body.clone()), 413, error)
        .await;

    let head = post.header("content-type", "application/json").header("transfer-encoding", "chunked").bytes();
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let mut connection = Connection::open(world.address).await;
    connection.write(&[head, chunk].concat()).await;
    let response = connection.receive(false).await.unwrap();
    assert_eq!((response.status, response.error().as_str()), (413, error));
    let again = connection.send(&Request::new("GET /ping")).await;
    assert_eq!(again.status, 200, "the connection lives on");

    let limits =
        serde_json::from_value(json!({"maxPayloadSize": "10 B", "maxParameterSize": "5 B"})).unwrap();
    world.subjects.set_limits("guest", Some(&limits)).await.unwrap();
    let post = Request::new(&format!("POST {ACTIONS}/hello")).auth(&guest()).json(r#"{"a":"0123"}"#);
    world.refused(post, 413, "Request larger than allowed: 12 > 10 bytes.").await;
    let error = "parameters larger than allowed: 7 > 5 bytes.";
    world.refused(put(json!({"parameters":[{"key":"k","value":"0123"}]})), 413, error).await;
}

#[tokio::test]
async fn entities_over_the_bound_are_refused_unread() {
    let world = World::new().await;
    let bound: u64 = 50 * 1024 * 1024;
    for announced in [bound + 1, 100_000_000, 1u64 << 40] {
        let mut connection = Connection::open(world.address).await;
        let head = format!(
            "PUT {ACTIONS}/x HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n"
        );
        connection.write(head.as_bytes()).await;
        let response = connection.receive(false).await.unwrap();
        assert_eq!((response.status, response.text().as_str()), (400, "Request too large"));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(response.header("content-type").unwrap().starts_with("text/plain"));
        assert!(response.header("x-request-id").is_none());
    }
    // A client that sends everything before it reads gets its answer too.
    let request = Request::new(&format!("PUT {ACTIONS}/x")).auth(&guest()).json("x".repeat(100_000_000));
    let response = world.send(request).await;
    assert_eq!((response.status, response.text().as_str()), (400, "Request too large"));

    let mut connection = Connection::open(world.address).await;
    let head = Request::new(&format!("POST {ACTIONS}/x"))
        .auth(&guest())
        .header("transfer-encoding", "chunked")
        .bytes();
    connection.write(&head).await;
    let chunk = [format!("{:x}\r\n", 1 << 20).as_bytes(), &vec![b'x'; 1 << 20], b"\r\n"].concat();
    for _ in 0..60 {
        connection.write(&chunk).await;
    }
    let response = connection.receive(false).await.unwrap();
    assert_eq!((response.status, response.text().as_str()), (400, "Request too large"));
}

#[tokio::test]
async fn bodies_together_hold_bounded_memory() {
    let world = World::with(|config| config.max_upload_memory = chasen_entity::ByteSize::mb(1)).await;
    let body = format!(r#"{{"exec":{{"kind":"nodejs:20","code":"{}"}}}}"#, "x".repeat(2 << 20));
    let request = Request::new(&format!("PUT {ACTIONS}/x")).auth(&guest()).json(body);
    let response = world.refused(request, 503, "System is overloaded, try again later.").await;
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn nobody_shuts_others_out_with_bodies_that_do_not_end() {
    let world = World::with(|config| config.max_upload_memory = chasen_entity::ByteSize::mb(1)).await;
    let code = json!({"exec": {"kind": "nodejs:20", "code": "x".repeat(200 << 10)}}).to_string();
    let put = |auth: &str| Request::new(&format!("PUT {ACTIONS}/x?overwrite=true")).auth(auth).json(&code);
    let begin = async |sent: usize| {
        let mut connection = Connection::open(world.address).await;
        let head = Request::new(&format!("PUT {ACTIONS}/slow")).auth(&guest());
        let head = head.header("content-type", "application/json").header("content-length", "900000").bytes();
        connection.write(&[head, vec![b' '; sent]].concat()).await;
        connection
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(begin(0).await);
    }
    assert_eq!(world.send(put(&guest())).await.status, 200, "what is only announced holds nothing");
    open.push(begin(700 << 10).await);
    let refused = async || (world.send(put(&guest())).await.status == 503).then_some(());
    while refused().await.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.send(put(&alice())).await.status, 200, "others have their part");
}

#[tokio::test]
async fn clients_that_take_no_json_get_406_after_the_work() {
    let world = World::new().await;
    let text = "Resource representation is only available with these types:\napplication/json";
    let body = json!({"exec":{"kind":"nodejs:20","code":""}});
    let put =
        Request::new(&format!("PUT {ACTIONS}/x")).auth(&guest()).header("accept", "text/plain").json(body);
    let response = world.send(put).await;
    assert_eq!((response.status, response.error().as_str(), response.has_cors()), (406, text, false));
    assert_eq!(world.guest(&format!("GET {ACTIONS}/x")).await.status, 200, "it was made");
    let missing = Request::new(&format!("GET {ACTIONS}/y")).auth(&guest()).header("accept", "text/plain");
    world.refused(missing, 404, "The requested resource does not exist.").await;
}

#[tokio::test]
async fn protocol_errors_are_plain_and_close() {
    let world = World::new().await;
    let long = "x".repeat(8200);
    for (request, status, text) in [
        (
            Request::new(&format!("GET /{long}")),
            414,
            "URI length exceeds the configured limit of 8192 characters",
        ),
        (Request::new("BREW /"), 501, "Unsupported HTTP method"),
        (Request::new("TRACE /").raw_body("x"), 422, "TRACE requests must not have a body"),
    ] {
        let response = world.send(request).await;
        assert_eq!((response.status, response.text().as_str()), (status, text));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(response.header("x-request-id").is_none() && !response.has_cors());
    }
}

#[tokio::test]
async fn query_values_are_checked() {
    let world = World::new().await;
    world.create("hello", "").await;
    let query = |name: &str, reason: &str| format!("The query parameter '{name}' was malformed:\n{reason}");
    for (line, text) in [
        (
            "GET /actions?limit=201",
            query("limit", "The value '201' is not in the range of 0 to 200 for actions."),
        ),
        (
            "GET /actions?skip=-1",
            query("skip", "The value '-1' is not greater than or equal to 0 for actions."),
        ),
        ("GET /actions?count=maybe", query("count", "'maybe' is not a valid Boolean value")),
        ("GET /actions/hello?code=2", query("code", "'2' is not a valid Boolean value")),
        ("POST /actions/hello?blocking=2", query("blocking", "'2' is not a valid Boolean value")),
        (
            "POST /actions/missing?timeout=0",
            query("timeout", "Timeout must be number of milliseconds up to 60000."),
        ),
        (
            "POST /actions/hello?timeout=60001",
            query("timeout", "Timeout must be number of milliseconds up to 60000."),
        ),
        (
            "POST /actions/hello?timeout=",
            query("timeout", "Timeout must be number of milliseconds up to 60000."),
        ),
        (
            "POST /actions/hello?timeout=1.5",
            query("timeout", "Timeout must be number of milliseconds up to 60000."),
        ),
        ("GET /activations?limit=x", query("limit", "The value 'x' is not an integer for activations.")),
        (
            "GET /activations?since=1.5",
            query("since", "Parameter is not a valid value for epoch seconds: 1.5"),
        ),
        ("GET /activations?upto=", query("upto", "Parameter is not a valid value for epoch seconds: ")),
        (
            "GET /activations?name=a/b/c",
            query("name", "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c"),
        ),
    ] {
        let line = line.replacen(" /", " /api/v1/namespaces/_/", 1);
        let response = world.refused(Request::new(&line).auth(&guest()), 400, &text).await;
        assert!(!response.has_cors());
    }
}

#[tokio::test]
async fn a_defect_in_a_handler_is_a_500_and_the_connection_lives() {
    let world = World::new().await;
    world.create("panics", "").await;
    let mut connection = Connection::open(world.address).await;
    let response = connection.send(&Request::new(&format!("POST {ACTIONS}/panics")).auth(&guest())).await;
    assert_eq!((response.status, response.error().as_str()), (500, "There was an internal server error."));
    assert!(response.json()["code"].is_string());
    assert_eq!(connection.send(&Request::new("GET /ping")).await.status, 200);
}

#[tokio::test]
async fn tenants_see_only_their_own() {
    let world = World::new().await;
    world.create("secret", "").await;
    let list = world.send(Request::new(&format!("GET {ACTIONS}")).auth(&alice())).await;
    assert_eq!(list.json(), json!([]));
    let get = world.send(Request::new(&format!("GET {ACTIONS}/secret")).auth(&alice())).await;
    assert_eq!(get.status, 404);
}

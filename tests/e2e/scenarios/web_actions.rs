//! Web actions: real functions behind real HTTP, called by anybody.

use chasen_testkit::{Client, Node, Reply, node};
use http::header::{ACCESS_CONTROL_ALLOW_METHODS, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION, SET_COOKIE};
use http::request::Builder;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::functions::{Function, Language, record};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    [
        Scenario::new("web_actions::pages_images_and_cookies_reach_browsers", answers),
        Scenario::new("web_actions::requests_reach_functions_whole", requests),
        Scenario::new("web_actions::bodies_reach_functions_by_their_type", bodies),
        Scenario::new("web_actions::results_say_how_they_are_sent", messages),
        Scenario::new("web_actions::functions_answer_browsers_themselves_if_they_want_to", options),
        Scenario::new("web_actions::namespaces_have_hosts_of_their_own", hosts),
        Scenario::new("web_actions::errors_and_secrets_have_their_status", errors),
    ]
    .map(|scenario| scenario.needing(Language::Nodejs.need()))
    .into_iter()
    .chain([
        Scenario::new("web_actions::the_domain_of_hosts_is_a_setting", domain),
        Scenario::new("web_actions::json_passes_a_native_echo_token_for_token", tokens),
    ])
    .collect()
}

const ECHO: &str = "function main(args) { return args }";

/// Puts a web action with more annotations.
async fn export(node: &Node, function: Function, annotations: &[(&str, Value)]) {
    let all = annotations.iter().cloned().chain([("web-export", json!(true))]);
    let function = all.fold(function, |function, (key, value)| function.annotation(key, value));
    function.put(&node.client()).await;
}

/// A request of nobody in particular for `/api/v1/web/guest/default…`.
fn ask(node: &Node, method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(format!("{}/api/v1/web/guest/default/{path}", node.base()))
}

async fn send(node: &Node, request: Builder, body: &'static str) -> Reply {
    Client::new(node.base()).send(request.body(body.into()).unwrap()).await.unwrap()
}

async fn get(node: &Node, path: &str) -> Reply {
    send(node, ask(node, Method::GET, path), "").await
}

fn header<'a>(reply: &'a Reply, name: &http::HeaderName) -> &'a str {
    reply.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn answers() {
    let node = node().start();
    let code = r#"
        const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
        const pages = {
            page: {body: '<h1>héllo</h1>'},
            png: {headers: {'Content-Type': 'image/png'}, body: png},
            cookies: {headers: {'Set-Cookie': ['a=1; Path=/', 'b=2']}, statusCode: 200},
            away: {headers: {location: 'https://example.org/x'}, statusCode: 302},
            made: {statusCode: '201', body: {id: 7, tags: [{}]}},
        }
        function main({page}) { return pages[page] }"#;
    export(&node, Function::nodejs("site", code), &[]).await;

    let page = get(&node, "site?page=page").await;
    assert_eq!((page.status.as_u16(), page.text().as_str()), (200, "<h1>héllo</h1>"));
    assert_eq!(header(&page, &CONTENT_TYPE), "text/html; charset=UTF-8");
    assert_eq!(get(&node, "site.html?page=page").await.body, page.body);

    let png = get(&node, "site?page=png").await;
    assert_eq!((header(&png, &CONTENT_TYPE), png.body.get(..4)), ("image/png", Some(&b"\x89PNG"[..])));
    let head = send(&node, ask(&node, Method::HEAD, "site?page=png"), "").await;
    assert_eq!((header(&head, &CONTENT_LENGTH), head.body.len()), (png.body.len().to_string().as_str(), 0));

    let cookies = get(&node, "site?page=cookies").await;
    let lines: Vec<_> = cookies.headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(lines, ["a=1; Path=/", "b=2"]);
    assert!(cookies.body.is_empty());

    let away = get(&node, "site?page=away").await;
    assert_eq!((away.status.as_u16(), header(&away, &LOCATION)), (302, "https://example.org/x"));
    let made = get(&node, "site?page=made").await;
    assert_eq!(
        (made.status.as_u16(), made.text().as_str()),
        (201, "{\n  \"id\": 7,\n  \"tags\": [{\n\n  }]\n}")
    );
    assert_eq!(header(&made, &CONTENT_TYPE), "application/json");
}

async fn requests() {
    let node = node().start();
    export(&node, Function::nodejs("echo", ECHO).parameter("mine", json!("default")), &[]).await;
    export(&node, Function::nodejs("raw", ECHO), &[("raw-http", json!(true))]).await;

    let form = ask(&node, Method::POST, "echo.json/a%20b?q=1&mine=query")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("x-mine", "yes");
    let reply = send(&node, form, "f=%C3%A9+1&q=2").await;
    let echo = reply.json();
    assert_eq!((&echo["f"], &echo["q"], &echo["mine"]), (&json!("é 1"), &json!("2"), &json!("query")));
    assert_eq!((&echo["__ow_method"], &echo["__ow_path"]), (&json!("post"), &json!("/a%20b")));
    assert_eq!(echo["__ow_headers"]["x-mine"], "yes");
    assert!(echo.get("__ow_user").is_none() && echo["__ow_headers"].get("authorization").is_none());

    let id = reply.headers["x-openwhisk-activation-id"].to_str().unwrap();
    let stored = record(&node.client(), id).await;
    assert_eq!(stored["namespace"], "guest");
    assert_eq!(stored["response"]["result"], echo, "the record is the owner's");

    let own = node.client().get("/api/v1/web/guest/default/echo.json").await.unwrap().json();
    assert_eq!((&own["__ow_user"], &own["mine"]), (&json!("guest"), &json!("default")));

    let raw = ask(&node, Method::PUT, "raw.json?a=b%20c&mine=1").header(CONTENT_TYPE, "application/json");
    let echo = send(&node, raw, "{\"a\":").await.json();
    assert_eq!((&echo["__ow_query"], &echo["__ow_body"]), (&json!("a=b+c&mine=1"), &json!("eyJhIjo=")));
    assert!(echo.get("a").is_none());
}

async fn bodies() {
    let node = node().start();
    export(&node, Function::nodejs("echo", ECHO), &[]).await;
    export(&node, Function::nodejs("raw", ECHO), &[("raw-http", json!(true))]).await;
    let nothing = Value::Null;
    for (content_type, body, plain, raw) in [
        ("", "", nothing.clone(), json!("")),
        ("", "abc", json!("YWJj"), json!("YWJj")),
        ("text/plain", "", json!(""), json!("")),
        ("text/plain", "h\u{e9}", json!("h\u{e9}"), json!("h\u{e9}")),
        ("application/xml", "<a/>", json!("<a/>"), json!("<a/>")),
        ("application/json", "[1, {}]", json!([1, {}]), json!("WzEsIHt9XQ==")),
        ("application/json", "\"s\"", json!("s"), json!("InMi")),
        ("application/vnd.x+json", "true", json!(true), json!("dHJ1ZQ==")),
        ("application/x-www-form-urlencoded", "a=1", nothing, json!("a=1")),
        ("application/yaml", "abc", json!("YWJj"), json!("YWJj")),
        ("image/svg+xml", "abc", json!("YWJj"), json!("YWJj")),
        ("multipart/form-data; boundary=b", "abc", json!("YWJj"), json!("YWJj")),
        ("application/x-mine; charset=utf-8", "abc", json!("abc"), json!("abc")),
    ] {
        for (action, expected) in [("echo", plain), ("raw", raw)] {
            let mut request = ask(&node, Method::POST, &format!("{action}.json"));
            if !content_type.is_empty() {
                request = request.header(CONTENT_TYPE, content_type);
            }
            let reply = send(&node, request, body).await;
            assert_eq!(reply.json()["__ow_body"], expected, "{action} {content_type} {}", reply.text());
        }
    }
    let deletion = ask(&node, Method::DELETE, "echo.json").header(CONTENT_TYPE, "application/json");
    assert_eq!(send(&node, deletion, "{\"a\":1}").await.json()["a"], 1, "every method has a body");
}

async fn messages() {
    let node = node().start();
    let code = r#"
        const typed = (type, body) => ({ headers: { 'content-type': type }, body })
        const results = {
            'plain': typed('text/plain', 'h\u00e9'),
            'json as text': typed('application/json', '{"a":1}'),
            'json in base64': typed('application/json', 'eyJhIjoxfQ=='),
            'json of a kind in base64': typed('application/vnd.x+json', 'eyJhIjoxfQ=='),
            'json of a kind': typed('application/vnd.x+json', [1, { a: 1 }]),
            'svg': typed('image/svg+xml', 'PHN2Zy8+'),
            'no type': typed('xyz bar', 'x'),
            'another type': typed('text/html', { a: 1 }),
            'no base64': typed('image/png', '?'),
            'bad header': { headers: { x: { y: 1 } } },
        }
        function main(args) { return results[args.of] }"#;
    export(&node, Function::nodejs("says", code), &[]).await;
    let mismatch = "Response type in header did not match generated content type.";
    for (of, status, content_type, text) in [
        ("plain", 200, "text/plain; charset=UTF-8", "h\u{e9}"),
        ("json+as+text", 200, "application/json", "{\"a\":1}"),
        ("json+in+base64", 200, "application/json", "{\"a\":1}"),
        ("json+of+a+kind+in+base64", 200, "application/vnd.x+json", "{\"a\":1}"),
        ("json+of+a+kind", 200, "application/vnd.x+json; charset=UTF-8", "[1, {\n  \"a\": 1\n}]"),
        ("svg", 200, "image/svg+xml", "<svg/>"),
        ("no+type", 400, "application/json", "Response did not specify a known content-type."),
        ("another+type", 400, "application/json", mismatch),
        ("no+base64", 400, "application/json", mismatch),
        ("bad+header", 400, "application/json", "Response is not valid 'message/http'."),
    ] {
        let reply = get(&node, &format!("says?of={of}")).await;
        let found =
            if status == 200 { reply.text() } else { reply.json()["error"].as_str().unwrap().to_owned() };
        assert_eq!((reply.status.as_u16(), found.as_str()), (status, text), "{of}");
        assert_eq!(header(&reply, &CONTENT_TYPE), content_type, "{of}");
    }
    let code = "function main() { return { headers: { 'x-mine': ['a', [1, [true]]], 'x-empty': [], date: 'never', 'x-two': 'a\\r\\nb: c' } } }";
    export(&node, Function::nodejs("heads", code), &[]).await;
    let reply = get(&node, "heads").await;
    let all = |name: &str| {
        reply.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        (all("x-mine"), all("x-empty"), all("x-two"), all("b")),
        (vec!["a", "1", "true"], vec![], vec![], vec![])
    );
    assert!(all("date").len() == 1 && all("date")[0] != "never");
}

async fn options() {
    let node = node().start();
    export(&node, Function::nodejs("plain", ECHO), &[]).await;
    let code = r#"function main(args) {
        return {headers: {'Access-Control-Allow-Methods': args.__ow_method, 'Access-Control-Allow-Origin': 'https://mine'}, statusCode: 200}
    }"#;
    export(&node, Function::nodejs("custom", code), &[("web-custom-options", json!(true))]).await;
    let plain = ask(&node, Method::OPTIONS, "plain").header("access-control-request-headers", "x-mine");
    let plain = send(&node, plain, "").await;
    assert_eq!(header(&plain, &ACCESS_CONTROL_ALLOW_METHODS), "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH");
    assert_eq!(plain.headers["access-control-allow-headers"], "x-mine");
    assert!(!plain.headers.contains_key("x-openwhisk-activation-id"), "nothing ran");
    let custom = send(&node, ask(&node, Method::OPTIONS, "custom"), "").await;
    assert_eq!(header(&custom, &ACCESS_CONTROL_ALLOW_METHODS), "options");
    let origins: Vec<_> = custom.headers.get_all("access-control-allow-origin").iter().collect();
    assert_eq!(origins, ["https://mine"]);
}

async fn hosts() {
    let node = node().start();
    export(&node, Function::nodejs("echo", ECHO), &[]).await;
    let package = node.client().put("/api/v1/namespaces/_/packages/public", &json!({})).await.unwrap();
    assert_eq!(package.status.as_u16(), 200, "{}", package.text());
    export(&node, Function::nodejs("public/index", "function main() { return {html: 'home'} }"), &[]).await;
    let at = |path: &str| Request::get(format!("{}{path}", node.base())).header(HOST, "guest.localhost");
    assert_eq!(send(&node, at("/"), "").await.text(), "home");
    assert_eq!(send(&node, at("/public/index.html"), "").await.text(), "home");
    let echo = send(&node, at("/default/echo.json/x?a=1"), "").await.json();
    assert_eq!((&echo["__ow_path"], &echo["a"]), (&json!("/x"), &json!("1")));
    assert_eq!(get(&node, "echo.json").await.status.as_u16(), 200, "the plain host is as ever");
}

async fn domain() {
    for (domain, status) in [("api.example", 404), ("", 405)] {
        let node = node().set("server.domain", domain).start();
        for (host, status) in [("guest.api.example", status), ("guest.localhost", 405)] {
            let request = Request::get(format!("{}/default/nosuch/x", node.base())).header(HOST, host);
            assert_eq!(send(&node, request, "").await.status.as_u16(), status, "{host} below '{domain}'");
        }
    }
}

async fn errors() {
    let node = node().start();
    let code = r#"async function main(args) {
        if (args.crash) process.exit(1)
        if (args.refuse) return {error: {statusCode: 418, body: 'teapot'}}
        throw 'plain'
    }"#;
    export(&node, Function::nodejs("fails", code), &[("require-whisk-auth", json!(7423))]).await;
    let known = |path: &str| ask(&node, Method::GET, path).header("x-require-whisk-auth", "7423");
    for (path, status, text) in [
        ("fails?crash=1", 400, "There was an error processing your request."),
        ("fails", 400, "Response is not valid 'message/http'."),
        ("fails.html?refuse=1", 200, "teapot"),
        ("fails.text", 200, "plain"),
        ("fails?refuse=1", 418, "teapot"),
        ("nosuch", 404, "The requested resource does not exist."),
    ] {
        let reply = send(&node, known(path), "").await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.text());
        assert!(reply.text().contains(text), "{path}: {}", reply.text());
    }
    assert_eq!(get(&node, "fails").await.status.as_u16(), 401);
}

async fn tokens() {
    let node = node().start();
    export(&node, Function::native("echo", "#!/bin/sh\necho \"$1\"\n"), &[]).await;
    let body = r#"{"n":1.0e400,"i":123456789012345678901234567890,"z":-0.10,"s":"A\/☃","a":[1.50,[],{}]}"#;
    let request = ask(&node, Method::POST, "echo.json").header(CONTENT_TYPE, "application/json");
    let reply = send(&node, request, body).await;
    let text = reply.text();
    for token in ["1.0e400", "123456789012345678901234567890", "-0.10", r#""A\/☃""#, "[1.50, [], {\n\n  }]"]
    {
        assert!(text.contains(token), "{token}: {text}");
    }
}

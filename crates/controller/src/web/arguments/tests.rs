//! Requests as arguments: tables for every kind of body, properties for what wins over what.

use std::collections::HashSet;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::WebRequest;

fn headers(content_type: Option<&str>) -> HeaderMap {
    content_type.map(|value| (CONTENT_TYPE, HeaderValue::from_str(value).unwrap())).into_iter().collect()
}

fn request<'a>(headers: &'a HeaderMap, query: &'a str, body: &'a [u8]) -> WebRequest<'a> {
    WebRequest { method: &Method::POST, headers, path: "/x", query, body, user: None }
}

/// What the action gets beside method, headers and path; the error's text where there is one.
fn arguments(content_type: Option<&str>, query: &str, body: &[u8]) -> Result<Value, String> {
    let headers = headers(content_type);
    let arguments = request(&headers, query, body).arguments(&HashSet::new());
    let mut arguments: Value = arguments.map_err(|error| error.text().to_owned())?.read().unwrap();
    for known in ["__ow_method", "__ow_headers", "__ow_path"] {
        arguments.as_object_mut().unwrap().remove(known).unwrap();
    }
    Ok(arguments)
}

fn raw_arguments(content_type: Option<&str>, query: &str, body: &[u8]) -> [Value; 2] {
    let headers = headers(content_type);
    let arguments: Value = request(&headers, query, body).raw_arguments().read().unwrap();
    assert_eq!(arguments.as_object().unwrap().len(), 5);
    [arguments["__ow_query"].clone(), arguments["__ow_body"].clone()]
}

#[test]
fn bodies_become_arguments_by_their_type() {
    const BYTES: &[u8] = b"\xff\x00";
    for (content_type, body, expected) in [
        (None, &b""[..], json!({})),
        (Some("application/json"), b"", json!({})),
        (Some("application/x-www-form-urlencoded"), b"", json!({})),
        (Some("text/plain"), b"", json!({"__ow_body": ""})),
        (Some("image/png"), b"", json!({"__ow_body": ""})),
        (None, b"{\"a\":1}", json!({"__ow_body": "eyJhIjoxfQ=="})),
        (Some("nonsense"), b"hi", json!({"__ow_body": "aGk="})),
        (Some("application/json"), b" {\"a\": {\"b\": [1]}, \"a\": 2} ", json!({"a": 2})),
        (Some("application/vnd.x+json; charset=utf-8"), b"{\"a\":1}", json!({"a": 1})),
        (Some("application/json"), b"[1]", json!({"__ow_body": [1]})),
        (Some("application/json"), b"\"s\"", json!({"__ow_body": "s"})),
        (Some("application/json"), b" 1", json!({"__ow_body": 1})),
        (Some("application/json"), b"null", json!({"__ow_body": null})),
        (
            Some("application/x-www-form-urlencoded"),
            b"a=1&b=%C3%A9+x&a=2&c",
            json!({"a": "2", "b": "é x", "c": ""}),
        ),
        (Some("text/plain"), "é\u{0}".as_bytes(), json!({"__ow_body": "é\u{0}"})),
        (Some("text/plain; charset=iso-8859-1"), b"\xe9", json!({"__ow_body": "\u{fffd}"})),
        (Some("application/xml"), b"<a/>", json!({"__ow_body": "<a/>"})),
        (Some("application/x-own; charset=utf-8"), b"hi", json!({"__ow_body": "hi"})),
        (Some("application/x-own"), b"hi", json!({"__ow_body": "aGk="})),
        (Some("image/svg+xml"), b"<svg/>", json!({"__ow_body": "PHN2Zy8+"})),
        (Some("multipart/form-data; boundary=x"), BYTES, json!({"__ow_body": "/wA="})),
    ] {
        assert_eq!(arguments(content_type, "", body), Ok(expected), "{content_type:?} {body:?}");
    }
}

#[test]
fn raw_bodies_are_not_read() {
    for (content_type, body, expected) in [
        (None, &b""[..], ""),
        (Some("application/json"), b"", ""),
        (Some("application/json"), b"{\"a\":1}", "eyJhIjoxfQ=="),
        (Some("application/vnd.x+json"), b"{", "ew=="),
        (Some("application/x-www-form-urlencoded"), b"a=1&b=%20", "a=1&b=%20"),
        (Some("text/plain"), b"\xff", "\u{fffd}"),
        (Some("image/png"), b"\xff", "/w=="),
        (None, b"x", "eA=="),
    ] {
        let expected = [json!("a=1+2&a"), json!(expected)];
        assert_eq!(raw_arguments(content_type, "a=1%202&a", body), expected, "{content_type:?} {body:?}");
    }
    assert_eq!(raw_arguments(None, "", b"")[0], json!(""));
}

#[test]
fn what_is_no_json_is_malformed() {
    for body in [&b"{"[..], b"{}x", b"{\"a\":}", b"\xff", b"nul", b"\x00"] {
        let error = arguments(Some("application/json"), "", body).unwrap_err();
        assert!(error.starts_with("The request content was malformed:\n"), "{error}");
    }
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let headers = headers(Some("application/json"));
    let passed = request(&headers, "", &deep).arguments(&HashSet::new()).unwrap();
    assert!(passed.as_str().contains(std::str::from_utf8(&deep).unwrap()));
}

#[test]
fn reserved_and_final_names_are_refused_wherever_they_come_from() {
    let finals = HashSet::from(["mine".to_owned()]);
    let names = ["__ow_method", "__ow_headers", "__ow_path", "__ow_user", "__ow_query", "__ow_body", "mine"];
    for name in names {
        let (json, form) = (format!("{{\"{name}\":1}}"), format!("x=1&{name}=1"));
        for (content_type, query, body) in [("text/plain", name, ""), ("application/json", "", json.as_str())]
            .into_iter()
            .chain([("application/x-www-form-urlencoded", "", form.as_str())])
        {
            let headers = headers(Some(content_type));
            let error = request(&headers, query, body.as_bytes()).arguments(&finals).unwrap_err();
            assert_eq!(
                error.text(),
                "Request defines parameters that are not allowed (e.g., reserved properties)."
            );
        }
    }
    assert!(arguments(None, "__ow_other=1&mine=2", b"").is_ok());
}

#[test]
fn what_is_known_of_the_request_is_told() {
    let mut headers = headers(Some("text/plain"));
    for (name, value) in [
        ("cookie", &b"a=1"[..]),
        ("cookie", b"b=2"),
        ("authorization", b"Basic x"),
        ("host", b"here:1"),
        ("x-request-id", b"mine"),
        ("x-bytes", b"\xff"),
        ("content-length", b"2"),
        ("transfer-encoding", b"chunked"),
        ("timeout-access", b"x"),
        ("x-ow-extra-logging", b"on"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    }
    let request = WebRequest {
        method: &Method::PATCH,
        headers: &headers,
        path: "/a%20b//c",
        query: "q=1",
        body: b"hi",
        user: Some("alice"),
    };
    let told: Value = request.arguments(&HashSet::new()).unwrap().read().unwrap();
    let expected = json!({
        "__ow_method": "patch", "__ow_path": "/a%20b//c", "__ow_user": "alice", "__ow_body": "hi", "q": "1",
        "__ow_headers": {
            "authorization": "Basic x", "content-type": "text/plain", "cookie": "b=2", "host": "here:1",
            "x-bytes": "\u{fffd}", "x-request-id": "mine",
        },
    });
    assert_eq!(told, expected);
}

/// Text that JSON, queries and forms can hold.
fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-c&=+% é\"\\\\\u{0}]{0,4}").unwrap()
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn encoded(pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{}={}", escaped(key), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Tokens that survive only if nobody reads them: numbers beyond every type, escapes, white space within.
fn token() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1e400".to_owned()),
        Just("-0.10".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just(r#""\u00e9\/\ud83d\ude00""#.to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
            vec(inner, 0..3).prop_map(|items| {
                let fields: Vec<_> = items.iter().map(|item| format!("\"k\" : {item}")).collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn bodies_win_over_queries_and_later_ones_over_earlier(
        query in vec((text(), text()), 0..6),
        form in vec((text(), text()), 0..6),
        object in hash_map(text(), any::<i64>(), 0..6),
    ) {
        let in_query = encoded(&query);
        let mut expected: serde_json::Map<String, Value> =
            query.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let mut of_json = expected.clone();

        expected.extend(form.iter().map(|(key, value)| (key.clone(), json!(value))));
        let found = arguments(Some("application/x-www-form-urlencoded"), &in_query, encoded(&form).as_bytes());
        prop_assert_eq!(found, Ok(Value::Object(expected)));

        of_json.extend(object.iter().map(|(key, value)| (key.clone(), json!(value))));
        let found = arguments(Some("application/json"), &in_query, json!(object).to_string().as_bytes());
        prop_assert_eq!(found, Ok(Value::Object(of_json)));
    }

    #[test]
    fn json_passes_token_for_token(tokens in vec(token(), 1..5)) {
        let fields: Vec<_> = tokens.iter().enumerate().map(|(at, token)| format!("\"k{at}\":{token}")).collect();
        let headers = headers(Some("application/json"));
        let body = format!("{{{}}}", fields.join(","));
        let passed = request(&headers, "", body.as_bytes()).arguments(&HashSet::new()).unwrap();
        prop_assert!(passed.as_str().ends_with(&format!(",{}", &body[1..])), "{}", passed.as_str());
    }

    #[test]
    fn nothing_sent_is_the_platforms_fault(
        method in "[A-Z]{1,8}",
        header in vec(any::<u8>(), 0..40),
        content_type in prop_oneof![
            Just("application/json".to_owned()),
            Just("application/x-www-form-urlencoded".to_owned()),
            Just("text/plain".to_owned()),
            "[ -~]{0,30}",
        ],
        query in "[ -~é]{0,60}",
        body in prop_oneof![vec(any::<u8>(), 0..80), "[\\[\\]{}\":,0-9a\\\\u ]{0,40}".prop_map(String::into_bytes)],
    ) {
        let mut headers = headers(Some(&content_type));
        if let Ok(value) = HeaderValue::from_bytes(&header) {
            headers.insert("x-any", value);
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = WebRequest { method: &method, headers: &headers, path: "", query: &query, body: &body, user: None };
        let raw: Value = request.raw_arguments().read().unwrap();
        prop_assert!(raw.is_object());
        match request.arguments(&HashSet::new()) {
            Ok(arguments) => prop_assert!(arguments.entries().is_some()),
            Err(error) => prop_assert!(!error.is_server_error(), "{}", error.text()),
        }
    }
}

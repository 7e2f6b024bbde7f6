//! Requests: paths, queries, headers and bodies, and what comes back.
//!
//! Inputs are texts that a person can write: a line `METHOD path?query`, header lines, an empty line, the body.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::front::{Answer, Front};

thread_local! {
    static FRONT: RefCell<Option<Front>> = const { RefCell::new(None) };
}

/// What frames a message is the HTTP library's business, here on both sides.
const FRAMING: [HeaderName; 7] = [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE];

/// Any request to any path.
pub(crate) fn routes(input: &[u8]) {
    let Some(request) = read(input, "") else { return };
    renew();
    let is_web = request.uri().path().trim_start_matches('/').starts_with("api/v1/web/");
    let answer = send(request);
    if is_web { check_web(&answer) } else { check(&answer) }
}

/// The body of an action's PUT. What is taken can be read, says the same when it is sent again, and can be deleted.
pub(crate) fn action_put(input: &[u8]) {
    const PATH: &str = "/api/v1/namespaces/_/actions/new";
    let request = |method: &str, uri: &str, body: Bytes| {
        send(Request::builder().method(method).uri(uri).body(body).expect("a request"))
    };
    renew();
    let put = request("PUT", PATH, Bytes::copy_from_slice(input));
    check(&put);
    if !put.status.is_success() {
        return;
    }
    let got = request("GET", PATH, Bytes::new());
    assert_eq!((got.status, fields(&got)), (put.status, fields(&put)));
    let again = request("PUT", &format!("{PATH}?overwrite=true"), got.body.clone());
    assert_eq!(again.status, StatusCode::OK, "{:?} was answered to {:?}", again.body, got.body);
    for field in ["exec", "limits", "parameters", "publish"] {
        assert_eq!(fields(&again)[field], fields(&got)[field], "{field} of {:?}", got.body);
    }
    assert_eq!(request("GET", "/api/v1/namespaces/_/actions?limit=0", Bytes::new()).status, StatusCode::OK);
    assert_eq!(request("DELETE", PATH, Bytes::new()).status, StatusCode::OK);
}

/// A call of a web action; the line's path is below the namespace. The action answers with its arguments, so that the
/// input says what the answer is made of.
pub(crate) fn web_action(input: &[u8]) {
    let Some(request) = read(input, "/api/v1/web/guest/") else { return };
    renew();
    check_web(&send(request));
}

/// Bytes on a connection that were never made by an HTTP library. Every answer begins as answers do, none is the
/// server's fault, and the next request is served.
pub(crate) fn bytes(input: &[u8]) {
    renew();
    let answers = FRONT.with_borrow_mut(|front| front.get_or_insert_with(Front::new).send_bytes(input));
    let shown = String::from_utf8_lossy(&answers);
    assert!(answers.is_empty() || answers.starts_with(b"HTTP/1."), "{shown}");
    let status = answers.get(9..12).unwrap_or_default();
    let known: [&[u8]; 3] = [b"501", b"502", b"505"];
    assert!(!status.starts_with(b"5") || known.contains(&status), "{shown}");
    let ping = send(Request::get("/ping").body(Bytes::new()).expect("a request"));
    assert_eq!((ping.status, &ping.body[..]), (StatusCode::OK, &b"pong"[..]));
}

/// Begins an input with a new front if the old one is spent.
fn renew() {
    FRONT.with_borrow_mut(|front| front.take_if(|front| front.is_spent()));
}

fn send(request: Request<Bytes>) -> Answer {
    FRONT.with_borrow_mut(|front| front.get_or_insert_with(Front::new).send(request))
}

/// Reads an input; nothing if it is no request that the HTTP library would send.
fn read(input: &[u8], prefix: &str) -> Option<Request<Bytes>> {
    let (head, body) = match input.windows(2).position(|window| window == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = line.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let target = format!("{prefix}{target}").parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'))?;
    // A tunnel would be the end of the connection, and these methods have no bodies.
    if method == Method::CONNECT || (matches!(method, Method::HEAD | Method::TRACE) && !body.is_empty()) {
        return None;
    }
    let mut request = Request::builder().method(method).uri(target.path_and_query()?.as_str());
    for header in lines {
        let colon = header.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&header[..colon]).ok()?;
        if !FRAMING.contains(&name) {
            request = request.header(name, HeaderValue::from_bytes(header[colon + 1..].trim_ascii()).ok()?);
        }
    }
    request.body(Bytes::copy_from_slice(body)).ok()
}

/// An answer of the API: never the server's fault, JSON that is JSON, refusals in the form that clients know.
fn check(answer: &Answer) {
    let status = answer.status.as_u16();
    assert!(status < 500 || status == 501 || status == 502, "{answer:?}");
    let is_json = answer.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if is_json && (400..500).contains(&status) {
        let refusal = json(answer);
        let fields = refusal.as_object().expect("a refusal is an object");
        assert!(fields.len() == 2 && fields["error"].is_string() && fields["code"].is_string(), "{answer:?}");
    } else if is_json && !answer.body.is_empty() {
        // What comes from a function passes as text: escapes that make no character are not the platform's.
        let text = serde_json::from_slice::<&RawValue>(&answer.body);
        assert!(text.is_ok(), "{text:?}: {answer:?}");
    }
}

/// An answer that a web action has a say in: any status, but none of the server's own failures.
fn check_web(answer: &Answer) {
    let is_failure = answer.status == StatusCode::INTERNAL_SERVER_ERROR;
    assert!(!is_failure || answer.headers.contains_key("x-openwhisk-activation-id"), "{answer:?}");
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|why| panic!("{why}: {answer:?}"))
}

/// Fields of an answered document, each as the text that it is.
fn fields(answer: &Answer) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_slice(&answer.body).unwrap_or_else(|why| panic!("{why}: {answer:?}"));
    fields.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

//! From a result to an answer: status, headers and body as web actions give them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::answer::{Answer, Payload};

const CORS: [(&str, &str); 2] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"),
];
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const REQUEST_HEADERS: &str = "access-control-request-headers";
/// Spaced as clients have always seen it.
const ALLOWED_HEADERS: &str =
    "Authorization, Origin, X - Requested - With, Content - Type, Accept, User - Agent";

/// The answer that a result stands for. What is no object is its own body.
pub(super) fn web_answer(answer: Answer, request: &HeaderMap) -> Answer {
    let mut web = match serde_json::from_slice::<Value>(answer.body.kept()) {
        Ok(Value::Object(result)) => from_object(result),
        _ => answer,
    };
    for (name, value) in CORS {
        add(&mut web.headers, name, value);
    }
    let wanted = request.get(REQUEST_HEADERS).and_then(|wanted| wanted.to_str().ok());
    add(&mut web.headers, ALLOW_HEADERS, wanted.unwrap_or(ALLOWED_HEADERS));
    web
}

fn from_object(mut result: Map<String, Value>) -> Answer {
    let status = result.remove("statusCode");
    let headers = result.remove("headers");
    let is_web = status.is_some() || headers.is_some();
    let body = match result.remove("body") {
        Some(body) => body,
        None if is_web && result.is_empty() => Value::String(String::new()),
        None => Value::Object(result),
    };
    let Some(mut status) = status_of(status.as_ref()) else {
        return failed("The action's statusCode is no status from 200 to 599.");
    };
    let mut answer = Answer::empty(status);
    if let Some(Value::Object(headers)) = headers {
        for (name, value) in headers {
            add_all(&mut answer.headers, &name, value);
        }
    }
    let default = if body.is_string() { "text/html" } else { "application/json" };
    add(&mut answer.headers, CONTENT_TYPE.as_str(), default);
    let is_image = answer.headers.get(CONTENT_TYPE).is_some_and(|is| is.as_bytes().starts_with(b"image"));
    let bytes = match body {
        Value::String(text) if is_image => {
            let Ok(bytes) = STANDARD.decode(text.trim()) else {
                return failed("The action's body is an image that is not encoded in base64.");
            };
            add(&mut answer.headers, "content-transfer-encoding", "binary");
            bytes
        }
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    };
    if bytes.is_empty() && status == StatusCode::OK {
        status = StatusCode::NO_CONTENT;
        answer.headers.remove(CONTENT_TYPE);
    }
    answer.status = status;
    answer.body = Payload::from(bytes);
    answer
}

fn failed(text: &str) -> Answer {
    let body = serde_json::json!({ "error": text }).to_string();
    Answer::new(502, body.into_bytes().into())
}

/// 200 where nothing is said; numbers as such or as text.
fn status_of(status: Option<&Value>) -> Option<StatusCode> {
    let Some(status) = status else { return Some(StatusCode::OK) };
    let number = status.as_u64().or_else(|| status.as_str()?.parse().ok())?;
    let number = u16::try_from(number).ok().filter(|number| (200..600).contains(number))?;
    StatusCode::from_u16(number).ok()
}

/// Adds a header unless the function has set it.
fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value))
        && !headers.contains_key(&name)
    {
        headers.insert(name, value);
    }
}

/// Adds what a function set: one value or several. What HTTP cannot hold is left out, and so is the body's length,
/// which is not the function's to say.
fn add_all(headers: &mut HeaderMap, name: &str, value: Value) {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { return };
    if matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection") {
        return;
    }
    let values = match value {
        Value::Array(values) => values,
        one => vec![one],
    };
    for value in values {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        headers.extend(HeaderValue::from_str(&text).ok().map(|value| (name.clone(), value)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn web(result: Value) -> (u16, HeaderMap, String) {
        let answer = Answer::new(200, result.to_string().into_bytes().into());
        let answer = web_answer(answer, &HeaderMap::new());
        let text = String::from_utf8_lossy(answer.body.kept()).into_owned();
        (answer.status.as_u16(), answer.headers, text)
    }

    #[test]
    fn results_become_answers() {
        for (result, status, content_type, body) in [
            (json!({"payload": "Hello"}), 200, Some("application/json"), r#"{"payload":"Hello"}"#),
            (json!({"body": "<html>"}), 200, Some("text/html"), "<html>"),
            (json!({"body": {"a": 1}, "statusCode": 201}), 201, Some("application/json"), r#"{"a":1}"#),
            (json!({"body": ""}), 204, None, ""),
            (json!({"statusCode": 302, "headers": {"location": "x"}}), 302, Some("text/html"), ""),
            (json!({"headers": {"content-type": "image/png"}, "body": "aGk="}), 200, Some("image/png"), "hi"),
            (json!([1, 2]), 200, Some("application/json"), "[1,2]"),
            (
                json!({"statusCode": 99}),
                502,
                Some("application/json"),
                r#"{"error":"The action's statusCode is no status from 200 to 599."}"#,
            ),
        ] {
            let (is_status, headers, is_body) = web(result.clone());
            assert_eq!((is_status, is_body.as_str()), (status, body), "{result}");
            let is_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
            assert_eq!(is_type, content_type, "{result}");
        }
    }

    #[test]
    fn headers_are_the_functions_then_ours() {
        let (_, headers, _) = web(json!({ "body": "x", "headers": {
            "Set-Cookie": ["a=1", "b=2"], "X-Number": 5, "bad name": "x", "X-Bad": "line\nend",
            "Content-Length": 9999, "Access-Control-Allow-Origin": "https://here"
        }}));
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(headers["x-number"], "5");
        assert!(!headers.contains_key("x-bad") && !headers.contains_key("content-length"));
        assert_eq!(headers["access-control-allow-origin"], "https://here");
        assert_eq!(headers[ALLOW_HEADERS], ALLOWED_HEADERS);
        let mut asked = HeaderMap::new();
        asked.insert(REQUEST_HEADERS, "X-Tea".parse().unwrap());
        let answer = web_answer(Answer::new(200, b"{}".to_vec().into()), &asked);
        assert_eq!(answer.headers[ALLOW_HEADERS], "X-Tea");
    }

    #[test]
    fn images_must_be_base64() {
        let (status, _, body) = web(json!({"headers": {"Content-Type": "image/png"}, "body": "§"}));
        assert_eq!(status, 502);
        assert!(body.contains("base64"), "{body}");
    }
}

//! Results that describe an answer: what each row of the contract makes of them.

use super::*;

fn answer_of(result: &str) -> Result<Answer, String> {
    answer(&RawJson::parse(result.as_bytes()).unwrap()).map_err(|error| error.text().to_owned())
}

/// Status, content type and body of an answer, or the text of a refusal.
fn told(result: &str) -> Result<(u16, String, String), String> {
    let Answer { status, content, .. } = answer_of(result)?;
    let (label, body) = content.map_or_else(Default::default, |content| {
        (content.label.to_str().unwrap().to_owned(), String::from_utf8_lossy(&content.body).into_owned())
    });
    Ok((status.as_u16(), label, body))
}

#[test]
fn bodies_follow_their_type() {
    const TEXT: &str = "text/html; charset=UTF-8";
    for (result, status, label, body) in [
        ("{}", 204, "", ""),
        (r#"{"body":null}"#, 204, "", ""),
        (r#"{"body":"","headers":{"content-type":"nonsense"}}"#, 204, "", ""),
        (r#"{"body":"","statusCode":200}"#, 200, "", ""),
        (r#"{"statusCode":"404"}"#, 404, "", ""),
        (r#"{"statusCode":200.0}"#, 200, "", ""),
        (r#"{"statusCode":2.01e2}"#, 201, "", ""),
        (r#"{"statusCode":599}"#, 599, "", ""),
        (r#"{"body":"hi \ud800"}"#, 200, TEXT, "hi \u{fffd}\u{fffd}\u{fffd}"),
        (
            r#"{"body":"hi","headers":{"Content-Type":"text/plain;charset=latin1"}}"#,
            200,
            "text/plain; charset=UTF-8",
            "hi",
        ),
        (
            r#"{"body":"hi","headers":{"content-type":["text/css","text/html"]}}"#,
            200,
            "text/css; charset=UTF-8",
            "hi",
        ),
        (r#"{"body":"x","headers":{"content-type":[]}}"#, 200, TEXT, "x"),
        (r#"{"body":"aGk=","headers":{"content-type":"image/png"}}"#, 200, "image/png", "hi"),
        (r#"{"body":"aGk","headers":{"content-type":"image/svg+xml"}}"#, 200, "image/svg+xml", "hi"),
        (r#"{"body":"aGk=","headers":{"content-type":"application/x-own"}}"#, 200, "application/x-own", "hi"),
        (
            r#"{"body":"aGk=","headers":{"content-type":"application/x-own+json"}}"#,
            200,
            "application/x-own+json",
            "hi",
        ),
        (
            r#"{"body":"eyJhIjoxfQ==","headers":{"content-type":"application/json"}}"#,
            200,
            "application/json",
            r#"{"a":1}"#,
        ),
        (
            r#"{"body":"eyJhIjoxfQ==","headers":{"content-type":"application/vnd.api+json"}}"#,
            200,
            "application/vnd.api+json",
            r#"{"a":1}"#,
        ),
        (
            r#"{"body":" {\"a\":1}","headers":{"content-type":"application/json; charset=utf-8"}}"#,
            200,
            "application/json",
            r#" {"a":1}"#,
        ),
        (r#"{"body":"true","headers":{"content-type":"application/json"}}"#, 200, "application/json", "true"),
        (r#"{"body":"2024","headers":{"content-type":"application/json"}}"#, 200, "application/json", "2024"),
        (r#"{"body":{"a":1.50}}"#, 200, "application/json", "{\n  \"a\": 1.50\n}"),
        (r#"{"body":{}}"#, 200, "application/json", "{\n\n}"),
        (r#"{"body":[1,{"a":1}],"statusCode":201}"#, 201, "application/json", "[1, {\n  \"a\": 1\n}]"),
        (r#"{"body":false}"#, 200, "application/json", "false"),
        (r#"{"body":0}"#, 200, "application/json", "0"),
        (
            r#"{"body":1,"headers":{"content-type":"application/hal+json"}}"#,
            200,
            "application/hal+json; charset=UTF-8",
            "1",
        ),
        (
            r#"{"body":1,"headers":{"content-type":"application/problem+json"}}"#,
            200,
            "application/problem+json",
            "1",
        ),
        (r#"{"body":"hi","statusCode":204}"#, 204, "", ""),
        (r#"{"body":{"a":1},"statusCode":304}"#, 304, "", ""),
    ] {
        assert_eq!(told(result), Ok((status, label.to_owned(), body.to_owned())), "{result}");
    }
}

#[test]
fn what_describes_no_answer_is_refused() {
    for result in [
        "[]",
        "\"x\"",
        "1",
        r#"{"headers":null}"#,
        r#"{"headers":[]}"#,
        r#"{"headers":"x"}"#,
        r#"{"headers":{"a":null}}"#,
        r#"{"headers":{"a":{}}}"#,
        r#"{"headers":{"a":["x",{"y":1}]}}"#,
        r#"{"headers":{"a":["x",[null]]}}"#,
        r#"{"headers":{"":{}}}"#,
        r#"{"statusCode":null}"#,
        r#"{"statusCode":true}"#,
        r#"{"statusCode":"x"}"#,
        r#"{"statusCode":""}"#,
        r#"{"statusCode":200.5}"#,
        r#"{"statusCode":99}"#,
        r#"{"statusCode":101}"#,
        r#"{"statusCode":600}"#,
        r#"{"statusCode":-200}"#,
        r#"{"statusCode":1e400}"#,
        r#"{"statusCode":[200]}"#,
    ] {
        assert_eq!(told(result), Err("Response is not valid 'message/http'.".to_owned()), "{result}");
    }
    for (kind, body) in [("html", "\"x\""), ("", "\"x\""), ("a/b; c", "{}")] {
        let result = format!(r#"{{"body":{body},"headers":{{"content-type":"{kind}"}}}}"#);
        assert_eq!(
            told(&result),
            Err("Response did not specify a known content-type.".to_owned()),
            "{result}"
        );
    }
    for (kind, body) in [
        ("image/png", "\"no base64!\""),
        ("application/x-own+json", "\"{}\""),
        ("text/plain", "{}"),
        ("image/png", "1"),
    ] {
        let result = format!(r#"{{"body":{body},"headers":{{"content-type":"{kind}"}}}}"#);
        let text = "Response type in header did not match generated content type.";
        assert_eq!(told(&result), Err(text.to_owned()), "{result}");
    }
}

#[test]
fn headers_are_flattened_and_what_is_not_theirs_is_dropped() {
    let result = r#"{"headers":{"Set-Cookie":["a=1",["b,=\"2\"",[]]],"x-n":1.50,"X-B":true,"x-u":"é","x-l":"a\nb",
        "x-l2":"a\u0000","a b":"x","":"x","Content-Length":3,"transfer-encoding":"chunked","Connection":"close","date":"x",
        "Server":"x","Location":"/x","x-empty":""}}"#;
    let headers = answer_of(result).unwrap().headers;
    let mut found: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "location: /x",
            "set-cookie: a=1",
            "set-cookie: b,=\"2\"",
            "x-b: true",
            "x-empty: ",
            "x-n: 1.50",
            "x-u: é"
        ]
    );
}

#[test]
fn crowds_of_headers_and_deep_arrays_are_no_burden() {
    let many: Vec<_> = (0..=MAX_HEADERS).map(|at| format!("\"h{at}\":1")).collect();
    assert!(answer_of(&format!(r#"{{"headers":{{{}}}}}"#, many.join(","))).is_err());
    assert!(answer_of(&format!(r#"{{"headers":{{{}}}}}"#, many[1..].join(","))).is_ok());
    let deep = format!(r#"{{"headers":{{"a":{}1{}}}}}"#, "[".repeat(400_000), "]".repeat(400_000));
    assert_eq!(answer_of(&deep).unwrap().headers["a"], "1");
}

//! From a request on the one route to the bodies of `/init` and `/run`.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Request;
use crate::code::Code;

/// A request's body.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    init: Option<Init>,
    activation: Option<Map<String, Value>>,
    value: Option<Value>,
}

/// The initialisation in a request.
#[derive(Debug)]
pub(super) struct Init {
    /// Body of `/init`.
    pub(super) body: Vec<u8>,
    /// The action wants its input raw.
    pub(super) raw: bool,
    name: Option<String>,
}

impl Incoming {
    /// The error is for the caller.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let parsed: Value =
            serde_json::from_slice(body).map_err(|error| format!("The request is no JSON: {error}."))?;
        let Value::Object(mut parts) = parsed else {
            return Err("The request must be a JSON object.".to_owned());
        };
        let init = match parts.remove("init") {
            Some(Value::Object(init)) => Some(Init::read(init)?),
            _ => None,
        };
        let activation = match parts.remove("activation") {
            Some(Value::Object(activation)) => Some(activation),
            _ => None,
        };
        Ok(Self { init, activation, value: parts.remove("value").filter(|value| !value.is_null()) })
    }

    pub(super) fn init(&self) -> Option<&Init> {
        self.init.as_ref()
    }

    /// True if nothing is to be run.
    pub(super) fn is_init_only(&self) -> bool {
        self.init.is_some() && self.activation.is_none() && self.value.is_none()
    }

    /// The body of `/run`.
    pub(super) fn run_body(self, request: &Request<'_>, raw: bool) -> Vec<u8> {
        let mut value = self.value.unwrap_or_else(|| json!({}));
        let mut run = Map::new();
        if let Some(mut activation) = self.activation {
            let is_named =
                activation.get("action_name").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
            if let Some(name) = self.init.and_then(|init| init.name).filter(|_| !is_named) {
                activation.insert("action_name".to_owned(), name.into());
            }
            let user = activation.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
            let given = raw.then(|| raw_body(&value));
            if let Value::Object(value) = &mut value {
                value.insert("__ow_user".to_owned(), user.into());
                value.insert("__ow_method".to_owned(), request.method.as_str().into());
                value.insert("__ow_headers".to_owned(), headers(request));
                value.insert("__ow_path".to_owned(), "".into());
                if let Some(given) = given {
                    value.insert("__ow_query".to_owned(), query(request.query));
                    value.insert("__ow_body".to_owned(), given.into());
                }
            }
            run.extend(activation.into_iter().filter(|(key, value)| key != "value" && value.is_string()));
        }
        run.insert("value".to_owned(), value);
        Value::Object(run).to_string().into_bytes()
    }
}

impl Init {
    fn read(mut init: Map<String, Value>) -> Result<Self, String> {
        let flag = |key: &str| match init.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(format!("Invalid Init. data; expected boolean for key '{key}'.")),
        };
        flag("binary")?;
        let raw = flag("raw")?;
        init.remove("raw");
        let name = init.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(Self { body: json!({ "value": init }).to_string().into_bytes(), raw, name })
    }
}

/// What a raw action sees as the request's body.
fn raw_body(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => Code::encode(other.to_string().as_bytes()),
    }
}

fn headers(request: &Request<'_>) -> Value {
    let mut headers = Map::new();
    for (name, value) in request.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(text)) => {
                text.push_str(", ");
                text.push_str(&value);
            }
            _ => drop(headers.insert(name.as_str().to_owned(), value.into_owned().into())),
        }
    }
    Value::Object(headers)
}

/// The query's parameters; of one that is there more than once the last.
fn query(text: &str) -> Value {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name).into_owned(), Value::String(decode(value).into_owned()))
    });
    Value::Object(decoded.collect())
}

/// Undoes percent encoding; what is none stays.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match (first, code.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn run(body: &str, raw: bool) -> Value {
        let mut headers = HeaderMap::new();
        headers.append("accept", "a".parse().unwrap());
        headers.append("accept", "b".parse().unwrap());
        let request = Request {
            method: &Method::POST,
            path: "/",
            query: "a=%31+x&b&a=2%",
            headers: &headers,
            body: b"",
        };
        let incoming = Incoming::read(body.as_bytes()).unwrap();
        serde_json::from_slice(&incoming.run_body(&request, raw)).unwrap()
    }

    #[test]
    fn activation_data_become_variables_and_web_values() {
        let body = r#"{"init": {"name": "tea", "code": "x"}, "value": {"name": "Joe"},
            "activation": {"namespace": "guest", "deadline": "5", "api_host": 7}}"#;
        let value = json!({ "name": "Joe", "__ow_user": "guest", "__ow_method": "POST",
            "__ow_headers": { "accept": "a, b" }, "__ow_path": "" });
        assert_eq!(
            run(body, false),
            json!({ "value": value, "namespace": "guest", "deadline": "5", "action_name": "tea" })
        );
        assert_eq!(run(r#"{"value": {"name": "Joe"}}"#, true), json!({ "value": { "name": "Joe" } }));
        assert_eq!(run("", false), json!({ "value": {} }));
    }

    #[test]
    fn raw_actions_get_body_and_query() {
        let value = run(r#"{"activation": {}, "value": {"name": "Joe"}}"#, true);
        assert_eq!(value["value"]["__ow_body"], "eyJuYW1lIjoiSm9lIn0=");
        assert_eq!(value["value"]["__ow_query"], json!({ "a": "2%", "b": "" }));
        assert_eq!(value["value"]["__ow_user"], "");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (body, part) in [
            ("XXX", "no JSON"),
            ("[]", "JSON object"),
            (r#"{"init":{"binary":"yes"}}"#, "Invalid Init. data; expected boolean for key 'binary'."),
            (r#"{"init":{"raw":1}}"#, "'raw'"),
        ] {
            let error = Incoming::read(body.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(Incoming::read(br#"{"init":{}}"#).unwrap().is_init_only());
        assert!(!Incoming::read(br#"{"init":{},"value":{}}"#).unwrap().is_init_only());
        assert!(!Incoming::read(b"{}").unwrap().is_init_only());
    }
}

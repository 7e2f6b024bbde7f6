//! Web actions at the door: who may call what, what the action gets, and what becomes of its result.

mod answers;
mod checks;
mod requests;

use serde_json::Value;

use crate::client::{Request, Response};
use crate::world::World;

pub(crate) const WEB: &str = "/api/v1/web/guest/default";
const NOT_FOUND: &str = "The requested resource does not exist.";

/// Creates an exported action of the tenant `guest`; `extra` are more annotations.
async fn export(world: &World, name: &str, extra: &[(&str, &str)], parameters: &[(&str, &str)]) {
    let list = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| format!(r#"{{"key":"{key}","value":{value}}}"#));
        pairs.collect::<Vec<_>>().join(",")
    };
    let annotations = list(&[&[("web-export", "true")], extra].concat());
    let body = format!(
        r#"{{"exec":{{"kind":"nodejs:20","code":"x"}},"annotations":[{annotations}],"parameters":[{}]}}"#,
        list(parameters)
    );
    let line = format!("PUT /api/v1/namespaces/_/actions/{name}?overwrite=true");
    let response = world.guest_json(&line, body).await;
    assert_eq!(response.status, 200, "{response:?}");
}

/// Lets `returns` (or `fails`) return this and asks for it.
async fn returned(world: &World, action: &str, extension: &str, result: &str) -> Response {
    export(world, action, &[], &[("result", result)]).await;
    world.send(Request::new(&format!("GET {WEB}/{action}{extension}"))).await
}

/// Asserts an error in the form of web actions: printed for people.
fn assert_error(response: &Response, status: u16, text: &str) {
    assert_eq!((response.status, response.error().as_str()), (status, text), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let code = response.json()["code"].as_str().unwrap().to_owned();
    assert_eq!(response.header("x-request-id"), Some(code.as_str()));
    let text = serde_json::to_string(text).unwrap();
    assert_eq!(response.text(), format!("{{\n  \"error\": {text},\n  \"code\": \"{code}\"\n}}"));
    assert_eq!(response.header("www-authenticate"), None);
}

/// Asserts an error of the framework, which is compact and without CORS headers.
fn assert_rejection(response: &Response, status: u16, text: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert!(response.error().starts_with(text), "{response:?}");
    assert!(!response.text().contains("{\n"), "{response:?}");
    assert!(!response.has_cors() && response.header("x-openwhisk-activation-id").is_none());
}

/// The arguments that an echoing action got.
fn echoed(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

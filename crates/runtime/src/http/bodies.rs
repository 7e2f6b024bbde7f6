//! What is sent.

use bytes::Bytes;
use chasen_entity::json::push_string;
use chasen_spi::container_factory::InitCode;

/// The body of `/init`. `env` is what the function finds in its environment. Code is sent as it was received: text, or
/// base64 where the action is binary; an image that brings its own gets none.
#[must_use]
pub(super) fn init_body(code: &InitCode, env: &[(String, String)]) -> Bytes {
    let text = code.text.as_deref().unwrap_or_default();
    let mut body = String::with_capacity(text.len() + 1024);
    body.push_str("{\"value\":{\"name\":");
    push_string(&mut body, code.action.name.name.as_str());
    body.push_str(",\"main\":");
    push_string(&mut body, code.action.exec.entry_point());
    if code.text.is_some() {
        body.push_str(",\"code\":");
        push_string(&mut body, &String::from_utf8_lossy(text));
    }
    body.push_str(",\"binary\":");
    body.push_str(if code.action.exec.binary { "true" } else { "false" });
    body.push_str(",\"env\":{");
    for (index, (name, value)) in env.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        push_string(&mut body, name);
        body.push(':');
        push_string(&mut body, value);
    }
    body.push_str("}}}");
    body.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chasen_spi::memory::invocation;
    use serde_json::{Value, json};

    use super::*;

    fn value(text: Option<&str>, binary: bool, env: &[(String, String)]) -> Value {
        let mut action =
            chasen_entity::ExecutableAction::clone(&invocation("guest", "hello", "k", "{}").action);
        action.exec.binary = binary;
        let code = InitCode { action: Arc::new(action), text: text.map(|text| text.to_owned().into()) };
        serde_json::from_slice(&init_body(&code, env)).unwrap()
    }

    #[test]
    fn initialisations_are_json_whatever_code_and_environment_hold() {
        let env = [("A\"".to_owned(), "line\nend".to_owned()), ("B".to_owned(), String::new())];
        assert_eq!(
            value(Some("say \"é\"\n"), false, &env),
            json!({"value": {"name": "hello", "main": "main", "code": "say \"é\"\n", "binary": false,
                "env": {"A\"": "line\nend", "B": ""}}})
        );
    }

    #[test]
    fn an_image_that_brings_its_code_gets_none() {
        assert_eq!(
            value(None, false, &[]),
            json!({"value": {"name": "hello", "main": "main", "binary": false, "env": {}}})
        );
        assert_eq!(value(Some("UEsD"), true, &[])["value"]["code"], "UEsD");
    }
}

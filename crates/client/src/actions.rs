//! Requests about actions and activations in the caller's own namespace.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{Client, ClientError, Reply};

/// What an action runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionCode<'a> {
    /// Kind (`nodejs:20`), or the image of a blackbox action.
    pub target: Target<'a>,
    /// Text, or base64 of a binary.
    pub code: String,
    /// Entry point, where it is not the kind's default.
    pub main: Option<&'a str>,
}

/// Where the code of an action runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A kind of the manifest.
    Kind(&'a str),
    /// An image, in place of a kind.
    Image(&'a str),
}

impl Client {
    /// Creates or replaces an action.
    pub async fn put_action(&self, name: &str, action: &ActionCode<'_>) -> Result<Reply, ClientError> {
        let mut exec = match action.target {
            Target::Kind(kind) => json!({"kind": kind, "code": action.code}),
            Target::Image(image) => json!({"kind": "blackbox", "image": image, "code": action.code}),
        };
        if let (Some(main), Some(exec)) = (action.main, exec.as_object_mut()) {
            exec.insert("main".to_owned(), Value::from(main));
        }
        self.put(&format!("{}?overwrite=true", action_path(name)), &json!({"exec": exec})).await
    }

    /// Removes an action.
    pub async fn delete_action(&self, name: &str) -> Result<Reply, ClientError> {
        self.delete(&action_path(name)).await
    }

    /// Invokes an action; `blocking` waits for its record.
    pub async fn invoke(
        &self,
        name: &str,
        arguments: &(impl Serialize + Sync + ?Sized),
        blocking: bool,
    ) -> Result<Reply, ClientError> {
        self.post(&format!("{}?blocking={blocking}", action_path(name)), arguments).await
    }

    /// The record of an activation.
    pub async fn activation(&self, id: &str) -> Result<Reply, ClientError> {
        self.get(&format!("/api/v1/namespaces/_/activations/{id}")).await
    }
}

fn action_path(name: &str) -> String {
    format!("/api/v1/namespaces/_/actions/{}", encoded(name))
}

/// A name as path segments; slashes between package and action stay.
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(byte.into())
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

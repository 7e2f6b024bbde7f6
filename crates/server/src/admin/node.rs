//! Administration through the door of a running node.

use std::fmt::Write;
use std::time::Duration;

use chasen_client::{Client, ClientError, Reply};
use chasen_controller::admin::dump::Page;
use chasen_controller::admin::subjects::{Holder, KeyWish, NamespaceKey, Owner, SubjectView};
use chasen_entity::{Manifest, UserLimits};
use http::{Method, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::door::DoorFile;
use super::{Done, Failure};
use crate::node::reachable;

/// What every error of the door begins with that is about a document.
const MALFORMED: &str = chasen_entity::error_text::MALFORMED_CONTENT;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The door.
pub struct NodeDoor(Client);

impl NodeDoor {
    pub(super) fn new(door: &DoorFile) -> Self {
        let base = format!("http://{}", reachable(door.address));
        Self(Client::new(&base).with_credentials(&door.credentials).with_timeout(PATIENCE))
    }

    /// True if somebody listens.
    pub(super) async fn is_there(&self) -> bool {
        self.0.get("/ping").await.is_ok_and(|reply| reply.status == StatusCode::OK)
    }

    pub(super) async fn create(
        &self,
        subject: &str,
        namespace: Option<&str>,
        wish: &KeyWish,
    ) -> Done<NamespaceKey> {
        self.put(&key_path(subject, namespace.unwrap_or(subject)), wish).await
    }

    pub(super) async fn subject(&self, subject: &str) -> Done<SubjectView> {
        self.get(&format!("/users/{}", segment(subject))).await
    }

    pub(super) async fn key(&self, subject: &str, namespace: Option<&str>) -> Done<NamespaceKey> {
        self.get(&key_path(subject, namespace.unwrap_or(subject))).await
    }

    pub(super) async fn delete(&self, subject: &str) -> Done<()> {
        self.remove(&format!("/users/{}", segment(subject))).await
    }

    pub(super) async fn delete_namespace(&self, subject: &str, namespace: &str) -> Done<()> {
        self.remove(&key_path(subject, namespace)).await
    }

    pub(super) async fn set_blocked(&self, subject: &str, blocked: bool) -> Done<()> {
        let verb = if blocked { "block" } else { "unblock" };
        let path = format!("/users/{}/{verb}", segment(subject));
        let reply = self.0.request(Method::POST, &path, None).await;
        read::<IgnoredAny>(reply).map(drop)
    }

    pub(super) async fn whois(&self, auth: &str) -> Done<Owner> {
        read(self.0.post("/whois", &json!({ "auth": auth })).await)
    }

    pub(super) async fn holders(&self, namespace: &str) -> Done<Vec<Holder>> {
        self.get(&format!("/namespaces/{}/users", segment(namespace))).await
    }

    pub(super) async fn limits(&self, namespace: &str) -> Done<Option<UserLimits>> {
        match self.0.get(&limits_path(namespace)).await? {
            Reply { status: StatusCode::NOT_FOUND, .. } => Ok(None),
            reply => read(Ok(reply)).map(Some),
        }
    }

    pub(super) async fn merge_limits(&self, namespace: &str, document: &Value) -> Done<UserLimits> {
        read(self.0.request(Method::PATCH, &limits_path(namespace), Some(document)).await)
    }

    pub(super) async fn delete_limits(&self, namespace: &str) -> Done<()> {
        self.remove(&limits_path(namespace)).await
    }

    pub(super) async fn dump(&self, database: &str, next: Option<&str>, docs: bool) -> Done<Page> {
        let next = next.map(|next| format!("&next={}", segment(next))).unwrap_or_default();
        self.get(&format!("/db/{}?docs={docs}{next}", segment(database))).await
    }

    pub(super) async fn runtimes(&self) -> Done<Manifest> {
        self.get("/runtimes").await
    }

    pub(super) async fn set_runtimes(&self, text: &str) -> Done<Manifest> {
        read(self.0.put_text("/runtimes", text.to_owned()).await)
    }

    pub(super) async fn reset_runtimes(&self) -> Done<Manifest> {
        read(self.0.delete("/runtimes").await)
    }

    pub(super) async fn put_kind(&self, kind: &str, text: &str) -> Done<Manifest> {
        read(self.0.put_text(&format!("/runtimes/{}", segment(kind)), text.to_owned()).await)
    }

    pub(super) async fn delete_kind(&self, kind: &str) -> Done<Manifest> {
        read(self.0.delete(&format!("/runtimes/{}", segment(kind))).await)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Done<T> {
        read(self.0.get(path).await)
    }

    async fn put<T: DeserializeOwned>(&self, path: &str, document: &impl Serialize) -> Done<T> {
        let text = serde_json::to_string(document).map_err(|error| Failure::Answered(error.to_string()))?;
        read(self.0.put_text(path, text).await)
    }

    async fn remove(&self, path: &str) -> Done<()> {
        read::<IgnoredAny>(self.0.delete(path).await).map(drop)
    }
}

fn key_path(subject: &str, namespace: &str) -> String {
    format!("/users/{}/namespaces/{}", segment(subject), segment(namespace))
}

fn limits_path(namespace: &str) -> String {
    format!("/namespaces/{}/limits", segment(namespace))
}

/// The document of a good answer, or what a bad one says.
fn read<T: DeserializeOwned>(reply: Result<Reply, ClientError>) -> Done<T> {
    let reply = reply?;
    if reply.status.is_success() {
        return serde_json::from_slice(&reply.body)
            .map_err(|error| Failure::NotUnderstood(error.to_string()));
    }
    let document = reply.json();
    Err(match document.get("error").and_then(Value::as_str) {
        Some(text) => Failure::Answered(text.strip_prefix(MALFORMED).unwrap_or(text).to_owned()),
        None => Failure::NotUnderstood(format!("status {}", reply.status.as_u16())),
    })
}

/// A text as a path segment.
fn segment(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            other => {
                let _ = write!(encoded, "%{other:02X}");
            }
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded() {
        assert_eq!(segment("a b/c:é~"), "a%20b%2Fc%3A%C3%A9~");
        assert_eq!(key_path("who@example", "n s"), "/users/who%40example/namespaces/n%20s");
    }

    #[test]
    fn bad_answers_say_what_the_node_said() {
        let reply = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            read::<Vec<u8>>(Ok(Reply {
                status,
                headers: http::HeaderMap::new(),
                body: body.to_owned().into(),
            }))
        };
        assert_eq!(reply(200, "[1]").unwrap(), [1]);
        for (status, body, text) in [
            (409, r#"{"error":"Namespace already exists","code":"x"}"#, "Namespace already exists"),
            (400, r#"{"error":"The request content was malformed:\nwhy"}"#, "why"),
            (
                502,
                "<html>",
                "the running node gave an answer that is none: status 502; is it of another version than this program?",
            ),
        ] {
            assert_eq!(reply(status, body).unwrap_err().to_string(), text);
        }
    }
}

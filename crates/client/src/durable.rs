//! Requests about work that waits, was given up, is ended or run again, in the caller's own namespace.

use http::Method;
use serde_json::json;

use crate::{Client, ClientError, Reply};

const NAMESPACE: &str = "/api/v1/namespaces/_";

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// Only what belongs to this action: `[package/]name`.
    pub name: Option<&'a str>,
    /// How many to leave out.
    pub skip: u64,
    /// Most to return; the server's own number if it is not said.
    pub limit: Option<u64>,
}

impl Page<'_> {
    /// The page as a query, after what goes before it.
    fn query(&self, before: &str) -> String {
        let mut parts: Vec<String> =
            Some(before.to_owned()).filter(|part| !part.is_empty()).into_iter().collect();
        parts.extend(self.name.map(|name| format!("name={}", crate::actions::encoded(name))));
        parts.extend((self.skip > 0).then(|| format!("skip={}", self.skip)));
        parts.extend(self.limit.map(|limit| format!("limit={limit}")));
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}

impl Client {
    /// A page of the namespace's dead letters, the newest first.
    pub async fn dead_letters(&self, page: &Page<'_>) -> Result<Reply, ClientError> {
        self.get(&format!("{NAMESPACE}/dead-letters{}", page.query(""))).await
    }

    /// A dead letter with its arguments.
    pub async fn dead_letter(&self, id: &str) -> Result<Reply, ClientError> {
        self.get(&format!("{NAMESPACE}/dead-letters/{id}")).await
    }

    /// Runs a dead letter again, as a new activation.
    pub async fn retry_dead_letter(&self, id: &str) -> Result<Reply, ClientError> {
        self.post(&format!("{NAMESPACE}/dead-letters/{id}"), &json!({})).await
    }

    /// Removes a dead letter.
    pub async fn drop_dead_letter(&self, id: &str) -> Result<Reply, ClientError> {
        self.delete(&format!("{NAMESPACE}/dead-letters/{id}")).await
    }

    /// A page of activations: records, or, with `pending`, what is not due yet.
    pub async fn activations(&self, page: &Page<'_>, pending: bool) -> Result<Reply, ClientError> {
        let status = if pending { "status=pending" } else { "" };
        self.get(&format!("{NAMESPACE}/activations{}", page.query(status))).await
    }

    /// Ends an activation that is pending, waits or runs.
    pub async fn cancel(&self, id: &str) -> Result<Reply, ClientError> {
        self.request(Method::DELETE, &format!("{NAMESPACE}/activations/{id}"), None).await
    }

    /// Runs a recorded activation again, as a new one, with this version of its action or the present one.
    pub async fn replay(&self, id: &str, code_version: Option<&str>) -> Result<Reply, ClientError> {
        let query = code_version.map(|version| format!("?code-version={}", crate::actions::encoded(version)));
        let path = format!("{NAMESPACE}/activations/{id}/replay{}", query.unwrap_or_default());
        self.post(&path, &json!({})).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_queries() {
        assert_eq!(Page::default().query(""), "");
        let page = Page { name: Some("my pkg/a&b"), skip: 3, limit: Some(5) };
        assert_eq!(page.query("status=pending"), "?status=pending&name=my%20pkg/a%26b&skip=3&limit=5");
    }
}

//! Requests of the platform's API, as targets: invocations, fires, web actions.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::check::RecordCheck;
use crate::target::{Authority, Target, TargetError};

/// Connections that look for records, and how long they wait.
const CHECK_CONNECTIONS: usize = 4;
const CHECK_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// Where the API is, and with which key it is asked. The key goes there and nowhere else.
#[derive(Clone)]
pub struct Api {
    base: String,
    authority: Authority,
    authorization: Option<String>,
}

impl Api {
    /// The API at `http://host:port` or `https`, asked with `uuid:key` where there is one.
    pub fn new(base: &str, key: Option<&str>) -> Result<Self, TargetError> {
        let base = base.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        // An address that cannot be asked is told before any target is.
        let authority = Target::new("GET", &base)?.authority().clone();
        Ok(Self {
            base,
            authority,
            authorization: key.map(|key| format!("Basic {}", BASE64.encode(key.trim()))),
        })
    }

    /// True if there is a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.authorization.is_some()
    }

    /// True if this is where the API is.
    #[must_use]
    pub fn is_at(&self, authority: &Authority) -> bool {
        self.authority == *authority
    }

    /// Invokes an action, `NAME`, `PACKAGE/NAME` or `/NAMESPACE/[PACKAGE/]NAME`; `blocking` waits for its record.
    pub fn invoke(&self, action: &str, blocking: bool) -> Result<Target, TargetError> {
        let (namespace, name) = split(action);
        let url = format!("{}/api/v1/namespaces/{namespace}/actions/{name}?blocking={blocking}", self.base);
        Ok(self.authorized(Target::new("POST", &url)?.body("{}")?)?.named(action))
    }

    /// Fires a trigger, `NAME` or `/NAMESPACE/NAME`.
    pub fn fire(&self, trigger: &str) -> Result<Target, TargetError> {
        let (namespace, name) = split(trigger);
        let url = format!("{}/api/v1/namespaces/{namespace}/triggers/{name}", self.base);
        Ok(self.authorized(Target::new("POST", &url)?.body("{}")?)?.named(trigger))
    }

    /// Calls a web action, `NAMESPACE/PACKAGE/NAME.EXTENSION` and what may follow it; without the key, as anybody would.
    pub fn web(&self, method: &str, path: &str) -> Result<Target, TargetError> {
        let path = path.trim_start_matches('/');
        Ok(Target::new(method, &format!("{}/api/v1/web/{path}", self.base))?.named(path))
    }

    /// The key with a request to this API that has none; other requests stay as they are.
    pub fn authorized(&self, target: Target) -> Result<Target, TargetError> {
        match &self.authorization {
            Some(key) if self.is_at(target.authority()) && !target.has_header("authorization") => {
                target.header("Authorization", key)
            }
            _ => Ok(target),
        }
    }

    /// How to look for records here; nothing without a key.
    #[must_use]
    pub fn record_check(&self) -> Option<RecordCheck> {
        Some(RecordCheck {
            api: self.base.clone(),
            authorization: self.authorization.clone()?,
            wait: CHECK_WAIT,
            connections: CHECK_CONNECTIONS,
            tls: None,
        })
    }
}

/// Never shows the key.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Namespace and the rest of a name, as they stand in paths.
fn split(name: &str) -> (String, String) {
    match name.strip_prefix('/').and_then(|name| name.split_once('/')) {
        Some((namespace, rest)) => (encoded(namespace), encoded(rest)),
        None => ("_".to_owned(), encoded(name)),
    }
}

/// Segments of a path; slashes between package and name stay.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/@".contains(&byte);
    let encode = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        let api = Api::new("h:1", Some("a:b")).unwrap();
        for (name, path) in [
            ("hello", "_/actions/hello"),
            ("tools/my hello", "_/actions/tools/my%20hello"),
            ("/whisk.system/utils/echo", "whisk.system/actions/utils/echo"),
            ("a?b#c", "_/actions/a%3Fb%23c"),
        ] {
            let url = api.invoke(name, true).unwrap().url();
            assert_eq!(url, format!("http://h:1/api/v1/namespaces/{path}?blocking=true"));
        }
        assert_eq!(api.fire("/ns/t").unwrap().url(), "http://h:1/api/v1/namespaces/ns/triggers/t");
        assert_eq!(
            api.web("GET", "/guest/default/x.json?a=1").unwrap().url(),
            "http://h:1/api/v1/web/guest/default/x.json?a=1"
        );
        assert!(Api::new("ftp://h", None).is_err());
    }

    #[test]
    fn the_key_goes_to_the_api_and_nowhere_else() {
        let api = Api::new("http://h:1/", Some("a:b")).unwrap();
        let has_key = |url: &str| {
            let target = api.authorized(Target::new("GET", url).unwrap()).unwrap();
            target.has_header("Authorization")
        };
        assert!(has_key("http://h:1/x"));
        assert!(!has_key("https://h:1/x") && !has_key("http://h:2/x") && !has_key("http://h.example:1/x"));
        assert!(api.invoke("a", true).unwrap().has_header("authorization"));
        assert!(!api.web("GET", "a").unwrap().has_header("authorization"));
        let own = Target::new("GET", "http://h:1/").unwrap().header("Authorization", "Bearer x").unwrap();
        assert_eq!(api.authorized(own).unwrap().shown_headers().len(), 1);
        assert!(!format!("{api:?}").contains("YTpi"));
    }
}

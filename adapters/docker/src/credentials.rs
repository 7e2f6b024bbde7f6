//! Logins of registries, out of a file in the format of Docker's `config.json`.
//!
//! The file is read at every pull, so that a changed password counts at once. What is in it goes to the engine and
//! nowhere else: no type here can be printed.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;

/// Longest file.
const MAX_FILE: u64 = 1024 * 1024;
/// What logins of the default registry are kept under.
const DEFAULT_REGISTRY_KEYS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct Entry {
    /// `user:password` in base64.
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
}

/// What the engine is given to log in at a registry; `None` if the file has nothing for it.
///
/// # Errors
/// A text that says what is wrong with the file and nothing of what is in it.
pub(crate) async fn login(file: &Path, registry: &str) -> Result<Option<String>, String> {
    let named = |why: &dyn std::fmt::Display| format!("the registry credentials {}: {why}", file.display());
    let mut text = Vec::new();
    let opened = tokio::fs::File::open(file).await.map_err(|error| named(&error))?;
    let read = opened.take(MAX_FILE + 1).read_to_end(&mut text).await.map_err(|error| named(&error))?;
    if read as u64 > MAX_FILE {
        return Err(named(&format!("more than {MAX_FILE} bytes")));
    }
    login_of(&text, registry).map_err(|why| named(&why))
}

fn login_of(text: &[u8], registry: &str) -> Result<Option<String>, String> {
    // The parser's own words may quote the file.
    let file: File = serde_json::from_slice(text).map_err(|error| {
        format!("no JSON of a Docker config.json (line {}, column {})", error.line(), error.column())
    })?;
    let entry = file.auths.into_iter().find(|(key, _)| is_of(key, registry)).map(|(_, entry)| entry);
    let Some(entry) = entry else { return Ok(None) };
    let login = if entry.identitytoken.is_empty() {
        let (user, password) = match entry.auth.as_str() {
            "" if entry.username.is_empty() => return Ok(None),
            "" => (entry.username, entry.password),
            auth => split(auth).ok_or_else(|| {
                format!("the login of {registry} is not 'user:password' in base64; log in there again")
            })?,
        };
        json!({ "username": user, "password": password, "serveraddress": registry })
    } else {
        json!({ "identitytoken": entry.identitytoken, "serveraddress": registry })
    };
    Ok(Some(URL_SAFE.encode(login.to_string())))
}

fn split(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.trim_end_matches('\0').split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// True if a login under this key is for the registry: keys are hosts, or addresses with a scheme and a path.
fn is_of(key: &str, registry: &str) -> bool {
    let host = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    host == registry || (DEFAULT_REGISTRY_KEYS.contains(&host) && DEFAULT_REGISTRY_KEYS.contains(&registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str, registry: &str) -> Option<serde_json::Value> {
        let login = login_of(text.as_bytes(), registry).unwrap()?;
        Some(serde_json::from_slice(&URL_SAFE.decode(login).unwrap()).unwrap())
    }

    #[test]
    fn a_login_goes_to_its_registry_only() {
        // me:pass:word, hub:secret
        let file = r#"{"auths":{"host:5000":{"auth":"bWU6cGFzczp3b3Jk"},
            "https://index.docker.io/v1/":{"auth":"aHViOnNlY3JldA=="},"t.example":{"identitytoken":"tok"}},
            "credsStore":"desktop"}"#;
        let login = decoded(file, "host:5000").unwrap();
        assert_eq!(login, json!({"username":"me","password":"pass:word","serveraddress":"host:5000"}));
        assert_eq!(decoded(file, "docker.io").unwrap()["username"], "hub");
        assert_eq!(decoded(file, "t.example").unwrap()["identitytoken"], "tok");
        assert_eq!(decoded(file, "host"), None);
        assert_eq!(decoded(file, "example"), None);
    }

    #[test]
    fn texts_say_nothing_of_what_is_in_the_file() {
        for file in [
            r#"{"auths":{"h":{"auth":"!secret!"}}}"#,
            r#"{"auths":{"h":{"auth":{"secret":1}}}}"#,
            r#"{"auths":"secret"}"#,
            "secret",
        ] {
            let error = login_of(file.as_bytes(), "h").unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}

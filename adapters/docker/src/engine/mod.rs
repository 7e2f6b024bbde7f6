//! The engine's API: the calls that containers of actions need, and nothing else.
//!
//! One [`Engine`] is a socket and the version that both sides speak. It keeps no connection; every call has a
//! deadline, and every answer a bound.

mod lines;
mod model;
mod output;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use lines::Lines;
use model::{Created, EventLine, Image, PullStep};
pub(crate) use model::{Happened, Happening, HostConfig, Inspected, Listed, LogConfig, NewContainer, Ulimit};
pub(crate) use output::Frames;
use wire::Call;
pub use wire::EngineError;

/// Newest version of the API that these calls were written for: an engine that knows newer ones is asked for it.
const NEWEST: Version = Version { major: 1, minor: 47 };
/// Oldest version that has all of them (Docker 19.03; every Podman with a Docker-compatible socket).
const OLDEST: Version = Version { major: 1, minor: 40 };

/// Longest creation, start, inspection, list or removal.
const USUAL: Duration = Duration::from_secs(60);
/// Longest pause, resumption or word that the engine is there.
const QUICK: Duration = Duration::from_secs(10);
/// Longest pull.
pub(crate) const PULL: Duration = Duration::from_secs(10 * 60);

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.trim().split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    socket: PathBuf,
    version: Version,
}

impl Engine {
    /// Asks the engine at this socket which versions of the API it speaks.
    ///
    /// # Errors
    /// Nobody answers there within some seconds, or the engine is too old.
    pub(crate) async fn connect(socket: &Path) -> Result<Self, EngineError> {
        const WHAT: &str = "say its version";
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Versions {
            api_version: String,
        }
        let call = Call::new(WHAT, Method::GET, "/version".to_owned(), QUICK);
        let versions: Versions = call.json(socket).await?;
        let garbled = |why| EngineError::Garbled { call: WHAT, why };
        let newest = Version::parse(&versions.api_version)
            .ok_or_else(|| garbled(format!("'{}' is no version", versions.api_version)))?;
        if newest < OLDEST {
            return Err(garbled(format!("it knows versions of its API up to {newest}; {OLDEST} is needed")));
        }
        Ok(Self { socket: socket.to_path_buf(), version: newest.min(NEWEST) })
    }

    /// The version that is spoken.
    #[must_use]
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    fn call(&self, what: &'static str, method: Method, path: &str, deadline: Duration) -> Call {
        Call::new(what, method, format!("/v{}{path}", self.version), deadline)
    }

    fn call_with(&self, what: &'static str, path: &str, body: &impl Serialize) -> Result<Call, EngineError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| EngineError::Garbled { call: what, why: error.to_string() })?;
        let mut call = self.call(what, Method::POST, path, USUAL);
        call.body = Bytes::from(body);
        Ok(call)
    }

    async fn done(&self, call: Call) -> Result<(), EngineError> {
        call.bytes(&self.socket).await.map(drop)
    }

    /// Creates a container; returns its id.
    pub(crate) async fn create(&self, name: &str, container: &NewContainer) -> Result<String, EngineError> {
        let path = format!("/containers/create?name={}", encoded(name));
        let call = self.call_with("create a container", &path, container)?;
        call.json(&self.socket).await.map(|created: Created| created.id)
    }

    /// Starts it.
    pub(crate) async fn start(&self, container: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/start");
        self.done(self.call("start a container", Method::POST, &path, USUAL)).await
    }

    /// Everything there is to know about it.
    pub(crate) async fn inspect(&self, container: &str) -> Result<Inspected, EngineError> {
        let path = format!("/containers/{container}/json");
        self.call("inspect a container", Method::GET, &path, USUAL).json(&self.socket).await
    }

    /// Stops its processes from running.
    pub(crate) async fn pause(&self, container: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/pause");
        self.done(self.call("pause a container", Method::POST, &path, QUICK)).await
    }

    /// Lets them go on.
    pub(crate) async fn unpause(&self, container: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/unpause");
        self.done(self.call("unpause a container", Method::POST, &path, QUICK)).await
    }

    /// Kills what runs in it; no error if nothing does.
    pub(crate) async fn kill(&self, container: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{container}/kill?signal=SIGKILL");
        let killed = self.done(self.call("kill a container", Method::POST, &path, QUICK)).await;
        match killed {
            Err(error) if matches!(error.status(), Some(StatusCode::NOT_FOUND | StatusCode::CONFLICT)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// Kills what runs in it and removes it with its anonymous volumes; no error if it is gone already.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{container}?force=true&v=true");
        let removed = self.done(self.call("remove a container", Method::DELETE, &path, USUAL)).await;
        match removed {
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
            other => other,
        }
    }

    /// All containers with this label, running or not.
    pub(crate) async fn list(&self, label: &str) -> Result<Vec<Listed>, EngineError> {
        let filters = json!({ "label": [label] }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encoded(&filters));
        self.call("list containers", Method::GET, &path, USUAL).json(&self.socket).await
    }

    /// What the container prints from here on, in [`Frames`]: attached before the start, that is everything.
    pub(crate) async fn attach(&self, container: &str) -> Result<TokioIo<Upgraded>, EngineError> {
        let path = format!("/containers/{container}/attach?stream=true&stdout=true&stderr=true");
        self.call("attach to a container", Method::POST, &path, QUICK).upgrade(&self.socket).await
    }

    /// What happens from here on to containers with this label.
    pub(crate) async fn events(&self, label: &str) -> Result<Events, EngineError> {
        let filters = json!({ "type": ["container"], "label": [label] }).to_string();
        let path = format!("/events?filters={}", encoded(&filters));
        let call = self.call("tell its events", Method::GET, &path, QUICK);
        Ok(Events(Lines::new(call.stream(&self.socket).await?)))
    }

    /// The id of an image that is here; `None` if it is not.
    pub(crate) async fn image_id(&self, image: &str) -> Result<Option<String>, EngineError> {
        let path = format!("/images/{}/json", encoded(image));
        let found = self.call("inspect an image", Method::GET, &path, USUAL).json(&self.socket).await;
        match found {
            Ok(Image { id }) => Ok(Some(id)),
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches an image, or sees that what is here is up to date. `login` goes along as it is and is not kept.
    pub(crate) async fn pull(
        &self,
        name: &str,
        version: &str,
        login: Option<String>,
    ) -> Result<(), EngineError> {
        const WHAT: &str = "pull an image";
        let path = format!("/images/create?fromImage={}&tag={}", encoded(name), encoded(version));
        let mut call = self.call(WHAT, Method::POST, &path, PULL);
        call.header = login.map(|login| ("X-Registry-Auth", login));
        let steps = async {
            let mut lines = Lines::new(call.stream(&self.socket).await?);
            let garbled = |why| EngineError::Garbled { call: WHAT, why };
            while let Some(line) = lines.next().await.map_err(garbled)? {
                // A failure after the first byte can only be said in the body.
                let step: PullStep =
                    serde_json::from_slice(&line).map_err(|error| garbled(error.to_string()))?;
                if let Some(message) = step.error {
                    return Err(EngineError::Refused { call: WHAT, status: StatusCode::OK, message });
                }
            }
            Ok(())
        };
        timeout(PULL, steps).await.unwrap_or(Err(EngineError::Slow { call: WHAT, deadline: PULL }))
    }
}

/// What happens to containers, as it happens.
#[derive(Debug)]
pub(crate) struct Events(Lines);

impl Events {
    /// The next that matters here; an error at the end of the stream, whatever ended it. Nothing is lost if the
    /// caller stops waiting.
    pub(crate) async fn next(&mut self) -> Result<Happening, EngineError> {
        const WHAT: &str = "tell its events";
        let garbled = |why| EngineError::Garbled { call: WHAT, why };
        loop {
            let line = self.0.next().await.map_err(garbled)?;
            let line = line.ok_or_else(|| garbled("the stream ended".to_owned()))?;
            let event: EventLine =
                serde_json::from_slice(&line).map_err(|error| garbled(error.to_string()))?;
            if let Some(happening) = event.happening() {
                return Ok(happening);
            }
        }
    }
}

/// Percent-encoded for a part of a path or a query.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_not_texts() {
        let parse = |text| Version::parse(text).unwrap();
        assert!(parse("1.9") < parse("1.41"));
        assert!(parse("1.41").min(NEWEST) == parse("1.41"));
        assert_eq!(parse("1.51").min(NEWEST).to_string(), "1.47");
        assert_eq!(Version::parse("five"), None);
    }

    #[test]
    fn what_goes_into_a_path_is_encoded() {
        assert_eq!(encoded("registry:5000/a/b@sha256:0"), "registry%3A5000%2Fa%2Fb%40sha256%3A0");
    }

    #[test]
    fn events_of_both_engines_are_understood() {
        let read = |text: &str| serde_json::from_str::<EventLine>(text).unwrap().happening();
        let ended = Happening { name: "wsk1".to_owned(), id: "a".to_owned(), what: Happened::Ended };
        for action in ["die", "died", "destroy"] {
            let event = format!(
                r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"a","Attributes":{{"name":"wsk1","image":"i"}}}},"time":1}}"#
            );
            assert_eq!(read(&event), Some(ended.clone()));
        }
        assert_eq!(read(r#"{"Action":"start","Actor":{"ID":"a","Attributes":{"name":"wsk1"}}}"#), None);
        assert_eq!(
            read(r#"{"Action":"oom","Actor":{"ID":"a","Attributes":{"name":"wsk1"}}}"#)
                .map(|event| event.what),
            Some(Happened::OutOfMemory)
        );
    }
}

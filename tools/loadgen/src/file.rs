//! Load files: targets with weights, and optionally the pace, as JSON. Whatever is wrong is told with its place.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::Api;
use crate::duration;
use crate::profile::Stage;
use crate::target::{MAX_BODY, Target, TargetError, printable};

/// Largest load file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// All bodies together, in bytes.
const MAX_BODIES: usize = 256 << 20;
/// How alike names must be to be offered.
const SIMILAR: f64 = 0.5;

/// Why a load file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file, or one that it names, cannot be read.
    #[error("{path} cannot be read: {why}")]
    Read {
        /// Which.
        path: String,
        /// Why.
        why: String,
    },
    /// It is not what it should be.
    #[error("{path}: {why}")]
    Format {
        /// Which.
        path: String,
        /// What, and where.
        why: String,
    },
    /// One of its targets cannot be asked.
    #[error("{path}: target {number}{name}: {why}")]
    Target {
        /// Which file.
        path: String,
        /// Which target, from 1.
        number: usize,
        /// Its name in brackets, if it has one.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// What a load file says; what it leaves out is `None` or empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[serde(expecting = "a list of targets, or an object with 'targets'")]
pub struct LoadFile {
    targets: Vec<Entry>,
    /// Requests per second: an open loop.
    pub rate: Option<f64>,
    /// Clients, or connections at most.
    pub clients: Option<u32>,
    /// How long.
    #[serde(deserialize_with = "maybe_duration")]
    pub duration: Option<Duration>,
    stages: Vec<StageEntry>,
    /// Time before that is not counted.
    #[serde(deserialize_with = "maybe_duration")]
    pub warm_up: Option<Duration>,
    /// How long a reply may take.
    #[serde(deserialize_with = "maybe_duration")]
    pub timeout: Option<Duration>,
    /// Ends after so many requests.
    pub requests: Option<u64>,
    /// Threads that send.
    pub threads: Option<usize>,
    /// Connections serve more than one request.
    pub keep_alive: Option<bool>,
    /// Decides which target is asked when.
    pub seed: Option<u64>,
    /// Bound on the share of errors, 0 to 1.
    pub max_error_rate: Option<f64>,
    /// Bound on the latency that 99 % of the successes stay below.
    #[serde(rename = "maxP99", deserialize_with = "maybe_duration")]
    pub max_p99: Option<Duration>,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a target: an object")]
struct Entry {
    name: Option<String>,
    url: Option<String>,
    action: Option<String>,
    web: Option<String>,
    trigger: Option<String>,
    blocking: Option<bool>,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Box<RawValue>>,
    body_file: Option<PathBuf>,
    weight: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a stage: an object")]
struct StageEntry {
    #[serde(deserialize_with = "some_duration")]
    duration: Duration,
    rate: Option<f64>,
    clients: Option<u32>,
}

impl LoadFile {
    /// Reads a file: a list of targets, or an object with `targets` and the pace.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = read(path, MAX_FILE)?;
        let text = String::from_utf8(text).map_err(|_| wrong(path, "it is not UTF-8".to_owned()))?;
        let is_list = text.trim_start().starts_with('[');
        let parsed = match is_list {
            true => serde_json::from_str(&text).map(|targets| Self { targets, ..Self::default() }),
            false => serde_json::from_str(&text),
        };
        let file: Self = parsed.map_err(|error| wrong(path, explained(&error)))?;
        if file.targets.is_empty() {
            return Err(wrong(path, "it has no targets: \"targets\" is a list of at least one".to_owned()));
        }
        if !file.stages.is_empty() && (file.rate.is_some() || file.duration.is_some()) {
            let why = "it has 'stages', which say how fast and how long: leave out 'rate' and 'duration'";
            return Err(wrong(path, why.to_owned()));
        }
        Ok(Self { path: path.to_owned(), ..file })
    }

    /// The targets; files with bodies lie beside the load file, unless their path is absolute.
    pub fn targets(&self, api: &Api) -> Result<Vec<Target>, FileError> {
        let mut targets = Vec::with_capacity(self.targets.len());
        let mut bytes = 0;
        for (number, entry) in (1..).zip(&self.targets) {
            let failed = |why: String| FileError::Target {
                path: self.path.display().to_string(),
                number,
                name: entry.name.as_ref().map(|name| format!(" ({})", printable(name))).unwrap_or_default(),
                why,
            };
            let target = self.target(entry, api, &failed)?;
            bytes += target.body_len();
            if bytes > MAX_BODIES {
                return Err(failed(format!("the bodies have more than {MAX_BODIES} bytes together")));
            }
            targets.push(target);
        }
        Ok(targets)
    }

    fn target(
        &self,
        entry: &Entry,
        api: &Api,
        failed: &dyn Fn(String) -> FileError,
    ) -> Result<Target, FileError> {
        let told = |error: TargetError| failed(error.to_string());
        if entry.blocking.is_some() && entry.action.is_none() {
            return Err(failed("'blocking' belongs to actions".to_owned()));
        }
        let body = match (&entry.body, &entry.body_file) {
            (Some(_), Some(_)) => {
                return Err(failed("it has both 'body' and 'bodyFile'; give one".to_owned()));
            }
            (Some(body), None) => Some(body.get().as_bytes().to_vec()),
            (None, Some(file)) => Some(self.body(file).map_err(|error| failed(error.to_string()))?),
            (None, None) => None,
        };
        let method = |default| entry.method.as_deref().unwrap_or(default);
        let default = if body.is_some() { "POST" } else { "GET" };
        let target = match (&entry.url, &entry.action, &entry.web, &entry.trigger) {
            (Some(url), None, None, None) => Target::new(method(default), url),
            (None, Some(action), None, None) if method("POST") == "POST" => {
                api.invoke(action, entry.blocking.unwrap_or(true))
            }
            (None, None, Some(path), None) => api.web(method(default), path),
            (None, None, None, Some(trigger)) if method("POST") == "POST" => api.fire(trigger),
            (None, Some(_), None, None) | (None, None, None, Some(_)) => {
                return Err(failed(
                    "actions and triggers are asked with POST: leave out 'method'".to_owned(),
                ));
            }
            _ => {
                let one = "give exactly one of 'url', 'action', 'web' and 'trigger'";
                return Err(failed(one.to_owned()));
            }
        };
        let mut target = target.map_err(told)?;
        for (name, value) in &entry.headers {
            target = target.header(name, value).map_err(told)?;
        }
        if let Some(body) = body {
            target = target.body(body).map_err(told)?;
        }
        if entry.url.is_some() {
            target = api.authorized(target).map_err(told)?;
        }
        if let Some(name) = &entry.name {
            target = target.named(name);
        }
        target.weight(entry.weight.unwrap_or(1)).map_err(told)
    }

    fn body(&self, file: &Path) -> Result<Vec<u8>, FileError> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        read(&folder.join(file), MAX_BODY as u64)
    }

    /// The stages, and whether they are rates; nothing if there are none.
    pub fn stages(&self) -> Result<Option<(Vec<Stage>, bool)>, FileError> {
        let Some(first) = self.stages.first() else { return Ok(None) };
        let is_rate = first.rate.is_some();
        let stages = self.stages.iter().map(|entry| match (entry.rate, entry.clients) {
            (Some(to), None) if is_rate => Some(Stage { duration: entry.duration, to }),
            (None, Some(clients)) if !is_rate => {
                Some(Stage { duration: entry.duration, to: f64::from(clients) })
            }
            _ => None,
        });
        let stages: Option<Vec<Stage>> = stages.collect();
        let why = "every stage has either 'rate' or 'clients', and all have the same";
        Ok(Some((stages.ok_or_else(|| wrong(&self.path, why.to_owned()))?, is_rate)))
    }
}

fn wrong(path: &Path, why: String) -> FileError {
    FileError::Format { path: path.display().to_string(), why }
}

/// A file of at most so many bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let failed = |why: String| FileError::Read { path: path.display().to_string(), why };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(failed(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

/// What the parser says; for an unknown field, the known one that looks most like it.
fn explained(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut names = text.split('`').skip(1).step_by(2);
    let Some(unknown) = names.next().filter(|_| text.starts_with("unknown field")) else { return text };
    let near = names
        .map(|known| {
            (strsim::normalized_damerau_levenshtein(&unknown.to_lowercase(), &known.to_lowercase()), known)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let meant = near.map(|(_, known)| format!("; did you mean '{known}'?")).unwrap_or_default();
    let unknown = printable(unknown);
    format!("there is no field '{unknown}' (line {}, column {}){meant}", error.line(), error.column())
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let why = || {
        format!("'{}' is no duration: write a number and ms, s, m or h, such as \"30s\"", printable(&text))
    };
    duration::parse(&text).ok_or_else(|| serde::de::Error::custom(why()))
}

fn maybe_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    some_duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<(LoadFile, Vec<Target>), FileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("load.json");
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("body.json"), "[1, 2]").unwrap();
        let file = LoadFile::read(&path)?;
        let targets = file.targets(&Api::new("http://h:1", Some("a:b")).unwrap())?;
        file.stages()?;
        Ok((file, targets))
    }

    #[test]
    fn every_sort_of_target_can_be_written() {
        let (file, targets) = load(
            r#"{"targets": [
                {"action": "hello", "body": {"name": "you"}, "weight": 3},
                {"action": "slow", "blocking": false},
                {"trigger": "tick", "name": "fires"},
                {"web": "guest/default/page.html", "headers": {"X-A": "b"}},
                {"url": "http://h:1/ping"},
                {"url": "http://other/", "method": "PUT", "bodyFile": "body.json"}
            ], "stages": [{"duration": "0s", "rate": 0}, {"duration": "1m", "rate": 50.5}], "maxP99": "20ms"}"#,
        )
        .unwrap();
        let shown: Vec<(&str, u32, usize)> =
            targets.iter().map(|target| (target.method(), target.weight, target.body_len())).collect();
        assert_eq!(
            shown,
            [("POST", 3, 15), ("POST", 1, 2), ("POST", 1, 2), ("GET", 1, 0), ("GET", 1, 0), ("PUT", 1, 6)]
        );
        let keys: Vec<bool> = targets.iter().map(|target| target.has_header("authorization")).collect();
        assert_eq!(keys, [true, true, true, false, true, false]);
        assert_eq!(targets[2].name, "fires");
        let (stages, is_rate) = file.stages().unwrap().unwrap();
        assert!(is_rate && stages.len() == 2 && file.max_p99 == Some(Duration::from_millis(20)));
        assert_eq!(load(r#" [{"url": "http://h/"}]"#).unwrap().1.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, part) in [
            (
                "{\n\"targets\": [{\"url\": \"http://h/\",\n\"wieght\": 1}]}",
                "no field 'wieght' (line 3, column 8); did you mean 'weight'?",
            ),
            (r#"{"target": []}"#, "did you mean 'targets'?"),
            (r#"{"targets": [], "qqqqqqqqqqqqqqqq": 1}"#, "no field 'qqqqqqqqqqqqqqqq' (line 1"),
            ("[]", "it has no targets"),
            ("", "EOF"),
            ("null", "expected a list of targets, or an object with 'targets'"),
            (r#"["http://h/"]"#, "expected a target: an object"),
            (r#"[{"url": "http://h/", "weight": 0, "name": "idle"}]"#, "target 1 (idle): weight 0"),
            (r#"[{"url": "http://h/", "weight": -1}]"#, "invalid value"),
            (r#"[{"url": "http://h/"}, {"url": "ftp://h/"}]"#, "target 2: 'ftp://h/' begins neither"),
            (r#"[{"url": "http://h/", "action": "a"}]"#, "exactly one of"),
            (r#"[{"action": "a", "method": "GET"}]"#, "leave out 'method'"),
            (r#"[{"url": "http://h/", "blocking": true}]"#, "belongs to actions"),
            (r#"[{"url": "http://h/", "bodyFile": "none.json"}]"#, "none.json cannot be read: No such file"),
            (r#"[{"url": "http://h/", "bodyFile": "none.json"}]"#, "load.json: target 1: "),
            (r#"[{"url": "http://h/", "body": 1, "bodyFile": "body.json"}]"#, "both 'body' and 'bodyFile'"),
            (r#"[{"url": "http://h/", "headers": {"a": "b\r\nc: d"}}]"#, "the header 'a' cannot be sent"),
            (r#"{"targets": [{"url": "http://h/"}], "duration": "30"}"#, "'30' is no duration"),
            (
                r#"{"targets": [{"url": "http://h/"}], "stages": [{"duration": "1s"}]}"#,
                "either 'rate' or 'clients'",
            ),
            (
                r#"{"targets": [{"url": "http://h/"}], "stages": [{"duration": "1s", "rate": 1}, {"duration": "1s", "clients": 1}]}"#,
                "all have the same",
            ),
            (
                r#"{"targets": [{"url": "http://h/"}], "rate": 1, "stages": [{"duration": "1s", "rate": 1}]}"#,
                "leave out 'rate' and 'duration'",
            ),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn endless_files_end() {
        let error = LoadFile::read(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}

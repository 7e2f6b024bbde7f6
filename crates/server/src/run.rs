//! `chasen run`: one invocation of one file through the whole platform, in one process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chasen_client::{ActionCode, Client, ClientError, Record, Reply, Target};
use chasen_entity::json::ObjectSplice;
use chasen_entity::{Outcome, RawJson};

use crate::console;

/// Image that stands for native executables.
pub const NATIVE_IMAGE: &str = "openwhisk/dockerskeleton";
/// Name of native executables where kinds are named.
pub const NATIVE: &str = "native";
/// Largest file that can be an action, in bytes.
const MAX_FILE: u64 = 48 << 20;
/// Name of the action that the file becomes.
const ACTION: &str = "run";
/// Longest wait for a record beyond the blocking call.
const RECORD_WAIT: Duration = Duration::from_mins(15);
/// Time between two looks for it.
const RECORD_LOOK: Duration = Duration::from_millis(100);

/// How a run ended, by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The function answered.
    Success,
    /// The function answered with an error.
    ApplicationError,
    /// The code cannot be run, or broke a rule.
    DeveloperError,
    /// The platform failed, or could not even begin.
    PlatformError,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Success => 0,
            Verdict::ApplicationError => 1,
            Verdict::DeveloperError => 2,
            Verdict::PlatformError => 3,
        })
    }
}

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Kind, or `native`.
    pub kind: String,
    /// Text, or base64 of a binary.
    pub code: String,
    /// Entry point.
    pub main: Option<String>,
    /// Arguments.
    pub arguments: RawJson,
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be an action.
    #[error("{0}: more than the {MAX_FILE} bytes that an action can have")]
    TooLarge(PathBuf),
    /// The name does not tell the kind.
    #[error("{0}: the name does not tell the kind; give it with --kind, for example --kind nodejs:default")]
    Kind(PathBuf),
    /// The platform did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The platform answered with something else than a record.
    #[error("the platform answered {status}: {text}")]
    Answer {
        /// Status.
        status: http::StatusCode,
        /// Body.
        text: String,
    },
}

impl Job {
    /// Reads a file; `kind` overrides what its name tells.
    pub fn read(
        path: &Path,
        kind: Option<&str>,
        main: Option<&str>,
        parameters: &[String],
    ) -> Result<Self, JobError> {
        let failed = |source| JobError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let kind = kind.or_else(|| kind_of(path)).ok_or_else(|| JobError::Kind(path.to_owned()))?;
        let mut bytes = Vec::new();
        let length = file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
        if length as u64 > MAX_FILE {
            return Err(JobError::TooLarge(path.to_owned()));
        }
        let code = String::from_utf8(bytes).unwrap_or_else(|error| BASE64.encode(error.as_bytes()));
        Ok(Self {
            kind: kind.to_owned(),
            code,
            main: main.or_else(|| class_of(path)).map(str::to_owned),
            arguments: arguments(parameters),
        })
    }

    /// Creates the action, invokes it once, prints result and logs, removes it.
    pub async fn run(&self, client: &Client) -> Result<Verdict, JobError> {
        let target = if self.kind == NATIVE { Target::Image(NATIVE_IMAGE) } else { Target::Kind(&self.kind) };
        let action = ActionCode { target, code: self.code.clone(), main: self.main.as_deref() };
        let created = client.put_action(ACTION, &action).await?;
        if created.status.is_client_error() {
            console::note(&format!("chasen: {}", created.error_text()));
            return Ok(Verdict::DeveloperError);
        }
        if !created.status.is_success() {
            return Err(unexpected(&created));
        }
        let record = record(client, &self.arguments).await;
        client.delete_action(ACTION).await?;
        Ok(report(&record?))
    }
}

/// The kind that a file's name tells.
fn kind_of(path: &Path) -> Option<&'static str> {
    match path.extension().and_then(OsStr::to_str) {
        None | Some("sh" | "pl") => Some(NATIVE),
        Some("js" | "cjs" | "mjs" | "ts" | "cts" | "mts") => Some("nodejs:default"),
        Some("py") => Some("python:default"),
        Some("java" | "jar") => Some("java:default"),
        Some("php") => Some("php:default"),
        Some("rb") => Some("ruby:default"),
        Some("go") => Some("go:default"),
        Some("rs") => Some("rust:default"),
        Some("swift") => Some("swift:default"),
        Some(_) => None,
    }
}

/// The class that a file of Java source holds, which is its entry point.
fn class_of(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str().filter(|_| path.extension() == Some(OsStr::new("java")))
}

/// Pairs of key and value as one object. A value that is JSON is taken as it is written, else as text.
fn arguments(parameters: &[String]) -> RawJson {
    let value = |text: &String| RawJson::parse(text.as_bytes()).unwrap_or_else(|_| RawJson::from_value(text));
    let (pairs, _) = parameters.as_chunks::<2>();
    let values: Vec<(&String, RawJson)> = pairs.iter().map(|[key, text]| (key, value(text))).collect();
    let mut object = ObjectSplice::default();
    for (key, value) in &values {
        object.set(key.as_str().into(), value.raw());
    }
    object.finish()
}

/// Invokes and gives the record with its logs, however long that takes.
async fn record(client: &Client, arguments: &RawJson) -> Result<Record, JobError> {
    let answer = client.invoke(ACTION, arguments, true).await?;
    let id = answer.activation_id().ok_or_else(|| unexpected(&answer))?;
    let begun = Instant::now();
    loop {
        let found = client.activation(&id).await?;
        match found.record() {
            Some(record) => return Ok(record),
            None if begun.elapsed() > RECORD_WAIT => return Err(unexpected(&found)),
            None => tokio::time::sleep(RECORD_LOOK).await,
        }
    }
}

fn unexpected(reply: &Reply) -> JobError {
    JobError::Answer { status: reply.status, text: reply.text() }
}

/// Prints logs and result.
fn report(record: &Record) -> Verdict {
    for line in &record.logs {
        console::note(line);
    }
    console::out(&format!("{}\n", record.response.result.as_str()));
    match record.response.outcome() {
        Outcome::Success => Verdict::Success,
        Outcome::ApplicationError => Verdict::ApplicationError,
        Outcome::DeveloperError => Verdict::DeveloperError,
        Outcome::WhiskError => Verdict::PlatformError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_kinds() {
        for (name, kind) in [
            ("a.js", Some("nodejs:default")),
            ("a.ts", Some("nodejs:default")),
            ("a.py", Some("python:default")),
            ("a.java", Some("java:default")),
            ("a.jar", Some("java:default")),
            ("a.php", Some("php:default")),
            ("a.rb", Some("ruby:default")),
            ("a.go", Some("go:default")),
            ("a.rs", Some("rust:default")),
            ("a.swift", Some("swift:default")),
            ("a.sh", Some(NATIVE)),
            ("a.pl", Some(NATIVE)),
            ("a", Some(NATIVE)),
            ("a.zip", None),
            ("a.wat", None),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
    }

    #[test]
    fn the_entry_point_of_java_source_is_its_class() {
        assert_eq!(class_of(Path::new("samples/Hello.java")), Some("Hello"));
        assert_eq!(class_of(Path::new("hello.jar")), None);
    }

    #[test]
    fn parameters_are_json_or_text() {
        let texts = ["s", "x y", "n", "12345678901234567890.10", "o", "{\"a\":[1]}"].map(str::to_owned);
        assert_eq!(arguments(&texts).as_str(), r#"{"s":"x y","n":12345678901234567890.10,"o":{"a":[1]}}"#);
    }

    #[test]
    fn files_are_read_within_bounds() {
        let endless = Job::read(Path::new("/dev/zero"), Some(NATIVE), None, &[]);
        assert!(matches!(endless, Err(JobError::TooLarge(_))), "{endless:?}");
    }

    #[test]
    fn binaries_travel_as_base64() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.zip");
        std::fs::write(&path, [0x50, 0x4b, 0xff, 0xfe]).unwrap();
        assert!(matches!(Job::read(&path, None, None, &[]), Err(JobError::Kind(_))));
        assert_eq!(Job::read(&path, Some("nodejs:default"), None, &[]).unwrap().code, "UEv//g==");
    }
}

//! The two ways of speaking with what runs in a cell, as one.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use chasen_entity::error_text::runtime::{BAD_RESULT, MISSING_CODE};
use chasen_entity::frame::FrameKind;
use chasen_entity::json::{JsonType, push_string};
use chasen_entity::{ActivationId, ByteSize, RawJson};
use chasen_runtime::connection::{Body, Broken, Connection, LineConnection, LogSink, Reply};
use tokio::sync::Mutex;

use super::executable;
use crate::cell::Cell;
use crate::layer::Shape;

/// Its word when it waits for the code.
const READY: &[u8] = b"ready";

/// A runtime and the line to it.
pub(crate) enum Runtime {
    /// A launcher of ours.
    Framed {
        /// The line.
        connection: Connection,
        /// True if it takes several runs at a time.
        concurrent: bool,
    },
    /// An executable that speaks lines.
    Lines(Mutex<LineConnection>),
}

/// What an initialisation says.
pub(super) struct Start<'a> {
    pub(super) name: &'a str,
    pub(super) main: &'a str,
    /// Most runs that will be in it at once, where the runtime takes so many.
    pub(super) concurrency: u32,
    /// Whether an executable owes an acknowledgement of its start.
    pub(super) acknowledged: bool,
    /// What the code was; `None` without code.
    pub(super) shape: Option<Shape>,
    pub(super) env: Vec<(String, String)>,
    /// Where the code lies for the runtime.
    pub(super) folder: PathBuf,
    /// Most bytes of an answer that are kept: a launcher need not keep more.
    pub(super) keep: ByteSize,
}

/// The line to a runtime that has said nothing yet.
pub(crate) enum Line {
    /// To a launcher of ours.
    Frames(Connection),
    /// To a native launcher that will become an executable.
    Lines(LineConnection),
}

impl Line {
    /// Waits for the first word.
    async fn greet(self) -> Result<Runtime, Broken> {
        match self {
            Self::Frames(connection) => {
                let hello = connection.hello().await?;
                Ok(Runtime::Framed { connection, concurrent: hello.concurrent })
            }
            Self::Lines(mut connection) => match connection.next_line().await? {
                Body::Whole(line) if line == READY => Ok(Runtime::Lines(Mutex::new(connection))),
                _ => Err(Broken::Unexpected("not the greeting of a native launcher".to_owned())),
            },
        }
    }
}

/// A runtime that comes up, once.
pub(crate) struct Coming {
    line: parking_lot::Mutex<Option<Line>>,
    runtime: OnceLock<Runtime>,
}

impl Coming {
    /// One that was just started.
    pub(crate) fn new(line: Line) -> Self {
        Self { line: parking_lot::Mutex::new(Some(line)), runtime: OnceLock::new() }
    }

    /// Waits until it is up.
    pub(super) async fn up(&self) -> Result<(), Broken> {
        let line = self.line.lock().take();
        if let Some(line) = line {
            let runtime = line.greet().await?;
            self.runtime.get_or_init(|| runtime);
        }
        self.get().map(|_| ())
    }

    /// The runtime, once it is up.
    pub(super) fn get(&self) -> Result<&Runtime, Broken> {
        self.runtime.get().ok_or(Broken::Closed)
    }
}

impl Runtime {
    /// True for an executable that speaks for itself.
    pub(super) fn is_executable(&self) -> bool {
        matches!(self, Self::Lines(_))
    }

    /// Most runs that it takes at once.
    pub(super) fn concurrency(&self) -> u32 {
        match self {
            Self::Framed { concurrent: true, .. } => u32::MAX,
            Self::Framed { concurrent: false, .. } | Self::Lines(_) => 1,
        }
    }

    /// Gives the runtime its action.
    pub(super) async fn init(
        &self,
        cell: &Cell,
        id: &ActivationId,
        start: &Start<'_>,
    ) -> Result<Reply, Broken> {
        match self {
            Self::Framed { connection, .. } => {
                let body = start.body(start.concurrency.min(self.concurrency()));
                connection.exchange(FrameKind::Init, id, body.as_bytes(), None).await
            }
            Self::Lines(_) if start.shape.is_none() => Ok(refused(MISSING_CODE)),
            Self::Lines(connection) => {
                let mut connection = connection.lock().await;
                executable::start(&mut connection, cell, start).await
            }
        }
    }

    /// Runs the action once; what its launcher attributes to this run goes to `log`.
    pub(super) async fn run(
        &self,
        id: &ActivationId,
        body: &[u8],
        log: Option<Arc<dyn LogSink>>,
    ) -> Result<Reply, Broken> {
        match self {
            Self::Framed { connection, .. } => connection.exchange(FrameKind::Run, id, body, log).await,
            Self::Lines(connection) => Ok(match connection.lock().await.exchange(body).await? {
                Body::Whole(line) if is_result(&line) => Reply::Result(Body::Whole(line)),
                Body::Whole(_) => refused(BAD_RESULT),
                cut @ Body::Cut { .. } => Reply::Result(cut),
            }),
        }
    }
}

pub(super) fn refused(text: &str) -> Reply {
    Reply::DeveloperError(Body::Whole(error_body(text)))
}

/// `{"error": text}`.
pub(super) fn error_body(text: &str) -> Vec<u8> {
    RawJson::error(text).as_str().as_bytes().to_vec()
}

/// True for what an executable may answer: an object, an array, or nothing.
fn is_result(line: &[u8]) -> bool {
    RawJson::parse(line).is_ok_and(|value| {
        matches!(value.json_type(), JsonType::Object | JsonType::Array) || value.as_str() == "null"
    })
}

impl Start<'_> {
    /// The payload of an `Init` frame.
    fn body(&self, concurrency: u32) -> String {
        let mut body = String::from("{\"value\":{\"name\":");
        push_string(&mut body, self.name);
        body.push_str(",\"main\":");
        push_string(&mut body, self.main);
        let binary = self.shape.is_some_and(|shape| shape != Shape::Source);
        body.push_str(&format!(",\"binary\":{binary},\"maxPayload\":{}", self.keep.as_bytes()));
        body.push_str(&format!(",\"concurrency\":{concurrency},"));
        self.push_place(&mut body);
        body.push('}');
        body
    }

    /// The line that the native launcher reads before it becomes the executable.
    pub(super) fn line(&self) -> String {
        let mut line = String::from("{");
        self.push_place(&mut line);
        line
    }

    /// Folder, environment, and the end of the object.
    fn push_place(&self, text: &mut String) {
        text.push_str("\"path\":");
        push_string(text, &self.folder.to_string_lossy());
        text.push_str(",\"env\":{");
        for (index, (name, value)) in self.env.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            push_string(text, name);
            text.push(':');
            push_string(text, value);
        }
        text.push_str("}}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initialisations_are_json_whatever_names_and_values_hold() {
        let start = Start {
            name: "he\"llo",
            main: "a.b",
            concurrency: 9,
            acknowledged: false,
            shape: Some(Shape::Archive),
            env: vec![("A".to_owned(), "line\nend".to_owned()), ("B".to_owned(), String::new())],
            folder: PathBuf::from("/action"),
            keep: ByteSize::bytes(7),
        };
        let place = serde_json::json!({ "path": "/action", "env": { "A": "line\nend", "B": "" } });
        let mut value = place.clone();
        value.as_object_mut().unwrap().extend([
            ("name".to_owned(), "he\"llo".into()),
            ("main".to_owned(), "a.b".into()),
            ("binary".to_owned(), true.into()),
            ("maxPayload".to_owned(), 7.into()),
            ("concurrency".to_owned(), 2.into()),
        ]);
        let body: serde_json::Value = serde_json::from_str(&start.body(2)).unwrap();
        assert_eq!(body, serde_json::json!({ "value": value }));
        assert!(!start.line().contains('\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&start.line()).unwrap(), place);
    }

    #[test]
    fn executables_may_answer_objects_arrays_and_null() {
        for (line, good) in
            [("{}", true), ("[1]", true), ("null", true), ("1", false), ("\"x\"", false), ("{", false)]
        {
            assert_eq!(is_result(line.as_bytes()), good, "{line}");
        }
    }
}

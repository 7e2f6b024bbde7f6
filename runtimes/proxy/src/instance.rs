//! A started runtime and the line to it: a launcher that speaks frames, or the action itself, which speaks lines.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_entity::error_text::runtime::{
    BAD_ACKNOWLEDGEMENT, BAD_RESULT, EXECUTION_ENV_MISMATCH, EXITED, EXITED_IN_INIT,
};
use chasen_entity::frame::FrameKind;
use chasen_entity::json::JsonType;
use chasen_entity::{ActivationId, RawJson};
use chasen_runtime::code::EXEC;
use chasen_runtime::connection::{Body, Broken, Connection, LineConnection, Reply};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use crate::children::{Children, Process};
use crate::compiler::no_input;
use crate::environment::json_error;
use crate::kind::Launcher;
use crate::manners::Manners;
use crate::output::Output;
use crate::settings::{Settings, Variables};

/// Most bytes of an answer that are kept; the rest is counted.
pub(crate) const KEEP: usize = 64 << 20;
/// How long a launcher may take to greet.
const GREETING: Duration = Duration::from_secs(60);
/// How long an executable that need not acknowledge must live to count as started.
const START_GRACE: Duration = Duration::from_millis(5);
/// The longest that one is watched that keeps a processor busy, or waits for one.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// What the code says it was built for.
const EXEC_ENV: &str = "exec.env";

/// One runtime.
pub(crate) struct Instance {
    line: Line,
    /// Its process.
    pub(crate) process: Process,
    /// Held by the one that runs, where runs follow each other.
    turn: Option<Mutex<()>>,
    /// Number of the next question.
    asked: AtomicU64,
}

enum Line {
    Frames(Connection),
    Lines(Mutex<LineConnection>),
}

/// Why an executable did not start: for the answer or for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotStarted {
    /// The reason in the words that clients know.
    pub(crate) why: String,
    /// What more there is to say, for the log: for standard output, then for standard error.
    pub(crate) notes: (Vec<String>, Vec<String>),
}

impl From<&str> for NotStarted {
    fn from(why: &str) -> Self {
        Self { why: why.to_owned(), notes: Default::default() }
    }
}

impl Instance {
    /// Starts the kind's launcher and waits for its greeting. The error says what went wrong.
    pub(crate) async fn launch(
        settings: &Settings,
        children: &Children,
        output: &Output,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the launcher cannot be started: {error}");
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (stdout, stderr) = output.for_child().map_err(failed)?;
        let mut channel = None;
        let (mut command, name) = match &settings.kind.launcher {
            Launcher::Frames(words) => {
                let (program, arguments) = words.split_first().ok_or("no launcher is named")?;
                let mut command = Command::new(program);
                command.args(arguments).stdin(no_input().map_err(failed)?);
                channel = Some(OwnedFd::from(theirs));
                (command, program.to_string_lossy().into_owned())
            }
            Launcher::Native | Launcher::Action => {
                let own = std::env::current_exe().map_err(failed)?;
                let mut command = Command::new(&own);
                command.arg(crate::NATIVE_LAUNCHER).stdin(OwnedFd::from(theirs));
                (command, own.to_string_lossy().into_owned())
            }
        };
        command.stdout(stdout).stderr(stderr);
        let process = children
            .spawn(&mut command, channel)
            .map_err(|error| format!("the launcher {name} cannot be started: {error}"))?;
        drop(command);
        let connection = Connection::new(ours.into(), KEEP).map_err(failed)?;
        let hello = match timeout(GREETING, connection.hello()).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(broken)) => {
                process.kill();
                return Err(format!("the launcher {name} did not greet: {broken}"));
            }
            Err(_) => {
                process.kill();
                return Err(format!("the launcher {name} did not greet within {} s", GREETING.as_secs()));
            }
        };
        let at_once = settings.kind.personality.sends_at_once() || hello.concurrent && settings.concurrent;
        Ok(Self {
            line: Line::Frames(connection),
            process,
            turn: (!at_once).then(Mutex::default),
            asked: AtomicU64::new(1),
        })
    }

    /// Starts the executable in `folder` with exactly the variables of `env`.
    pub(crate) async fn execute(
        folder: &Path,
        env: &Variables,
        settings: &Settings,
        children: &Children,
        output: &Output,
    ) -> Result<Self, NotStarted> {
        check_execution_env(folder, settings)?;
        let note = |error: io::Error| NotStarted {
            why: EXITED.to_owned(),
            notes: (Vec::new(), vec![format!("{}: {error}", folder.join(EXEC).display())]),
        };
        let (input, our_input) = io::pipe().map_err(note)?;
        let (our_output, answers) = io::pipe().map_err(note)?;
        let (stdout, stderr) = output.for_child().map_err(note)?;
        let mut command = Command::new(folder.join(EXEC));
        command.env_clear().envs(env).stdin(input).stdout(stdout).stderr(stderr);
        let process = children.spawn(&mut command, Some(answers.into())).map_err(note)?;
        drop(command);
        let started = async {
            let mut line = LineConnection::new(our_input.into(), our_output.into(), KEEP).map_err(note)?;
            if settings.wait_for_ack {
                wait_for_acknowledgement(&mut line).await?;
            } else {
                tokio::select! {
                    biased;
                    _ = process.exited() => return Err(NotStarted::from(EXITED)),
                    () = lives(&process) => {}
                }
            }
            Ok(line)
        };
        match Ending::watch(&process, started).await {
            Ok(line) => {
                let line = Line::Lines(Mutex::new(line));
                Ok(Self { line, process, turn: Some(Mutex::default()), asked: AtomicU64::new(1) })
            }
            Err(why) => Err(why),
        }
    }

    /// What a frame and its reply have in common. The platform's own activation ids are for the function: two callers
    /// might send the same. And nothing random: an image need not have a source of it.
    fn next_id(&self) -> ActivationId {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        ActivationId::from_bytes(u128::from(number).to_be_bytes())
    }

    /// Waits until a run may be sent.
    pub(crate) async fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Gives a launcher its action; `payload` is that of an `Init` frame.
    pub(crate) async fn init(&self, payload: &[u8]) -> Result<Reply, Broken> {
        match &self.line {
            Line::Frames(connection) => {
                connection.exchange(FrameKind::Init, &self.next_id(), payload, None).await
            }
            Line::Lines(_) => Ok(Reply::Initialized),
        }
    }

    /// Runs the action once; `body` is that of the request.
    pub(crate) async fn run(&self, body: &[u8]) -> Result<Reply, Broken> {
        match &self.line {
            Line::Frames(connection) => {
                connection.exchange(FrameKind::Run, &self.next_id(), body, None).await
            }
            Line::Lines(connection) => Ok(match connection.lock().await.exchange(body).await? {
                Body::Whole(line) if !is_result(&line) => Reply::DeveloperError(Body::Whole(
                    RawJson::error(BAD_RESULT).as_str().as_bytes().to_vec(),
                )),
                answer => Reply::Result(answer),
            }),
        }
    }
}

/// Resolves when a process has lived for a moment. One that has not come to wait for anything by then is still being
/// started, as on a machine with too much to do.
async fn lives(process: &Process) {
    let begun = Instant::now();
    loop {
        sleep(START_GRACE).await;
        if !process.is_busy() || begun.elapsed() >= START_PATIENCE {
            return;
        }
    }
}

/// Ends a process whose start is not waited for any more, or has failed.
struct Ending<'a>(Option<&'a Process>);

impl Ending<'_> {
    async fn watch<T, E>(process: &Process, start: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut ending = Ending(Some(process));
        let started = start.await;
        if started.is_ok() {
            ending.0 = None;
        }
        started
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.0 {
            process.kill();
        }
    }
}

/// The code must say that it was built for this image, where the image asks for that.
fn check_execution_env(folder: &Path, settings: &Settings) -> Result<(), NotStarted> {
    let Some(expected) = &settings.execution_env else { return Ok(()) };
    let actual = fs::read_to_string(folder.join(EXEC_ENV)).unwrap_or_default();
    if actual.trim() == expected {
        return Ok(());
    }
    let notes = vec![
        format!("Expected exec.env should start with {expected}"),
        format!("Actual value: {}", actual.trim()),
    ];
    Err(NotStarted { why: EXECUTION_ENV_MISMATCH.to_owned(), notes: (notes, Vec::new()) })
}

async fn wait_for_acknowledgement(line: &mut LineConnection) -> Result<(), NotStarted> {
    let said = match line.first_line().await {
        Ok(Body::Whole(said)) => said,
        Ok(Body::Cut { .. }) => Vec::new(),
        Err(_) => return Err(EXITED_IN_INIT.into()),
    };
    match serde_json::from_slice::<serde_json::Value>(&said) {
        Ok(value) if value.get("ok").and_then(serde_json::Value::as_bool) == Some(true) => Ok(()),
        Ok(_) => Err(BAD_ACKNOWLEDGEMENT.into()),
        Err(error) => Err(json_error(&said, &error).as_str().into()),
    }
}

/// True for what an executable may answer: an object, an array, or nothing.
fn is_result(line: &[u8]) -> bool {
    RawJson::parse(line).is_ok_and(|value| {
        matches!(value.json_type(), JsonType::Object | JsonType::Array) || value.as_str() == "null"
    })
}

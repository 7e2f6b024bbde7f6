//! The framed mode: one executable, started anew for every run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

use chasen_entity::ActivationId;
use chasen_entity::error_text::runtime::{ALREADY_INITIALIZED, BAD_ARGUMENT, BAD_RESULT, NO_BINARY};
use chasen_entity::frame::{FrameKind, PROTOCOL_VERSION};
use chasen_entity::json::{JsonType, RawJson};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::channel::{Channel, Request};
use crate::environment::variables;
use crate::program::{make_executable, not_startable};
use crate::run::run;

const STUB_RESULT: &[u8] = br#"{ "error": "This is a stub action. Replace it with custom logic." }"#;
const STUB_NOTICE: &str =
    "This action has no code: it is a stub that stands where an executable is expected.";
/// Bytes of a result where the initialisation names no bound.
const DEFAULT_KEEP: u64 = 1 << 20;
/// No bound is larger: two lines of it are held in memory.
const MOST_KEPT: u64 = 64 << 20;
/// Variables with this prefix belong to one activation.
const ACTIVATION_PREFIX: &str = "__OW_";

/// Serves frames until the invoker closes.
pub(crate) fn serve() -> io::Result<()> {
    let mut channel = Channel::from_standard_input()?;
    // What a run leaves behind becomes a child of this process, which ends it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let hello = format!("{{\"protocol\":{PROTOCOL_VERSION},\"concurrent\":false}}");
    channel.send(FrameKind::Hello, None, hello.as_bytes())?;
    let mut action: Option<Action> = None;
    while let Some(Request { kind, activation_id: id, payload }) = channel.receive()? {
        match (kind, &action) {
            (FrameKind::Init, None) => match Action::init(&payload) {
                Ok(initialized) => {
                    action = Some(initialized);
                    channel.send(FrameKind::Initialized, Some(&id), b"")?;
                }
                Err(text) => channel.refuse(&id, &text)?,
            },
            (FrameKind::Init, Some(_)) => {
                writeln!(io::stderr(), "{ALREADY_INITIALIZED}")?;
                channel.refuse(&id, ALREADY_INITIALIZED)?;
            }
            (FrameKind::Run, Some(action)) => action.run(&mut channel, &id, payload)?,
            (FrameKind::Run, None) => {
                let stub = Action { executable: None, folder: PathBuf::from("/"), env: Vec::new(), keep: 0 };
                stub.run(&mut channel, &id, payload)?;
            }
            _ => return Err(io::Error::other(format!("a frame of kind {kind:?} is not for a launcher"))),
        }
    }
    Ok(())
}

/// What an `Init` frame says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Init {
    value: Value,
}

/// An initialised action.
struct Action {
    /// The program; a stub has none.
    executable: Option<PathBuf>,
    folder: PathBuf,
    /// Variables of the initialisation that do not belong to one activation.
    env: Vec<(String, String)>,
    /// Most bytes of a result; what is longer is only counted.
    keep: usize,
}

impl Action {
    /// The error is the text for the developer.
    fn init(payload: &[u8]) -> Result<Self, String> {
        let init: Init = serde_json::from_slice(payload).unwrap_or_default();
        let folder = PathBuf::from(init.value.get("path").and_then(Value::as_str).unwrap_or("/action"));
        let binary = init.value.get("binary").and_then(Value::as_bool).unwrap_or(false);
        let executable = folder.join("exec");
        let executable = match executable.symlink_metadata() {
            // Without code the stub stays.
            Err(_) if !binary => None,
            _ => {
                make_executable(&executable).map_err(|why| {
                    // The log is the developer's only way to learn more; it may be closed.
                    let _ = writeln!(io::stderr(), "{} {why}", executable.display());
                    NO_BINARY.to_owned()
                })?;
                Some(executable)
            }
        };
        let env = match init.value.get("env") {
            Some(Value::Object(env)) => variables(env.clone()),
            _ => Vec::new(),
        };
        let env = env.into_iter().filter(|(name, _)| !name.starts_with(ACTIVATION_PREFIX)).collect();
        let keep = init.value.get("maxPayload").and_then(Value::as_u64).unwrap_or(DEFAULT_KEEP);
        Ok(Self { executable, folder, env, keep: usize::try_from(keep.min(MOST_KEPT)).unwrap_or(usize::MAX) })
    }

    fn run(&self, channel: &mut Channel, id: &ActivationId, payload: Vec<u8>) -> io::Result<()> {
        let Run { arguments, activation } = match Run::read(&payload) {
            Ok(run) => run,
            Err(text) => return channel.refuse(id, text),
        };
        drop(payload);
        // The standard handle writes every line by itself, which a flood of short ones would feel.
        let mut stdout = BufWriter::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
        let Some(executable) = &self.executable else {
            writeln!(stdout, "{STUB_NOTICE}")?;
            stdout.flush()?;
            return channel.send(FrameKind::Result, Some(id), STUB_RESULT);
        };
        let env: Vec<(String, String)> = self.env.iter().cloned().chain(activation).collect();
        let last = match run(executable, &self.folder, &arguments, &env, &mut stdout, self.keep)? {
            Ok(last) => last,
            Err(error) => {
                // What the kernel says of a missing interpreter is that the file is not there.
                let why =
                    not_startable(executable).map_or_else(|| error.to_string(), |why| format!("it {why}"));
                writeln!(io::stderr(), "cannot start {}: {why}", executable.display())?;
                return channel.refuse(id, &format!("cannot start action: {error}"));
            }
        };
        let Some(last) = last else { return channel.refuse(id, BAD_RESULT) };
        if last.is_cut() {
            return channel.send_cut_result(id, &last.kept, last.length);
        }
        let text = last.kept.trim_ascii();
        match RawJson::parse(text) {
            Ok(result) if matches!(result.json_type(), JsonType::Object | JsonType::Array) => {
                channel.send(FrameKind::Result, Some(id), text)
            }
            _ => {
                stdout.write_all(&last.kept)?;
                stdout.write_all(b"\n")?;
                stdout.flush()?;
                channel.refuse(id, BAD_RESULT)
            }
        }
    }
}

/// What a `Run` frame says.
struct Run {
    /// The arguments' JSON, in one line.
    arguments: Vec<u8>,
    /// Variables of the activation.
    activation: Vec<(String, String)>,
}

impl Run {
    /// The error is the text for the developer.
    fn read(payload: &[u8]) -> Result<Self, &'static str> {
        let body = RawJson::parse(payload).unwrap_or_else(|_| RawJson::empty_object());
        if body.as_str() == "null" {
            // Nothing to run with, and nothing that comes of it.
            return Err(BAD_RESULT);
        }
        let entries = body.entries().ok_or(BAD_ARGUMENT)?;
        let mut arguments = b"{}".to_vec();
        let mut activation = Map::new();
        for (key, value) in entries {
            if key == "value" {
                let text = value.get();
                if !text.starts_with(['{', '[']) {
                    return Err(BAD_ARGUMENT);
                }
                // Line ends are legal between tokens only; programs read lines.
                arguments = text.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
            } else if let Ok(text) = serde_json::from_str::<String>(value.get()) {
                activation.insert(format!("{ACTIVATION_PREFIX}{}", key.to_uppercase()), Value::String(text));
            }
        }
        Ok(Self { arguments, activation: variables(activation) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_bodies_give_one_line_and_variables() {
        let read = |payload: &[u8]| Run::read(payload).map(|run| run.arguments);
        let Run { arguments, activation } =
            Run::read(b"{\"value\":{\"a\":\r\n1.00},\"namespace\":\"guest\",\"n\":1,\"bad=\":\"x\"}")
                .unwrap();
        assert_eq!(arguments, b"{\"a\":1.00}");
        assert_eq!(activation, [("__OW_NAMESPACE".to_owned(), "guest".to_owned())]);
        assert_eq!(read(b"{}").unwrap(), b"{}");
        assert_eq!(read(b"no json").unwrap(), b"{}");
        assert_eq!(read(b" null ").unwrap_err(), BAD_RESULT);
        assert_eq!(read(b"[1]").unwrap_err(), BAD_ARGUMENT);
        assert_eq!(read(br#"{"value":"A"}"#).unwrap_err(), BAD_ARGUMENT);
        assert_eq!(read(br#"{"value":[1]}"#).unwrap(), b"[1]");
    }
}

//! The second mode: waits for the code, then becomes the executable.
//!
//! On descriptor 3, which becomes the executable's answer line, it says [`READY`] when it waits and [`STARTING`]
//! right before it changes; anything else is why it cannot, as `{"error":…}`.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::environment::variables;
use crate::program::{make_executable, not_startable};

/// First line: the process is up.
pub const READY: &str = "ready";
/// Second line: the next instruction is the executable's.
pub const STARTING: &str = "starting";

/// The one line that it reads.
#[derive(Debug, Deserialize)]
struct Start {
    path: PathBuf,
    #[serde(default)]
    env: Map<String, Value>,
}

pub(crate) fn start() -> io::Result<()> {
    // A pipe: opened anew so that it is closed on exec, while the executable keeps the descriptor itself.
    let mut answers = File::options().write(true).open("/proc/self/fd/3")?;
    writeln!(answers, "{READY}")?;
    let mut line = String::new();
    // Nothing but this line is sent before the next answer: no byte of the executable's is taken.
    io::stdin().lock().read_line(&mut line)?;
    if line.is_empty() {
        return Ok(());
    }
    let why = match serde_json::from_str::<Start>(&line) {
        Ok(start) => become_executable(start, &mut answers)?,
        Err(error) => error.to_string(),
    };
    writeln!(answers, "{}", serde_json::json!({ "error": format!("cannot start action: {why}") }))
}

/// Returns only with a reason why it is impossible.
fn become_executable(start: Start, answers: &mut File) -> io::Result<String> {
    let program = start.path.join("exec");
    if let Some(why) = make_executable(&program).err().or_else(|| not_startable(&program)) {
        return Ok(format!("{} {why}", program.display()));
    }
    writeln!(answers, "{STARTING}")?;
    let error = Command::new(&program).current_dir(&start.path).envs(variables(start.env)).exec();
    Ok(error.to_string())
}

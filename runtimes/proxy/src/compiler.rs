//! From sources to an executable, by the image's own compiler.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chasen_runtime::code::{EXEC, is_executable};
use tokio::net::unix::pipe;

use crate::children::Children;
use crate::code::Placed;
use crate::kind::Launcher;
use crate::settings::{MODULES, Settings, Variables};

/// Folder of what can be started, beside that of the sources.
const BIN: &str = "bin";
/// Most bytes of a compiler's words that are kept.
const KEEP: usize = 64 * 1024;
const CANNOT_COMPILE: &str = "cannot compile";

/// Makes `bin` out of the code's folder: what is a program already, or has no compiler, is it by another name.
/// The error is what the compiler says.
pub(crate) async fn build(
    placed: &Placed,
    main: &str,
    env: &Variables,
    settings: &Settings,
    children: &Children,
) -> Result<PathBuf, String> {
    let failed = |error: io::Error| format!("{CANNOT_COMPILE}: {error}");
    let bin = placed.folder.with_file_name(BIN);
    match &settings.compiler {
        Some(compiler) if !is_executable(&placed.folder) => {
            fs::create_dir_all(&bin).map_err(failed)?;
            let mut env = env.clone();
            env.extend(settings.modules.iter().map(|folder| (MODULES.to_owned(), folder.clone())));
            compile(compiler, main, &placed.folder, &bin, &env, children).await?;
            if settings.kind.launcher == Launcher::Action && !bin.join(EXEC).exists() {
                return Err(CANNOT_COMPILE.to_owned());
            }
        }
        _ => fs::rename(&placed.folder, &bin).map_err(failed)?,
    }
    let exec = bin.join(EXEC);
    if let Ok(found) = exec.symlink_metadata()
        && found.is_file()
    {
        fs::set_permissions(&exec, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(bin)
}

/// Runs the compiler. A word on either stream is a failure, whatever its exit status says.
async fn compile(
    compiler: &Path,
    main: &str,
    source: &Path,
    bin: &Path,
    env: &Variables,
    children: &Children,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("{CANNOT_COMPILE}: {} {error}", compiler.display());
    let (reader, writer) = io::pipe().map_err(failed)?;
    let mut command = Command::new(compiler);
    command.arg(main).arg(source).arg(bin).env_clear().envs(env);
    command.stdin(no_input().map_err(failed)?);
    command.stdout(writer.try_clone().map_err(failed)?).stderr(writer);
    let process = children.spawn(&mut command, None).map_err(failed)?;
    drop(command);
    let reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed)?;
    let guard = Guard(Some(process.clone()));
    let mut words = Vec::new();
    let status = tokio::select! {
        biased;
        // Both ends of the conversation: what it left running may hold the pipe for ever.
        () = read(&reader, &mut words) => process.exited().await,
        status = process.exited() => status,
    };
    drain(&reader, &mut words);
    drop(guard);
    if !words.is_empty() {
        return Err(String::from_utf8_lossy(&words).into_owned());
    }
    if status == 0 { Ok(()) } else { Err(CANNOT_COMPILE.to_owned()) }
}

/// Ends a compiler that nobody waits for any more, and what it left.
struct Guard(Option<crate::children::Process>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.kill();
        }
    }
}

/// A standard input that is at its end. There may be no `/dev/null`.
pub(crate) fn no_input() -> io::Result<Stdio> {
    let (reader, _) = io::pipe()?;
    Ok(reader.into())
}

async fn read(reader: &pipe::Receiver, words: &mut Vec<u8>) {
    while reader.readable().await.is_ok() {
        if !take(reader, words) {
            return;
        }
    }
}

fn drain(reader: &pipe::Receiver, words: &mut Vec<u8>) {
    // The pipe holds no more than it can when its writer has ended; others may go on for ever.
    let mut left = rustix::io::ioctl_fionread(reader).unwrap_or(0);
    let mut buffer = [0; 4096];
    while left > 0 {
        let Ok(count @ 1..) = rustix::io::read(reader, &mut buffer) else { return };
        left = left.saturating_sub(count as u64);
        keep(words, buffer.get(..count).unwrap_or_default());
    }
}

/// False at the end.
fn take(reader: &pipe::Receiver, words: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    match reader.try_read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            keep(words, buffer.get(..count).unwrap_or_default());
            true
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

fn keep(words: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEEP.saturating_sub(words.len());
    words.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
}

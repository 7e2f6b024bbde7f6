//! `chasen admin backup`, `restore` and `check`: the data folder as a whole, whether a node runs on it or not.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_embedded::backup::{self, BackupError, BackupOptions, Stage, Watch};
use serde_json::json;

use super::admin_grammar::FolderCommand;
use super::grammar::SettingsArgs;
use super::{Done, Failure, failed};
use crate::console::{self, StageBar};
use crate::data;
use crate::settings::Settings;
use crate::signals::Signals;

/// Stands for stdout or stdin where a place is named.
const STREAM: &str = "-";

/// Does it.
pub(super) fn run(command: &FolderCommand) -> Done {
    match command {
        FolderCommand::Backup { settings, to, without_keys, json } => {
            backup(settings, to, *without_keys, *json)
        }
        FolderCommand::Restore { settings, from, json } => restore(settings, from, *json),
        FolderCommand::Check { settings, json } => check(settings, *json),
    }
}

fn backup(settings: &SettingsArgs, to: &Path, without_keys: bool, as_json: bool) -> Done {
    let is_stream = to == Path::new(STREAM);
    if is_stream && (as_json || io::stdout().is_terminal()) {
        let why = "an archive for stdout goes into a file or to another program, and nothing else with it: leave --json out";
        return Err(Failure::Usage(why.to_owned()));
    }
    let (folder, place) = (folder(settings)?, to.to_owned());
    let options = BackupOptions { without_keys };
    let taken = followed("backup", move |watch| match is_stream {
        true => backup::stream(&folder, Box::new(io::stdout()), &options, watch),
        false => backup::take(&folder, &place, &options, watch),
    })?;
    let taken = match taken {
        Ok(taken) => taken,
        Err(stopped) => return Ok(stopped),
    };
    if as_json {
        return shown(&json!({
            "place": to,
            "takenAt": taken.taken_at,
            "files": taken.files,
            "bytes": taken.bytes,
            "keys": !without_keys,
            "problems": taken.problems,
        }));
    }
    for problem in &taken.problems {
        console::note(&format!("chasen: {problem}"));
    }
    let told = format!("{} holds {} files, {} bytes", to.display(), taken.files, taken.bytes);
    match is_stream {
        true => console::note(&told),
        false => console::out(&format!("{told}\n")),
    }
    console::note(match without_keys {
        true => {
            "the keys are not in it: keep node.key and parameters.key of the data folder elsewhere, nothing can be restored without them"
        }
        false => "the keys are in it: whoever can read it has every secret of the node",
    });
    Ok(ExitCode::SUCCESS)
}

fn restore(settings: &SettingsArgs, from: &Path, as_json: bool) -> Done {
    let (folder, from) = (folder(settings)?, from.to_owned());
    let is_stream = from == Path::new(STREAM);
    if is_stream && io::stdin().is_terminal() {
        return Err(Failure::Usage("an archive for stdin comes from a file or another program".to_owned()));
    }
    let place = folder.clone();
    let restored = followed("restore", move |watch| match is_stream {
        true => backup::restore_stream(io::stdin().lock(), &place, watch),
        false => backup::restore(&from, &place, watch),
    })?;
    let restored = match restored {
        Ok(restored) => restored,
        Err(stopped) => return Ok(stopped),
    };
    if as_json {
        return shown(&json!({
            "folder": folder,
            "takenAt": restored.taken_at,
            "release": restored.release,
            "files": restored.files,
            "bytes": restored.bytes,
            "keys": restored.keys,
        }));
    }
    console::out(&format!(
        "{} is restored: {} files, {} bytes\n",
        folder.display(),
        restored.files,
        restored.bytes
    ));
    if !restored.keys {
        console::note(
            "the backup was made without keys: put node.key and parameters.key into the folder before a node starts there; \
             without them keys of subjects, accepted work, dead letters and parameters cannot be read, and no node starts",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn check(settings: &SettingsArgs, as_json: bool) -> Done {
    let folder = folder(settings)?;
    let place = folder.clone();
    let findings = match followed("check", move |watch| backup::check(&place, watch))? {
        Ok(findings) => findings,
        Err(stopped) => return Ok(stopped),
    };
    let code = if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if as_json {
        let row = |finding: &backup::Finding| json!({"file": finding.file, "problem": finding.problem, "advice": finding.advice});
        shown(&json!(findings.iter().map(row).collect::<Vec<_>>()))?;
        return Ok(code);
    }
    for finding in &findings {
        console::out(&format!("{}: {}; {}\n", finding.file, finding.problem, finding.advice));
    }
    if findings.is_empty() {
        console::out(&format!("{} is sound\n", folder.display()));
    }
    Ok(code)
}

fn folder(settings: &SettingsArgs) -> Result<PathBuf, Failure> {
    let (settings, _) = Settings::read(settings.layers())?;
    Ok(settings.server.data.0.unwrap_or_else(data::default_folder))
}

/// Does the work in a thread of its own and shows how far it is. The first signal ends it, leaving nothing behind: the inner
/// error is the code to end with then. The second does not wait for that: the other end of a pipe may be silent for ever.
fn followed<T: Send + 'static>(
    name: &str,
    work: impl FnOnce(&dyn Watch) -> Result<T, BackupError> + Send + 'static,
) -> Result<Result<T, ExitCode>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let follower = Arc::new(Follower { bar: StageBar::new(name), stopped: AtomicBool::new(false) });
    let done = runtime.block_on(async {
        let mut signals = Signals::watch().map_err(failed)?;
        let follows = follower.clone();
        let mut working = tokio::task::spawn_blocking(move || work(&*follows));
        let (outcome, signal) = tokio::select! {
            outcome = &mut working => (outcome, None),
            signal = signals.next() => {
                follower.stopped.store(true, Ordering::Relaxed);
                tokio::select! {
                    outcome = &mut working => (outcome, Some(signal)),
                    signal = signals.next() => return Ok(Err(ExitCode::from(signal.exit_code()))),
                }
            }
        };
        follower.bar.end();
        match (outcome.map_err(failed)?, signal) {
            (Err(error @ BackupError::Stopped), Some(signal)) => {
                console::note(&format!("chasen: {error}"));
                Ok(Err(ExitCode::from(signal.exit_code())))
            }
            (outcome, _) => outcome.map(Ok).map_err(failed),
        }
    });
    runtime.shutdown_background();
    done
}

/// Shows stages, and says when to stop.
struct Follower {
    bar: StageBar,
    stopped: AtomicBool,
}

impl Watch for Follower {
    fn begin(&self, stage: Stage) {
        let number = Stage::ALL.iter().take_while(|one| **one != stage).count() + 1;
        self.bar.begin(number, Stage::ALL.len(), &stage.to_string());
    }

    fn at(&self, done: usize, of: usize) {
        self.bar.at((done * 100 / of.max(1)) as u64, &format!("{done} of {of} files"));
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

fn shown(value: &serde_json::Value) -> Done {
    console::out(&format!("{value:#}\n"));
    Ok(ExitCode::SUCCESS)
}

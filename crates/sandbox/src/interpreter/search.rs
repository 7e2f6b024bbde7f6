//! The search: candidates on the path, each asked what it is.

use std::collections::BTreeSet;
use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chasen_entity::manifest::Interpreter as Wanted;
use tokio::process::Command;
use tokio::time::timeout;

use super::languages::{Answer, LANGUAGES, Language};
use super::{Interpreter, NoInterpreter, fits};
use crate::programs::of_the_machine;
use crate::rootfs::{Held, recipe};

/// How long a candidate may take to say what it is; shims take their time.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Searched after the folders of the path.
const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Every cell sees these.
const SYSTEM: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];
/// What each cell has of its own instead of the host's.
const PRIVATE: [&str; 4] = ["/tmp", "/proc", "/dev", "/action"];

/// The interpreter of this machine.
pub(super) async fn on_machine(wanted: &Wanted) -> Result<Interpreter, NoInterpreter> {
    let missing = |found: String, install: String| NoInterpreter {
        command: wanted.command.clone(),
        version: wanted.version.clone(),
        found,
        install,
    };
    let language = language_of(wanted)
        .map_err(|found| missing(found, "a runtimes manifest for this version".to_owned()))?;
    let folders = machine_folders(language);
    let mut found = BTreeSet::new();
    for candidate in candidates(wanted, &folders) {
        let reason = match ask(of_the_machine(&candidate).into(), language, Path::new("/")).await {
            Ok(answer) if fits(&answer.version, wanted) => match resolve(answer) {
                Ok(interpreter) => return Ok(interpreter),
                Err(reason) => reason,
            },
            Ok(answer) => format!("{} is {}", candidate.display(), answer.version),
            Err(reason) => format!("{} {reason}", candidate.display()),
        };
        found.insert(reason);
    }
    let found = if found.is_empty() {
        "there is none on the path".to_owned()
    } else {
        found.into_iter().collect::<Vec<_>>().join(", ")
    };
    Err(missing(
        found,
        recipe::remedy(wanted).unwrap_or_else(|| language.install.replace("{}", &wanted.version)),
    ))
}

fn machine_folders(language: &Language) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = FOLDERS.map(PathBuf::from).into_iter().chain(homes(language, Path::new("/")));
    env::split_paths(&path).chain(folders).collect()
}

/// What the machine's candidates look like from outside: as long as it is the same, they would answer the same.
pub(super) fn marks(wanted: &Wanted) -> u64 {
    let mut marks = DefaultHasher::new();
    if let Ok(language) = language_of(wanted) {
        for candidate in candidates(wanted, &machine_folders(language)) {
            let file = candidate.metadata().ok();
            file.map(|file| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
                .hash(&mut marks);
            candidate.hash(&mut marks);
        }
    }
    marks.finish()
}

/// What a root holds of the wanted interpreters. Its files are `root` on the machine; `start` makes the command that
/// starts a program of it inside of it.
///
/// # Errors
/// Which one is not there or does not say what it is.
pub async fn survey(
    root: &Path,
    wanted: &[Wanted],
    start: impl Fn(&Path) -> Command,
) -> Result<Vec<Held>, String> {
    let mut held = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        held.push(inside(root, wanted, &start).await?);
    }
    Ok(held)
}

async fn inside(root: &Path, wanted: &Wanted, start: impl Fn(&Path) -> Command) -> Result<Held, String> {
    let language = language_of(wanted)?;
    let folders: Vec<PathBuf> = FOLDERS.map(PathBuf::from).into_iter().chain(homes(language, root)).collect();
    let mut found = BTreeSet::new();
    for name in names(wanted) {
        for candidate in folders.iter().map(|folder| folder.join(&name)) {
            // A link may be absolute, and then leads somewhere else from here.
            if below(root, &candidate).symlink_metadata().is_err() {
                continue;
            }
            match ask(start(&candidate), language, root).await {
                Ok(answer) if fits(&answer.version, wanted) => {
                    let Answer { program, version, .. } = answer;
                    return Ok(Held { command: wanted.command.clone(), version, program });
                }
                Ok(answer) => found.insert(format!("{} is {}", candidate.display(), answer.version)),
                Err(reason) => found.insert(format!("{} {reason}", candidate.display())),
            };
        }
    }
    let found = found.into_iter().collect::<Vec<_>>().join(", ");
    Err(format!("{} holds no {} {} ({found})", root.display(), wanted.command, wanted.version))
}

/// What a program of npm's packages says that it is.
///
/// # Errors
/// It is something else, or does not say what it is.
pub async fn examine(program: &Path, wanted: &Wanted) -> Result<String, String> {
    let answer = ask(of_the_machine(program).into(), language_of(wanted)?, Path::new("/")).await;
    let answer = answer.map_err(|reason| format!("{} {reason}", program.display()))?;
    if fits(&answer.version, wanted) {
        return Ok(answer.version);
    }
    Err(format!("{} is {}, not {} {}", program.display(), answer.version, wanted.command, wanted.version))
}

/// An absolute path of a root, as the machine names it.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn language_of(wanted: &Wanted) -> Result<&'static Language, String> {
    LANGUAGES.iter().find(|language| language.command == wanted.command).ok_or_else(|| {
        let known: Vec<&str> = LANGUAGES.iter().map(|language| language.command).collect();
        format!("this version of chasen knows {}", known.join(", "))
    })
}

/// Folders below the language's own one, as the root names them.
fn homes(language: &Language, root: &Path) -> Vec<PathBuf> {
    let Some(homes) = language.homes else { return Vec::new() };
    let listing = std::fs::read_dir(below(root, Path::new(homes))).into_iter().flatten();
    listing.flatten().map(|home| Path::new(homes).join(home.file_name()).join("bin")).collect()
}

/// Names that it may have, the most exact ones first.
fn names(wanted: &Wanted) -> Vec<String> {
    let command = &wanted.command;
    let versions = std::iter::once(&wanted.version).chain(&wanted.accepts);
    let exact = versions.flat_map(|version| [format!("{command}{version}"), format!("{command}-{version}")]);
    let major = wanted.version.split('.').next().unwrap_or_default();
    exact.chain([format!("{command}{major}"), command.clone()]).collect()
}

/// Executable files that may be it, the most exact names first; each real file once.
pub(super) fn candidates(wanted: &Wanted, folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    for name in &names(wanted) {
        for folder in folders {
            let path = folder.join(name);
            // A shim's links share one file but differ in what they pick: only what is no shim is seen twice.
            let identity = if is_script(&path) { Some(path.clone()) } else { path.canonicalize().ok() };
            if folder.is_absolute()
                && path.is_file()
                && let Some(identity) = identity
                && seen.insert(identity)
            {
                candidates.push(path);
            }
        }
    }
    candidates
}

pub(super) fn is_script(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

async fn ask(mut command: Command, language: &Language, root: &Path) -> Result<Answer, String> {
    command.args(language.question).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(ANSWER_TIME, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("does not start ({error})")),
        Err(_) => return Err("gives no answer".to_owned()),
    };
    (language.read)(&output, root)
}

pub(super) fn resolve(answer: Answer) -> Result<Interpreter, String> {
    let program = answer
        .program
        .canonicalize()
        .map_err(|error| format!("{} is not there ({error})", answer.program.display()))?;
    let mut binds: Vec<PathBuf> = Vec::new();
    let mut needs: Vec<PathBuf> = std::iter::once(program.clone()).chain(answer.needs).collect();
    needs.sort();
    for need in needs {
        let inside = |folder: &Path| need.starts_with(folder);
        if SYSTEM.iter().any(|system| inside(Path::new(system))) || binds.iter().any(|bound| inside(bound)) {
            continue;
        }
        if let Some(private) = PRIVATE.iter().find(|private| inside(Path::new(private))) {
            return Err(format!("{} lies below {private}, which cells have for themselves", need.display()));
        }
        if holds_more_than_an_interpreter(&need) {
            return Err(format!(
                "{} needs the whole folder {}, which cells must not see",
                program.display(),
                need.display()
            ));
        }
        binds.push(need);
    }
    // A folder covers what was listed before it.
    let all = binds.clone();
    binds.retain(|bind| !all.iter().any(|other| other != bind && bind.starts_with(other)));
    Ok(Interpreter { program, version: answer.version, binds, built: None })
}

/// True for the root, its direct folders, and home folders: no interpreter has those for itself.
pub(super) fn holds_more_than_an_interpreter(path: &Path) -> bool {
    let home = env::var_os("HOME").map(PathBuf::from);
    path.is_dir()
        && (path.components().count() < 3
            || path.starts_with("/etc")
            || path.parent() == Some(Path::new("/home"))
            || home.is_some_and(|home| home.starts_with(path)))
}

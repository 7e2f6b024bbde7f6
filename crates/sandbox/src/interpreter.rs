//! Finding the interpreter of a kind on this machine.
//!
//! A command on the path may be a shim in somebody's home folder that picks a version elsewhere, so candidates are
//! asked themselves what and where they are. The version must be the one that the manifest names.

mod languages;

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::manifest::Interpreter as Wanted;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::languages::{Answer, LANGUAGES, Language};

/// How long a candidate may take to say what it is; shims take their time.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long "not found" is believed: what is installed meanwhile is found without a restart.
const FORGET_MISSING: Duration = Duration::from_secs(30);
/// Searched after the folders of the path.
const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Every cell sees these.
const SYSTEM: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];

/// What each cell has of its own instead of the host's.
const PRIVATE: [&str; 4] = ["/tmp", "/proc", "/dev", "/action"];

/// An interpreter that runs a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The real program, no shim and no link.
    pub program: PathBuf,
    /// Its whole version.
    pub version: String,
    /// Files and folders outside `/usr` that it needs; a cell must see them under the same paths.
    pub binds: Vec<PathBuf>,
}

/// Why a kind cannot run here: what was looked for, what was found, how to get it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no {command} {version} was found ({found}); install it with: {install}")]
pub struct NoInterpreter {
    /// Command that was looked for.
    pub command: String,
    /// Version that it must have.
    pub version: String,
    /// What is there instead.
    pub found: String,
    /// A command that installs it.
    pub install: String,
}

/// Finds interpreters and remembers what it found.
#[derive(Debug, Default)]
pub struct Interpreters {
    known: Mutex<HashMap<(String, String), Known>>,
}

type Finding = Result<Arc<Interpreter>, NoInterpreter>;

#[derive(Debug)]
struct Known {
    finding: Finding,
    since: Instant,
}

impl Interpreters {
    /// The interpreter that the manifest wants.
    ///
    /// # Errors
    /// [`NoInterpreter`] says what to do.
    pub async fn find(&self, wanted: &Wanted) -> Result<Arc<Interpreter>, NoInterpreter> {
        let key = (wanted.command.clone(), wanted.version.clone());
        let mut known = self.known.lock().await;
        if let Some(known) = known.get(&key)
            && (known.finding.is_ok() || known.since.elapsed() < FORGET_MISSING)
        {
            return known.finding.clone();
        }
        let finding = search(wanted).await.map(Arc::new);
        known.insert(key, Known { finding: finding.clone(), since: Instant::now() });
        finding
    }
}

async fn search(wanted: &Wanted) -> Result<Interpreter, NoInterpreter> {
    let missing = |found: String, install: String| NoInterpreter {
        command: wanted.command.clone(),
        version: wanted.version.clone(),
        found,
        install,
    };
    let Some(language) = LANGUAGES.iter().find(|language| language.command == wanted.command) else {
        let known: Vec<&str> = LANGUAGES.iter().map(|language| language.command).collect();
        let found = format!("this version of chasen knows {}", known.join(", "));
        return Err(missing(found, "a runtimes manifest for this version".to_owned()));
    };
    let folders = env::var_os("PATH").unwrap_or_default();
    let homes = language.homes.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten();
    let homes = homes.flatten().map(|home| home.path().join("bin"));
    let folders: Vec<PathBuf> =
        env::split_paths(&folders).chain(FOLDERS.map(PathBuf::from)).chain(homes).collect();
    let mut found = BTreeSet::new();
    for candidate in candidates(wanted, &folders) {
        let reason = match ask(&candidate, language).await {
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
    Err(missing(found, language.install.replace("{}", &wanted.version)))
}

/// Executable files that may be it, the most exact names first; each real file once.
fn candidates(wanted: &Wanted, folders: &[PathBuf]) -> Vec<PathBuf> {
    let command = &wanted.command;
    let versions = std::iter::once(&wanted.version).chain(&wanted.accepts);
    let mut names: Vec<String> = versions
        .flat_map(|version| [format!("{command}{version}"), format!("{command}-{version}")])
        .collect();
    let major = wanted.version.split('.').next().unwrap_or_default();
    names.extend([format!("{command}{major}"), command.clone()]);
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    for name in &names {
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

fn is_script(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && &start == b"#!"
}

async fn ask(candidate: &Path, language: &Language) -> Result<Answer, String> {
    let mut command = Command::new(candidate);
    command.args(language.question).stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(ANSWER_TIME, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("does not start ({error})")),
        Err(_) => return Err("gives no answer".to_owned()),
    };
    (language.read)(&output)
}

/// True if the version is the wanted one or continues it at a dot.
fn fits(version: &str, wanted: &Wanted) -> bool {
    std::iter::once(&wanted.version).chain(&wanted.accepts).any(|prefix| {
        version.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn resolve(answer: Answer) -> Result<Interpreter, String> {
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
    Ok(Interpreter { program, version: answer.version, binds })
}

/// True for the root, its direct folders, and home folders: no interpreter has those for itself.
fn holds_more_than_an_interpreter(path: &Path) -> bool {
    let home = env::var_os("HOME").map(PathBuf::from);
    path.is_dir()
        && (path.components().count() < 3
            || path.starts_with("/etc")
            || path.parent() == Some(Path::new("/home"))
            || home.is_some_and(|home| home.starts_with(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn wanted(command: &str, version: &str, accepts: &[&str]) -> Wanted {
        Wanted {
            command: command.to_owned(),
            version: version.to_owned(),
            accepts: accepts.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn versions_match_at_dots() {
        for (version, want, fit) in [
            ("20.20.2", "20", true),
            ("20", "20", true),
            ("200.1", "20", false),
            ("3.11.7", "3.11", true),
            ("3.110.0", "3.11", false),
            ("3.1", "3.11", false),
        ] {
            assert_eq!(fits(version, &wanted("x", want, &[])), fit, "{version} for {want}");
        }
        assert!(fits("22.1.0", &wanted("node", "20", &["22"])));
    }

    #[test]
    fn candidates_are_exact_names_first_and_each_file_once() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().to_path_buf();
        for (name, text) in [("python", "#!"), ("python3", "#!"), ("python3.11", "ELF.")] {
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink("python3.11", folder.join("python-3.11")).unwrap();
        let found = candidates(&wanted("python", "3.11", &[]), &[folder.clone(), PathBuf::from("relative")]);
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["python3.11", "python3", "python"]);
    }

    #[test]
    fn home_folders_are_never_bound() {
        for path in ["/", "/usr", "/root", "/home"] {
            assert!(holds_more_than_an_interpreter(Path::new(path)) || !Path::new(path).is_dir(), "{path}");
        }
        let resolved = |need: &str| {
            let needs = vec![PathBuf::from(need)];
            resolve(Answer { program: PathBuf::from("/bin/sh"), version: "1".to_owned(), needs })
        };
        assert!(resolved("/").unwrap_err().contains("must not see"));
        assert!(resolved("/tmp").unwrap_err().contains("have for themselves"));
        assert!(resolved("/usr/lib").unwrap().binds.is_empty(), "the system is there already");
    }

    #[tokio::test]
    async fn what_is_missing_is_named_with_its_remedy() {
        let missing = Interpreters::default().find(&wanted("node", "4711", &[])).await.unwrap_err();
        assert!(missing.to_string().starts_with("no node 4711 was found ("), "{missing}");
        assert!(missing.to_string().ends_with("install it with: nvm install 4711"), "{missing}");
        let unknown = Interpreters::default().find(&wanted("cobol", "1", &[])).await.unwrap_err();
        assert!(unknown.found.contains("node, python"), "{unknown}");
    }

    #[tokio::test]
    async fn shims_are_resolved_to_the_real_program() {
        let interpreters = Interpreters::default();
        for (command, version) in [("node", "20"), ("python", "3.11")] {
            match interpreters.find(&wanted(command, version, &[])).await {
                Ok(found) => {
                    assert!(!is_script(&found.program), "{found:?}");
                    assert!(found.version.starts_with(version));
                    assert!(Arc::ptr_eq(
                        &found,
                        &interpreters.find(&wanted(command, version, &[])).await.unwrap()
                    ));
                }
                Err(missing) => println!("skipped: {missing}"),
            }
        }
    }
}

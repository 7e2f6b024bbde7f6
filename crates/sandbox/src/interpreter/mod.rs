//! Finding the interpreter of a kind: on this machine, or in a root that was built for the node.
//!
//! A command on the path may be a shim in somebody's home folder that picks a version elsewhere, so candidates are
//! asked themselves what and where they are. The version must be the one that the manifest names. What was built is
//! not asked again: it was when it was built, and its record says what it answered.

mod languages;
mod search;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::manifest::Interpreter as Wanted;
use tokio::sync::Mutex;

use crate::rootfs::BuiltRoot;

pub use search::{examine, survey};

/// How long "not found" is believed: what is installed or built meanwhile is found without a restart.
pub const FORGET_MISSING: Duration = Duration::from_secs(10);
/// How long it is believed of programs whose files are what they were: asking costs more than looking, and only a shim
/// can have another answer then.
const FORGET_ANSWERS: Duration = Duration::from_mins(5);

/// An interpreter that runs a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The real program, no shim and no link, as a cell names it.
    pub program: PathBuf,
    /// Its whole version.
    pub version: String,
    /// Files and folders outside `/usr` that it needs; a cell must see them under the same paths.
    pub binds: Vec<PathBuf>,
    /// The built root that it lives in; `None` for one of the machine.
    pub built: Option<Arc<BuiltRoot>>,
}

impl Interpreter {
    /// The files of the system that it lives in; `None` for the machine's own.
    #[must_use]
    pub fn system(&self) -> Option<&Path> {
        self.built.as_ref().and_then(|built| built.system())
    }

    /// What a cell must see besides its system: a path of the machine, and the cell's for it.
    pub fn mounts(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        let folder = self.built.as_ref().filter(|built| built.system().is_none());
        let folder = folder.map(|built| (built.files.clone(), built.folder_inside()));
        self.binds.iter().map(|path| (path.clone(), path.clone())).chain(folder)
    }

    /// The program as the machine itself can start it; `None` where it needs a file system of its own around it.
    #[must_use]
    pub fn on_host(&self) -> Option<PathBuf> {
        match &self.built {
            None => Some(self.program.clone()),
            Some(built) => built.on_host(&self.program),
        }
    }
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
    /// Folder of the built roots; `None` where programs run without a root of their own.
    built: Option<PathBuf>,
    known: Mutex<HashMap<(String, String), Known>>,
}

type Finding = Result<Arc<Interpreter>, NoInterpreter>;

#[derive(Debug)]
struct Known {
    finding: Finding,
    since: Instant,
    /// What the machine alone had to say, and when.
    machine: Option<(NoInterpreter, Instant)>,
    /// What the files of the machine's programs looked like then.
    marks: u64,
}

impl Known {
    fn holds(&self) -> bool {
        match &self.finding {
            Ok(found) => found.built.as_ref().is_none_or(|built| built.is_there()),
            Err(_) => self.since.elapsed() < FORGET_MISSING,
        }
    }

    /// What the machine lacks, if that need not be asked again.
    fn lacks(&self, marks: u64) -> Option<(NoInterpreter, Instant)> {
        let (missing, asked) = self.machine.as_ref()?;
        let same = self.marks == marks && asked.elapsed() < FORGET_ANSWERS;
        same.then(|| (missing.clone(), *asked))
    }
}

impl Interpreters {
    /// Those of the machine, and of the roots built below this folder.
    #[must_use]
    pub fn new(built: Option<PathBuf>) -> Self {
        Self { built, known: Mutex::default() }
    }

    /// The interpreter that the manifest wants.
    ///
    /// # Errors
    /// [`NoInterpreter`] says what to do.
    pub async fn find(&self, wanted: &Wanted) -> Result<Arc<Interpreter>, NoInterpreter> {
        let key = (wanted.command.clone(), wanted.version.clone());
        let mut known = self.known.lock().await;
        if let Some(known) = known.get(&key)
            && known.holds()
        {
            return known.finding.clone();
        }
        let marks = search::marks(wanted);
        let machine = match known.get(&key).and_then(|known| known.lacks(marks)) {
            Some(lacks) => Err(lacks),
            None => search::on_machine(wanted).await.map_err(|missing| (missing, Instant::now())),
        };
        let (finding, machine) = match machine {
            Ok(found) => (Ok(found), None),
            Err((missing, asked)) => {
                (self.in_built(wanted).ok_or_else(|| missing.clone()), Some((missing, asked)))
            }
        };
        let finding = finding.map(Arc::new);
        known.insert(key, Known { finding: finding.clone(), since: Instant::now(), machine, marks });
        finding
    }

    /// The first in the order of what the manifest wants, then of the roots' names.
    fn in_built(&self, wanted: &Wanted) -> Option<Interpreter> {
        let roots = BuiltRoot::all(self.built.as_ref()?);
        prefixes(wanted).find_map(|version| {
            roots.iter().find_map(|root| {
                let mut held = root.record.interpreters.iter();
                let held =
                    held.find(|held| held.command == wanted.command && is_version(&held.version, version))?;
                Some(Interpreter {
                    program: root.inside(held),
                    version: held.version.clone(),
                    binds: Vec::new(),
                    built: Some(root.clone()),
                })
            })
        })
    }
}

/// The versions that serve, the wanted one first.
fn prefixes(wanted: &Wanted) -> impl Iterator<Item = &str> {
    std::iter::once(&wanted.version).chain(&wanted.accepts).map(String::as_str)
}

/// True if the version is this one or continues it at a dot.
fn is_version(version: &str, prefix: &str) -> bool {
    version.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// True if the version serves.
pub(crate) fn fits(version: &str, wanted: &Wanted) -> bool {
    prefixes(wanted).any(|prefix| is_version(version, prefix))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::languages::Answer;
    use super::search::{candidates, holds_more_than_an_interpreter, is_script, resolve};
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
    async fn what_the_machine_lacks_is_found_in_built_roots_and_forgotten_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let interpreters = Interpreters::new(Some(folder.path().to_owned()));
        let old = wanted("ruby", "0.7", &["0.8"]);
        for (name, version, layout) in [("one", "0.8.2", "system"), ("two", "0.7.1", "folder")] {
            std::fs::create_dir_all(folder.path().join(name).join("files")).unwrap();
            let held = format!(r#"{{"command":"ruby","version":"{version}","program":"usr/ruby"}}"#);
            let record = format!(r#"{{"layout":"{layout}","interpreters":[{held}],"bytes":1,"built":1}}"#);
            std::fs::write(folder.path().join(name).join("rootfs.json"), record).unwrap();
        }
        let files = folder.path().canonicalize().unwrap().join("two/files");
        let found = interpreters.find(&old).await.unwrap();
        assert_eq!(
            (found.version.as_str(), found.system()),
            ("0.7.1", None),
            "the wanted one before near ones"
        );
        assert_eq!(found.program, Path::new("/opt/built/two/usr/ruby"));
        assert_eq!(found.on_host(), Some(files.join("usr/ruby")));
        assert_eq!(found.mounts().collect::<Vec<_>>(), [(files, PathBuf::from("/opt/built/two"))]);
        std::fs::remove_dir_all(folder.path().join("two")).unwrap();
        let found = interpreters.find(&old).await.unwrap();
        assert_eq!((found.version.as_str(), found.on_host()), ("0.8.2", None));
        assert!(found.system().unwrap().ends_with("one/files") && found.mounts().next().is_none());
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

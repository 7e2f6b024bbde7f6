//! The manifest that an operator put in force, kept in the data folder for the node's next start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use chasen_entity::Manifest;
use chasen_entity::manifest::RuntimeKind;
use chasen_spi::{RuntimesKeeper, StoreError};

use super::{LAUNCHERS, ModuleSet, RuntimesError, completed, manifest};

/// Its file in the data folder.
const FILE: &str = "runtimes.json";
/// Folder in the data folder with the programs that the manifest names.
const PROGRAMS: &str = "runtimes";

/// Where the node's kinds come from: what was kept, else the settings.
#[derive(Debug, Clone)]
pub struct KeptRuntimes {
    file: PathBuf,
    /// Folder of the programs that the manifest names: those that the platform carries, and the operator's own.
    programs: PathBuf,
    /// Of the settings; the built-in one without.
    given: Option<PathBuf>,
}

impl KeptRuntimes {
    /// Those of a data folder, with what the settings say for want of them.
    #[must_use]
    pub fn new(folder: &Path, given: Option<PathBuf>) -> Self {
        Self { file: folder.join(FILE), programs: folder.join(PROGRAMS), given }
    }

    /// True for a program that the platform carries or that the operator has put into a folder beside.
    fn has_program(&self, name: &str) -> bool {
        let path = Path::new(name);
        let is_below = path.components().count() > 1
            && path.components().all(|component| matches!(component, Component::Normal(_)));
        LAUNCHERS.iter().any(|(carried, _)| *carried == name)
            || is_below && self.programs.join(path).is_file()
    }

    /// What a node starts with.
    pub fn start(&self) -> Result<Manifest, RuntimesError> {
        if !self.file.exists() {
            return manifest(self.given.as_deref());
        }
        tracing::info!(file = %self.file.display(), "the kinds are those that an operator put in force");
        manifest(Some(&self.file))
    }

    fn write(&self, manifest: &Manifest) -> io::Result<()> {
        let text = serde_json::to_string_pretty(manifest)?;
        let beside = self.file.with_extension(format!("{}.new", std::process::id()));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &self.file)?;
        sync_folder(&self.file)
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.and_then(|()| sync_folder(&self.file)),
        }
    }

    fn unavailable(&self, error: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("{}: {error}", self.file.display()))
    }
}

#[async_trait]
impl RuntimesKeeper for KeptRuntimes {
    fn complete(&self, manifest: Manifest) -> Manifest {
        completed(manifest)
    }

    fn check(&self, kind: &RuntimeKind) -> Result<(), String> {
        let Some(launch) = &kind.launch else { return Ok(()) };
        let name = &kind.kind;
        let programs = [
            // One that is built lies among the modules, which are looked at below.
            ("launcher", launch.launcher.as_ref().filter(|_| launch.built().is_none())),
            ("forkServer", launch.fork_server.as_ref()),
            ("compiler.program", launch.compiler.as_ref().map(|compiler| &compiler.program)),
        ];
        for (field, program) in programs {
            let Some(program) = program else { continue };
            if !self.has_program(program) {
                let known = LAUNCHERS.iter().map(|(carried, _)| *carried).collect::<Vec<_>>().join(", ");
                let own = self.programs.display();
                return Err(format!(
                    "kind '{name}': chasen.{field} '{program}' is none of {known}, and no file in a folder of {own}"
                ));
            }
        }
        match &launch.modules {
            Some(modules) if ModuleSet::named(modules).is_none() => {
                Err(format!("kind '{name}': there are no chasen.modules '{modules}'"))
            }
            _ => Ok(()),
        }
    }

    async fn keep(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let (kept, manifest) = (self.clone(), manifest.clone());
        let written = tokio::task::spawn_blocking(move || kept.write(&manifest)).await;
        written.map_err(|error| self.unavailable(error))?.map_err(|error| self.unavailable(error))
    }

    async fn forget(&self) -> Result<Manifest, StoreError> {
        // Read first: whoever cannot start with it must not lose what runs.
        let initial = manifest(self.given.as_deref()).map_err(|error| self.unavailable(error))?;
        let kept = self.clone();
        let removed = tokio::task::spawn_blocking(move || kept.remove()).await;
        removed.map_err(|error| self.unavailable(error))?.map_err(|error| self.unavailable(error))?;
        Ok(initial)
    }
}

/// Brings a name in a folder to the disk.
fn sync_folder(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_goes_before_the_settings_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptRuntimes::new(folder.path(), None);
        let built_in = kept.start().unwrap();
        let mut other = built_in.clone();
        other.runtimes.remove("python");
        kept.keep(&other).await.unwrap();
        assert_eq!(kept.start().unwrap(), other);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &folder.path().join(FILE).metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(kept.forget().await.unwrap(), built_in);
        assert_eq!(kept.start().unwrap(), built_in);
        kept.forget().await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left beside");
    }

    #[tokio::test]
    async fn a_kept_manifest_that_cannot_be_read_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = KeptRuntimes::new(folder.path(), None).start().unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
        let given = Some(folder.path().join("nowhere.json"));
        let kept = KeptRuntimes::new(folder.path(), given);
        assert!(kept.forget().await.is_err());
        assert!(folder.path().join(FILE).exists(), "nothing is forgotten for nothing");
    }

    #[test]
    fn operators_bring_launchers_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptRuntimes::new(folder.path(), None);
        let own = folder.path().join(PROGRAMS).join("gaps");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("launcher.py"), "").unwrap();
        fs::write(folder.path().join(PROGRAMS).join("alone.py"), "").unwrap();
        let absolute = own.join("launcher.py").display().to_string();
        for (name, is_there) in [
            ("gaps/launcher.py", true),
            ("gaps/other.py", false),
            ("gaps", false),
            ("alone.py", false),
            ("gaps/../gaps/launcher.py", false),
            (absolute.as_str(), false),
        ] {
            assert_eq!(kept.has_program(name), is_there, "{name}");
        }
    }

    #[test]
    fn launchers_and_modules_must_be_there() {
        let kept = KeptRuntimes::new(Path::new("/nowhere"), None);
        let built_in = kept.start().unwrap();
        let python = built_in.resolve("python:3.11").unwrap();
        for kind in built_in.kinds() {
            assert_eq!(kept.check(kind), Ok(()), "{}", kind.kind);
        }
        let text = serde_json::to_string(python).unwrap();
        for (from, to, part) in [
            (
                "python/launcher.py",
                "../../bin/sh",
                "chasen.launcher '../../bin/sh' is none of nodejs/launcher.js, ",
            ),
            ("\"modules\":\"", "\"modules\":\"x", "there are no chasen.modules 'x"),
        ] {
            let changed: RuntimeKind = serde_json::from_str(&text.replace(from, to)).unwrap();
            let error = kept.check(&changed).unwrap_err();
            assert!(error.starts_with("kind '") && error.contains(part), "{error}");
        }
    }
}

//! The runtimes folder: launchers and the manifest of kinds, carried in the binary and laid out at start.

mod kept;
mod modules;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chasen_entity::Manifest;
use chasen_entity::manifest::ManifestError;

pub use kept::KeptRuntimes;
pub use modules::{ModuleSet, Modules, Tool, Wanted};

/// The manifest of kinds.
const MANIFEST: &str = include_str!("../../../../runtimes/runtimes.json");

/// Launchers and what they need beside them, by their path in the folder.
const LAUNCHERS: &[(&str, &str)] = &[
    ("nodejs/launcher.js", include_str!("../../../../runtimes/nodejs/launcher.js")),
    ("nodejs/compile", include_str!("../../../../runtimes/nodejs/compile")),
    ("nodejs/concurrency.js", include_str!("../../../../runtimes/nodejs/concurrency.js")),
    ("nodejs/install.js", include_str!("../../../../runtimes/nodejs/install.js")),
    ("nodejs/syntax.js", include_str!("../../../../runtimes/nodejs/syntax.js")),
    ("nodejs/typescript.js", include_str!("../../../../runtimes/nodejs/typescript.js")),
    ("python/compile", include_str!("../../../../runtimes/python/compile")),
    ("python/install.py", include_str!("../../../../runtimes/python/install.py")),
    ("python/launcher.py", include_str!("../../../../runtimes/python/launcher.py")),
    ("python/fork_server.py", include_str!("../../../../runtimes/python/fork_server.py")),
    ("python/overlap.py", include_str!("../../../../runtimes/python/overlap.py")),
    ("php/launcher.php", include_str!("../../../../runtimes/php/launcher.php")),
    ("ruby/launcher.rb", include_str!("../../../../runtimes/ruby/launcher.rb")),
    ("deno/launcher.ts", include_str!("../../../../runtimes/deno/launcher.ts")),
    ("swift/compile", include_str!("../../../../runtimes/swift/compile")),
    ("swift/launcher.swift", include_str!("../../../../runtimes/swift/launcher.swift")),
    ("go/compile", include_str!("../../../../runtimes/go/compile")),
    ("go/launcher.go", include_str!("../../../../runtimes/go/launcher.go")),
    ("rust/compile", include_str!("../../../../runtimes/rust/compile")),
    ("rust/launcher.rs", include_str!("../../../../runtimes/rust/launcher.rs")),
    ("rust/Cargo.toml", include_str!("../../../../runtimes/rust/Cargo.toml")),
    ("rust/actions.toml", include_str!("../../../../runtimes/rust/actions.toml")),
];

/// Why there are no runtimes.
#[derive(Debug, thiserror::Error)]
pub enum RuntimesError {
    /// A file cannot be read or written.
    #[error("cannot {step} {path}: {source}")]
    File {
        /// `read` or `write`.
        step: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest makes no sense.
    #[error("{origin}: {source}")]
    Manifest {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        source: ManifestError,
    },
}

/// The manifest: the built-in one, or the one of this file.
pub fn manifest(path: Option<&Path>) -> Result<Manifest, RuntimesError> {
    let (origin, text) = match path {
        None => ("the built-in runtimes manifest".to_owned(), MANIFEST.to_owned()),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| RuntimesError::File {
                step: "read",
                path: path.to_owned(),
                source,
            })?;
            (path.display().to_string(), text)
        }
    };
    let read = Manifest::parse(&text).map_err(|source| RuntimesError::Manifest { origin, source })?;
    Ok(if path.is_some() { completed(read) } else { read })
}

/// Manifests of OpenWhisk say nothing of sandboxes: their kinds run as the built-in ones of the same name.
fn completed(manifest: Manifest) -> Manifest {
    match Manifest::parse(MANIFEST) {
        Ok(built_in) => manifest.completed(&built_in),
        // It is what the binary carries, and tests read it.
        Err(_) => manifest,
    }
}

/// Lays the launchers out below `folder`. Files that are as they should be are left alone.
pub fn lay_out(folder: &Path) -> Result<(), RuntimesError> {
    for (name, text) in LAUNCHERS {
        let path = folder.join(name);
        if std::fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        write_whole(&path, text).map_err(|source| RuntimesError::File {
            step: "write",
            path: path.clone(),
            source,
        })?;
    }
    Ok(())
}

/// Writes beside and renames, so that nobody sees half a file.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, text)?;
    if text.starts_with("#!") {
        std::fs::set_permissions(&beside, Permissions::from_mode(0o755))?;
    }
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_manifest_names_launchers_that_are_carried() {
        let manifest = manifest(None).unwrap();
        for launch in manifest.kinds().filter_map(|kind| kind.launch.as_ref()) {
            let is_carried = |program: &String| LAUNCHERS.iter().any(|(name, _)| name == program);
            let carried = launch.launcher.iter().all(is_carried);
            assert!(carried || launch.built().is_some(), "{:?}", launch.launcher);
            let compiler = launch.compiler.as_ref().map(|compiler| &compiler.program);
            assert!(compiler.into_iter().all(is_carried), "{compiler:?}");
            if let Some(modules) = &launch.modules {
                assert!(ModuleSet::named(modules).is_some(), "{modules}");
            }
        }
    }

    #[test]
    fn names_that_were_offered_once_lead_to_kinds_of_today() {
        let manifest = manifest(None).unwrap();
        let led = [
            ("nodejs:18", "nodejs:6 nodejs:8 nodejs:10 nodejs:12 nodejs:14 nodejs:16"),
            ("nodejs:20", "nodejs typescript:3.7"),
            ("python:3.10", "python:2 python:3.9"),
            ("python:3.11", "python python:3"),
            ("java:8", "java"),
            ("php:8.1", "php php:7.1 php:7.3 php:7.4 php:8.0"),
            ("ruby:2.5", "ruby ruby:2.6"),
            ("go:1.20", "go go:1.11 go:1.15 go:1.17 go:1.22 go:1.23 go:1.24"),
            ("rust:1.34", "rust"),
            ("swift:5.3", "swift swift:4.2 swift:5.1 swift:5.4"),
            ("deno:2", "deno deno:1.3.0"),
            ("dotnet:3.1", "dotnet dotnet:2.2"),
        ];
        for (kind, names) in led {
            for name in names.split(' ') {
                assert_eq!(manifest.resolve(name).map(|found| found.kind.as_str()), Some(kind), "{name}");
            }
        }
    }

    #[test]
    fn laying_out_repairs_what_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        lay_out(folder.path()).unwrap();
        let (name, text) = LAUNCHERS.iter().find(|(name, _)| *name == "python/launcher.py").unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, "broken").unwrap();
        lay_out(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *text);
        let files = std::fs::read_dir(folder.path().join("python")).unwrap().count();
        let carried = LAUNCHERS.iter().filter(|(name, _)| name.starts_with("python/")).count();
        assert_eq!(files, carried, "nothing is left beside");
    }

    #[test]
    fn manifests_of_the_operator_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runtimes.json");
        assert!(manifest(Some(&path)).unwrap_err().to_string().contains("cannot read"));
        std::fs::write(&path, "{\"runtimes\":1}").unwrap();
        assert!(
            manifest(Some(&path)).unwrap_err().to_string().contains("runtimes.json: the runtimes manifest")
        );
    }
}

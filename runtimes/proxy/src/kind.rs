//! What the proxy stands in front of: a launcher of the manifest, one from the command line, or the action itself.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chasen_entity::Manifest;
use chasen_entity::manifest::Launch;
use chasen_runtime::personality::Personality;

/// The kinds and how each is launched; the same file that the platform's own sandboxes go by.
const MANIFEST: &str = include_str!("../../runtimes.json");
/// The launchers that the manifest names, each before what it needs beside it.
const LAUNCHERS: [(&str, &str); 11] = [
    ("deno/launcher.ts", include_str!("../../deno/launcher.ts")),
    ("nodejs/launcher.js", include_str!("../../nodejs/launcher.js")),
    ("nodejs/concurrency.js", include_str!("../../nodejs/concurrency.js")),
    ("nodejs/install.js", include_str!("../../nodejs/install.js")),
    ("nodejs/syntax.js", include_str!("../../nodejs/syntax.js")),
    ("nodejs/typescript.js", include_str!("../../nodejs/typescript.js")),
    ("php/launcher.php", include_str!("../../php/launcher.php")),
    ("python/launcher.py", include_str!("../../python/launcher.py")),
    ("python/install.py", include_str!("../../python/install.py")),
    ("python/overlap.py", include_str!("../../python/overlap.py")),
    ("ruby/launcher.rb", include_str!("../../ruby/launcher.rb")),
];
/// Where interpreters are looked for besides the folders of `PATH`.
const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// The way of running in which the action's executable speaks for itself.
const ACTION_LOOP: &str = "actionloop";
/// Families whose executables are started anew for every run.
const NATIVE: [&str; 2] = ["blackbox", "native"];

/// What is behind the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) family: String,
    pub(crate) personality: Personality,
    pub(crate) launcher: Launcher,
}

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Launcher {
    /// The action's own executable, at initialisation; it speaks lines.
    Action,
    /// This program, at once; it speaks frames on descriptor 3.
    Frames(Vec<OsString>),
    /// The native launcher, at once; it speaks frames on its standard input.
    Native,
}

impl Kind {
    /// The kind of this name, with `command` as its launcher unless that is empty. The error says what to do.
    pub(crate) fn find(name: &str, command: Vec<OsString>) -> Result<Self, String> {
        let mut family = family_of(name);
        let launcher = if !command.is_empty() {
            Launcher::Frames(command)
        } else if family == ACTION_LOOP {
            Launcher::Action
        } else if NATIVE.contains(&family.as_str()) {
            Launcher::Native
        } else {
            // An alias may lead to another family.
            let (kind, launcher) = of_manifest(name)?;
            family = family_of(&kind);
            launcher
        };
        Ok(Self { personality: Personality::of_kind(&family), family, launcher })
    }
}

fn family_of(kind: &str) -> String {
    kind.split(':').next().unwrap_or_default().to_owned()
}

/// The kind of the manifest that this name or alias leads to, the family's default for want of one, and what launches it.
fn of_manifest(name: &str) -> Result<(String, Launcher), String> {
    let manifest = Manifest::parse(MANIFEST).map_err(|error| error.to_string())?;
    let default = format!("{name}:default");
    let found = manifest.resolve(name).or_else(|| manifest.resolve(&default));
    let found = found.and_then(|kind| Some((kind.kind.clone(), kind.launch.clone()?)));
    let name = if name.contains(':') { name } else { default.as_str() };
    let (kind, launch) = found.ok_or_else(|| {
        let known: Vec<&str> = manifest.kinds().map(|kind| kind.kind.as_str()).collect();
        format!(
            "no launcher for '{name}' is built in; there is {}, {ACTION_LOOP} and {}. Give the launcher's command after --",
            known.join(", "),
            NATIVE.join(", ")
        )
    })?;
    let Some(launcher) = &launch.launcher else { return Ok((kind, Launcher::Action)) };
    if !LAUNCHERS.iter().any(|(path, _)| path == launcher) {
        return Err(format!("the launcher of '{name}' is not built in: give its command after --"));
    }
    let interpreter = find_interpreter(&launch)?;
    let file = write_out(launcher).map_err(|error| {
        format!(
            "the launcher cannot be written to {} ({error}): mount a writable folder there, or set TMPDIR",
            env::temp_dir().display()
        )
    })?;
    let mut command = vec![interpreter.into_os_string()];
    command.extend(launch.args.iter().map(OsString::from));
    command.push(file.into_os_string());
    Ok((kind, Launcher::Frames(command)))
}

/// The image says which version it has by having it: the first of the names that is there is taken.
fn find_interpreter(launch: &Launch) -> Result<PathBuf, String> {
    let wanted = &launch.interpreter;
    let major = wanted.version.split('.').next().unwrap_or_default();
    let versions = [wanted.version.as_str()].into_iter().chain(wanted.accepts.iter().map(String::as_str));
    let names: Vec<String> =
        versions.chain([major, ""]).map(|version| format!("{}{version}", wanted.command)).collect();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).chain(FOLDERS.map(PathBuf::from)).collect();
    let mut candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_absolute() && is_program(path)).ok_or_else(|| {
        format!(
            "the image has no {}: install {} {} on its PATH",
            names.join(" or "),
            wanted.command,
            wanted.version
        )
    })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Where this process's launcher is written.
fn folder() -> PathBuf {
    env::temp_dir().join(format!("chasen-launcher-{}", std::process::id()))
}

/// Removes what was written out.
pub(crate) fn clean_up() {
    // What was never there, or is gone, or cannot be removed, goes with the container.
    let _ = std::fs::remove_dir_all(folder());
}

/// Writes a launcher and what lies beside it into a new folder of its own, which nobody else can have prepared.
fn write_out(launcher: &str) -> io::Result<PathBuf> {
    // What a process of the same number left, in a container that was started again.
    clean_up();
    let folder = folder();
    std::fs::create_dir(&folder)?;
    let launcher = Path::new(launcher);
    for (path, text) in LAUNCHERS.map(|(path, text)| (Path::new(path), text)) {
        if path.parent() == launcher.parent() {
            let file = folder.join(path.file_name().unwrap_or_default());
            std::fs::File::create_new(file)?.write_all(text.as_bytes())?;
        }
    }
    Ok(folder.join(launcher.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_running_is_found_by_its_name() {
        for (name, personality, launcher) in [
            ("actionloop", Personality::ActionLoop, Launcher::Action),
            ("blackbox", Personality::Skeleton, Launcher::Native),
            ("native", Personality::Skeleton, Launcher::Native),
        ] {
            let kind = Kind::find(name, Vec::new()).unwrap();
            assert_eq!((kind.personality, kind.launcher), (personality, launcher), "{name}");
        }
        let own = Kind::find("java:17", vec!["java".into(), "Launcher".into()]).unwrap();
        assert_eq!(own.personality, Personality::Java);
        assert_eq!(own.launcher, Launcher::Frames(vec!["java".into(), "Launcher".into()]));
    }

    #[test]
    fn aliases_have_the_personality_of_their_kind() {
        match Kind::find("typescript:3.7", Vec::new()) {
            Ok(kind) => assert_eq!((kind.family.as_str(), kind.personality), ("nodejs", Personality::Node)),
            Err(why) => println!("skipped: {why}"),
        }
        clean_up();
    }

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let error = Kind::find("cobol", Vec::new()).unwrap_err();
        assert!(error.contains("no launcher for 'cobol:default'") && error.contains("nodejs:20"), "{error}");
    }

    #[test]
    fn launchers_of_the_manifest_are_built_in() {
        let manifest = Manifest::parse(MANIFEST).unwrap();
        for launcher in manifest.kinds().filter_map(|kind| kind.launch.as_ref()?.launcher.as_deref()) {
            // Those that are built on the spot lie elsewhere.
            let carried = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(launcher).is_file();
            assert_eq!(LAUNCHERS.iter().any(|(path, _)| *path == launcher), carried, "{launcher}");
        }
    }
}

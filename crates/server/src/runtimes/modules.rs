//! Preinstalled modules: packages that the functions of a kind find without bringing them.
//!
//! They are installed once per machine from pinned lists, in the background, into a cache that all data folders
//! share; a folder named by the list's digest appears there whole or not at all. Where installing fails, the
//! kind runs without them and the log says which command to run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use chasen_sandbox::programs::of_the_machine;
use chasen_spi::BoxFuture;
use chasen_telemetry::task;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Bound on one installation.
const INSTALL_TIME: Duration = Duration::from_mins(5);
/// How long a failed installation is not tried again, by any node of the machine.
const RETRY_AFTER: Duration = Duration::from_mins(10);
/// How long a new container waits for a set that is being installed; then its function does without it.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where it cannot do without: nearly as long as its caller waits, who is told why in the end.
const LONG_PATIENCE: Duration = Duration::from_secs(50);
/// How often a node looks whether another has finished installing.
const LOCK_POLL: Duration = Duration::from_millis(100);
/// What the name of a folder in which an installer is at work ends with, before a number.
const ATTEMPT: &str = "new-";
/// Most of an installer's complaint that is kept, in bytes.
const COMPLAINT: usize = 2000;

/// The pinned packages of some kinds.
#[derive(Debug)]
pub struct ModuleSet {
    /// As the manifest names it.
    name: &'static str,
    /// Files that pin the packages.
    lists: &'static [(&'static str, &'static str)],
    installer: Installer,
}

#[derive(Debug, Clone, Copy)]
enum Installer {
    Npm,
    Pip,
    /// `build.sh` among the lists, which makes the launcher of the kinds.
    Build,
    /// The same, which compiles what all functions of the kinds share.
    Compile,
}

/// What the launcher of the java kinds is built from; each kind has its own, made by its own JDK.
const JAVA: &[(&str, &str)] = &[
    ("build.sh", include_str!("../../../../runtimes/java/build.sh")),
    ("Action.java", include_str!("../../../../runtimes/java/Action.java")),
    ("ActionLoader.java", include_str!("../../../../runtimes/java/ActionLoader.java")),
    ("Channel.java", include_str!("../../../../runtimes/java/Channel.java")),
    ("Environment.java", include_str!("../../../../runtimes/java/Environment.java")),
    ("Exit.java", include_str!("../../../../runtimes/java/Exit.java")),
    ("Json.java", include_str!("../../../../runtimes/java/Json.java")),
    ("Launcher.java", include_str!("../../../../runtimes/java/Launcher.java")),
    ("Overlap.java", include_str!("../../../../runtimes/java/Overlap.java")),
    ("Sources.java", include_str!("../../../../runtimes/java/Sources.java")),
    ("Trace.java", include_str!("../../../../runtimes/java/Trace.java")),
];

/// What the launcher of the dotnet kinds is built from, as that of the java kinds.
const DOTNET: &[(&str, &str)] = &[
    ("build.sh", include_str!("../../../../runtimes/dotnet/build.sh")),
    ("csc", include_str!("../../../../runtimes/dotnet/csc")),
    ("sdk.sh", include_str!("../../../../runtimes/dotnet/sdk.sh")),
    ("openssl.c", include_str!("../../../../runtimes/dotnet/openssl.c")),
    ("Assemblies.cs", include_str!("../../../../runtimes/dotnet/Assemblies.cs")),
    ("Channel.cs", include_str!("../../../../runtimes/dotnet/Channel.cs")),
    ("Function.cs", include_str!("../../../../runtimes/dotnet/Function.cs")),
    ("Launcher.cs", include_str!("../../../../runtimes/dotnet/Launcher.cs")),
    ("Overlap.cs", include_str!("../../../../runtimes/dotnet/Overlap.cs")),
    ("Text.cs", include_str!("../../../../runtimes/dotnet/Text.cs")),
    ("Trace.cs", include_str!("../../../../runtimes/dotnet/Trace.cs")),
    ("Variables.cs", include_str!("../../../../runtimes/dotnet/Variables.cs")),
];

/// What functions in Python find; a set for each version, as packages may be compiled for one.
const PYTHON: &[(&str, &str)] =
    &[("requirements.txt", include_str!("../../../../runtimes/python/requirements.txt"))];

static SETS: &[ModuleSet] = &[
    ModuleSet {
        name: "nodejs-20",
        lists: &[
            ("package.json", include_str!("../../../../runtimes/nodejs/package.json")),
            ("package-lock.json", include_str!("../../../../runtimes/nodejs/package-lock.json")),
        ],
        installer: Installer::Npm,
    },
    ModuleSet { name: "python-3.11", lists: PYTHON, installer: Installer::Pip },
    ModuleSet { name: "python-3.12", lists: PYTHON, installer: Installer::Pip },
    ModuleSet { name: "python-3.13", lists: PYTHON, installer: Installer::Pip },
    ModuleSet { name: "java-8", lists: JAVA, installer: Installer::Build },
    ModuleSet { name: "java-17", lists: JAVA, installer: Installer::Build },
    ModuleSet { name: "java-21", lists: JAVA, installer: Installer::Build },
    ModuleSet { name: "dotnet-3.1", lists: DOTNET, installer: Installer::Build },
    ModuleSet { name: "dotnet-6.0", lists: DOTNET, installer: Installer::Build },
    ModuleSet {
        name: "go-1.20",
        lists: &[
            ("build.sh", include_str!("../../../../runtimes/go/build.sh")),
            ("warm.go", include_str!("../../../../runtimes/go/warm.go")),
        ],
        installer: Installer::Compile,
    },
    ModuleSet {
        name: "rust-1.34",
        lists: &[
            ("build.sh", include_str!("../../../../runtimes/rust/build.sh")),
            ("Cargo.toml", include_str!("../../../../runtimes/rust/Cargo.toml")),
            ("Cargo.lock", include_str!("../../../../runtimes/rust/Cargo.lock")),
            ("actions.toml", include_str!("../../../../runtimes/rust/actions.toml")),
            ("launcher.rs", include_str!("../../../../runtimes/rust/launcher.rs")),
        ],
        installer: Installer::Compile,
    },
];

impl ModuleSet {
    /// The set that the manifest means by this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// Whether functions can do without: find less, and nothing worse.
    fn is_dispensable(&self) -> bool {
        matches!(self.installer, Installer::Npm | Installer::Pip)
    }

    /// How long a new container waits for the set.
    fn patience(&self) -> Duration {
        if self.is_dispensable() { PATIENCE } else { LONG_PATIENCE }
    }

    /// Folder name that says exactly what is in it.
    fn folder_name(&self) -> String {
        let mut digest = Sha256::new();
        for (name, text) in self.lists {
            digest.update(name);
            digest.update([0]);
            digest.update(text);
            digest.update([0]);
        }
        let digest = digest.finalize();
        let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{short}", self.name, std::env::consts::ARCH)
    }

    /// The installer's command line, to be run in a folder that holds the lists.
    fn command(&self, Tool { program: interpreter, system }: &Tool) -> Vec<String> {
        let line = match self.installer {
            Installer::Npm => {
                "npm ci --omit=dev --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=20000"
                    .to_owned()
            }
            Installer::Pip => format!(
                "{} -m pip install --require-hashes --no-deps --only-binary :all: --disable-pip-version-check \
                 --no-input --retries 1 --timeout 20 --target site-packages -r requirements.txt",
                interpreter.display()
            ),
            Installer::Build | Installer::Compile => format!("sh build.sh {}", interpreter.display()),
        };
        let line = line.split(' ').filter(|part| !part.is_empty()).map(str::to_owned);
        match system {
            Some(system) if !matches!(self.installer, Installer::Npm) => {
                let enter = ENTER.map(str::to_owned).into_iter();
                enter.chain([system.display().to_string()]).chain(line).collect()
            }
            _ => line.collect(),
        }
    }
}

/// An interpreter that packages are for.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The program, as its system names it.
    pub program: PathBuf,
    /// The files of its system, if that is not the machine's own.
    pub system: Option<PathBuf>,
}

/// Starts what follows in another system, with the present folder, and with processes and mounts of its own for as long
/// as it takes. The network is reached as the machine reaches it: with its names, its certificates, its environment.
const ENTER: [&str; 8] = [
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    "mount --bind . \"$0/mnt\" && mount -t proc proc \"$0/proc\" || exit 1; \
     for own in /etc/resolv.conf /etc/ssl/certs; do [ -e $own ] && mount --bind $own \"$0$own\"; done; \
     exec chroot \"$0\" /usr/bin/env -C /mnt PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 \"$@\"",
];

/// How far a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Being installed, by this node or another.
    Installing,
    /// There.
    Ready,
    /// Not to be had; the kind runs without.
    Absent,
}

/// The sets that this node's kinds need.
#[derive(Debug)]
pub struct Modules {
    cache: PathBuf,
    folder: PathBuf,
    sets: Mutex<BTreeMap<&'static str, watch::Receiver<Progress>>>,
}

/// A set, and the interpreter that its packages are for, once that is found.
pub type Wanted = (&'static ModuleSet, BoxFuture<Option<Tool>>);

impl Modules {
    /// Provides sets below `folder`, one link of the set's name each, in the background.
    #[must_use]
    pub fn provide(cache: &Path, folder: &Path, wanted: Vec<Wanted>) -> Self {
        let modules = Self { cache: cache.to_owned(), folder: folder.to_owned(), sets: Mutex::default() };
        wanted.into_iter().for_each(|wanted| modules.add(wanted));
        modules
    }

    /// Provides one more set, if it is not provided yet.
    pub fn add(&self, (set, interpreter): Wanted) {
        let (installed, link) = (self.cache.join(set.folder_name()), self.folder.join(set.name));
        let mut sets = self.sets.lock();
        if sets.contains_key(set.name) {
            return;
        }
        let known =
            if installed.is_dir() { settle(set, Ok(()), &installed, &link) } else { Progress::Installing };
        let (progress, receiver) = watch::channel(known);
        sets.insert(set.name, receiver);
        if *progress.borrow() != Progress::Installing {
            return;
        }
        task::spawn("modules", async move {
            let outcome = match interpreter.await {
                Some(interpreter) => {
                    let outcome = install_once(set, &installed, &interpreter).await;
                    settle(set, outcome, &installed, &link)
                }
                None => Progress::Absent,
            };
            progress.send_replace(outcome);
        });
    }

    /// Waits until it is known whether the set is to be had, and says so.
    pub async fn settled(&self, name: &str) -> bool {
        let Some(mut receiver) = self.sets.lock().get(name).cloned() else { return false };
        let outcome = receiver.wait_for(|progress| *progress != Progress::Installing).await;
        // The channel closes without an outcome only when the node ends.
        outcome.is_ok_and(|progress| *progress == Progress::Ready)
    }

    /// Waits a while for a set. An error is for whoever called a function that cannot do without it: a compiler that
    /// began without what is just being compiled for it would take longer than to call again.
    pub async fn await_patiently(&self, set: &ModuleSet) -> Result<(), String> {
        self.await_for(set, set.patience()).await
    }

    async fn await_for(&self, set: &ModuleSet, patience: Duration) -> Result<(), String> {
        if tokio::time::timeout(patience, self.settled(set.name)).await.is_ok() {
            return Ok(());
        }
        let without = set.is_dispensable();
        tracing::warn!(
            modules = set.name,
            without,
            "a container waited {patience:?} for modules that are still being installed"
        );
        let text =
            "what all of its functions share is being compiled, once per machine; call again in a minute";
        if without { Ok(()) } else { Err(text.to_owned()) }
    }

    /// Waits until nothing is being installed any more.
    pub async fn all_settled(&self) {
        let names: Vec<&str> = self.sets.lock().keys().copied().collect();
        for name in names {
            self.settled(name).await;
        }
    }
}

/// Links what was installed, or tells the log what failed.
fn settle(set: &ModuleSet, outcome: Result<(), String>, installed: &Path, link: &Path) -> Progress {
    match outcome
        .and_then(|()| point(link, installed).map_err(|error| format!("{}: {error}", link.display())))
    {
        Ok(()) => Progress::Ready,
        Err(why) => {
            tracing::warn!(modules = set.name, "{why}");
            Progress::Absent
        }
    }
}

/// Makes `link` a link to `target`, whatever it was.
fn point(link: &Path, target: &Path) -> std::io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|present| present == target) {
        return Ok(());
    }
    if let Some(parent) = link.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let fresh = beside(link, "new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => std::os::unix::fs::symlink(target, &fresh)?,
    }
    std::fs::rename(fresh, link)
}

/// Installs a set unless another node does it first. The error is a whole text for the log.
async fn install_once(set: &ModuleSet, folder: &Path, interpreter: &Tool) -> Result<(), String> {
    let failed_before = beside(folder, "failed");
    let command = set.command(interpreter);
    let explain = |why: String| {
        format!(
            "the modules '{}' could not be installed, functions {} them: {why}; to see more, run in a \
             folder that holds {}: {}",
            set.name,
            match set.installer {
                Installer::Build => "cannot run without",
                Installer::Compile => "take longer to compile without",
                Installer::Npm | Installer::Pip => "run without",
            },
            set.lists.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and "),
            command.join(" "),
        )
    };
    let attempt = async {
        let _lock = lock(&beside(folder, "lock")).await?;
        if folder.is_dir() {
            return Ok(());
        }
        if let Some(why) = recent_failure(&failed_before) {
            return Err(format!("it failed a short while ago ({why})"));
        }
        let begun = Instant::now();
        tracing::info!(modules = set.name, "modules are being installed");
        let outcome = tokio::time::timeout(INSTALL_TIME, install(set, folder, &command))
            .await
            .unwrap_or_else(|_| Err(format!("it took longer than {} s", INSTALL_TIME.as_secs())));
        match &outcome {
            Ok(()) => tracing::info!(modules = set.name, took = ?begun.elapsed(), "modules are installed"),
            Err(why) => drop(std::fs::write(&failed_before, why)),
        }
        outcome
    };
    attempt.await.map_err(explain)
}

/// The path with a suffix. Names hold dots of versions, which are no extensions.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Holds the lock file until dropped. A dead holder frees it.
async fn lock(path: &Path) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = File::create(path).map_err(failed)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

/// What the last attempt failed with, if that is not long ago.
fn recent_failure(marker: &Path) -> Option<String> {
    let age = SystemTime::now().duration_since(marker.metadata().ok()?.modified().ok()?).ok()?;
    (age < RETRY_AFTER).then(|| std::fs::read_to_string(marker).ok()).flatten()
}

/// Installs beside and renames.
async fn install(set: &ModuleSet, folder: &Path, command: &[String]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    // A node that was killed may have left its installer at work: it has a folder of its own.
    remove_attempts(folder);
    let fresh = beside(folder, &format!("{ATTEMPT}{}", std::process::id()));
    match std::fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(&fresh).map_err(failed)?;
    for (name, text) in set.lists {
        std::fs::write(fresh.join(name), text).map_err(failed)?;
    }
    let (program, arguments) = command.split_first().ok_or("there is no installer")?;
    let installer = Command::from(of_the_machine(program))
        .args(arguments)
        .current_dir(&fresh)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut group = Group::of(&installer);
    let output = installer.wait_with_output().await.map_err(|error| format!("{program}: {error}"))?;
    group.0 = None;
    if !output.status.success() {
        return Err(format!("{program} ended with {}: {}", output.status, complaint(&output.stderr)));
    }
    std::fs::rename(&fresh, folder).map_err(failed)
}

/// Removes what former attempts to fill `folder` left, as far as that can be.
fn remove_attempts(folder: &Path) {
    let Some(entries) = folder.parent().and_then(|parent| std::fs::read_dir(parent).ok()) else { return };
    let stem = beside(folder, ATTEMPT);
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_attempt = path.as_os_str().as_encoded_bytes().starts_with(stem.as_os_str().as_encoded_bytes());
        if is_attempt && let Err(error) = std::fs::remove_dir_all(&path) {
            tracing::debug!(path = %path.display(), %error, "what an installer left could not be removed");
        }
    }
}

/// An installer at work with everything that it started, killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(installer: &Child) -> Self {
        Self(installer.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails where all of them have just ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The end of what an installer said, in one line.
fn complaint(stderr: &[u8]) -> String {
    let tail = stderr.get(stderr.len().saturating_sub(COMPLAINT)..).unwrap_or_default();
    String::from_utf8_lossy(tail)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    static FAKE: ModuleSet =
        ModuleSet { name: "fake", lists: &[("requirements.txt", "none")], installer: Installer::Pip };

    static SLOW: ModuleSet =
        ModuleSet { name: "slow", lists: &[("build.sh", "")], installer: Installer::Compile };

    /// An "interpreter" that does what this shell script says, in the folder of the lists.
    fn interpreter(folder: &Path, script: &str) -> Tool {
        let (text, path) = (folder.join("script"), folder.join("interpreter"));
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        // By a process of its own: no other test's child can then hold it open for writing while it is started.
        let copied = std::process::Command::new("install").arg("-m755").args([&text, &path]).status();
        assert!(copied.unwrap().success());
        Tool { program: path, system: None }
    }

    fn provide(cache: &Path, folder: &Path, tool: Option<Tool>) -> Modules {
        Modules::provide(cache, folder, vec![(&FAKE, Box::pin(async move { tool }))])
    }

    #[tokio::test]
    async fn a_set_is_installed_once_and_shared() {
        let cache = tempfile::tempdir().unwrap();
        let tool = interpreter(cache.path(), "mkdir site-packages && echo run >> ../runs");
        let folders = [cache.path().join("one"), cache.path().join("other")];
        let [one, other] = folders.each_ref().map(|folder| provide(cache.path(), folder, Some(tool.clone())));
        assert_eq!(tokio::join!(one.settled("fake"), other.settled("fake")), (true, true));
        for folder in &folders {
            assert!(folder.join("fake/site-packages").is_dir());
        }
        assert_eq!(std::fs::read_to_string(cache.path().join("runs")).unwrap(), "run\n");
        assert!(provide(cache.path(), &folders[0], None).settled("fake").await, "known at once");
        assert!(!one.settled("unknown").await);
    }

    #[tokio::test]
    async fn who_cannot_do_without_a_set_is_told_that_it_is_not_there_yet() {
        let cache = tempfile::tempdir().unwrap();
        let never = |set| -> Wanted { (set, Box::pin(std::future::pending())) };
        let modules = Modules::provide(cache.path(), cache.path(), vec![never(&FAKE), never(&SLOW)]);
        let slow = modules.await_for(&SLOW, Duration::ZERO).await;
        assert!(slow.unwrap_err().contains("call again in a minute"));
        assert_eq!(modules.await_for(&FAKE, Duration::ZERO).await, Ok(()), "functions run without");
    }

    #[tokio::test]
    async fn what_a_killed_node_left_is_in_nobodys_way() {
        let cache = tempfile::tempdir().unwrap();
        let tool = interpreter(cache.path(), "mkdir site-packages");
        let installed = cache.path().join(FAKE.folder_name());
        let left = beside(&installed, "new-4711");
        std::fs::create_dir(&left).unwrap();
        install_once(&FAKE, &installed, &tool).await.unwrap();
        assert!(installed.join("site-packages").is_dir() && !left.exists());
    }

    #[tokio::test]
    async fn a_failure_is_remembered_and_explained() {
        let cache = tempfile::tempdir().unwrap();
        let tool = interpreter(cache.path(), "echo run >> ../runs; echo 'no route' >&2; exit 3");
        let installed = cache.path().join(FAKE.folder_name());
        let why = install_once(&FAKE, &installed, &tool).await.unwrap_err();
        assert!(why.contains("no route") && why.contains("-m pip install"), "{why}");
        assert!(install_once(&FAKE, &installed, &tool).await.unwrap_err().contains("a short while ago"));
        assert_eq!(std::fs::read_to_string(cache.path().join("runs")).unwrap(), "run\n");
        assert!(!provide(cache.path(), cache.path(), Some(tool)).settled("fake").await);
    }

    #[test]
    fn another_systems_interpreter_works_inside_of_it() {
        let tool =
            Tool { program: "/usr/bin/python3.13".into(), system: Some("/data/rootfs/x/files".into()) };
        let command = FAKE.command(&tool);
        assert_eq!((command[0].as_str(), command[8].as_str()), ("unshare", "/data/rootfs/x/files"));
        assert_eq!(command[9..12], ["/usr/bin/python3.13", "-m", "pip"].map(str::to_owned));
    }
}

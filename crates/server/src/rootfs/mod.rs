//! Roots built for the node: `chasen runtimes build|list|remove`.
//!
//! A root is made in `<data>/rootfs/NAME.unfinished`, stage by stage; what is done is written down, so that an
//! interrupted build goes on where it stopped. Only when its record is written and everything is on the disk does the
//! folder get its name: who finds that name finds a whole root. A running node notices by itself.

mod mirror;
mod stages;
mod tools;

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use chasen_sandbox::interpreter::{examine, survey};
use chasen_sandbox::rootfs::recipe::{self, Recipe, Source};
use chasen_sandbox::rootfs::{BuiltRoot, FILES, Held, Layout, RECORD, Record};

use self::mirror::Mirrors;
use self::stages::{Marker, Stage};
use self::tools::Tools;
use crate::console::StageBar;

/// Suffix of a root that is being built or removed.
const UNFINISHED: &str = "unfinished";

/// Why no root was built or removed. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// There is no such recipe.
    #[error("there is no recipe '{name}'; the recipes are {known}", known = known())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Nothing of this name is built.
    #[error("no root '{0}' is built here; `chasen runtimes list` shows those that are")]
    NotBuilt(String),
    /// Another process is at it.
    #[error("another process builds or removes '{0}' at the moment; wait for it to end")]
    Busy(String),
    /// Somebody may be using it.
    #[error("a node runs on {}: stop it first, its sandboxes may be using '{name}'", folder.display())]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The root.
        name: String,
    },
    /// The disk is full.
    #[error(
        "'{name}' needs {needed} MB of disk and {} has {free}: make room, or choose another folder with --data DIR",
        folder.display()
    )]
    DiskFull {
        /// The root.
        name: String,
        /// Megabytes that building it takes.
        needed: u64,
        /// Megabytes that are free.
        free: u64,
        /// Where.
        folder: PathBuf,
    },
    /// Only root may make a system.
    #[error("a system can only be made as root: run the same command with sudo, and with --data of the node")]
    NotRoot,
    /// A program is missing.
    #[error("'{program}' is not installed; get it with: {install}")]
    NoTool {
        /// Which.
        program: &'static str,
        /// The command that installs it.
        install: &'static str,
    },
    /// There is no mirror.
    #[error("{0}; say which with --mirror URL")]
    NoMirror(String),
    /// A stage failed.
    #[error(
        "'{name}' was not built: {stage} failed: {why}\nthe same command goes on where it stopped; all that was said is in {}",
        log.display()
    )]
    Stage {
        /// The root.
        name: String,
        /// What was being done.
        stage: &'static str,
        /// What the program said last.
        why: String,
        /// Where all that it said is.
        log: PathBuf,
    },
    /// The folder cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn known() -> String {
    recipe::all().keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

type Done<T> = Result<T, RootfsError>;

fn at(path: &Path) -> impl FnOnce(io::Error) -> RootfsError {
    let path = path.to_owned();
    |source| RootfsError::File { path, source }
}

/// The roots of a data folder.
#[derive(Debug)]
pub struct Roots {
    folder: PathBuf,
    tools: Tools,
}

impl Roots {
    /// Those of a data folder, built with the programs that this `PATH` finds.
    #[must_use]
    pub fn new(data: &Path, path: OsString) -> Self {
        Self { folder: data.join("rootfs"), tools: Tools::new(path) }
    }

    /// Those that are there.
    #[must_use]
    pub fn built(&self) -> Vec<std::sync::Arc<BuiltRoot>> {
        BuiltRoot::all(&self.folder)
    }

    /// True if building a root of this name was begun and did not come to its end.
    #[must_use]
    pub fn is_begun(&self, name: &str) -> bool {
        self.unfinished(name).is_dir()
    }

    /// Builds a root, or goes on building it; gives what is there already as it is.
    ///
    /// # Errors
    /// See [`RootfsError`]. What was done so far stays for the next attempt.
    pub async fn build(&self, name: &str, mirror: Option<&str>, bar: &StageBar) -> Done<BuiltRoot> {
        let recipe = recipe::all().get(name).ok_or_else(|| RootfsError::Unknown { name: name.to_owned() })?;
        self.build_as(name, recipe, mirror, bar).await
    }

    async fn build_as(
        &self,
        name: &str,
        recipe: &Recipe,
        mirror: Option<&str>,
        bar: &StageBar,
    ) -> Done<BuiltRoot> {
        fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        let _lock = self.lock(name)?;
        if let Ok(built) = BuiltRoot::read(&self.folder, name) {
            return Ok(built);
        }
        let job = Job { name, recipe, folder: self.unfinished(name), tools: &self.tools };
        job.check_room(&self.folder)?;
        job.run(mirror, bar).await?;
        let folder = self.folder.join(name);
        fs::rename(&job.folder, &folder).map_err(at(&folder))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(at(&self.folder))?;
        BuiltRoot::read(&self.folder, name).map_err(at(&folder))
    }

    /// Removes a root, or what is left of one that was not finished. Nobody may be using it.
    ///
    /// # Errors
    /// See [`RootfsError`].
    pub fn remove(&self, name: &str) -> Done<()> {
        let folder = self.folder.join(name);
        let unfinished = self.unfinished(name);
        if !recipe::is_name(name) || !(folder.is_dir() || unfinished.is_dir()) {
            return Err(RootfsError::NotBuilt(name.to_owned()));
        }
        let _lock = self.lock(name)?;
        remove_tree(&unfinished)?;
        if folder.is_dir() {
            // It must be gone for everybody before its first file is.
            fs::rename(&folder, &unfinished).map_err(at(&folder))?;
            remove_tree(&unfinished)?;
        }
        let lock = self.lock_file(name);
        fs::remove_file(&lock).map_err(at(&lock))
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{UNFINISHED}"))
    }

    fn lock_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.lock"))
    }

    fn lock(&self, name: &str) -> Done<Turn> {
        let path = self.lock_file(name);
        let file = File::create(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Turn(file)),
            Err(TryLockError::WouldBlock) => Err(RootfsError::Busy(name.to_owned())),
            Err(TryLockError::Error(error)) => Err(at(&path)(error)),
        }
    }
}

/// The right to change one root; a dead holder loses it.
struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // Closing alone frees it late if a process is being started just now: that one holds the file for a moment, too.
        let _ = self.0.unlock();
    }
}

/// One root on its way.
struct Job<'a> {
    name: &'a str,
    recipe: &'a Recipe,
    folder: PathBuf,
    tools: &'a Tools,
}

impl Job<'_> {
    /// What is there already needs no room any more.
    fn check_room(&self, folder: &Path) -> Done<()> {
        let statistics = rustix::fs::statvfs(folder).map_err(|error| at(folder)(error.into()))?;
        let free = statistics.f_bavail.saturating_mul(statistics.f_frsize) >> 20;
        let needed = self.recipe.disk_mb.saturating_sub(size_of(&self.folder) >> 20);
        if free < needed {
            let (name, folder) = (self.name.to_owned(), folder.to_owned());
            return Err(RootfsError::DiskFull { name, needed, free, folder });
        }
        Ok(())
    }

    /// Goes through the stages that are left, then writes the record.
    async fn run(&self, mirror: Option<&str>, bar: &StageBar) -> Done<()> {
        let stages = Stage::of(&self.recipe.source);
        let marker = Marker::new(&self.folder, self.recipe);
        let left = marker.left(stages);
        if left.len() == stages.len() {
            // Nothing of it is of use, not even what another version of the recipe left.
            remove_tree(&self.folder)?;
            fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        }
        for stage in left {
            let number = stages.iter().position(|one| one == stage).unwrap_or_default() + 1;
            bar.begin(number, stages.len() + 1, stage.title());
            self.work(*stage, mirror, bar)?;
            marker.write(*stage).map_err(at(&self.folder))?;
        }
        bar.begin(stages.len() + 1, stages.len() + 1, "asking what it holds");
        let record = Record {
            layout: self.layout(),
            interpreters: self.survey().await.map_err(|why| self.failed("asking what it holds", why))?,
            bytes: size_of(&self.files()),
            built: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        };
        let path = self.folder.join(RECORD);
        let text = serde_json::to_vec_pretty(&record).map_err(|error| at(&path)(error.into()))?;
        fs::write(&path, text).map_err(at(&path))?;
        marker.remove().map_err(at(&self.folder))?;
        let folder = File::open(&self.folder).map_err(at(&self.folder))?;
        rustix::fs::syncfs(&folder).map_err(|error| at(&self.folder)(error.into()))?;
        bar.end();
        Ok(())
    }

    fn work(&self, stage: Stage, mirror: Option<&str>, bar: &StageBar) -> Done<()> {
        let (files, log) = (self.files(), self.log());
        match (&self.recipe.source, stage) {
            (Source::Suite(suite), Stage::Base) => {
                self.tools.need_root()?;
                let mirrors = Mirrors::find(mirror, self.tools)?;
                remove_tree(&files)?;
                self.tools
                    .debootstrap(suite, &mirrors, &files, &self.folder.join("cache"), &log, bar)
                    .map_err(|why| self.failed(stage.title(), why))
            }
            (Source::Suite(suite), Stage::Packages) => {
                self.tools.need_root()?;
                let mirrors = Mirrors::find(mirror, self.tools)?;
                let packages = self.recipe.provides.iter().flat_map(|one| &one.packages).map(String::as_str);
                let packages: Vec<&str> = packages.collect();
                self.tools
                    .packages(suite, &mirrors, &packages, &files, &log, bar)
                    .map_err(|why| self.failed(stage.title(), why))
            }
            (_, Stage::Clean) => {
                remove_tree(&self.folder.join("cache"))?;
                tools::clean(&files).map_err(at(&files))
            }
            (Source::Npm(npm), _) => {
                remove_tree(&files)?;
                self.tools.npm(npm, &files, &log, bar).map_err(|why| self.failed(stage.title(), why))
            }
        }
    }

    async fn survey(&self) -> Result<Vec<Held>, String> {
        let files = self.files();
        let wanted: Vec<_> = self.recipe.provides.iter().map(recipe::Provided::wanted).collect();
        if self.layout() == Layout::System {
            return survey(&files, &wanted, |program| self.tools.inside(&files, program).into()).await;
        }
        let mut held = Vec::new();
        for (provided, wanted) in self.recipe.provides.iter().zip(&wanted) {
            let program = PathBuf::from(provided.program.as_deref().unwrap_or_default());
            let version = examine(&files.join(&program), wanted).await?;
            held.push(Held { command: provided.command.clone(), version, program });
        }
        Ok(held)
    }

    fn layout(&self) -> Layout {
        match self.recipe.source {
            Source::Suite(_) => Layout::System,
            Source::Npm(_) => Layout::Folder,
        }
    }

    fn files(&self) -> PathBuf {
        self.folder.join(FILES)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn failed(&self, stage: &'static str, why: impl Into<tools::ToolError>) -> RootfsError {
        match why.into() {
            tools::ToolError::Missing { program, install } => RootfsError::NoTool { program, install },
            tools::ToolError::Failed(why) => {
                RootfsError::Stage { name: self.name.to_owned(), stage, why, log: self.log() }
            }
        }
    }
}

fn remove_tree(folder: &Path) -> Done<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(folder)(error)),
        _ => Ok(()),
    }
}

/// What a folder's files take on the disk, in bytes. What cannot be read counts nothing.
fn size_of(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0u64;
    let mut folders = vec![folder.to_owned()];
    let mut linked = std::collections::HashSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.nlink() > 1 && !linked.insert(metadata.ino()) {
                continue;
            }
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
        }
    }
    bytes
}

#[cfg(test)]
mod tests;

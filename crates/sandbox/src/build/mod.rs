//! Building: what a kind's compiler makes of an action's code, once for all its containers.
//!
//! The compiler runs in a cell of its own in which there is the code, the toolchain, and nothing else ([`run`]). What
//! it made leaves the cell as an archive, is unpacked within the bounds of any code that a stranger sends, and is
//! kept in the data folder under the digest of everything that it depends on: a restart of the node finds it again.

mod environment;
mod run;
mod turns;
mod when;
mod words;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chasen_entity::NetworkPolicy;
use chasen_entity::manifest::{Compiler, Launch};
use chasen_runtime::code::{EXEC, open_within};
use chasen_spi::container_factory::CreateError;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use sha2::{Digest, Sha256};

use crate::factory::{BuildPlan, Cells, Planner, SandboxConfig};
use crate::layer::{Layer, Retention, Shape, Store, make_open, remove};

use turns::Turns;
pub(crate) use words::Words;

/// Folder of what was built, in the data folder.
const FOLDER: &str = "builds";
/// How long it is believed that code cannot be built: long enough for those who wait for the same build.
const FAILURES: Duration = Duration::from_secs(5);
/// How long a build is kept that nobody uses. It is dearer than unpacked code.
const AGE: Duration = Duration::from_hours(7 * 24);

/// Builds and keeps what was built.
#[derive(Debug)]
pub(crate) struct Builder {
    config: Arc<SandboxConfig>,
    planner: Arc<Planner>,
    cells: Arc<Cells>,
    folder: PathBuf,
    store: Store<String, Words>,
    turns: Turns,
    begun: AtomicU64,
}

/// What is to be compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) layer: &'a Arc<Layer>,
    /// Of the code.
    pub(crate) digest: &'a str,
    /// The entry point.
    pub(crate) main: &'a str,
    /// Whose code it is.
    pub(crate) namespace: &'a str,
}

/// How the code of one kind is compiled; absent for kinds that load it as it is.
#[derive(Debug, Clone)]
pub(crate) struct Compile {
    pub(crate) builder: Arc<Builder>,
    pub(crate) kind: String,
    pub(crate) launch: Arc<Launch>,
    /// The image that executables of the kind are built for.
    pub(crate) environment: String,
    /// Where the function may connect to, and so its build.
    pub(crate) network: NetworkPolicy,
}

/// Why there is no build.
pub(crate) enum NotBuilt {
    /// The code is to blame; this is what its developer is told.
    Code(Words),
    /// The machine lacks the toolchain; the text says what to install.
    NoToolchain(String),
    /// The node is.
    Platform(String),
}

impl From<CreateError> for NotBuilt {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NotRunnable(why) => Self::NoToolchain(why),
            other => Self::Platform(other.to_string()),
        }
    }
}

/// A folder that is being filled; removed unless it is finished.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        if self.0.exists() {
            remove(&self.0);
        }
    }
}

impl Compile {
    /// Why code in this folder is for another kind's image, if it says so.
    pub(crate) fn foreign(&self, code: &Path) -> Option<String> {
        if self.launch.launcher.is_some() { None } else { environment::foreign(code, &self.environment) }
    }

    /// What containers run instead of the source; the source itself where nothing is compiled. `env` is the action's
    /// environment.
    pub(crate) async fn layer(
        &self,
        source: Source<'_>,
        env: &[(String, String)],
    ) -> Result<Arc<Layer>, NotBuilt> {
        match &self.launch.compiler {
            Some(compiler) if !self.is_off(compiler, env) && when::applies(compiler, source.layer) => {
                self.builder.build(self, compiler, source).await
            }
            _ => Ok(Arc::clone(source.layer)),
        }
    }

    /// True if the action's environment, or the node's, switches it off.
    fn is_off(&self, compiler: &Compiler, env: &[(String, String)]) -> bool {
        let Some(switch) = &compiler.switch else { return false };
        let mut all = env.iter().chain(&self.builder.config.extra_env);
        all.find(|(name, _)| name == switch).is_some_and(|(_, value)| value != "true")
    }
}

impl Builder {
    /// Opens the store in the data folder and takes in what former lives of the node built.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub(crate) fn open(
        config: Arc<SandboxConfig>,
        planner: Arc<Planner>,
        cells: Arc<Cells>,
    ) -> io::Result<Self> {
        let folder = config.data_dir.join(FOLDER);
        // Files in it are open to everybody; nobody else gets that far.
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let retention = Retention { total: config.code_retention.total, age: AGE };
        let store = Store::new(retention, FAILURES);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Some((key, bytes)) = entry.file_name().to_str().and_then(parse_name) else {
                remove(&entry.path());
                continue;
            };
            let unused = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            store.adopt(key, Layer::lasting(entry.path(), Shape::Archive, bytes), unused);
        }
        store.sweep();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            config,
            planner,
            cells,
            folder,
            store,
            turns: Turns::new(processors),
            begun: AtomicU64::new(0),
        })
    }

    async fn build(
        &self,
        compile: &Compile,
        compiler: &Compiler,
        source: Source<'_>,
    ) -> Result<Arc<Layer>, NotBuilt> {
        let Source { layer, digest, main, .. } = source;
        if main.contains('\0') {
            return Err(NotBuilt::Code(Words::from("the name of the entry point holds a zero byte")));
        }
        let Compile { kind, launch, environment, .. } = compile;
        let plan = self.planner.build_plan(&self.config, kind, launch, compiler, environment).await?;
        let mut parts = vec![digest, shape_word(layer.shape()), kind, main, &plan.tools];
        // What a build could not fetch is no other one's failure.
        let reach = compile.network.to_string();
        if plan.network && compile.network != NetworkPolicy::Internet {
            parts.push(&reach);
        }
        let key = key(&parts);
        let make = || self.make(&key, &plan, compile, source);
        let layer = self.store.get(key.clone(), make).await?.map_err(NotBuilt::Code)?;
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let used = Timestamps { last_access: now, last_modification: now };
        if let Err(error) = utimensat(CWD, layer.path(), &used, AtFlags::empty()) {
            tracing::debug!(path = %layer.path().display(), %error, "the use of a build is not remembered");
        }
        Ok(layer)
    }

    /// Builds once. The compiler must leave an executable where that is what is started.
    async fn make(
        &self,
        key: &str,
        plan: &BuildPlan,
        compile: &Compile,
        source: Source<'_>,
    ) -> Result<Result<Layer, Words>, NotBuilt> {
        let disk = |error: io::Error| {
            NotBuilt::Platform(format!("a build below {} failed: {error}", self.folder.display()))
        };
        let _turn = self.turns.take(source.namespace).await.map_err(|error| disk(io::Error::other(error)))?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let partial = Partial(self.folder.join(format!("{number}.partial")));
        make_open(&partial.0).map_err(disk)?;
        let begun = std::time::Instant::now();
        let started = compile.launch.launcher.is_none();
        let built = run::run(&self.cells, &self.config, plan, &compile.network, source, partial).await?;
        let built = match built {
            Ok(built) if started && open_within(&built.folder.0, EXEC).is_err() => Err(Words::default()),
            built => built,
        };
        tracing::info!(
            compiler = %plan.program,
            took = ?begun.elapsed(),
            result = if built.is_ok() { "built" } else { "refused" },
            "code was compiled"
        );
        Ok(match built {
            Ok(built) => {
                // A name of its own: one of the same key that was given up may still be on its way out.
                let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                let path = self.folder.join(format!("{key}-{}-{time}", built.bytes));
                fs::rename(&built.folder.0, &path).map_err(disk)?;
                Ok(Layer::lasting(path, Shape::Archive, built.bytes))
            }
            Err(words) => Err(words),
        })
    }
}

/// The key and the size in the name of a built folder.
fn parse_name(name: &str) -> Option<(String, u64)> {
    let (key, rest) = name.split_once('-')?;
    let (bytes, time) = rest.split_once('-')?;
    time.parse::<u128>().ok()?;
    let is_key = key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_key.then_some((key.to_owned(), bytes.parse().ok()?))
}

/// A digest of everything that a build depends on.
fn key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shape_word(shape: Shape) -> &'static str {
    match shape {
        Shape::Source => "source",
        Shape::Archive => "archive",
        Shape::Executable => "executable",
    }
}

/// The digest of the files in a folder, the program's own included.
pub(crate) fn folder_digest(folder: &Path) -> io::Result<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.sort();
    let mut digest = Sha256::new();
    for file in files.iter().filter(|file| file.is_file()) {
        digest.update(file.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default());
        digest.update(Sha256::digest(fs::read(file)?));
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_where_any_part_does_and_are_names() {
        let one = key(&["digest", "source", "go:1.20", "main", "go 1.26"]);
        assert_eq!(parse_name(&format!("{one}-4096-17")), Some((one.clone(), 4096)));
        assert_ne!(one, key(&["digest", "source", "go:1.20", "mai", "ngo 1.26"]));
        for name in
            ["0.partial", "abc-1-2", &format!("{one}-"), &format!("{one}-1"), &format!("{one}-1-x"), &one]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}

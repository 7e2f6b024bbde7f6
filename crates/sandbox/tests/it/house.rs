//! What every test needs: a helper of its own, cells that run this binary, and a way to talk with them.

use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chasen_sandbox::cell::{Cell, CellNetwork, CellSpec, Limits};
use chasen_sandbox::helper::{Helper, HelperConfig, Mode, StartError};
use chasen_sandbox::root::RootSpec;
use libtest_mimic::{Failed, Trial};

/// Where this binary lies inside a cell.
pub(crate) const PAYLOAD: &str = "/opt/payload";
/// How long anything may take before a test gives up; ample, for machines that only translate instructions.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A helper with a data folder of its own.
pub(crate) struct House {
    pub(crate) helper: Helper,
    pub(crate) node_id: String,
    data: Option<tempfile::TempDir>,
    root: Arc<RootSpec>,
    mode: Mode,
}

/// A cell, and the test's end of its descriptor 3.
pub(crate) struct Guest {
    pub(crate) cell: Cell,
    reader: BufReader<UnixStream>,
}

pub(crate) fn own_exe() -> PathBuf {
    std::env::current_exe().unwrap()
}

impl House {
    pub(crate) async fn open(mode: Mode) -> Self {
        let data = tempfile::tempdir().unwrap();
        let node_id = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self::open_in(data, &node_id, mode).await
    }

    /// For a node that is going to be killed, whose folder somebody else keeps.
    pub(crate) async fn open_at(data: &Path, node_id: &str, mode: Mode) -> Self {
        Self::open_with(HelperConfig::new(mode, data, node_id)).await
    }

    async fn open_in(data: tempfile::TempDir, node_id: &str, mode: Mode) -> Self {
        let mut config = HelperConfig::new(mode, data.path(), node_id);
        config.deadline = PATIENCE;
        Self { data: Some(data), ..Self::open_with(config).await }
    }

    /// With settings of its own, in a folder that somebody else keeps.
    pub(crate) async fn open_with(config: HelperConfig) -> Self {
        let (mode, node_id) = (config.mode, config.node_id.clone());
        let helper = Helper::spawn(&own_exe(), config).await.unwrap();
        let root = Arc::new(RootSpec::host_system(&[]).with_bind(own_exe(), PAYLOAD));
        Self { helper, node_id, data: None, root, mode }
    }

    /// Another helper for the same node, when the first has ended.
    pub(crate) async fn next_helper(&self) -> Helper {
        let mut config = HelperConfig::new(self.mode, self.data(), &self.node_id);
        config.deadline = PATIENCE;
        Helper::spawn(&own_exe(), config).await.unwrap()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> &Path {
        self.data.as_ref().unwrap().path()
    }

    /// A specification that runs one part of the payload.
    pub(crate) fn spec(&self, part: &[&str]) -> (CellSpec, UnixStream) {
        let program = match self.mode {
            Mode::Isolated => PAYLOAD.to_owned(),
            Mode::InsecureProcess => own_exe().display().to_string(),
        };
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let null =
            || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap());
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().unwrap();
        let spec = CellSpec {
            name: format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            root: Arc::clone(&self.root),
            fork_server: None,
            argv: [program.as_str(), "payload"].iter().chain(part).map(|text| (*text).to_owned()).collect(),
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            cwd: "/".to_owned(),
            hostname: "cell".to_owned(),
            limits: Limits::with_memory(128 << 20),
            network: CellNetwork::Isolated,
            files: vec![null(), null(), stderr, theirs.into()],
        };
        (spec, ours)
    }

    pub(crate) async fn start(&self, part: &[&str]) -> Guest {
        self.start_with(part, |_| {}).await.unwrap()
    }

    pub(crate) async fn start_with(
        &self,
        part: &[&str],
        change: impl FnOnce(&mut CellSpec),
    ) -> Result<Guest, StartError> {
        let (mut spec, stream) = self.spec(part);
        change(&mut spec);
        let cell = self.helper.start(spec).await?;
        Ok(Guest { cell, reader: BufReader::new(stream) })
    }

    /// Every folder of a control group that this house has on the machine.
    pub(crate) fn groups(&self) -> Vec<PathBuf> {
        groups_of(&self.node_id)
    }
}

/// Every control group folder of a node, its cells' included.
pub(crate) fn groups_of(node_id: &str) -> Vec<PathBuf> {
    let name = format!("chasen-{node_id}");
    let mut found = Vec::new();
    for tree in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let top = if tree.file_name() == *name { tree.path() } else { tree.path().join(&name) };
        if top.is_dir() {
            found.push(top.clone());
            let below = std::fs::read_dir(&top).into_iter().flatten().flatten();
            found.extend(below.map(|entry| entry.path()).filter(|path| path.is_dir()));
        }
    }
    found
}

impl Guest {
    pub(crate) fn new(cell: Cell, stream: UnixStream) -> Self {
        Self { cell, reader: BufReader::new(stream) }
    }

    /// The next line that the payload says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Everything that the payload says until it ends.
    pub(crate) fn all(&mut self) -> String {
        std::io::read_to_string(&mut self.reader).unwrap()
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.reader.get_mut(), "{line}").unwrap();
    }
}

/// A test on its own runtime; skipped, visibly, without root.
pub(crate) fn test<F: Future<Output = ()>>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial {
    let root = is_root();
    let shown = if root { name.to_owned() } else { format!("{name} (skipped: needs root)") };
    Trial::test(shown, move || {
        if root {
            runtime().block_on(body());
        }
        Ok::<(), Failed>(())
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Waits until something holds, looking every few milliseconds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

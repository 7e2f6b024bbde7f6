//! Starting cells: the helper behind them, their network, their names.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chasen_entity::NetworkPolicy;
use chasen_spi::container_factory::CreateError;
use chasen_telemetry::task;
use parking_lot::Mutex;

use super::nursery::{Nursery, Prepared, Shape, UnderWay};
use super::{OpenError, SandboxConfig, blocking, failed};
use crate::cell::{Cell, CellNetwork, CellSpec, MAX_NAME};
use crate::helper::{Helper, HelperConfig, HelperError, Mode, PreparedCell, StartError};
use crate::network::{Lease, Network};

/// What starts the cells of a node.
#[derive(Debug)]
pub(crate) struct Cells {
    config: Arc<SandboxConfig>,
    network: Mutex<Option<Arc<Network>>>,
    helper: tokio::sync::Mutex<HelperState>,
    nursery: Arc<Nursery>,
    made: AtomicU64,
}

/// A cell that was started by its shape.
pub(super) struct Begun<T> {
    pub(super) cell: Cell,
    /// What the node keeps of its files.
    pub(super) kept: T,
    pub(super) lease: Option<Lease>,
    /// To be held until its first run is over: cells are prepared behind starts.
    pub(super) under_way: UnderWay,
}

#[derive(Debug)]
enum HelperState {
    /// There is one, which may have ended since.
    Running(Helper),
    /// It has ended, and no other one could be started yet.
    Lost,
    /// The factory is closed.
    Closed,
}

/// Why a cell was not started.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// Its program is not there, or is none; the text says so.
    NotExecutable(String),
    /// Anything else.
    Failed(CreateError),
}

impl From<StartError> for NotStarted {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NotExecutable(why) => Self::NotExecutable(why),
            other => Self::Failed(failed(other)),
        }
    }
}

impl From<CreateError> for NotStarted {
    fn from(error: CreateError) -> Self {
        Self::Failed(error)
    }
}

impl Cells {
    /// Starts the helper and the network.
    pub(super) async fn open(config: Arc<SandboxConfig>) -> Result<Arc<Self>, OpenError> {
        let helper = spawn_helper(&config).await?;
        let network = match config.network.clone().filter(|_| config.mode == Mode::Isolated) {
            Some(network) => Some(blocking(move || Network::open(network)).await??),
            None => None,
        };
        // Plain processes cost too little to be prepared.
        let prepared = if config.mode == Mode::Isolated { config.prepared_cells } else { 0 };
        let nursery = Nursery::new(prepared);
        let cells = Arc::new(Self {
            config,
            network: Mutex::new(network.map(Arc::new)),
            helper: tokio::sync::Mutex::new(HelperState::Running(helper)),
            nursery: Arc::clone(&nursery),
            made: AtomicU64::new(0),
        });
        drop(task::spawn("prepared cells", nursery.keep(Arc::downgrade(&cells))));
        Ok(cells)
    }

    /// The network, while there is one.
    pub(super) fn network(&self) -> Option<Arc<Network>> {
        self.network.lock().clone()
    }

    /// A prepared network for one cell, which reaches what this policy says; `None` where cells have none, and for those
    /// that are to reach nothing: theirs is their own, and leads nowhere.
    pub(crate) async fn lease(&self, policy: &NetworkPolicy) -> Result<Option<Lease>, CreateError> {
        let Some(network) = self.network().filter(|_| *policy != NetworkPolicy::None) else {
            return Ok(None);
        };
        let mut lease = Some(network.take().await.map_err(failed)?);
        restrict(&mut lease, policy).await?;
        Ok(lease)
    }

    /// Starts a cell of this shape: a prepared one if there is one, or one that is made now. It reaches what this policy
    /// says, and is closed or not as its shape says. `outfit` gives its files, and what the node keeps of them.
    pub(super) async fn begin<T>(
        &self,
        shape: &Shape,
        policy: &NetworkPolicy,
        outfit: impl Fn() -> io::Result<(Vec<OwnedFd>, T)>,
    ) -> Result<Begun<T>, CreateError> {
        let (under_way, prepared) = self.nursery.begin(shape);
        if let Some(Prepared { cell, mut lease }) = prepared {
            // Its program begins with its files: nothing of a tenant has been in it.
            restrict(&mut lease, policy).await?;
            let (files, kept) = outfit().map_err(failed)?;
            match cell.begin(&files) {
                Ok(cell) => return Ok(Begun { cell, kept, lease, under_way }),
                Err(error) => tracing::debug!(%error, "a prepared cell has ended; another one is made"),
            }
        }
        let lease = self.lease(policy).await?;
        let specify = || {
            let (files, kept) = outfit()?;
            let bare = shape.cell(self.next_name(&shape.kind), network_of(lease.as_ref())?);
            Ok((CellSpec { files, ..bare }, kept))
        };
        let (cell, kept) = self.start(specify).await?;
        Ok(Begun { cell, kept, lease, under_way })
    }

    /// Makes a cell that waits for its files.
    pub(super) async fn prepare(&self, spec: CellSpec) -> Result<PreparedCell, CreateError> {
        self.helper(None).await?.prepare(spec).await.map_err(failed)
    }

    /// Starts a cell of this specification, which comes with what the node keeps; once more, specified anew, with a
    /// new helper if the old one has ended.
    pub(crate) async fn start<T>(
        &self,
        specify: impl Fn() -> io::Result<(CellSpec, T)>,
    ) -> Result<(Cell, T), CreateError> {
        self.try_start(specify).await.map_err(|error| match error {
            NotStarted::NotExecutable(why) => CreateError::Failed(why),
            NotStarted::Failed(error) => error,
        })
    }

    /// The same, for cells whose program is somebody else's.
    pub(crate) async fn try_start<T>(
        &self,
        specify: impl Fn() -> io::Result<(CellSpec, T)>,
    ) -> Result<(Cell, T), NotStarted> {
        let helper = self.helper(None).await?;
        let (spec, kept) = specify().map_err(failed)?;
        let is_forked = spec.fork_server.is_some();
        match helper.start(spec).await {
            Ok(cell) => return Ok((cell, kept)),
            Err(StartError::Helper(_)) => {}
            // A fork server that fails in the midst of a birth takes the cell with it.
            Err(StartError::Refused(reason)) if is_forked => {
                tracing::warn!(%reason, "a cell is started again, without a fork server");
                let (mut spec, kept) = specify().map_err(failed)?;
                spec.fork_server = None;
                return Ok((helper.start(spec).await?, kept));
            }
            Err(error) => return Err(error.into()),
        }
        let helper = self.helper(Some(helper.pid())).await?;
        let (spec, kept) = specify().map_err(failed)?;
        Ok((helper.start(spec).await?, kept))
    }

    /// The helper; a new one if there is none or it is the one that is known to be lost.
    async fn helper(&self, lost: Option<u32>) -> Result<Helper, CreateError> {
        let mut state = self.helper.lock().await;
        match &*state {
            HelperState::Closed => return Err(CreateError::Failed("the node is stopping".to_owned())),
            HelperState::Running(helper) if Some(helper.pid()) != lost && !helper.is_lost() => {
                return Ok(helper.clone());
            }
            HelperState::Running(helper) => {
                tracing::error!("the sandbox helper is started again");
                // It may hold its socket but give no answer: what it made has to go first.
                let _ = helper.close().await;
            }
            HelperState::Lost => {}
        }
        *state = HelperState::Lost;
        let helper = spawn_helper(&self.config).await.map_err(failed)?;
        *state = HelperState::Running(helper.clone());
        Ok(helper)
    }

    /// A name that no other cell of this node has had: `nodejs-20-17` for the kind `nodejs:20`.
    pub(crate) fn next_name(&self, kind: &str) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let kind: String = kind.chars().take(MAX_NAME - 21).map(plain).collect();
        format!("{kind}-{number}")
    }

    /// True unless the helper is known to have ended.
    pub(crate) fn is_up(&self) -> bool {
        match self.helper.try_lock().as_deref() {
            Ok(HelperState::Running(helper)) => !helper.is_lost(),
            Ok(HelperState::Lost | HelperState::Closed) => false,
            // Somebody looks at it, or has another one started.
            Err(_) => true,
        }
    }

    /// Ends every cell, the helper and the network.
    pub(crate) async fn close(&self) {
        let state = std::mem::replace(&mut *self.helper.lock().await, HelperState::Closed);
        self.nursery.close();
        if let HelperState::Running(helper) = state
            && let Err(error) = helper.close().await
        {
            tracing::warn!(%error, "the sandbox helper did not end in time; the kernel ends what it left");
        }
        // The network goes with its last user; its closing waits for a thread.
        let network = self.network.lock().take();
        let closed = tokio::task::spawn_blocking(move || match network.and_then(Arc::into_inner) {
            Some(network) => network.close(),
            None => Ok(()),
        });
        if let Ok(Err(error)) = closed.await {
            tracing::warn!(%error, "the node's network was not removed; its next start removes it");
        }
    }
}

/// The network of a cell that has this lease.
pub(crate) fn network_of(lease: Option<&Lease>) -> io::Result<CellNetwork> {
    Ok(match lease {
        Some(lease) => CellNetwork::Prepared(Arc::new(lease.fd().try_clone_to_owned()?)),
        None => CellNetwork::Isolated,
    })
}

/// Lets a network reach only what is on the list, if the policy is one.
async fn restrict(lease: &mut Option<Lease>, policy: &NetworkPolicy) -> Result<(), CreateError> {
    match (lease, policy) {
        (Some(lease), NetworkPolicy::Allow(allowed)) => {
            lease.restrict(Arc::clone(allowed)).await.map_err(failed)
        }
        _ => Ok(()),
    }
}

/// Starts the own program as helper.
async fn spawn_helper(config: &SandboxConfig) -> Result<Helper, HelperError> {
    let helper = HelperConfig::new(config.mode, &config.data_dir, &config.node_id);
    Helper::spawn(&own_program(), helper).await
}

/// The own program under its name, which lists of processes show; one that was replaced or removed by the name that the
/// kernel has for it.
fn own_program() -> PathBuf {
    const NAMELESS: &str = "/proc/self/exe";
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| NAMELESS.into())
}

//! The factory: makes containers of this node's cells.

mod cells;
mod config;
mod nursery;
mod plan;

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::exec::BLACKBOX;
use chasen_runtime::connection::{Broken, Connection, LineConnection};
use chasen_spi::container_factory::{Container, ContainerFactory, ContainerSpec, CreateError};
use chasen_spi::image_store::ImageStore;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::time::timeout;

pub(crate) use cells::{Cells, NotStarted, network_of};
pub use config::SandboxConfig;
pub(crate) use plan::{BuildPlan, Planner};
use plan::{Compiled, Plan, Speech};

use crate::build::{Builder, Compile};
use crate::cell::{Cell, CellSpec, Limits};
use crate::container::{Parts, Runtime, SandboxContainer};
use crate::helper::{HelperError, Mode};
use crate::image::ImageFactory;
use crate::interpreter::Interpreters;
use crate::layer::Layers;
use crate::logs::Output;
use crate::network::{Lease, Network, NetworkError};
use crate::requirements::{self, Missing};

/// Bytes of what a runtime printed before it failed to come up, for the operator's log.
const LAST_WORDS: u64 = 4096;

/// Why a node has no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The machine lacks something.
    #[error("sandboxes cannot be made on this machine:{}\nwithout them, only `--insecure-process` runs functions: as plain processes, for trusted code", list(.0))]
    Missing(Vec<Missing>),
    /// The helper does not come up.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The network cannot be made.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The data folder cannot be used.
    #[error("the folder {} cannot be used: {source}", folder.display())]
    Disk {
        /// The folder.
        folder: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node is stopping while it starts.
    #[error("the start of the sandbox was cut short")]
    CutShort,
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(|one| format!("\n  - {}: {}; to get it: {}", one.what, one.why, one.how)).collect()
}

/// Makes containers.
#[derive(Debug)]
pub struct SandboxFactory {
    config: Arc<SandboxConfig>,
    planner: Arc<Planner>,
    layers: Arc<Layers>,
    builder: Arc<Builder>,
    cells: Arc<Cells>,
    door: Option<SocketAddrV4>,
}

impl SandboxFactory {
    /// Starts the helper and the network.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left behind then.
    pub async fn open(config: SandboxConfig) -> Result<Self, OpenError> {
        if config.mode == Mode::Isolated {
            let (node_id, with_network) = (config.node_id.clone(), config.network.is_some());
            let missing = blocking(move || {
                let mut missing = requirements::missing(&node_id);
                if with_network {
                    missing.extend(Network::missing());
                }
                missing
            });
            let missing = missing.await?;
            if !missing.is_empty() {
                return Err(OpenError::Missing(missing));
            }
        }
        if config.fork_server && (config.mode != Mode::Isolated || !rustix::process::geteuid().is_root()) {
            tracing::warn!("fork servers need isolated cells and the machine's root: cells start without");
        }
        let folder = config.data_dir.join("layers");
        let (layers_folder, bounds, retention) = (folder.clone(), config.code_bounds, config.code_retention);
        let layers = blocking(move || Layers::open(layers_folder, bounds, retention)).await?;
        let layers = layers.map_err(|source| OpenError::Disk { folder, source })?;
        let config = Arc::new(config);
        let cells = Cells::open(Arc::clone(&config)).await?;
        let network = cells.network();
        let resolvers = network
            .iter()
            .flat_map(|network| network.resolvers())
            .map(|address| IpAddr::V4(*address))
            .collect();
        let door = network.as_ref().map(|network| network.door_address());
        // Plain processes have the machine's own files around them, and no others.
        let isolated = config.mode == Mode::Isolated;
        let interpreters = Interpreters::new(isolated.then(|| config.rootfs_dir.clone()));
        let api_host = config.api_host.clone().or_else(|| door.map(|door| format!("http://{door}")));
        let planner = Arc::new(Planner::new(interpreters, resolvers, api_host));
        let folder = config.data_dir.clone();
        let open = {
            let (config, planner, cells) = (Arc::clone(&config), Arc::clone(&planner), Arc::clone(&cells));
            move || Builder::open(config, planner, cells)
        };
        let builder = blocking(open).await?.map_err(|source| OpenError::Disk { folder, source })?;
        Ok(Self { planner, config, layers: Arc::new(layers), builder: Arc::new(builder), cells, door })
    }

    /// Where the API must listen so that sandboxes reach it; `None` where they have no network of their own.
    #[must_use]
    pub fn door_address(&self) -> Option<SocketAddrV4> {
        self.door
    }

    /// The interpreters of this machine, as the factory found them.
    #[must_use]
    pub fn interpreters(&self) -> &Interpreters {
        &self.planner.interpreters
    }

    /// The factory of imported images, whose cells are this factory's.
    #[must_use]
    pub fn images(&self, store: Arc<dyn ImageStore>) -> ImageFactory {
        let (resolvers, api_host) = self.planner.surroundings();
        ImageFactory::new(Arc::clone(&self.config), Arc::clone(&self.cells), store, resolvers, api_host)
    }

    async fn make(&self, spec: &ContainerSpec) -> Result<SandboxContainer, CreateError> {
        let plan = self.planner.plan(&self.config, spec).await?;
        let lease = self.cells.lease().await?;
        let (cell, ends) = self.cells.start(|| self.cell_spec(spec, &plan, lease.as_ref())).await?;
        let output = Output::new(ends.stdout, ends.stderr).map_err(failed)?;
        let greeting = timeout(self.config.start_deadline, greet(ends.speech, self.keep()));
        let runtime = match greeting.await {
            Ok(Ok(runtime)) => runtime,
            Ok(Err(broken)) => return Err(self.not_up(&cell, &output, &broken.to_string()).await),
            Err(_) => {
                let why = format!("it was not up within {:?}", self.config.start_deadline);
                return Err(self.not_up(&cell, &output, &why).await);
            }
        };
        Ok(SandboxContainer::new(Parts {
            cell,
            runtime,
            output,
            personality: plan.personality,
            layers: Arc::clone(&self.layers),
            compile: plan.compiled.map(|Compiled { kind, launch, environment }| Compile {
                builder: Arc::clone(&self.builder),
                kind,
                launch,
                environment,
            }),
            lease,
            memory: spec.memory,
            keep: self.config.payload.kept(),
        }))
    }

    fn cell_spec(
        &self,
        spec: &ContainerSpec,
        plan: &Plan,
        lease: Option<&Lease>,
    ) -> io::Result<(CellSpec, Ends)> {
        let (stdout, their_stdout) = output_pipe()?;
        let (stderr, their_stderr) = output_pipe()?;
        let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (speech, files) = match plan.speech {
            Speech::Frames => {
                let (ours, theirs) = pair()?;
                let nothing = OwnedFd::from(File::open("/dev/null")?);
                (SpeechEnd::Frames(ours), vec![nothing, their_stdout, their_stderr, theirs])
            }
            Speech::FramesOnInput => {
                let (ours, theirs) = pair()?;
                (SpeechEnd::Frames(ours), vec![theirs, their_stdout, their_stderr])
            }
            Speech::Lines => {
                let (their_input, input) = pipe_with(PipeFlags::CLOEXEC)?;
                let (output, their_output) = output_pipe()?;
                (
                    SpeechEnd::Lines { input, output },
                    vec![their_input, their_stdout, their_stderr, their_output],
                )
            }
        };
        let name = self.cells.next_name(&spec.kind);
        let cell_spec = CellSpec {
            hostname: name.clone(),
            name,
            root: Arc::clone(&plan.root),
            fork_server: plan.fork_server.clone(),
            argv: plan.argv.clone(),
            env: plan.env.clone(),
            cwd: plan.cwd.clone(),
            limits: limits(&self.config, spec),
            network: network_of(lease)?,
            files,
        };
        Ok((cell_spec, Ends { stdout, stderr, speech }))
    }

    fn keep(&self) -> usize {
        usize::try_from(self.config.payload.kept().as_bytes()).unwrap_or(usize::MAX)
    }

    /// Ends a cell whose runtime does not come up. The text is for the operator, with what it printed.
    async fn not_up(&self, cell: &Cell, output: &Output, why: &str) -> CreateError {
        let exit = cell.kill().await;
        output.set_limit(LAST_WORDS);
        let words = output.take().join(" | ");
        CreateError::Failed(format!(
            "the runtime in {} did not come up: {why} ({exit:?}) {words}",
            cell.name()
        ))
    }
}

/// What a container may use.
pub(crate) fn limits(config: &SandboxConfig, spec: &ContainerSpec) -> Limits {
    let memory = spec.memory.as_bytes();
    let weight = memory.saturating_mul(1024) / config.node_memory.as_bytes().max(1);
    Limits { cpu_weight: u32::try_from(weight.clamp(2, 262_144)).unwrap_or(2), ..Limits::with_memory(memory) }
}

/// The node's ends of what a cell was given.
struct Ends {
    stdout: OwnedFd,
    stderr: OwnedFd,
    speech: SpeechEnd,
}

enum SpeechEnd {
    Frames(OwnedFd),
    Lines { input: OwnedFd, output: OwnedFd },
}

/// A pipe that a cell writes to. Its user may also open it anew, which is what `> /dev/stderr` does.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fchmod(&theirs, rustix::fs::Mode::from_raw_mode(0o622))?;
    Ok((ours, theirs))
}

async fn greet(end: SpeechEnd, keep: usize) -> Result<Runtime, Broken> {
    match end {
        SpeechEnd::Frames(socket) => Runtime::greet_launcher(Connection::new(socket, keep)?).await,
        SpeechEnd::Lines { input, output } => {
            Runtime::greet_starter(LineConnection::new(input, output, keep)?).await
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OpenError::CutShort)
}

fn failed(error: impl std::fmt::Display) -> CreateError {
    CreateError::Failed(error.to_string())
}

#[async_trait]
impl ContainerFactory for SandboxFactory {
    fn is_up(&self) -> bool {
        self.cells.is_up()
    }

    fn serves(&self, kind: &str, image: Option<&str>) -> bool {
        let manifest = self.config.runtimes.manifest();
        if kind == BLACKBOX {
            return image.is_some_and(|image| manifest.is_own_blackbox(image));
        }
        manifest.resolve(kind).is_some_and(|kind| kind.launch.is_some())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        Ok(Arc::new(self.make(spec).await?))
    }

    async fn close(&self) {
        self.cells.close().await;
    }
}

//! The factory: makes containers of this node's cells.

mod cells;
mod config;
mod nursery;
mod outfit;
mod plan;

use std::io;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::exec::BLACKBOX;
use chasen_entity::{NetworkPolicy, error_text};
use chasen_spi::container_factory::{Container, ContainerFactory, ContainerSpec, CreateError};
use chasen_spi::image_store::ImageStore;

use cells::Begun;
pub(crate) use cells::{Cells, NotStarted, network_of};
pub use config::SandboxConfig;
use nursery::Shape;
pub(crate) use nursery::UnderWay;
pub(crate) use outfit::output_pipe;
pub(crate) use plan::{BuildPlan, Planner};
use plan::{Compiled, Plan};

use crate::build::{Builder, Compile};
use crate::cell::Limits;
use crate::container::{Coming, Parts, SandboxContainer};
use crate::helper::{HelperError, Mode};
use crate::image::ImageFactory;
use crate::interpreter::Interpreters;
use crate::layer::Layers;
use crate::logs::Output;
use crate::network::{Network, NetworkError};
use crate::requirements::{self, Missing};

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
        let resolvers = network.iter().map(|network| IpAddr::V4(network.resolver())).collect();
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
        if self.config.mode != Mode::Isolated && spec.network != NetworkPolicy::Internet {
            let policy = spec.network.to_string();
            return Err(CreateError::PolicyNotKept(error_text::network::not_kept(
                &policy,
                "plain processes",
            )));
        }
        let Plan { argv, fork_server, cwd, env, root, speech, personality, compiled } =
            self.planner.plan(&self.config, spec).await?;
        let limits = limits(&self.config, spec);
        let is_closed = spec.network == NetworkPolicy::None;
        let shape = Shape { kind: spec.kind.clone(), root, argv, fork_server, env, cwd, limits, is_closed };
        let Begun { cell, kept: ends, lease, under_way } =
            self.cells.begin(&shape, &spec.network, || outfit::outfit(speech)).await?;
        let output = Output::new(ends.stdout, ends.stderr).map_err(failed)?;
        let keep = usize::try_from(self.config.payload.kept().as_bytes()).unwrap_or(usize::MAX);
        let runtime = Coming::new(ends.speech.line(keep).map_err(failed)?);
        let parts = Parts {
            cell,
            runtime,
            start_deadline: self.config.start_deadline,
            output,
            personality,
            layers: Arc::clone(&self.layers),
            compile: compiled.map(|Compiled { kind, launch, environment }| Compile {
                builder: Arc::clone(&self.builder),
                kind,
                launch,
                environment,
                network: spec.network.clone(),
            }),
            lease,
            memory: spec.memory,
            keep: self.config.payload.kept(),
        };
        Ok(SandboxContainer::new(parts, under_way))
    }
}

/// What a container may use.
pub(crate) fn limits(config: &SandboxConfig, spec: &ContainerSpec) -> Limits {
    let memory = spec.memory.as_bytes();
    let weight = memory.saturating_mul(1024) / config.node_memory.as_bytes().max(1);
    Limits { cpu_weight: u32::try_from(weight.clamp(2, 262_144)).unwrap_or(2), ..Limits::with_memory(memory) }
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
        let container = self.make(spec).await?;
        container.up().await?;
        Ok(Arc::new(container))
    }

    async fn begin(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        Ok(Arc::new(self.make(spec).await?))
    }

    async fn close(&self) {
        self.cells.close().await;
    }
}

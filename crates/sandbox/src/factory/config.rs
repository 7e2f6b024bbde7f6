//! What a node tells its sandbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ByteSize, PayloadLimits};
use chasen_spi::Runtimes;

use crate::helper::Mode;
use crate::layer::{Bounds, Retention};
use crate::network::NetworkConfig;

/// Settings of a [`super::SandboxFactory`].
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The `chasen` program, which is the native launcher inside cells.
    pub executable: PathBuf,
    /// How cells are started.
    pub mode: Mode,
    /// The node's data folder.
    pub data_dir: PathBuf,
    /// Identity of the node, stable for its data folder: lower-case letters, digits and `-`.
    pub node_id: String,
    /// The kinds, as they are at the moment.
    pub runtimes: Arc<Runtimes>,
    /// Folder with the launchers, as the manifest names them.
    pub runtimes_dir: PathBuf,
    /// Folder with the preinstalled modules, one folder per name in the manifest.
    pub modules_dir: PathBuf,
    /// Folder of the roots that were built for the node.
    pub rootfs_dir: PathBuf,
    /// The network of the cells; `None` leaves them without one. Plain processes use the host's.
    pub network: Option<NetworkConfig>,
    /// What functions find in `__OW_API_HOST`; `None` means the network's door.
    pub api_host: Option<String>,
    /// More environment variables for every function.
    pub extra_env: Vec<(String, String)>,
    /// Bounds of what functions answer.
    pub payload: PayloadLimits,
    /// Memory of all cells together: a cell's share of it is its share of the processors.
    pub node_memory: ByteSize,
    /// Whether programs of kinds with a fork server are born by it, where the node has the machine's root.
    pub fork_server: bool,
    /// Cells that are kept ready for each kind and memory that was started lately; none where cells are not isolated.
    pub prepared_cells: usize,
    /// How long an interpreter may take to be up.
    pub start_deadline: Duration,
    /// Memory of a cell in which code is compiled, its files included.
    pub build_memory: ByteSize,
    /// What an action's archive may unpack to.
    pub code_bounds: Bounds,
    /// What is kept of unpacked code that nobody uses.
    pub code_retention: Retention,
}

impl SandboxConfig {
    /// The usual settings: isolated, no network, launchers and modules in `runtimes/` below the data folder.
    #[must_use]
    pub fn new(
        executable: impl Into<PathBuf>,
        data_dir: impl Into<PathBuf>,
        node_id: impl Into<String>,
        runtimes: Arc<Runtimes>,
    ) -> Self {
        let data_dir = data_dir.into();
        Self {
            executable: executable.into(),
            mode: Mode::Isolated,
            node_id: node_id.into(),
            runtimes,
            runtimes_dir: data_dir.join("runtimes"),
            modules_dir: data_dir.join("runtimes"),
            rootfs_dir: data_dir.join("rootfs"),
            data_dir,
            network: None,
            api_host: None,
            extra_env: Vec::new(),
            payload: PayloadLimits::default(),
            node_memory: ByteSize::mb(2048),
            fork_server: false,
            prepared_cells: 0,
            start_deadline: Duration::from_secs(20),
            build_memory: ByteSize::mb(1024),
            code_bounds: Bounds::default(),
            code_retention: Retention::default(),
        }
    }
}

//! Settings of the factory.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use chasen_entity::{ByteSize, PayloadLimits};
use chasen_spi::Runtimes;

/// Settings of a [`crate::DockerFactory`].
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Names the node in labels and names of containers: what carries it is this node's and nobody else's.
    pub node_id: String,
    /// Which images there are for kinds, and which images the platform runs itself.
    pub runtimes: Arc<Runtimes>,
    /// True if the engine is to run what the platform's own sandbox could run too.
    pub kinds: bool,
    /// Network that containers are in. Its addresses must be reachable from this machine.
    pub network: String,
    /// When registries are asked for images.
    pub pull: PullPolicy,
    /// File with logins of registries, in the format of Docker's `config.json`.
    pub credentials: Option<PathBuf>,
    /// Low-level runtime (`runc`, `crun`, `runsc`); the engine's own choice if there is none.
    pub runtime: Option<String>,
    /// Name servers of containers; the engine's own choice if there are none.
    pub dns: Vec<IpAddr>,
    /// Environment of every container, `NAME=value`.
    pub env: Vec<String>,
    /// What functions find in `__OW_API_HOST`.
    pub api_host: Option<String>,
    /// Memory of all containers of the node together: a container's part of it is its part of the processors.
    pub node_memory: ByteSize,
    /// Longest answers that are kept.
    pub payload: PayloadLimits,
}

/// When registries are asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before every container of an image that an action names; images of kinds when they are missing.
    Always,
    /// When it is missing.
    Missing,
    /// Never: only what the engine has is run.
    Never,
}

//! Prepared network namespaces: one private network per sandbox, made ahead of need.
//!
//! A node owns a block of addresses, one nftables table and one *door* address on which the API
//! answers its sandboxes. Each sandbox gets a namespace of its own, joined to the node by a veth
//! pair. Public hosts and the configured resolvers answer; private ranges, metadata addresses,
//! the node and other sandboxes do not.

mod error;
mod lease;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

pub use error::NetworkError;
pub use lease::Lease;

use crate::requirements::Missing;

/// What a node asks of its network.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Identity of the node, stable for its data folder: names and clean-up follow from it.
    pub node_id: String,
    /// Folder for the lock files by which nodes of one machine share the address range,
    /// usually [`NetworkConfig::RUN_DIR`].
    pub run_dir: PathBuf,
    /// The one TCP port that sandboxes reach on [`Network::door_address`].
    pub door_port: u16,
    /// Name servers for sandboxes; empty takes those of the machine.
    pub dns: Vec<std::net::IpAddr>,
    /// Networks denied to sandboxes beside the built-in ones: address and prefix length.
    pub denied: Vec<(Ipv4Addr, u8)>,
    /// How many namespaces an idle node keeps ready.
    pub prepared: usize,
    /// Make the first namespaces when the first one is taken, not at start.
    pub lazy: bool,
}

impl NetworkConfig {
    /// Where nodes of one machine keep their lock files.
    pub const RUN_DIR: &'static str = "/run/chasen";

    /// The defaults for node `node_id` whose API listens on `door_port`.
    pub fn new(node_id: impl Into<String>, door_port: u16) -> Self {
        Self {
            node_id: node_id.into(),
            run_dir: Path::new(Self::RUN_DIR).to_path_buf(),
            door_port,
            dns: Vec::new(),
            denied: Vec::new(),
            prepared: 4,
            lazy: false,
        }
    }
}

/// The network of one node. Dropping it is [`Network::close`] with errors logged.
#[derive(Debug)]
pub struct Network {}

impl Network {
    /// Takes a block of addresses, removes what an earlier life of the same node left behind,
    /// writes the rules and starts preparing namespaces. Blocks for a few milliseconds.
    pub fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        let _ = config;
        Err(NetworkError::Closed)
    }

    /// Where the API must listen for sandboxes.
    pub fn door_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)
    }

    /// Name servers that sandboxes may ask; empty when the machine has none that they could reach.
    pub fn resolvers(&self) -> &[Ipv4Addr] {
        &[]
    }

    /// Content of a sandbox's `/etc/resolv.conf`.
    pub fn resolv_conf(&self) -> String {
        String::new()
    }

    /// A namespace nobody has used: at once when one is prepared, else made on demand within a
    /// bounded wait.
    pub async fn take(&self) -> Result<Lease, NetworkError> {
        Err(NetworkError::Closed)
    }

    /// Removes every interface, rule and setting of this node. Blocks for some milliseconds.
    pub fn close(self) -> Result<(), NetworkError> {
        Ok(())
    }

    /// What this machine lacks for sandbox networks; empty when nothing.
    pub fn missing() -> Vec<Missing> {
        Vec::new()
    }
}

/// Removes interfaces and rules that a dead node `node_id` left behind, and nobody else's.
/// [`Network::open`] does this by itself.
pub fn cleanup(node_id: &str) -> Result<(), NetworkError> {
    let _ = node_id;
    Ok(())
}

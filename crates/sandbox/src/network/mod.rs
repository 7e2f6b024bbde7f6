//! Prepared network namespaces: one private network per sandbox, made ahead of need.
//!
//! A node owns a block of addresses, one nftables table and one *door*: the address on which the
//! API answers its sandboxes. Each sandbox gets a namespace of its own, joined to the node by a
//! veth pair. Public hosts answer, or those alone that a list names ([`Lease::restrict`]); private ranges, metadata
//! addresses, the node and other sandboxes do not. Names are asked of the door, where the node's resolver asks the
//! node's own name servers. IPv4 only: sandboxes have no IPv6 address.
//!
//! A firewall of the machine that drops by default what it forwards (Docker's does) or receives
//! also drops what sandboxes send: no table can overrule another's drop. Such a firewall must
//! accept packets from and to 100.64.0.0/10.

mod block;
mod connections;
mod counters;
mod demand;
pub mod dns;
mod egress;
mod error;
mod forwarding;
mod lease;
mod link;
mod lock;
mod maker;
mod names;
mod namespace;
mod netlink;
mod nftables;
mod pool;
mod probe;
mod resolver;
mod restriction;
mod rules;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use chasen_entity::Subnet;

pub use error::NetworkError;
pub use lease::Lease;

use crate::requirements::Missing;
use block::Block;
use lock::Held;
use maker::Maker;
use names::Names;
use netlink::Socket;
use pool::Pool;
use resolver::Servers;

/// Bounds of settings: more is a mistake.
const MOST_PREPARED: usize = 512;
const MOST_DENIED: usize = 256;
/// File of the run folder by which nodes take turns in cleaning up.
const CLEANING: &str = "cleaning.lock";

/// What a node asks of its network.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Identity of the node, stable for its data folder: names and clean-up follow from it.
    pub node_id: String,
    /// Folder by which the nodes of one machine share the address range; one and the same for all
    /// of them, usually [`NetworkConfig::RUN_DIR`].
    pub run_dir: PathBuf,
    /// The one TCP port that sandboxes reach on [`Network::door_address`].
    pub door_port: u16,
    /// Name servers that the node asks for sandboxes, wherever they are; empty takes those of the machine.
    pub dns: Vec<IpAddr>,
    /// Networks denied to sandboxes beside the private and special ones; at most 256.
    pub denied: Vec<Subnet>,
    /// Private networks that lists of destinations may name; at most 256.
    pub lent: Vec<Subnet>,
    /// How many namespaces an idle node keeps ready; at most 512. Bursts raise it for a while.
    pub prepared: usize,
    /// Prepare nothing before the first [`Network::take`].
    pub lazy: bool,
}

impl NetworkConfig {
    /// Where nodes of one machine keep their lock files.
    pub const RUN_DIR: &'static str = "/run/chasen";

    /// The defaults for node `node_id` whose API listens on `door_port`.
    pub fn new(node_id: impl Into<String>, door_port: u16) -> Self {
        Self {
            node_id: node_id.into(),
            run_dir: PathBuf::from(Self::RUN_DIR),
            door_port,
            dns: Vec::new(),
            denied: Vec::new(),
            lent: Vec::new(),
            prepared: 4,
            lazy: false,
        }
    }

    fn check(&self) -> Result<(), NetworkError> {
        let wrong = |text: String| Err(NetworkError::Setting(text));
        if self.door_port == 0 {
            return wrong("the door's port is 0; bind the API first and give the port it got".into());
        }
        if self.prepared > MOST_PREPARED {
            let asked = self.prepared;
            return wrong(format!("{asked} prepared networks are too many; ask for at most {MOST_PREPARED}"));
        }
        if self.denied.len() > MOST_DENIED {
            let asked = self.denied.len();
            return wrong(format!("{asked} denied networks are too many; give at most {MOST_DENIED}"));
        }
        if self.lent.len() > MOST_DENIED {
            let asked = self.lent.len();
            return wrong(format!("{asked} lent networks are too many; give at most {MOST_DENIED}"));
        }
        if let Some(network) = self.lent.iter().find(|network| !network.is_private()) {
            return wrong(format!(
                "{network} cannot be lent to functions: only networks within 10.0.0.0/8, 172.16.0.0/12 and \
                 192.168.0.0/16 can; public ones need not be"
            ));
        }
        let both = |lent: &&Subnet| self.denied.iter().any(|denied| lent.overlaps(*denied));
        if let Some(network) = self.lent.iter().find(both) {
            return wrong(format!("{network} is both lent and denied to functions; say one of these"));
        }
        Ok(())
    }
}

/// The network of one node. Dropping it is [`Network::close`] with the error logged.
#[derive(Debug)]
pub struct Network {
    pool: Arc<Pool>,
    keeper: Option<JoinHandle<Result<(), NetworkError>>>,
    door: SocketAddrV4,
}

impl Network {
    /// Takes a block of addresses, removes what an earlier life of the same node left behind, and dead nodes did,
    /// writes the rules and starts preparing namespaces. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When a setting makes no sense, the kernel refuses a step or no block is free; nothing is
    /// left behind then.
    pub fn open(config: NetworkConfig) -> Result<Self, NetworkError> {
        config.check()?;
        let names = Names::of(&config.node_id);
        let alive = clean(names, &config.run_dir)?;
        clean_after_the_dead(&config.run_dir);
        let mut used = link::used_networks(&mut Socket::route()?, block::RANGE)?;
        // Rules that stayed nevertheless would hide the door of whoever had their block.
        let tables = nftables::tables(&mut Socket::netfilter()?)?;
        used.extend(tables.iter().filter_map(|table| Names::block_of_table(table)).map(block::subnet));
        let block = Block::claim(&config.run_dir, names.key(), &used)?;
        let servers = Servers::new(&config.dns);
        if servers.list().is_empty() {
            tracing::warn!(
                "functions cannot look up names: this machine has no name server; set `sandbox.dns`"
            );
        }
        let mut maker = Maker::new(names, alive, block, &config.run_dir, &config.lent)?;
        if let Err(error) = maker.set_up(config.door_port, servers, &config.denied, &config.lent) {
            // The first error tells more than what removing the remains might add.
            let _ = maker.tear_down();
            return Err(error);
        }
        let door = SocketAddrV4::new(maker.door(), config.door_port);
        let pool = Pool::new(config.prepared, config.lazy);
        let kept = Arc::clone(&pool);
        let keeper = thread::Builder::new()
            .name("network".into())
            .spawn(move || kept.keep(maker))
            .map_err(|error| NetworkError::kernel("start the network's thread", error))
            .inspect_err(|_| {
                let _ = clean(names, &config.run_dir);
            })?;
        Ok(Self { pool, keeper: Some(keeper), door })
    }

    /// Where the API must listen for sandboxes.
    pub fn door_address(&self) -> SocketAddrV4 {
        self.door
    }

    /// The name server of sandboxes: the node's resolver.
    pub fn resolver(&self) -> Ipv4Addr {
        *self.door.ip()
    }

    /// A namespace nobody has used: at once when one is prepared, else made on demand.
    ///
    /// # Errors
    /// When none is made within ten seconds, too many wait, no address is left, or the network is
    /// closed.
    pub async fn take(&self) -> Result<Lease, NetworkError> {
        self.pool.take().await
    }

    /// Removes every interface, rule and setting of this node, those of sandboxes still running
    /// too. Blocks for some milliseconds.
    pub fn close(mut self) -> Result<(), NetworkError> {
        self.shut()
    }

    fn shut(&mut self) -> Result<(), NetworkError> {
        let Some(keeper) = self.keeper.take() else { return Ok(()) };
        self.pool.close();
        keeper.join().unwrap_or_else(|_| {
            let died = std::io::Error::other("the network's thread died");
            Err(NetworkError::kernel("remove the node's network", died))
        })
    }

    /// What this machine lacks for sandbox networks; empty when nothing. Tries everything in a
    /// namespace of its own; the machine's network stays as it is. Blocks for some milliseconds.
    pub fn missing() -> Vec<Missing> {
        probe::missing()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            tracing::warn!(%error, "the node's network was not removed; its next start removes it");
        }
    }
}

/// Removes interfaces, rules and settings that a dead node `node_id` left behind, and nobody
/// else's. [`Network::open`] does this by itself.
///
/// # Errors
/// When that node is alive, or the kernel refuses.
pub fn cleanup(node_id: &str, run_dir: &Path) -> Result<(), NetworkError> {
    clean(Names::of(node_id), run_dir).map(drop)
}

/// Cleans up and returns the file by which the node is known to be alive.
fn clean(names: Names, run_dir: &Path) -> Result<Held, NetworkError> {
    let _turn = lock::turn(run_dir, CLEANING)?;
    let alive = lock::hold(run_dir, &names.lock())?.ok_or(NetworkError::Running)?;
    maker::remove_all(names, run_dir, &mut Socket::route()?, &mut Socket::netfilter()?)?;
    Ok(alive)
}

/// Removes what nodes left behind that were killed and have not come back. Nobody else's: a node is known to be dead
/// by the file of its own in this run folder, which nobody holds.
fn clean_after_the_dead(run_dir: &Path) {
    if let Err(error) = try_to_clean_after_the_dead(run_dir) {
        tracing::warn!(%error, "rules of nodes that are gone stay in the packet filter; they harm nobody");
    }
}

fn try_to_clean_after_the_dead(run_dir: &Path) -> Result<(), NetworkError> {
    // Whoever starts meanwhile would find its file held, and take itself for running already.
    let _turn = lock::turn(run_dir, CLEANING)?;
    let (mut links, mut filter) = (Socket::route()?, Socket::netfilter()?);
    for names in nftables::tables(&mut filter)?.iter().filter_map(|table| Names::of_table(table)) {
        if !run_dir.join(names.lock()).exists() {
            continue;
        }
        if let Some(_dead) = lock::hold(run_dir, &names.lock())? {
            maker::remove_all(names, run_dir, &mut links, &mut filter)?;
        }
    }
    Ok(())
}

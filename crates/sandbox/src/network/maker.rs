//! Making and removing networks of sandboxes, one at a time, on a thread of its own.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chasen_entity::Subnet;
use chasen_entity::network::Allowed;
use parking_lot::Mutex;

use super::block::Block;
use super::connections;
use super::error::NetworkError;
use super::forwarding;
use super::link::{self, End, SANDBOX_LINK, Uplink};
use super::lock::Held;
use super::names::Names;
use super::namespace::Namespace;
use super::netlink::Socket;
use super::nftables;
use super::resolver::{Listening, Resolver, Servers, Service};
use super::restriction::{Restriction, Restrictions};
use super::rules::{self, Rules};

/// A public address that nobody has: the way to it is the machine's default way.
pub(super) const ANYWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// What an Ethernet carries, for a machine without a way out.
const USUAL_MTU: u32 = 1500;
/// How long a new link may take until it works, and how often to look.
const LINK_PATIENCE: Duration = Duration::from_secs(2);
const LINK_PAUSE: Duration = Duration::from_micros(200);
const LOOPBACK: &str = "lo";

/// The node's hand on the kernel.
#[derive(Debug)]
pub(super) struct Maker {
    names: Names,
    block: Block,
    _alive: Held,
    run_dir: PathBuf,
    links: Socket,
    filter: Socket,
    /// Addresses whose ways out must forward: the default way and those to lent networks.
    ways: Vec<Ipv4Addr>,
    uplinks: Vec<Uplink>,
    ipv6: bool,
    /// Far end of the link that holds the door's address: a namespace nobody enters.
    beyond: Option<Namespace>,
    /// Lists of destinations, shared with the resolver, and how many there have been.
    restrictions: Arc<Restrictions>,
    restricted: u64,
    resolver: Option<Resolver>,
}

impl Maker {
    pub(super) fn new(
        names: Names,
        alive: Held,
        block: Block,
        run_dir: &Path,
        lent: &[Subnet],
    ) -> Result<Self, NetworkError> {
        Ok(Self {
            names,
            block,
            _alive: alive,
            run_dir: run_dir.to_owned(),
            links: Socket::route()?,
            filter: Socket::netfilter()?,
            ways: std::iter::once(ANYWHERE).chain(lent.iter().map(|network| network.last())).collect(),
            uplinks: Vec::new(),
            ipv6: Path::new("/proc/sys/net/ipv6").exists(),
            beyond: None,
            restrictions: Arc::default(),
            restricted: 0,
            resolver: None,
        })
    }

    /// Puts the rules in force, then opens the door, then lets packets through. Names are asked of `servers`.
    pub(super) fn set_up(
        &mut self,
        port: u16,
        servers: Servers,
        denied: &[Subnet],
        lent: &[Subnet],
    ) -> Result<(), NetworkError> {
        let listening = Listening::new(self.block.door())?;
        let rules = Rules {
            table: &self.table(),
            group: self.names.group(),
            block: self.block.subnet(),
            door: std::net::SocketAddrV4::new(self.block.door(), port),
            resolver: listening.ports()?,
            denied,
            lent,
        };
        self.filter.run(&rules.steps())?;
        self.resolver = Some(listening.answer(Service {
            block: self.block.subnet(),
            servers,
            restrictions: Arc::clone(&self.restrictions),
            table: self.table(),
            filter: Mutex::new(Socket::netfilter()?),
        })?);
        self.follow_uplinks()?;
        // The door's address needs a link to live on. The link also takes what is sent to an
        // address of the block that no sandbox has, which would leave by the default way otherwise.
        let name = self.names.door();
        self.beyond = Some(self.pair(&name)?);
        let index = link::index_of(&mut self.links, &name)?;
        self.links.run(&[
            link::configure(index, false, self.ipv6),
            link::add_address(index, self.block.door(), self.block.subnet().prefix()),
            link::set_up(index),
        ])
    }

    fn table(&self) -> String {
        self.names.table(self.block.index())
    }

    pub(super) fn door(&self) -> Ipv4Addr {
        self.block.door()
    }

    /// Address of sandbox number `slot`.
    pub(super) fn address(&self, slot: u16) -> Ipv4Addr {
        self.block.address(slot)
    }

    /// Makes the network of sandbox number `slot` and returns its namespace. After an error
    /// [`Maker::remove`] removes what there is of it.
    pub(super) fn make(&mut self, slot: u16) -> Result<OwnedFd, NetworkError> {
        if let Err(error) = self.follow_uplinks() {
            tracing::warn!(%error, "sandboxes may not reach the network");
        }
        self.restrictions.forget(self.block.address(slot));
        let name = self.names.pair(slot);
        let mut namespace = self.pair(&name)?;
        self.join(&name, &mut namespace, self.block.address(slot))?;
        Ok(namespace.into_fd())
    }

    /// A new namespace with one end of the pair `name` in it.
    fn pair(&mut self, name: &str) -> Result<Namespace, NetworkError> {
        let mtu = self.uplinks.iter().map(|uplink| uplink.mtu).min().unwrap_or(USUAL_MTU);
        let namespace = Namespace::new()?;
        self.links.run(&[link::create_pair(name, self.names.group(), mtu, namespace.as_fd())])?;
        Ok(namespace)
    }

    fn join(&mut self, name: &str, namespace: &mut Namespace, address: Ipv4Addr) -> Result<(), NetworkError> {
        let door = self.block.door();
        let inside = namespace.socket();
        let loopback = link::index_of(inside, LOOPBACK)?;
        let index = link::index_of(inside, SANDBOX_LINK)?;
        let everywhere = Subnet::EVERYTHING;
        inside.run(&[
            link::configure(index, false, self.ipv6),
            link::add_address(index, address, Subnet::host(address).prefix()),
            link::set_up(loopback),
            link::set_up(index),
            link::add_neighbour(index, door, End::Node),
            link::add_route(index, Subnet::host(door), None, None),
            link::add_route(index, everywhere, Some(door), None),
        ])?;
        let near = link::index_of(&mut self.links, name)?;
        self.links.run(&[
            link::configure(near, true, self.ipv6),
            link::set_up(near),
            link::add_neighbour(near, address, End::Sandbox),
            link::add_route(near, Subnet::host(address), None, Some(door)),
        ])?;
        // Else the sandbox's first packet could be lost, and with it a second.
        let deadline = Instant::now() + LINK_PATIENCE;
        while !link::is_working(inside, index)? {
            if Instant::now() >= deadline {
                let late = std::io::Error::other("it did not come up in time");
                return Err(NetworkError::kernel("bring a sandbox's link up", late));
            }
            thread::sleep(LINK_PAUSE);
        }
        Ok(())
    }

    /// Lets sandbox number `slot` reach these destinations only.
    pub(super) fn restrict(&mut self, slot: u16, allowed: Arc<Allowed>) -> Result<(), NetworkError> {
        self.restricted += 1;
        let restriction = Restriction::new(self.restricted, self.block.address(slot), allowed);
        self.filter.run(&restriction.steps(&self.table()))?;
        self.restrictions.put(restriction);
        Ok(())
    }

    /// Removes the network of sandbox number `slot`, and then its list of destinations.
    pub(super) fn remove(&mut self, slot: u16) -> Result<(), NetworkError> {
        match self.links.run(&[link::remove(&self.names.pair(slot))]) {
            // The namespace died with its processes and took the pair along.
            Err(error) if error.is_absent() => {}
            removed => removed?,
        }
        // The resolver goes by it until the address is somebody else's: questions of the ended one may still lie there.
        match self.restrictions.of(self.block.address(slot)) {
            Some(restriction) => self.filter.run(&restriction.removal(&self.table())),
            None => Ok(()),
        }
    }

    /// Removes what the kernel remembers of the connections of sandboxes that have ended: the next holder of an address
    /// must not receive their answers.
    pub(super) fn forget(&mut self, slots: &[u16]) -> Result<(), NetworkError> {
        let sources = slots.iter().map(|slot| self.block.address(*slot)).collect();
        connections::forget(&mut self.filter, &sources)
    }

    /// Lets the links by which sandboxes leave the machine now forward.
    fn follow_uplinks(&mut self) -> Result<(), NetworkError> {
        let mut uplinks: Vec<Uplink> = Vec::new();
        for way in &self.ways {
            if let Some(uplink) = link::uplink(&mut self.links, *way)?
                && uplink.name != LOOPBACK
                && !uplinks.contains(&uplink)
            {
                uplinks.push(uplink);
            }
        }
        if uplinks != self.uplinks {
            let names: Vec<_> = uplinks.iter().map(|uplink| uplink.name.clone()).collect();
            forwarding::turn_on(&self.run_dir, self.names.key(), &names)?;
            self.uplinks = uplinks;
        }
        Ok(())
    }

    /// Removes everything of the node.
    pub(super) fn tear_down(&mut self) -> Result<(), NetworkError> {
        self.resolver.take();
        remove_all(self.names, &self.run_dir, &mut self.links, &mut self.filter)
    }
}

/// Removes everything that the node `names` has in the kernel: links first, so that no sandbox ever
/// runs without rules.
pub(super) fn remove_all(
    names: Names,
    run_dir: &Path,
    links: &mut Socket,
    filter: &mut Socket,
) -> Result<(), NetworkError> {
    let absent_is_fine = |result: Result<(), NetworkError>| match result {
        Err(error) if error.is_absent() => Ok(()),
        other => other,
    };
    absent_is_fine(links.run(&[link::remove_group(names.group())]))?;
    for table in nftables::tables(filter)?.iter().filter(|table| names.is_table(table)) {
        absent_is_fine(filter.run(&rules::removal(table)))?;
    }
    forwarding::turn_off(run_dir, names.key())
}

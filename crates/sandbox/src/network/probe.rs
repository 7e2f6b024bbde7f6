//! What the machine lacks for sandbox networks, found by trying everything in a namespace that
//! nobody sees.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use chasen_entity::Subnet;
use chasen_entity::network::{Allowed, Destination};

use super::error::NetworkError;
use super::forwarding;
use super::link;
use super::maker::ANYWHERE;
use super::namespace::{Namespace, inside};
use super::netlink::Socket;
use super::restriction::Restriction;
use super::rules::{ResolverPorts, Rules};
use crate::requirements::Missing;

/// Everything that is missing; empty when sandbox networks can be made.
pub(super) fn missing() -> Vec<Missing> {
    let namespaces = "sandboxes are separated from the machine's network by namespaces of their own";
    let mut found = match inside(try_inside) {
        Ok(found) => found,
        Err(error) => vec![lacking("network namespaces", namespaces, &error)],
    };
    let uplink = Socket::route().and_then(|mut socket| link::uplink(&mut socket, ANYWHERE));
    if let Ok(Some(uplink)) = uplink
        && !forwarding::is_possible(&uplink.name)
    {
        found.push(Missing {
            what: format!("IPv4 forwarding on {}", uplink.name),
            why: "sandboxes reach the network through this machine".into(),
            how: "run `sysctl -w net.ipv4.ip_forward=1`, or give the node a writable /proc/sys".into(),
        });
    }
    found
}

fn try_inside() -> Vec<Missing> {
    let mut found = Vec::new();
    if let Err(error) = try_pair() {
        found.push(lacking("veth links", "each sandbox is joined to the node by a veth pair", &error));
    }
    if let Err(error) = try_rules() {
        let why = "nftables rules keep sandboxes from private networks and from each other";
        found.push(lacking("nftables with connection tracking and address translation", why, &error));
    }
    found
}

fn try_pair() -> Result<(), NetworkError> {
    let peer = Namespace::new()?;
    Socket::route()?.run(&[link::create_pair("probe0", 1, 1500, peer.as_fd())])
}

fn try_rules() -> Result<(), NetworkError> {
    let rules = Rules {
        table: "probe",
        group: 1,
        block: Subnet::host(Ipv4Addr::LOCALHOST),
        door: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
        resolver: ResolverPorts { udp: 1, tcp: 1 },
        denied: &[],
        lent: &Subnet::PRIVATE,
    };
    let mut filter = Socket::netfilter()?;
    filter.run(&rules.steps())?;
    let some = |text: &str| Destination::parse(text).ok();
    let destinations = ["192.0.2.0/24:1", "probe.example"].into_iter().filter_map(some).collect();
    let allowed = Arc::new(Allowed { destinations, private: true });
    filter.run(&Restriction::new(0, Ipv4Addr::LOCALHOST, allowed).steps(rules.table))
}

fn lacking(what: &str, why: &str, error: &NetworkError) -> Missing {
    let (what, how) = match error {
        NetworkError::Kernel { step, source, hint } => {
            (format!("{what} (cannot {step}: {source})"), (*hint).to_owned())
        }
        other => (what.to_owned(), other.to_string()),
    };
    Missing { what, why: why.into(), how }
}

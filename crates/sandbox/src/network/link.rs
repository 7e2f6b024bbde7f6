//! Links, addresses, routes and neighbours, as requests to the kernel.

use std::ffi::CStr;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use chasen_entity::Subnet;

use super::error::NetworkError;
use super::netlink::{Attributes, CREATE, DUMP, EXCLUSIVE, Message, Socket, Step, attributes, read_u32};

/// A sandbox's own interface.
pub(super) const SANDBOX_LINK: &str = "eth0";
/// Link addresses are the same for every sandbox: each pair is a network of two. Given ones keep
/// device managers from changing them, and neighbours need no asking.
const NODE_MAC: [u8; 6] = [0x02, 0x63, 0x68, 0, 0, 1];
const SANDBOX_MAC: [u8; 6] = [0x02, 0x63, 0x68, 0, 0, 2];

const AF_INET: u8 = 2;
const AF_INET6: u16 = 10;
const VETH_PEER: u16 = 1;
const INET_CONF: u16 = 1;
const INET_CONF_FORWARDING: u16 = 1;
const INET6_ADDRESS_MODE: u16 = 8;
const INET6_ADDRESS_MODE_NONE: u8 = 1;
const OPERATIONAL: u8 = 6;
const LINK_HEADER_BYTES: usize = 16;
const ROUTE_HEADER_BYTES: usize = 12;
/// Blocks are narrower than this; wider routes, the default one above all, do not claim them.
const WIDEST_CLAIM: u8 = 11;

fn link_header(index: u32, flags: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    let fields = [0, index, flags, flags];
    for (bytes, field) in header.chunks_exact_mut(4).zip(fields) {
        bytes.copy_from_slice(&field.to_ne_bytes());
    }
    header
}

/// Makes a veth pair: `name` here, in `group`, and [`SANDBOX_LINK`] in the namespace `peer`.
pub(super) fn create_pair(name: &str, group: u32, mtu: u32, peer: BorrowedFd<'_>) -> Step {
    let far = [
        link_header(0, 0).as_slice(),
        Attributes::new()
            .text(libc::IFLA_IFNAME, SANDBOX_LINK)
            .bytes(libc::IFLA_ADDRESS, &SANDBOX_MAC)
            .u32(libc::IFLA_MTU, mtu)
            .u32(libc::IFLA_NET_NS_FD, peer.as_raw_fd().cast_unsigned())
            .as_bytes(),
    ]
    .concat();
    let kind = Attributes::new()
        .text(libc::IFLA_INFO_KIND, "veth")
        .nest(libc::IFLA_INFO_DATA, Attributes::new().bytes(VETH_PEER, &far));
    let near = Attributes::new()
        .text(libc::IFLA_IFNAME, name)
        .bytes(libc::IFLA_ADDRESS, &NODE_MAC)
        .u32(libc::IFLA_MTU, mtu)
        .u32(libc::IFLA_GROUP, group)
        .nest(libc::IFLA_LINKINFO, kind);
    let message = Message::new(libc::RTM_NEWLINK, CREATE | EXCLUSIVE, &link_header(0, 0), &near);
    Step::new("make a veth pair", message)
}

/// Lets link `index` forward IPv4 and gives it no IPv6 address of its own. The settings are those
/// of this link alone.
pub(super) fn configure(index: u32, forwarding: bool, ipv6: bool) -> Step {
    let mut families = Attributes::new();
    if forwarding {
        let setting = Attributes::new().u32(INET_CONF_FORWARDING, 1);
        families = families.nest(u16::from(AF_INET), Attributes::new().nest(INET_CONF, setting));
    }
    if ipv6 {
        let setting = Attributes::new().bytes(INET6_ADDRESS_MODE, &[INET6_ADDRESS_MODE_NONE]);
        families = families.nest(AF_INET6, setting);
    }
    let attributes = Attributes::new().nest(libc::IFLA_AF_SPEC, families);
    Step::new("set up a link", Message::new(libc::RTM_SETLINK, 0, &link_header(index, 0), &attributes))
}

pub(super) fn set_up(index: u32) -> Step {
    let header = link_header(index, libc::IFF_UP.cast_unsigned());
    Step::new("bring a link up", Message::new(libc::RTM_SETLINK, 0, &header, &Attributes::new()))
}

/// Removes the link `name`, and with it its pair, addresses, routes and neighbours.
pub(super) fn remove(name: &str) -> Step {
    let attributes = Attributes::new().text(libc::IFLA_IFNAME, name);
    Step::new("remove a link", Message::new(libc::RTM_DELLINK, 0, &link_header(0, 0), &attributes))
}

/// Removes every link of `group` at once.
pub(super) fn remove_group(group: u32) -> Step {
    let attributes = Attributes::new().u32(libc::IFLA_GROUP, group);
    Step::new("remove the node's links", Message::new(libc::RTM_DELLINK, 0, &link_header(0, 0), &attributes))
}

pub(super) fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Step {
    let [a, b, c, d] = index.to_ne_bytes();
    let header = [AF_INET, prefix, 0, 0, a, b, c, d];
    let attributes = Attributes::new()
        .bytes(libc::IFA_LOCAL, &address.octets())
        .bytes(libc::IFA_ADDRESS, &address.octets());
    let message = Message::new(libc::RTM_NEWADDR, CREATE | EXCLUSIVE, &header, &attributes);
    Step::new("give a link its address", message)
}

/// A route to `to` over link `index`: straight, or by the neighbour `by`; answers to who speaks
/// from here without an address of its own choice come from `from`.
pub(super) fn add_route(index: u32, to: Subnet, by: Option<Ipv4Addr>, from: Option<Ipv4Addr>) -> Step {
    let scope = if by.is_some() { libc::RT_SCOPE_UNIVERSE } else { libc::RT_SCOPE_LINK };
    let header = [
        AF_INET,
        to.prefix(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        libc::RTPROT_BOOT,
        scope,
        libc::RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let mut attributes = Attributes::new().u32(libc::RTA_OIF, index);
    if to.prefix() > 0 {
        attributes = attributes.bytes(libc::RTA_DST, &to.first().octets());
    }
    if let Some(by) = by {
        attributes = attributes.bytes(libc::RTA_GATEWAY, &by.octets());
    }
    if let Some(from) = from {
        attributes = attributes.bytes(libc::RTA_PREFSRC, &from.octets());
    }
    Step::new("add a route", Message::new(libc::RTM_NEWROUTE, CREATE | EXCLUSIVE, &header, &attributes))
}

/// Which end of a pair a neighbour entry is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Node,
    Sandbox,
}

/// Tells link `index` where `address` is, so that it never asks.
pub(super) fn add_neighbour(index: u32, address: Ipv4Addr, end: End) -> Step {
    let [a, b, c, d] = index.to_ne_bytes();
    let [low, high] = libc::NUD_PERMANENT.to_ne_bytes();
    let header = [AF_INET, 0, 0, 0, a, b, c, d, low, high, 0, 0];
    let mac = match end {
        End::Node => NODE_MAC,
        End::Sandbox => SANDBOX_MAC,
    };
    let attributes = Attributes::new().bytes(libc::NDA_DST, &address.octets()).bytes(libc::NDA_LLADDR, &mac);
    Step::new("add a neighbour", Message::new(libc::RTM_NEWNEIGH, CREATE, &header, &attributes))
}

/// Index of the link `name`.
pub(super) fn index_of(socket: &mut Socket, name: &str) -> Result<u32, NetworkError> {
    let attributes = Attributes::new().text(libc::IFLA_IFNAME, name);
    let message = Message::new(libc::RTM_GETLINK, 0, &link_header(0, 0), &attributes);
    let mut index = None;
    socket.ask(&Step::new("find a link", message), |_, body| index = read_u32(body, 4))?;
    index
        .ok_or_else(|| NetworkError::kernel("find a link", std::io::Error::other("the answer names no link")))
}

/// Whether packets pass link `index`. A link whose other end came up last starts to work a moment
/// later than it is told to.
pub(super) fn is_working(socket: &mut Socket, index: u32) -> Result<bool, NetworkError> {
    let message = Message::new(libc::RTM_GETLINK, 0, &link_header(index, 0), &Attributes::new());
    let mut working = false;
    socket.ask(&Step::new("look at a link", message), |_, body| {
        working = attributes(body.get(LINK_HEADER_BYTES..).unwrap_or_default())
            .any(|(kind, value)| kind == libc::IFLA_OPERSTATE && value == [OPERATIONAL]);
    })?;
    Ok(working)
}

/// A link by which packets leave the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uplink {
    pub(super) name: String,
    pub(super) mtu: u32,
}

/// The link by which `to` is reached now; `None` when it is unreachable.
pub(super) fn uplink(socket: &mut Socket, to: Ipv4Addr) -> Result<Option<Uplink>, NetworkError> {
    let header = [AF_INET, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let target = Attributes::new().bytes(libc::RTA_DST, &to.octets());
    let message = Message::new(libc::RTM_GETROUTE, 0, &header, &target);
    let mut index = None;
    let asked = socket.ask(&Step::new("look a route up", message), |_, body| {
        index = attributes(body.get(ROUTE_HEADER_BYTES..).unwrap_or_default())
            .find_map(|(kind, value)| (kind == libc::RTA_OIF).then(|| read_u32(value, 0)).flatten());
    });
    let Some(index) = asked.ok().and(index) else { return Ok(None) };
    let message = Message::new(libc::RTM_GETLINK, 0, &link_header(index, 0), &Attributes::new());
    let (mut name, mut mtu) = (None, None);
    socket.ask(&Step::new("look at a link", message), |_, body| {
        for (kind, value) in attributes(body.get(LINK_HEADER_BYTES..).unwrap_or_default()) {
            match kind {
                libc::IFLA_IFNAME => {
                    name = CStr::from_bytes_until_nul(value)
                        .ok()
                        .and_then(|name| name.to_str().ok())
                        .map(str::to_owned);
                }
                libc::IFLA_MTU => mtu = read_u32(value, 0),
                _ => {}
            }
        }
    })?;
    Ok(name.zip(mtu).map(|(name, mtu)| Uplink { name, mtu }))
}

/// The networks of 100.64.0.0/10 that routes of the machine, its own addresses among them, use.
pub(super) fn used_networks(socket: &mut Socket, range: Subnet) -> Result<Vec<Subnet>, NetworkError> {
    let header = [AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let message = Message::new(libc::RTM_GETROUTE, DUMP, &header, &Attributes::new());
    let mut used = Vec::new();
    socket.ask(&Step::new("list the routes", message), |_, body| {
        let prefix = body.get(1).copied().unwrap_or_default();
        let target = attributes(body.get(ROUTE_HEADER_BYTES..).unwrap_or_default())
            .find_map(|(kind, value)| (kind == libc::RTA_DST).then(|| value.first_chunk::<4>()).flatten());
        if let Some(network) = target.and_then(|octets| Subnet::new(Ipv4Addr::from(*octets), prefix))
            && prefix >= WIDEST_CLAIM
            && network.overlaps(range)
        {
            used.push(network);
        }
    })?;
    Ok(used)
}

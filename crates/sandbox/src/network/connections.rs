//! Forgetting the connections of a sandbox that ended.
//!
//! The kernel remembers a connection for up to days, and would hand its late packets to the next
//! holder of the address.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::error::NetworkError;
use super::netlink::{Attributes, DUMP, Message, Socket, Step, attributes};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER: [u8; 4] = [2, 0, 0, 0];
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_IP: u16 = 1;
const TUPLE_IPV4_SOURCE: u16 = 1;
const ID: u16 = 12;
const ZONE: u16 = 18;
/// Their acknowledgements fit a socket's default buffer.
const AT_ONCE: usize = 128;

/// Deletes every connection that one of `sources` opened.
pub(super) fn forget(socket: &mut Socket, sources: &HashSet<Ipv4Addr>) -> Result<(), NetworkError> {
    let mut deletions = Vec::new();
    let list = Message::new((SUBSYSTEM << 8) | GET, DUMP, &HEADER, &Attributes::new());
    socket.ask(&Step::new("list the connections of sandboxes", list), |_, body| {
        let entry = body.get(HEADER.len()..).unwrap_or_default();
        if source(entry).is_some_and(|source| sources.contains(&source)) {
            deletions.push(delete(entry));
        }
    })?;
    for some in deletions.chunks(AT_ONCE) {
        match socket.run(some) {
            // It ended by itself meanwhile.
            Err(error) if error.is_absent() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Names one entry of the list by what makes it unique.
fn delete(entry: &[u8]) -> Step {
    let name = attributes(entry).filter(|(kind, _)| [TUPLE_ORIGINAL, ID, ZONE].contains(kind)).fold(
        Attributes::new(),
        |name, (kind, value)| match kind {
            TUPLE_ORIGINAL => name.nested_bytes(kind, value),
            kind => name.bytes(kind, value),
        },
    );
    let message = Message::new((SUBSYSTEM << 8) | DELETE, 0, &HEADER, &name);
    Step::new("forget a connection of a sandbox", message)
}

/// Who opened the connection.
fn source(entry: &[u8]) -> Option<Ipv4Addr> {
    let inner = |bytes, wanted| attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value));
    let addresses = inner(inner(entry, TUPLE_ORIGINAL)?, TUPLE_IP)?;
    inner(addresses, TUPLE_IPV4_SOURCE)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source: Ipv4Addr) -> Attributes {
        let address = Attributes::new().bytes(TUPLE_IPV4_SOURCE, &source.octets());
        Attributes::new()
            .nest(TUPLE_ORIGINAL, Attributes::new().nest(TUPLE_IP, address))
            .u32(3, 0)
            .u32(ID, 77)
    }

    #[test]
    fn who_opened_a_connection_is_read_from_its_entry() {
        let opener = Ipv4Addr::new(100, 64, 0, 2);
        assert_eq!(source(entry(opener).as_bytes()), Some(opener));
        assert_eq!(source(&[]), None);
    }

    #[test]
    fn a_deletion_names_tuple_and_identity() {
        let step = delete(entry(Ipv4Addr::new(100, 64, 0, 2)).as_bytes());
        let kinds: Vec<_> = attributes(&step.message.body()[HEADER.len()..]).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [TUPLE_ORIGINAL, ID]);
    }
}

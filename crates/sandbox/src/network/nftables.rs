//! The few nf_tables objects and expressions that the rules need, in wire form.
//!
//! Expressions work on one register: load a field of the packet, mask it, compare it, look
//! it up, decide. Its first two words take an address and a port together. Numbers of attributes are those of the
//! kernel's `nf_tables.h`.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::error::NetworkError;
use super::netlink::{APPEND, Attributes, CREATE, DUMP, Message, Socket, Step, attributes};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const FAMILY_INET: u8 = 1;
/// The 16-byte register that every expression here uses.
const REGISTER: u32 = 1;
/// Where verdicts go.
const VERDICT_REGISTER: u32 = 0;
/// Its second word.
const SECOND_WORD: u32 = 9;
const LIST_ELEMENT: u16 = 1;
/// What `nft list` shows set keys as: IPv4 addresses.
const KEY_TYPE_IPV4: u32 = 7;
/// An IPv4 address, then a port: two words.
const KEY_TYPE_IPV4_PORT: u32 = (KEY_TYPE_IPV4 << 6) | 13;
/// Data of a map: what happens to a packet.
const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;

/// Where a base chain is called, in the order of the kernel's hooks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Postrouting = 4,
}

/// A field that a rule can load.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field {
    /// IPv4 or IPv6, one byte.
    NetworkProtocol,
    /// TCP, UDP …, one byte.
    TransportProtocol,
    /// Group of the interface the packet came in by, native order.
    IncomingGroup,
    /// Group of the interface it leaves by, native order.
    OutgoingGroup,
    /// Name of the interface it came in by, 16 bytes.
    IncomingName,
    /// Bits of the connection's state, native order.
    ConnectionState,
    Source,
    Destination,
    DestinationPort,
    /// Index of the interface by which the source would be answered, zero unless it is the one the
    /// packet came in by.
    ReversePath,
    /// Unicast, local, broadcast …, native order.
    DestinationType,
}

/// What happens to a packet that a rule matches.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict<'a> {
    Accept,
    Drop,
    Goto(&'a str),
}

/// One expression of a rule.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    name: &'static str,
    data: Attributes,
}

impl Expression {
    pub(super) fn load(field: Field) -> Self {
        Self::load_into(REGISTER, field)
    }

    /// Loads a field behind the four bytes that are loaded already.
    pub(super) fn load_behind(field: Field) -> Self {
        Self::load_into(SECOND_WORD, field)
    }

    /// Puts zero behind the four bytes that are loaded already.
    pub(super) fn zero_behind() -> Self {
        Self { name: "immediate", data: Attributes::new().be32(1, SECOND_WORD).nest(2, data_value(&[0; 4])) }
    }

    fn load_into(register: u32, field: Field) -> Self {
        let register = |kind| Attributes::new().be32(kind, register);
        let meta = |key| ("meta", register(1).be32(2, key));
        let payload =
            |base, offset, length| ("payload", register(1).be32(2, base).be32(3, offset).be32(4, length));
        let fib = |result, flags| ("fib", register(1).be32(2, result).be32(3, flags));
        let (name, data) = match field {
            Field::NetworkProtocol => meta(15),
            Field::TransportProtocol => meta(16),
            Field::IncomingGroup => meta(21),
            Field::OutgoingGroup => meta(22),
            Field::IncomingName => meta(6),
            Field::ConnectionState => ("ct", register(1).be32(2, 0)),
            Field::Source => payload(1, 12, 4),
            Field::Destination => payload(1, 16, 4),
            Field::DestinationPort => payload(2, 2, 2),
            Field::ReversePath => fib(1, 0b1001),
            Field::DestinationType => fib(3, 0b0010),
        };
        Self { name, data }
    }

    fn compare(operation: u32, value: &[u8]) -> Self {
        let data = Attributes::new().be32(1, REGISTER).be32(2, operation).nest(3, data_value(value));
        Self { name: "cmp", data }
    }

    pub(super) fn equals(value: &[u8]) -> Self {
        Self::compare(0, value)
    }

    pub(super) fn differs(value: &[u8]) -> Self {
        Self::compare(1, value)
    }

    /// Keeps the bits of `mask` in the register.
    pub(super) fn mask(mask: [u8; 4]) -> Self {
        let data = Attributes::new()
            .be32(1, REGISTER)
            .be32(2, REGISTER)
            .be32(3, 4)
            .nest(4, data_value(&mask))
            .nest(5, data_value(&[0; 4]));
        Self { name: "bitwise", data }
    }

    /// Matches when `set` holds the register's address.
    pub(super) fn is_in(set: &str) -> Self {
        Self { name: "lookup", data: Attributes::new().text(1, set).be32(2, REGISTER) }
    }

    /// Does what `map` says of the register's address, if it says something.
    pub(super) fn verdict_of(map: &str) -> Self {
        Self {
            name: "lookup",
            data: Attributes::new().text(1, map).be32(2, REGISTER).be32(3, VERDICT_REGISTER),
        }
    }

    /// Counts the connections of the register's address in `set`; matches those above `limit`.
    pub(super) fn connections_above(set: &str, limit: u32) -> Self {
        const ABOVE: u32 = 1;
        Self::counted(set, &Self { name: "connlimit", data: Attributes::new().be32(1, limit).be32(2, ABOVE) })
    }

    /// Counts the packets of the register's address in `set`; matches those beyond so many in a second, after so many at
    /// once.
    pub(super) fn packets_above(set: &str, per_second: u64, at_once: u32) -> Self {
        const SECOND: u64 = 1;
        const PACKETS: u32 = 0;
        const ABOVE: u32 = 1;
        let rate = Attributes::new().be64(1, per_second).be64(2, SECOND).be32(3, at_once);
        Self::counted(set, &Self { name: "limit", data: rate.be32(4, PACKETS).be32(5, ABOVE) })
    }

    fn counted(set: &str, counter: &Self) -> Self {
        const ADD: u32 = 0;
        let data =
            Attributes::new().text(1, set).be32(3, ADD).be32(4, REGISTER).nest(7, counter.attributes());
        Self { name: "dynset", data }
    }

    pub(super) fn verdict(verdict: Verdict<'_>) -> Self {
        let data = Attributes::new().be32(1, VERDICT_REGISTER).nest(2, verdict.data());
        Self { name: "immediate", data }
    }

    /// Sends the packet to an address and port of the machine instead: two expressions that load these, and one.
    pub(super) fn redirect(address: Ipv4Addr, port: u16) -> [Self; 3] {
        const TO_DESTINATION: u32 = 1;
        const FAMILY_IPV4: u32 = 2;
        let constant = |register: u32, value: &[u8]| Self {
            name: "immediate",
            data: Attributes::new().be32(1, register).nest(2, data_value(value)),
        };
        let data = Attributes::new()
            .be32(1, TO_DESTINATION)
            .be32(2, FAMILY_IPV4)
            .be32(3, REGISTER)
            .be32(5, SECOND_WORD);
        let change = Self { name: "nat", data };
        [constant(REGISTER, &address.octets()), constant(SECOND_WORD, &port.to_be_bytes()), change]
    }

    /// Answers a TCP packet with a reset.
    pub(super) fn reset() -> Self {
        Self { name: "reject", data: Attributes::new().be32(1, 1) }
    }

    /// Answers with ICMP "administratively prohibited".
    pub(super) fn prohibit() -> Self {
        Self { name: "reject", data: Attributes::new().be32(1, 2).bytes(2, &[3]) }
    }

    /// Gives the packet the address of the interface it leaves by.
    pub(super) fn masquerade() -> Self {
        Self { name: "masq", data: Attributes::new() }
    }

    fn attributes(&self) -> Attributes {
        Attributes::new().text(1, self.name).nest(2, self.data.clone())
    }
}

impl Verdict<'_> {
    fn data(self) -> Attributes {
        const GOTO: i32 = -4;
        let code = |code: i32| Attributes::new().be32(1, code.cast_unsigned());
        let verdict = match self {
            Verdict::Drop => code(0),
            Verdict::Accept => code(1),
            Verdict::Goto(chain) => code(GOTO).text(2, chain),
        };
        Attributes::new().nest(2, verdict)
    }
}

fn data_value(value: &[u8]) -> Attributes {
    Attributes::new().bytes(1, value)
}

/// The names of all tables of the family.
pub(super) fn tables(socket: &mut Socket) -> Result<Vec<String>, NetworkError> {
    const NAME: u16 = 1;
    const HEADER: usize = 4;
    let kind = (SUBSYSTEM << 8) | u16::try_from(libc::NFT_MSG_GETTABLE).unwrap_or_default();
    let message = Message::new(kind, DUMP, &[FAMILY_INET, 0, 0, 0], &Attributes::new());
    let mut names = Vec::new();
    socket.ask(&Step::new("list the packet filter tables", message), |_, body| {
        let name = attributes(body.get(HEADER..).unwrap_or_default())
            .find_map(|(kind, value)| (kind == NAME).then(|| value.strip_suffix(&[0]).unwrap_or(value)));
        names.extend(name.map(|name| String::from_utf8_lossy(name).into_owned()));
    })?;
    Ok(names)
}

/// The steps that make one table, sent as one atomic batch.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    table: &'a str,
    steps: Vec<Step>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(table: &'a str) -> Self {
        Self { table, steps: vec![edge("begin a batch of packet filter rules", BATCH_BEGIN)] }
    }

    fn push(&mut self, what: &'static str, kind: libc::c_int, flags: u16, attributes: &Attributes) {
        let kind = (SUBSYSTEM << 8) | u16::try_from(kind).unwrap_or_default();
        self.steps.push(Step::new(what, Message::new(kind, flags, &[FAMILY_INET, 0, 0, 0], attributes)));
    }

    pub(super) fn add_table(&mut self) {
        let attributes = Attributes::new().text(1, self.table).be32(2, 0);
        self.push("make a packet filter table", libc::NFT_MSG_NEWTABLE, CREATE, &attributes);
    }

    pub(super) fn delete_table(&mut self) {
        let attributes = Attributes::new().text(1, self.table);
        self.push("remove a packet filter table", libc::NFT_MSG_DELTABLE, 0, &attributes);
    }

    /// Adds a chain that other chains go to.
    pub(super) fn add_chain(&mut self, name: &str) {
        let attributes = Attributes::new().text(1, self.table).text(3, name);
        self.push("make a packet filter chain", libc::NFT_MSG_NEWCHAIN, CREATE, &attributes);
    }

    /// Adds a chain that the kernel calls at `hook`; packets pass unless a rule says otherwise.
    pub(super) fn add_base_chain(&mut self, name: &str, kind: &str, hook: Hook, priority: i32) {
        let hook = Attributes::new().be32(1, hook as u32).be32(2, priority.cast_unsigned());
        let attributes = Attributes::new()
            .text(1, self.table)
            .text(3, name)
            .nest(4, hook)
            .be32(5, libc::NF_ACCEPT.cast_unsigned())
            .text(7, kind);
        let what =
            if kind == "nat" { "make an address translation chain" } else { "hook a packet filter chain" };
        self.push(what, libc::NFT_MSG_NEWCHAIN, CREATE, &attributes);
    }

    /// Removes the rules of a chain, and it. Nothing may lead to it any more.
    pub(super) fn delete_chain(&mut self, name: &str) {
        let rules = Attributes::new().text(1, self.table).text(2, name);
        self.push("remove the rules of a chain", libc::NFT_MSG_DELRULE, 0, &rules);
        let chain = Attributes::new().text(1, self.table).text(3, name);
        self.push("remove a packet filter chain", libc::NFT_MSG_DELCHAIN, 0, &chain);
    }

    fn add_set(&mut self, name: &str, flags: libc::c_int, id: u32, size: Option<u32>) {
        self.add_keyed_set(name, flags, id, size, (KEY_TYPE_IPV4, 4), Attributes::new());
    }

    fn add_keyed_set(
        &mut self,
        name: &str,
        flags: libc::c_int,
        id: u32,
        size: Option<u32>,
        (key_type, key_bytes): (u32, u32),
        more: Attributes,
    ) {
        let mut attributes = more
            .text(1, self.table)
            .text(2, name)
            .be32(3, flags.cast_unsigned())
            .be32(4, key_type)
            .be32(5, key_bytes)
            .be32(10, id);
        if let Some(size) = size {
            attributes = attributes.nest(9, Attributes::new().be32(1, size));
        }
        self.push("make a set of addresses", libc::NFT_MSG_NEWSET, CREATE, &attributes);
    }

    /// Adds a map from addresses to what happens to their packets.
    pub(super) fn add_verdict_map(&mut self, name: &str, id: u32) {
        let data = Attributes::new().be32(6, DATA_TYPE_VERDICT);
        self.add_keyed_set(name, libc::NFT_SET_MAP, id, None, (KEY_TYPE_IPV4, 4), data);
    }

    /// Adds a set of addresses with ports that leave it by themselves, at most `size`.
    pub(super) fn add_passing_set(&mut self, name: &str, id: u32, size: u32) {
        let key = (KEY_TYPE_IPV4_PORT, 8);
        self.add_keyed_set(name, libc::NFT_SET_TIMEOUT, id, Some(size), key, Attributes::new());
    }

    pub(super) fn delete_set(&mut self, name: &str) {
        let attributes = Attributes::new().text(1, self.table).text(2, name);
        self.push("remove a set of addresses", libc::NFT_MSG_DELSET, 0, &attributes);
    }

    /// Puts an address into a set.
    pub(super) fn insert(&mut self, set: &str, address: Ipv4Addr) {
        self.add_elements(set, vec![element(address, 0)]);
    }

    /// Puts an address into a map to verdicts.
    pub(super) fn insert_verdict(&mut self, map: &str, address: Ipv4Addr, verdict: Verdict<'_>) {
        let element = element(address, 0).nest(2, verdict.data());
        self.add_elements(map, vec![element]);
    }

    /// Puts an address with a port into a set that it leaves after this time.
    pub(super) fn insert_passing(&mut self, set: &str, address: Ipv4Addr, port: u16, stay: Duration) {
        let stay = u64::try_from(stay.as_millis()).unwrap_or(u64::MAX);
        let element = Attributes::new().nest(1, data_value(&with_port(address, port))).be64(4, stay);
        self.add_elements(set, vec![element]);
    }

    /// Takes an address out of a set or map.
    pub(super) fn remove(&mut self, set: &str, address: Ipv4Addr) {
        self.delete_element(set, element(address, 0));
    }

    /// Takes an address with a port out of a set.
    pub(super) fn remove_passing(&mut self, set: &str, address: Ipv4Addr, port: u16) {
        self.delete_element(set, Attributes::new().nest(1, data_value(&with_port(address, port))));
    }

    fn delete_element(&mut self, set: &str, element: Attributes) {
        let list = Attributes::new().nest(LIST_ELEMENT, element);
        let attributes = Attributes::new().text(1, self.table).text(2, set).nest(3, list);
        self.push("take an address out of a set", libc::NFT_MSG_DELSETELEM, 0, &attributes);
    }

    /// Adds a set to which packets add their addresses, at most `size`.
    pub(super) fn add_dynamic_set(&mut self, name: &str, id: u32, size: u32) {
        self.add_set(name, libc::NFT_SET_EVAL, id, Some(size));
    }

    /// Adds a set of single addresses, of which there are none yet.
    pub(super) fn add_address_set(&mut self, name: &str, id: u32) {
        self.add_set(name, 0, id, None);
    }

    /// Adds a set of intervals (first, last), ascending and apart from each other.
    pub(super) fn add_interval_set(&mut self, name: &str, id: u32, intervals: &[(Ipv4Addr, Ipv4Addr)]) {
        self.add_set(name, libc::NFT_SET_INTERVAL, id, None);
        let mut elements = Vec::new();
        for (first, last) in intervals {
            elements.push(element(*first, 0));
            // An interval ends before this key; one that reaches the last address stays open.
            if let Some(end) = last.to_bits().checked_add(1) {
                elements
                    .push(element(Ipv4Addr::from_bits(end), libc::NFT_SET_ELEM_INTERVAL_END.cast_unsigned()));
            }
        }
        self.add_elements(name, elements);
    }

    fn add_elements(&mut self, set: &str, elements: Vec<Attributes>) {
        if elements.is_empty() {
            return;
        }
        let list = elements.into_iter().fold(Attributes::new(), |list, one| list.nest(LIST_ELEMENT, one));
        let attributes = Attributes::new().text(1, self.table).text(2, set).nest(3, list);
        self.push("fill a set of addresses", libc::NFT_MSG_NEWSETELEM, CREATE, &attributes);
    }

    /// Appends a rule to `chain`; `what` names it in an error.
    pub(super) fn add_rule(&mut self, what: &'static str, chain: &str, expressions: &[Expression]) {
        let list = expressions
            .iter()
            .fold(Attributes::new(), |list, expression| list.nest(LIST_ELEMENT, expression.attributes()));
        let attributes = Attributes::new().text(1, self.table).text(2, chain).nest(4, list);
        self.push(what, libc::NFT_MSG_NEWRULE, CREATE | APPEND, &attributes);
    }

    /// The batch, complete.
    pub(super) fn into_steps(mut self) -> Vec<Step> {
        self.steps.push(edge("commit a batch of packet filter rules", BATCH_END));
        self.steps
    }
}

/// A port in a word of its own, behind an address.
fn with_port(address: Ipv4Addr, port: u16) -> [u8; 8] {
    let ([a, b, c, d], [high, low]) = (address.octets(), port.to_be_bytes());
    [a, b, c, d, high, low, 0, 0]
}

fn element(key: Ipv4Addr, flags: u32) -> Attributes {
    let element = Attributes::new().nest(1, data_value(&key.octets()));
    if flags == 0 { element } else { element.be32(3, flags) }
}

/// The step that begins or ends a batch: the family header names the subsystem. Kernels before
/// 6.10 acknowledge it under no circumstances; the steps between say whether the batch is in force.
fn edge(what: &'static str, kind: u16) -> Step {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Step::unacknowledged(what, Message::new(kind, 0, &[0, 0, high, low], &Attributes::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of the attribute reached by `path` through nested ones.
    fn at<'a>(mut bytes: &'a [u8], path: &[u16]) -> Option<&'a [u8]> {
        for wanted in path {
            bytes = attributes(bytes).find_map(|(kind, value)| (kind == *wanted).then_some(value))?;
        }
        Some(bytes)
    }

    #[test]
    fn an_expression_names_itself_and_numbers_in_network_order() {
        let wire = Expression::load(Field::Destination).attributes();
        assert_eq!(
            wire.as_bytes(),
            [
                12, 0, 1, 0, b'p', b'a', b'y', b'l', b'o', b'a', b'd', 0, // name
                36, 0, 2, 0x80, // nested data
                8, 0, 1, 0, 0, 0, 0, 1, // into register 1
                8, 0, 2, 0, 0, 0, 0, 1, // from the network header
                8, 0, 3, 0, 0, 0, 0, 16, // at byte 16
                8, 0, 4, 0, 0, 0, 0, 4, // four bytes
            ]
        );
    }

    #[test]
    fn a_comparison_holds_the_bytes_as_they_are() {
        let wire = Expression::differs(&[1, 2, 3]).data;
        assert_eq!(at(wire.as_bytes(), &[2]), Some(&[0, 0, 0, 1][..]));
        assert_eq!(at(wire.as_bytes(), &[3, 1]), Some(&[1, 2, 3][..]));
    }

    #[test]
    fn verdicts_go_to_the_verdict_register() {
        let drop = Expression::verdict(Verdict::Drop).data;
        assert_eq!(at(drop.as_bytes(), &[1]), Some(&[0; 4][..]));
        assert_eq!(at(drop.as_bytes(), &[2, 2, 1]), Some(&[0; 4][..]));
        let goto = Expression::verdict(Verdict::Goto("there")).data;
        assert_eq!(at(goto.as_bytes(), &[2, 2, 1]), Some(&(-4i32).to_be_bytes()[..]));
        assert_eq!(at(goto.as_bytes(), &[2, 2, 2]), Some(&b"there\0"[..]));
    }

    #[test]
    fn an_interval_ends_before_a_marked_key_and_the_last_one_stays_open() {
        let mut batch = Batch::new("t");
        let closed = (Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 255, 255, 255));
        let open = (Ipv4Addr::new(224, 0, 0, 0), Ipv4Addr::BROADCAST);
        batch.add_interval_set("s", 1, &[closed, open]);
        let steps = batch.into_steps();
        let filled = &steps[2].message.body()[4..];
        let elements: Vec<_> = attributes(at(filled, &[3]).unwrap())
            .map(|(_, element)| (at(element, &[1, 1]).unwrap(), at(element, &[3])))
            .collect();
        assert_eq!(
            elements,
            [
                (&[10, 0, 0, 0][..], None),
                (&[11, 0, 0, 0][..], Some(&[0, 0, 0, 1][..])),
                (&[224, 0, 0, 0][..], None)
            ]
        );
    }

    #[test]
    fn a_batch_begins_ends_and_fills_no_empty_set() {
        let mut batch = Batch::new("t");
        batch.add_interval_set("s", 1, &[]);
        let steps = batch.into_steps();
        assert_eq!(steps.len(), 3);
        for edge in [&steps[0], &steps[2]] {
            assert_eq!(edge.message.body(), [0, 0, 0, 10]);
        }
    }
}

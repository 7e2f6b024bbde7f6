//! The packet filter of a node: what its sandboxes reach, and who reaches them.
//!
//! The rules never change while the node runs. They know its sandboxes by the group of their
//! interfaces, so that starting a sandbox writes no rule. The gate stands in `prerouting`, before
//! anybody's destination translation, and again behind it in `input` and `forward`.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::netlink::Step;
use super::nftables::{Batch, Expression, Field, Hook, Verdict};
use super::subnet::{Subnet, intervals};

/// Networks that no sandbox reaches: the only list of them.
const DENIED: [Subnet; 13] = [
    Subnet::of(Ipv4Addr::new(0, 0, 0, 0), 8),
    Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 8),
    // Sandboxes of every node, and carrier-grade address translation.
    Subnet::of(Ipv4Addr::new(100, 64, 0, 0), 10),
    Subnet::of(Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, with the metadata services of clouds.
    Subnet::of(Ipv4Addr::new(169, 254, 0, 0), 16),
    Subnet::of(Ipv4Addr::new(172, 16, 0, 0), 12),
    // Protocol assignments, with a cloud's metadata service.
    Subnet::of(Ipv4Addr::new(192, 0, 0, 0), 24),
    Subnet::of(Ipv4Addr::new(192, 88, 99, 0), 24),
    Subnet::of(Ipv4Addr::new(192, 168, 0, 0), 16),
    // Benchmarking between devices.
    Subnet::of(Ipv4Addr::new(198, 18, 0, 0), 15),
    // A cloud's metadata service outside the link-local range.
    Subnet::of(Ipv4Addr::new(168, 63, 129, 16), 32),
    // Multicast, reserved, broadcast.
    Subnet::of(Ipv4Addr::new(224, 0, 0, 0), 4),
    Subnet::of(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Connections that one sandbox may have in the kernel's table at a time. The table is the whole
/// machine's: without a bound one sandbox could fill it.
const CONNECTIONS: u32 = 4096;

const FROM_SANDBOX: &str = "from_sandbox";
const REFUSE: &str = "refuse";
const DENIED_SET: &str = "denied";
const RESOLVERS_SET: &str = "resolvers";
const CONNECTIONS_SET: &str = "connections";

/// After connection tracking (-200), before destination translation (-100).
const BEFORE_TRANSLATION: i32 = -150;
const FILTER: i32 = 0;
const SOURCE_TRANSLATION: i32 = 100;

const DNS: u16 = 53;
const IPV4: u8 = 2;
const INVALID: u32 = 1;
const ESTABLISHED: u32 = 0b10;
/// With what belongs to an open connection, such as word of a packet too big for its way.
const ESTABLISHED_OR_RELATED: u32 = 0b110;

/// What the rules of one node depend on.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    pub(super) table: &'a str,
    /// Group of the node's sandbox interfaces.
    pub(super) group: u32,
    /// Addresses of its sandboxes.
    pub(super) block: Subnet,
    pub(super) door: SocketAddrV4,
    pub(super) resolvers: &'a [Ipv4Addr],
    pub(super) denied: &'a [Subnet],
}

impl Rules<'_> {
    /// The atomic batch that puts the rules in force.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut batch = Batch::new(self.table);
        batch.add_table();
        let denied = [&DENIED, self.denied].concat();
        batch.add_interval_set(DENIED_SET, 1, &intervals(&denied));
        batch.add_address_set(RESOLVERS_SET, 2, self.resolvers);
        batch.add_dynamic_set(CONNECTIONS_SET, 3, 1 << (32 - u32::from(self.block.prefix())));
        batch.add_chain(REFUSE);
        batch.add_chain(FROM_SANDBOX);
        self.refuse(&mut batch);
        self.sent(&mut batch);
        self.prerouting(&mut batch);
        self.input(&mut batch);
        self.forward(&mut batch);
        self.postrouting(&mut batch);
        batch.into_steps()
    }

    /// Lets clients fail at once instead of waiting for a timeout.
    fn refuse(&self, batch: &mut Batch<'_>) {
        batch.add_rule("add the rule that resets", REFUSE, &[&tcp()[..], &[Expression::reset()]].concat());
        batch.add_rule("add the rule that refuses", REFUSE, &[Expression::prohibit()]);
    }

    fn prerouting(&self, batch: &mut Batch<'_>) {
        let chain = "prerouting";
        batch.add_base_chain(chain, "filter", Hook::Prerouting, BEFORE_TRANSLATION);
        let gate = [&self.incoming()[..], &[Expression::verdict(Verdict::Goto(FROM_SANDBOX))]].concat();
        batch.add_rule("add the rule for what sandboxes send", chain, &gate);
        // The door is for sandboxes and for the node itself, not for the neighbours.
        let neighbours = [
            Expression::load(Field::IncomingName),
            Expression::differs(b"lo\0"),
            Expression::load(Field::NetworkProtocol),
            Expression::equals(&[IPV4]),
            Expression::load(Field::Destination),
            Expression::equals(&self.door.ip().octets()),
            Expression::verdict(Verdict::Goto(REFUSE)),
        ];
        batch.add_rule("add the rule that hides the door", chain, &neighbours);
    }

    /// The gate for everything that sandboxes send.
    fn sent(&self, batch: &mut Batch<'_>) {
        let mut rule = |what, parts: &[&[Expression]]| batch.add_rule(what, FROM_SANDBOX, &parts.concat());
        let accept = [Expression::verdict(Verdict::Accept)];
        let refuse = [Expression::verdict(Verdict::Goto(REFUSE))];
        let not_ipv4 = [Expression::load(Field::NetworkProtocol), Expression::differs(&[IPV4]), drop_it()];
        rule("add the rule against other protocols", &[&not_ipv4]);
        // Never answered: the answer would go to somebody else.
        let spoofed = [Expression::load(Field::ReversePath), Expression::equals(&[0; 4]), drop_it()];
        rule("add the rule against spoofed sources", &[&spoofed]);
        rule("add the rule against invalid packets", &[&state(INVALID), &[drop_it()]]);
        rule("add the rule for open connections", &[&state(ESTABLISHED), &accept]);
        let too_many =
            [Expression::load(Field::Source), Expression::connections_above(CONNECTIONS_SET, CONNECTIONS)];
        rule("add the rule against too many connections", &[&too_many, &refuse]);
        rule("add the rule for the door", &[&self.to_door(), &accept]);
        let to_resolver = [Expression::load(Field::Destination), Expression::is_in(RESOLVERS_SET)];
        let dns = [Expression::load(Field::DestinationPort), Expression::equals(&DNS.to_be_bytes())];
        rule("add the rule for name servers", &[&to_resolver, &udp(), &dns, &accept]);
        rule("add the rule for name servers over TCP", &[&to_resolver, &tcp(), &dns, &accept]);
        // The node's own addresses, whichever they are at the moment, and broadcasts.
        let not_unicast = [
            Expression::load(Field::DestinationType),
            Expression::differs(&u32::from(libc::RTN_UNICAST).to_ne_bytes()),
        ];
        rule("add the rule that hides the node", &[&not_unicast, &refuse]);
        rule("add the rule for denied networks", &[&to_denied(), &refuse]);
    }

    fn input(&self, batch: &mut Batch<'_>) {
        let chain = "input";
        batch.add_base_chain(chain, "filter", Hook::Input, FILTER);
        let group = self.incoming();
        let mut rule = |what, parts: &[&[Expression]]| {
            batch.add_rule(what, chain, &[&group[..], &parts.concat()].concat());
        };
        let accept = [Expression::verdict(Verdict::Accept)];
        rule("add the input rule for open connections", &[&state(ESTABLISHED), &accept]);
        rule("add the input rule for the door", &[&self.to_door(), &accept]);
        rule("add the input rule for name servers", &[&was_to_resolver(), &accept]);
        rule("add the input rule that drops", &[&[drop_it()]]);
    }

    fn forward(&self, batch: &mut Batch<'_>) {
        let chain = "forward";
        batch.add_base_chain(chain, "filter", Hook::Forward, FILTER);
        let mut rule = |what, parts: &[&[Expression]]| batch.add_rule(what, chain, &parts.concat());
        let accept = [Expression::verdict(Verdict::Accept)];
        let answers = state(ESTABLISHED_OR_RELATED);
        rule("add the forward rule for answers", &[&self.outgoing(), &answers, &accept]);
        rule("add the forward rule that hides sandboxes", &[&self.outgoing(), &[drop_it()]]);
        let from = self.incoming();
        rule("add the forward rule for open connections", &[&from, &state(ESTABLISHED), &accept]);
        rule("add the forward rule for name servers", &[&from, &was_to_resolver(), &accept]);
        let refuse = [Expression::verdict(Verdict::Goto(REFUSE))];
        rule("add the forward rule for denied networks", &[&from, &to_denied(), &refuse]);
    }

    fn postrouting(&self, batch: &mut Batch<'_>) {
        let chain = "postrouting";
        batch.add_base_chain(chain, "nat", Hook::Postrouting, SOURCE_TRANSLATION);
        let rule = [
            Expression::load(Field::OutgoingGroup),
            Expression::differs(&self.group.to_ne_bytes()),
            Expression::load(Field::NetworkProtocol),
            Expression::equals(&[IPV4]),
            Expression::load(Field::Source),
            Expression::mask(self.block.mask().octets()),
            Expression::equals(&self.block.first().octets()),
            Expression::masquerade(),
        ];
        batch.add_rule("add the rule that translates sources", chain, &rule);
    }

    fn incoming(&self) -> [Expression; 2] {
        [Expression::load(Field::IncomingGroup), Expression::equals(&self.group.to_ne_bytes())]
    }

    fn outgoing(&self) -> [Expression; 2] {
        [Expression::load(Field::OutgoingGroup), Expression::equals(&self.group.to_ne_bytes())]
    }

    fn to_door(&self) -> Vec<Expression> {
        let address = [Expression::load(Field::Destination), Expression::equals(&self.door.ip().octets())];
        let port =
            [Expression::load(Field::DestinationPort), Expression::equals(&self.door.port().to_be_bytes())];
        [&address[..], &tcp(), &port].concat()
    }
}

/// The batch that removes the table.
pub(super) fn removal(table: &str) -> Vec<Step> {
    let mut batch = Batch::new(table);
    batch.delete_table();
    batch.into_steps()
}

fn drop_it() -> Expression {
    Expression::verdict(Verdict::Drop)
}

fn state(bits: u32) -> [Expression; 3] {
    [
        Expression::load(Field::ConnectionState),
        Expression::mask(bits.to_ne_bytes()),
        Expression::differs(&[0; 4]),
    ]
}

fn transport(protocol: u8) -> [Expression; 2] {
    [Expression::load(Field::TransportProtocol), Expression::equals(&[protocol])]
}

fn tcp() -> [Expression; 2] {
    transport(6)
}

fn udp() -> [Expression; 2] {
    transport(17)
}

fn to_denied() -> [Expression; 2] {
    [Expression::load(Field::Destination), Expression::is_in(DENIED_SET)]
}

/// The port was checked before translation.
fn was_to_resolver() -> [Expression; 2] {
    [Expression::load(Field::OriginalDestination), Expression::is_in(RESOLVERS_SET)]
}

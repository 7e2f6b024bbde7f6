//! The packet filter of a node: what its sandboxes reach, and who reaches them.
//!
//! These rules never change while the node runs. They know its sandboxes by the group of their
//! interfaces, so that starting a sandbox writes no rule, unless it has a list of destinations
//! ([`super::restriction`]). The gate stands in `prerouting`, before
//! anybody's destination translation, and again behind it in `input` and `forward`.

use std::net::SocketAddrV4;

use chasen_entity::Subnet;
use chasen_runtime::walls::{self, Wall};

use super::egress::{
    CONNECTIONS, DENIED, NEW_CONNECTIONS_AT_ONCE, NEW_CONNECTIONS_PER_SECOND, QUESTIONS_AT_ONCE,
    QUESTIONS_PER_SECOND, intervals,
};
use super::netlink::Step;
use super::nftables::{Batch, Expression, Field, Hook, Verdict};

const FROM_SANDBOX: &str = "from_sandbox";
/// Where what is not allowed ends.
pub(super) const REFUSE: &str = "refuse";
/// Where destinations of a list end that count if they are public, and those that count if they are lent as well.
pub(super) const PUBLIC: &str = "public";
pub(super) const LENT: &str = "lent";
/// Sandboxes with a list: what happens to their packets, and that they have one.
pub(super) const POLICIES_MAP: &str = "policies";
pub(super) const RESTRICTED_SET: &str = "restricted";
const DENIED_SET: &str = "denied";
const LENT_SET: &str = "lent_networks";
const CONNECTIONS_SET: &str = "connections";
const QUESTIONS_SET: &str = "questions";
const NEW_CONNECTIONS_SET: &str = "new_connections";

/// After connection tracking (-200), before destination translation (-100).
const BEFORE_TRANSLATION: i32 = -150;
const DESTINATION_TRANSLATION: i32 = -100;
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
    /// Where the node's resolver listens on the door's address.
    pub(super) resolver: ResolverPorts,
    /// Denied beside what is denied everywhere.
    pub(super) denied: &'a [Subnet],
    /// Private networks that lists may name.
    pub(super) lent: &'a [Subnet],
}

/// Ports of the resolver: sandboxes know but one, and nobody who listens on that everywhere is in the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResolverPorts {
    pub(super) udp: u16,
    pub(super) tcp: u16,
}

impl Rules<'_> {
    /// The atomic batch that puts the rules in force.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut batch = Batch::new(self.table);
        batch.add_table();
        let denied = [&DENIED, self.denied].concat();
        batch.add_interval_set(DENIED_SET, 1, &intervals(&denied));
        batch.add_interval_set(LENT_SET, 2, &intervals(self.lent));
        let sandboxes = 1 << (32 - u32::from(self.block.prefix()));
        batch.add_dynamic_set(CONNECTIONS_SET, 3, sandboxes);
        batch.add_dynamic_set(QUESTIONS_SET, 4, sandboxes);
        batch.add_verdict_map(POLICIES_MAP, 5);
        batch.add_address_set(RESTRICTED_SET, 6);
        batch.add_dynamic_set(NEW_CONNECTIONS_SET, 7, sandboxes);
        for chain in [REFUSE, PUBLIC, LENT, FROM_SANDBOX] {
            batch.add_chain(chain);
        }
        self.refuse(&mut batch);
        self.named(&mut batch);
        if walls::stand(Wall::PacketFilter) {
            self.sent(&mut batch);
            self.prerouting(&mut batch);
            self.input(&mut batch);
            self.forward(&mut batch);
        }
        self.to_resolver(&mut batch);
        self.postrouting(&mut batch);
        batch.into_steps()
    }

    /// Lets clients fail at once instead of waiting for a timeout.
    fn refuse(&self, batch: &mut Batch<'_>) {
        batch.add_rule("add the rule that resets", REFUSE, &[&tcp()[..], &[Expression::reset()]].concat());
        batch.add_rule("add the rule that refuses", REFUSE, &[Expression::prohibit()]);
    }

    /// Destinations that a list names: what is denied stays denied, but for what is lent.
    fn named(&self, batch: &mut Batch<'_>) {
        let accept = Expression::verdict(Verdict::Accept);
        let to_lent = [Expression::load(Field::Destination), Expression::is_in(LENT_SET)];
        let rule = [&to_lent[..], std::slice::from_ref(&accept)].concat();
        batch.add_rule("add the rule for lent networks", LENT, &rule);
        let public = [Expression::verdict(Verdict::Goto(PUBLIC))];
        batch.add_rule("add the rule for what is not lent", LENT, &public);
        let refuse = [Expression::verdict(Verdict::Goto(REFUSE))];
        let denied = [&to_denied()[..], &refuse].concat();
        batch.add_rule("add the rule against denied networks in lists", PUBLIC, &denied);
        batch.add_rule("add the rule for named destinations", PUBLIC, &[accept]);
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
        // Before open connections: a flood on one of them is a flood.
        let too_often = [
            Expression::load(Field::Source),
            Expression::packets_above(QUESTIONS_SET, QUESTIONS_PER_SECOND, QUESTIONS_AT_ONCE),
            drop_it(),
        ];
        rule("add the rule against too many questions", &[&self.to_door_over(&udp(), DNS), &too_often]);
        rule("add the rule for open connections", &[&state(ESTABLISHED), &accept]);
        let too_fast = [
            Expression::load(Field::Source),
            Expression::packets_above(
                NEW_CONNECTIONS_SET,
                NEW_CONNECTIONS_PER_SECOND,
                NEW_CONNECTIONS_AT_ONCE,
            ),
        ];
        rule("add the rule against connections in too quick succession", &[&tcp(), &too_fast, &refuse]);
        let too_many =
            [Expression::load(Field::Source), Expression::connections_above(CONNECTIONS_SET, CONNECTIONS)];
        rule("add the rule against too many connections", &[&too_many, &refuse]);
        rule("add the rule for the door", &[&self.to_door(), &accept]);
        rule("add the rule for questions", &[&self.to_door_over(&udp(), DNS), &accept]);
        rule("add the rule for questions over TCP", &[&self.to_door_over(&tcp(), DNS), &accept]);
        // The node's own addresses, whichever they are at the moment, and broadcasts.
        let not_unicast = [
            Expression::load(Field::DestinationType),
            Expression::differs(&u32::from(libc::RTN_UNICAST).to_ne_bytes()),
        ];
        rule("add the rule that hides the node", &[&not_unicast, &refuse]);
        let policy = [Expression::load(Field::Source), Expression::verdict_of(POLICIES_MAP)];
        rule("add the rule for lists of destinations", &[&policy]);
        rule("add the rule for denied networks", &[&to_denied(), &refuse]);
    }

    /// Leads questions to where the resolver listens.
    fn to_resolver(&self, batch: &mut Batch<'_>) {
        let chain = "resolver";
        batch.add_base_chain(chain, "nat", Hook::Prerouting, DESTINATION_TRANSLATION);
        let ResolverPorts { udp: over_udp, tcp: over_tcp } = self.resolver;
        for (protocol, port) in [(udp(), over_udp), (tcp(), over_tcp)] {
            let rule = [
                &self.incoming()[..],
                // A rule of an address translation sees what the filter let through.
                &self.to_door_over(&protocol, DNS),
                &Expression::redirect(*self.door.ip(), port),
            ];
            batch.add_rule("add the rule that leads questions to the resolver", chain, &rule.concat());
        }
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
        let ResolverPorts { udp: over_udp, tcp: over_tcp } = self.resolver;
        rule("add the input rule for questions", &[&self.to_door_over(&udp(), over_udp), &accept]);
        rule("add the input rule for questions over TCP", &[&self.to_door_over(&tcp(), over_tcp), &accept]);
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
        let to_lent = [
            Expression::load(Field::Source),
            Expression::is_in(RESTRICTED_SET),
            Expression::load(Field::Destination),
            Expression::is_in(LENT_SET),
        ];
        rule("add the forward rule for lent networks", &[&from, &to_lent, &accept]);
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
        self.to_door_over(&tcp(), self.door.port())
    }

    fn to_door_over(&self, protocol: &[Expression], port: u16) -> Vec<Expression> {
        let address = [
            Expression::load(Field::NetworkProtocol),
            Expression::equals(&[IPV4]),
            Expression::load(Field::Destination),
            Expression::equals(&self.door.ip().octets()),
        ];
        [&address[..], protocol, &to_port(port)].concat()
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

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

fn tcp() -> [Expression; 2] {
    transport(TCP)
}

fn udp() -> [Expression; 2] {
    transport(UDP)
}

pub(super) fn to_port(port: u16) -> [Expression; 2] {
    [Expression::load(Field::DestinationPort), Expression::equals(&port.to_be_bytes())]
}

fn to_denied() -> [Expression; 2] {
    [Expression::load(Field::Destination), Expression::is_in(DENIED_SET)]
}

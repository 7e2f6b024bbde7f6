//! A list of destinations, put in force for one sandbox: a chain of its own, to which its packets are led by its address.
//!
//! Names on the list open nothing by themselves. The resolver opens the addresses that it has told the sandbox for them,
//! for as long as they are good.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::network::{Allowed, Destination, Hosts};
use parking_lot::Mutex;

use super::egress::{GRANT_AT_LEAST, GRANT_AT_MOST, GRANTS};
use super::error::NetworkError;
use super::netlink::{Socket, Step};
use super::nftables::{Batch, Expression, Field, Verdict};
use super::rules::{LENT, POLICIES_MAP, PUBLIC, REFUSE, RESTRICTED_SET, TCP, UDP, to_port};

/// In sets of addresses with ports: every port.
const EVERY_PORT: u16 = 0;
/// How much longer the node believes in a grant than the kernel: an end that it does not foresee it notices.
const BELIEF: Duration = Duration::from_secs(1);

/// One sandbox's list.
#[derive(Debug)]
pub(super) struct Restriction {
    /// Tells it from all others of the node's life, those of the same address too.
    number: u64,
    address: Ipv4Addr,
    allowed: Arc<Allowed>,
    /// Until when addresses with ports are open.
    granted: Mutex<HashMap<(Ipv4Addr, u16), Instant>>,
}

/// The lists of all sandboxes that have one, by address; of those that have ended too, until somebody else has the address.
#[derive(Debug, Default)]
pub(super) struct Restrictions(Mutex<HashMap<Ipv4Addr, Arc<Restriction>>>);

impl Restrictions {
    pub(super) fn of(&self, address: Ipv4Addr) -> Option<Arc<Restriction>> {
        self.0.lock().get(&address).cloned()
    }

    pub(super) fn put(&self, restriction: Restriction) {
        self.0.lock().insert(restriction.address, Arc::new(restriction));
    }

    pub(super) fn forget(&self, address: Ipv4Addr) {
        self.0.lock().remove(&address);
    }
}

impl Restriction {
    pub(super) fn new(number: u64, address: Ipv4Addr, allowed: Arc<Allowed>) -> Self {
        Self { number, address, allowed, granted: Mutex::default() }
    }

    fn chain(&self) -> String {
        format!("list-{}", self.number)
    }

    fn names(&self) -> String {
        format!("names-{}", self.number)
    }

    fn has_names(&self) -> bool {
        self.allowed.destinations.iter().any(|one| matches!(one.hosts, Hosts::Named(_)))
    }

    /// The atomic batch that puts it in force.
    pub(super) fn steps(&self, table: &str) -> Vec<Step> {
        let (chain, names) = (self.chain(), self.names());
        let mut batch = Batch::new(table);
        batch.add_chain(&chain);
        let neither = [
            Expression::load(Field::TransportProtocol),
            Expression::differs(&[TCP]),
            Expression::differs(&[UDP]),
            Expression::verdict(Verdict::Goto(REFUSE)),
        ];
        batch.add_rule("add the rule against other transports", &chain, &neither);
        let allow = Expression::verdict(Verdict::Goto(if self.allowed.private { LENT } else { PUBLIC }));
        for Destination { hosts, port } in &self.allowed.destinations {
            let Hosts::Network(network) = hosts else { continue };
            let mut rule = vec![
                Expression::load(Field::Destination),
                Expression::mask(network.mask().octets()),
                Expression::equals(&network.first().octets()),
            ];
            rule.extend(port.iter().flat_map(|port| to_port(port.get())));
            rule.push(allow.clone());
            batch.add_rule("add the rule for a destination", &chain, &rule);
        }
        if self.has_names() {
            batch.add_passing_set(&names, 1, GRANTS);
            let address = Expression::load(Field::Destination);
            for port in [Expression::load_behind(Field::DestinationPort), Expression::zero_behind()] {
                let rule = [address.clone(), port, Expression::is_in(&names), allow.clone()];
                batch.add_rule("add the rule for names", &chain, &rule);
            }
        }
        batch.add_rule("add the rule for all else", &chain, &[Expression::verdict(Verdict::Goto(REFUSE))]);
        batch.insert_verdict(POLICIES_MAP, self.address, Verdict::Goto(&chain));
        batch.insert(RESTRICTED_SET, self.address);
        batch.into_steps()
    }

    /// The batch that removes it.
    pub(super) fn removal(&self, table: &str) -> Vec<Step> {
        let mut batch = Batch::new(table);
        batch.remove(POLICIES_MAP, self.address);
        batch.remove(RESTRICTED_SET, self.address);
        batch.delete_chain(&self.chain());
        if self.has_names() {
            batch.delete_set(&self.names());
        }
        batch.into_steps()
    }

    /// The ports that the addresses of this name are open at; none if it is not on the list.
    pub(super) fn ports(&self, name: &str) -> Vec<u16> {
        let mut ports: Vec<u16> = Vec::new();
        for Destination { hosts, port } in &self.allowed.destinations {
            let port = port.map_or(EVERY_PORT, std::num::NonZeroU16::get);
            if matches!(hosts, Hosts::Named(pattern) if pattern.matches(name)) && !ports.contains(&port) {
                ports.push(port);
            }
        }
        // Where every port is open no single one needs to be.
        if ports.contains(&EVERY_PORT) { vec![EVERY_PORT] } else { ports }
    }

    /// Opens these addresses at these ports, for as long as the answer that named them is good, within bounds.
    ///
    /// # Errors
    /// When too many are open, or the kernel refuses: of a sandbox that has ended, for one.
    pub(super) fn grant(
        &self,
        filter: &mut Socket,
        table: &str,
        ports: &[u16],
        addresses: &[(Ipv4Addr, Duration)],
    ) -> Result<(), NetworkError> {
        let mut granted = self.granted.lock();
        let now = Instant::now();
        granted.retain(|_, until| *until > now);
        for ((address, life), port) in
            addresses.iter().flat_map(|one| ports.iter().map(move |port| (one, *port)))
        {
            let life = (*life).clamp(GRANT_AT_LEAST, GRANT_AT_MOST);
            let known = granted.get(&(*address, port)).copied();
            if known.is_some_and(|until| until >= now + life + BELIEF) {
                continue;
            }
            if known.is_none() && granted.len() >= usize::try_from(GRANTS).unwrap_or(usize::MAX) {
                return Err(NetworkError::Grants(GRANTS));
            }
            // Twice as long: who asks again and again does not make the kernel's lists change every time.
            self.open(filter, table, *address, port, life * 2, known.is_some())?;
            granted.insert((*address, port), Instant::now() + life * 2 + BELIEF);
        }
        Ok(())
    }

    fn open(
        &self,
        filter: &mut Socket,
        table: &str,
        address: Ipv4Addr,
        port: u16,
        stay: Duration,
        is_known: bool,
    ) -> Result<(), NetworkError> {
        let names = self.names();
        let steps = |anew: bool| {
            let mut batch = Batch::new(table);
            if anew {
                // What is there keeps its time, whatever is said to be added.
                batch.remove_passing(&names, address, port);
            }
            batch.insert_passing(&names, address, port, stay);
            batch.into_steps()
        };
        match filter.run(&steps(is_known)) {
            Err(error) if is_known && error.is_absent() => filter.run(&steps(false)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::NetworkPolicy;

    use super::*;

    fn restriction(policy: &str) -> Restriction {
        let Ok(NetworkPolicy::Allow(allowed)) = NetworkPolicy::parse(policy) else { panic!("{policy}") };
        Restriction::new(7, Ipv4Addr::new(100, 64, 0, 2), allowed)
    }

    #[test]
    fn names_open_the_ports_that_the_list_gives_them() {
        let one =
            restriction("allow:a.example:443,a.example:80,*.example:443,b.example:1,b.example,203.0.113.1");
        assert_eq!(one.ports("a.example"), [443, 80]);
        assert_eq!(one.ports("c.example"), [443]);
        assert_eq!(one.ports("b.example"), [EVERY_PORT]);
        assert!(one.ports("example").is_empty() && one.ports("203.0.113.1").is_empty());
    }

    #[test]
    fn a_list_without_names_has_no_set_of_them() {
        let bare = restriction("allow:203.0.113.0/24").steps("t").len();
        assert_eq!(restriction("allow:").steps("t").len(), bare - 1);
        assert_eq!(restriction("allow:203.0.113.0/24,a.example").steps("t").len(), bare + 3);
    }

    #[test]
    fn the_list_of_one_sandbox_is_found_by_its_address_until_it_is_forgotten() {
        let restrictions = Restrictions::default();
        let address = Ipv4Addr::new(100, 64, 0, 2);
        restrictions.put(restriction("allow:"));
        assert!(restrictions.of(address).is_some() && restrictions.of(Ipv4Addr::LOCALHOST).is_none());
        restrictions.forget(address);
        assert!(restrictions.of(address).is_none());
    }
}

//! What sandboxes reach, and how much of it, as data: everything that the packet filter and the resolver are told.

use std::net::Ipv4Addr;
use std::time::Duration;

use chasen_entity::Subnet;

/// Networks that no sandbox reaches: the only list of them. An operator may lend those that are private
/// ([`Subnet::PRIVATE`]) to policies that name them, and no others.
pub(super) const DENIED: [Subnet; 13] = [
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
pub(super) const CONNECTIONS: u32 = 4096;
/// TCP connections that one sandbox may open in a second, and at once. The table holds what has ended for two minutes
/// more, which the kernel does not count as a connection: without a bound one sandbox could fill it with those.
pub(super) const NEW_CONNECTIONS_PER_SECOND: u64 = 200;
pub(super) const NEW_CONNECTIONS_AT_ONCE: u32 = 2048;

/// Datagrams to the resolver that one sandbox may send in a second, and at once. The others are dropped before anybody
/// looks at them: a flood is nobody else's loss.
pub(super) const QUESTIONS_PER_SECOND: u64 = 500;
pub(super) const QUESTIONS_AT_ONCE: u32 = 500;
/// Questions that the resolver works on at a time: of one sandbox, and of all.
pub(super) const QUESTIONS_OF_ONE: usize = 64;
pub(super) const QUESTIONS: usize = 1024;
/// Connections to the resolver at a time: of one sandbox, and of all; and how long it waits for a question on one.
pub(super) const RESOLVER_CONNECTIONS_OF_ONE: usize = 8;
pub(super) const RESOLVER_CONNECTIONS: usize = 256;
pub(super) const RESOLVER_IDLE: Duration = Duration::from_secs(5);
/// How long one name server is waited for.
pub(super) const NAME_SERVER_PATIENCE: Duration = Duration::from_millis(1500);

/// How long an address that stands for an allowed name may be connected to: as long as the answer says, within these.
pub(super) const GRANT_AT_LEAST: Duration = Duration::from_secs(60);
pub(super) const GRANT_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// Such addresses of one sandbox at a time.
pub(super) const GRANTS: u32 = 4096;

/// The addresses that `subnets` cover, as ascending intervals (first, last) that neither overlap
/// nor touch.
pub(super) fn intervals(subnets: &[Subnet]) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let mut sorted: Vec<_> = subnets.iter().map(|subnet| (subnet.first(), subnet.last())).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(Ipv4Addr, Ipv4Addr)> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(open) if first.to_bits() <= open.1.to_bits().saturating_add(1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_denied(address: &str) -> bool {
        let address = address.parse().unwrap();
        DENIED.iter().any(|network| Subnet::host(address).is_within(*network))
    }

    #[test]
    fn what_is_not_public_is_denied_and_what_is_public_is_not() {
        for denied in [
            "0.0.0.0",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.0.0.53",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(is_denied(denied), "{denied}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "223.255.255.255",
        ] {
            assert!(!is_denied(public), "{public}");
        }
    }

    #[test]
    fn every_private_network_is_denied_and_none_is_listed_twice() {
        for private in Subnet::PRIVATE {
            assert!(DENIED.contains(&private), "{private}");
        }
        let covered = intervals(&DENIED);
        let addresses =
            |(first, last): &(Ipv4Addr, Ipv4Addr)| u64::from(last.to_bits() - first.to_bits()) + 1;
        let each: u64 = DENIED.iter().map(|network| addresses(&(network.first(), network.last()))).sum();
        assert_eq!(each, covered.iter().map(addresses).sum::<u64>());
    }

    #[test]
    fn one_sandbox_gets_a_part_of_what_there_is() {
        const {
            assert!(
                QUESTIONS_OF_ONE * 8 <= QUESTIONS && RESOLVER_CONNECTIONS_OF_ONE * 8 <= RESOLVER_CONNECTIONS
            )
        };
        assert!(GRANT_AT_LEAST < GRANT_AT_MOST);
    }

    #[test]
    fn what_is_remembered_of_one_sandbox_is_a_part_of_the_table() {
        // What Linux takes where nobody says otherwise, and the seconds for which it remembers what has ended.
        const TABLE: u64 = 262_144;
        const REMEMBERED: u64 = 120;
        const ENDED: u64 = NEW_CONNECTIONS_PER_SECOND * REMEMBERED + NEW_CONNECTIONS_AT_ONCE as u64;
        const { assert!((CONNECTIONS as u64 + ENDED) * 8 <= TABLE) };
    }

    #[test]
    fn intervals_merge_what_overlaps_or_touches() {
        let subnets =
            ["240.0.0.0/4", "10.1.0.0/16", "224.0.0.0/4", "10.0.0.0/8"].map(|text| text.parse().unwrap());
        assert_eq!(
            intervals(&subnets),
            [
                (Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 255, 255, 255)),
                (Ipv4Addr::new(224, 0, 0, 0), Ipv4Addr::BROADCAST)
            ]
        );
        assert!(intervals(&[]).is_empty());
    }
}

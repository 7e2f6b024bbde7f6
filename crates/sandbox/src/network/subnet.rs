//! IPv4 networks and the intervals that a set of them covers.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::error::NetworkError;

/// An IPv4 network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// The network of `prefix` bits around `address`; `None` when `prefix` exceeds 32.
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 { None } else { Some(Self::of(address, prefix)) }
    }

    /// [`Subnet::new`] for prefixes known to be within 32 bits; a wider one means 32.
    pub(super) const fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = if prefix > 32 { 32 } else { prefix };
        Self { first: address.to_bits() & mask(prefix), prefix }
    }

    /// Every address.
    pub(super) const EVERYTHING: Self = Self { first: 0, prefix: 0 };

    /// The network of one address.
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { first: address.to_bits(), prefix: 32 }
    }

    /// The lowest address.
    pub const fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// The highest address.
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first | !mask(self.prefix))
    }

    /// How many leading bits all addresses share.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The netmask.
    pub(super) const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }
}

const fn mask(prefix: u8) -> u32 {
    match u32::MAX.checked_shl(32 - prefix as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        address
            .parse()
            .ok()
            .zip(prefix.parse().ok())
            .and_then(|(address, prefix)| Self::new(address, prefix))
            .ok_or_else(|| {
                NetworkError::Setting(format!(
                    "`{text}` is not an IPv4 network; write an address and a prefix length, such as 192.0.2.0/24"
                ))
            })
    }
}

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

    fn subnets(texts: &[&str]) -> Vec<Subnet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn parses_and_prints() {
        assert_eq!("10.9.8.7/8".parse::<Subnet>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("192.0.2.1".parse::<Subnet>().unwrap().to_string(), "192.0.2.1/32");
        assert_eq!("1.2.3.4/0".parse::<Subnet>().unwrap().last(), Ipv4Addr::BROADCAST);
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::1/64", "10.0.0.0/-1"] {
            let error = wrong.parse::<Subnet>().unwrap_err().to_string();
            assert!(error.contains("192.0.2.0/24"), "{error}");
        }
    }

    #[test]
    fn intervals_merge_what_overlaps_or_touches() {
        let covered = intervals(&subnets(&["240.0.0.0/4", "10.1.0.0/16", "224.0.0.0/4", "10.0.0.0/8"]));
        assert_eq!(
            covered,
            [
                (Ipv4Addr::new(10, 0, 0, 0), Ipv4Addr::new(10, 255, 255, 255)),
                (Ipv4Addr::new(224, 0, 0, 0), Ipv4Addr::BROADCAST)
            ]
        );
        assert!(intervals(&[]).is_empty());
    }

    #[test]
    fn overlap_is_symmetric() {
        let [a, b, c] = subnets(&["100.64.0.0/20", "100.64.15.255/32", "100.64.16.0/20"])[..] else {
            panic!()
        };
        assert!(a.overlaps(b) && b.overlaps(a));
        assert!(!a.overlaps(c) && !c.overlaps(a));
    }
}

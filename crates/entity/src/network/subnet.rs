//! IPv4 networks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    first: u32,
    prefix: u8,
}

impl Subnet {
    /// Every address.
    pub const EVERYTHING: Self = Self { first: 0, prefix: 0 };

    /// The private networks of RFC 1918.
    pub const PRIVATE: [Self; 3] = [
        Self::of(Ipv4Addr::new(10, 0, 0, 0), 8),
        Self::of(Ipv4Addr::new(172, 16, 0, 0), 12),
        Self::of(Ipv4Addr::new(192, 168, 0, 0), 16),
    ];

    /// The network of `prefix` bits around `address`; `None` when `prefix` exceeds 32.
    #[must_use]
    pub const fn new(address: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 { None } else { Some(Self::of(address, prefix)) }
    }

    /// [`Subnet::new`] for prefixes known to be within 32 bits; a wider one means 32.
    #[must_use]
    pub const fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = if prefix > 32 { 32 } else { prefix };
        Self { first: address.to_bits() & mask(prefix), prefix }
    }

    /// The network of one address.
    #[must_use]
    pub const fn host(address: Ipv4Addr) -> Self {
        Self { first: address.to_bits(), prefix: 32 }
    }

    /// The lowest address.
    #[must_use]
    pub const fn first(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// The highest address.
    #[must_use]
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first | !mask(self.prefix))
    }

    /// How many leading bits all addresses share.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The netmask.
    #[must_use]
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    /// Whether some address is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first() <= other.last() && other.first() <= self.last()
    }

    /// Whether every address is in `other` as well.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        other.first() <= self.first() && self.last() <= other.last()
    }

    /// Whether every address is private.
    #[must_use]
    pub fn is_private(self) -> bool {
        Self::PRIVATE.into_iter().any(|private| self.is_within(private))
    }
}

const fn mask(prefix: u8) -> u32 {
    match u32::MAX.checked_shl(32 - prefix as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IPv4 network; write an address and a prefix length, such as 192.0.2.0/24")]
pub struct NotASubnet(String);

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = NotASubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
        address
            .parse()
            .ok()
            .zip(prefix.parse().ok())
            .and_then(|(address, prefix)| Self::new(address, prefix))
            .ok_or_else(|| NotASubnet(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn overlap_is_symmetric_and_within_is_not() {
        let [a, b, c] = ["100.64.0.0/20", "100.64.15.255/32", "100.64.16.0/20"]
            .map(|text| text.parse::<Subnet>().unwrap());
        assert!(a.overlaps(b) && b.overlaps(a));
        assert!(!a.overlaps(c) && !c.overlaps(a));
        assert!(b.is_within(a) && !a.is_within(b) && a.is_within(a));
    }

    #[test]
    fn private_networks_are_those_whose_every_address_is() {
        for (text, is_private) in [
            ("10.0.0.0/8", true),
            ("172.31.255.255/32", true),
            ("192.168.7.0/24", true),
            ("172.32.0.0/16", false),
            ("8.0.0.0/6", false),
            ("169.254.169.254/32", false),
        ] {
            assert_eq!(text.parse::<Subnet>().unwrap().is_private(), is_private, "{text}");
        }
    }
}

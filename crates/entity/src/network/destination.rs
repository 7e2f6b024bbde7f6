//! Destinations: what a list of allowed ones holds.

use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::Subnet;

/// Longest name of a host, as DNS has it.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// Whom one may connect to: `CIDR`, `CIDR:PORT`, `NAME`, `NAME:PORT`, the name of a host or `*.` and one for all below.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The hosts.
    pub hosts: Hosts,
    /// The only port, of TCP and UDP; `None` for every one.
    pub port: Option<NonZeroU16>,
}

/// Some hosts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hosts {
    /// Those of these addresses.
    Network(Subnet),
    /// Those that a name stands for, whatever it stands for when it is asked for.
    Named(NamePattern),
}

/// A name, or all names below one; lower-case, without a dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamePattern {
    name: Arc<str>,
    below: bool,
}

impl Destination {
    /// Reads one; the error completes "`TEXT` is no destination: ".
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (hosts, port) = match text.rsplit_once(':') {
            None => (text, None),
            Some((hosts, port)) => {
                let is_plain =
                    (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
                let port: Option<NonZeroU16> = port.parse().ok().filter(|_| is_plain);
                (hosts, Some(port.ok_or("a port is a number from 1 to 65535")?))
            }
        };
        if hosts.contains([':', '[']) {
            return Err("functions speak IPv4 only");
        }
        let is_address =
            hosts.split_once('/').map_or(hosts, |(address, _)| address).parse::<Ipv4Addr>().is_ok();
        let hosts = if is_address || hosts.contains('/') {
            Hosts::Network(
                hosts.parse().map_err(|_| "a network is an IPv4 address, `/` and at most 32 bits")?,
            )
        } else {
            Hosts::Named(NamePattern::parse(hosts)?)
        };
        Ok(Self { hosts, port })
    }

    /// What is in both; `None` where nothing is, or where nobody can tell: which addresses a name will stand for.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Self> {
        let port = match (self.port, other.port) {
            (Some(one), Some(two)) if one != two => return None,
            (one, two) => one.or(two),
        };
        let hosts = match (&self.hosts, &other.hosts) {
            (Hosts::Network(one), Hosts::Network(two)) if one.is_within(*two) => Hosts::Network(*one),
            (Hosts::Network(one), Hosts::Network(two)) if two.is_within(*one) => Hosts::Network(*two),
            (Hosts::Named(one), Hosts::Named(two)) if one.is_within(two) => Hosts::Named(one.clone()),
            (Hosts::Named(one), Hosts::Named(two)) if two.is_within(one) => Hosts::Named(two.clone()),
            _ => return None,
        };
        Some(Self { hosts, port })
    }

    /// Whether all of it is known to be in `other`.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.common(other).is_some_and(|common| common == *self)
    }
}

impl NamePattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let is_label = |label: &str| {
            (1..=LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > NAME_BYTES || !name.split('.').all(is_label) {
            return Err(
                "a host is an IPv4 network, a name of letters, digits and dashes, or `*.` and such a name",
            );
        }
        // What looks like a number is one to whoever connects, and is never asked for.
        if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err("the last part of a name is not a number");
        }
        Ok(Self { name: name.to_ascii_lowercase().into(), below })
    }

    /// Whether it stands for this name, which has no dot at its end.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (name, own) = (name.as_bytes(), self.name.as_bytes());
        if !self.below {
            return name.eq_ignore_ascii_case(own);
        }
        // At least one letter, and a dot.
        let Some((above, tail)) = name.len().checked_sub(own.len()).and_then(|at| name.split_at_checked(at))
        else {
            return false;
        };
        above.len() > 1 && above.ends_with(b".") && tail.eq_ignore_ascii_case(own)
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (true, false) => false,
            (true, true) => self.name == other.name || other.matches(&self.name),
            (false, _) => other.matches(&self.name),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.below { "*." } else { "" }, self.name)
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hosts.fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Destination {
        Destination::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn destinations_are_read_and_written_alike() {
        for (text, written) in [
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.7:443", "203.0.113.7/32:443"),
            ("0.0.0.0/0:53", "0.0.0.0/0:53"),
            ("API.example.com:1", "api.example.com:1"),
            ("*.example.com", "*.example.com"),
            ("db", "db"),
            ("_x._tcp.example.com", "_x._tcp.example.com"),
            ("1e100.net", "1e100.net"),
        ] {
            assert_eq!(of(text).to_string(), written);
            assert_eq!(of(written), of(text));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let (long_label, long) = (format!("{}.x", "a".repeat(64)), format!("{}x", "a.".repeat(127)));
        for text in [
            "",
            ":",
            ":80",
            "a:0",
            "a:65536",
            "a:+80",
            "a:",
            "a:b",
            "10.0.0.0/33",
            "a/8",
            "10.0.0.0/8/8",
            "1.2.3",
            "1.2.3.4.5",
            "a..b",
            ".a",
            "a.",
            "*",
            "*.",
            "*.*.a",
            "a.*",
            "a b",
            "a\0",
            "ä.example",
            "-a.b",
            "a-.b",
            "[::1]:80",
            "::1",
            "fe80::/10",
            "256.1.1.1",
            "x.123",
            "0x7f.1",
            &long_label,
            &long,
        ] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_match_names_below_and_not_beside() {
        let matches = |pattern: &str, name: &str| NamePattern::parse(pattern).unwrap().matches(name);
        assert!(matches("a.example", "A.Example"));
        assert!(matches("*.example.com", "a.b.example.COM"));
        for (pattern, name) in [
            ("*.example.com", "example.com"),
            ("*.example.com", ".example.com"),
            ("*.example.com", "badexample.com"),
            ("*.example.com", "com"),
            ("*.example.com", "ü.com"),
            ("a.example", "b.a.example"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_common_is_the_narrower() {
        for (one, two, common) in [
            ("10.0.0.0/8", "10.1.0.0/16:80", Some("10.1.0.0/16:80")),
            ("10.0.0.0/8:80", "10.1.0.0/16", Some("10.1.0.0/16:80")),
            ("10.0.0.0/8:80", "10.1.0.0/16:81", None),
            ("10.0.0.0/8", "11.0.0.0/8", None),
            ("*.a.com", "b.a.com", Some("b.a.com")),
            ("*.a.com", "*.b.a.com:1", Some("*.b.a.com:1")),
            ("*.a.com", "a.com", None),
            ("*.a.com", "*.com", Some("*.a.com")),
            ("a.com", "203.0.113.0/24", None),
        ] {
            assert_eq!(of(one).common(&of(two)).map(|it| it.to_string()).as_deref(), common, "{one} {two}");
            assert_eq!(of(one).common(&of(two)), of(two).common(&of(one)));
        }
        assert!(of("b.a.com:80").is_within(&of("*.a.com")));
        assert!(!of("b.a.com").is_within(&of("*.a.com:80")));
    }
}

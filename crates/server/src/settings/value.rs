//! Kinds of values that settings have: how each is written, read and printed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use chasen_docker::PullPolicy;
use chasen_entity::manifest::parse_duration_millis;
use chasen_entity::{ByteSize, Durability, NetworkPolicy, SchedulingPolicy, StoreLevel, Subnet};
use chasen_telemetry::log::Format;

/// Longest duration that a setting can have: far beyond use, near enough to be added to any clock.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// A value that a setting can have.
pub trait Value: Sized {
    /// True if the value must not be shown, and not be given where others can read it.
    const SECRET: bool = false;

    /// What a good text looks like; goes after "expected".
    fn expected() -> String;
    /// Reads a text; `None` if it is not of this kind.
    fn read(text: &str) -> Option<Self>;
    /// The text that reads as this value.
    fn print(&self) -> String;
}

impl Value for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn expected() -> String {
        "a whole number".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn expected() -> String {
        "a text".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn print(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn print(&self) -> String {
        self.display().to_string()
    }
}

impl Value for ByteSize {
    fn expected() -> String {
        "a size such as '512 MB' or '8 GB'".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    fn expected() -> String {
        "a duration such as '100 ms', '30 s', '10 min' or '7 days'".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        parse_duration_millis(text).map(Self::from_millis).filter(|duration| *duration <= LONGEST)
    }

    fn print(&self) -> String {
        let millis = self.as_millis();
        [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")]
            .into_iter()
            .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit))
            .map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
    }
}

/// What stands between commas, if all of it can be read.
fn read_list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

fn print_list<T: ToString>(list: &[T]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Value for Vec<IpAddr> {
    fn expected() -> String {
        "addresses such as '9.9.9.9, 1.1.1.1', or nothing".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        read_list(text)
    }

    fn print(&self) -> String {
        print_list(self)
    }
}

impl Value for Vec<String> {
    fn expected() -> String {
        "a list such as 'one, two', or nothing".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Some(names.map(str::to_owned).collect())
    }

    fn print(&self) -> String {
        self.join(", ")
    }
}

impl Value for Vec<Subnet> {
    fn expected() -> String {
        "networks such as '10.1.0.0/16, 192.168.7.0/24', or nothing".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        read_list(text)
    }

    fn print(&self) -> String {
        print_list(self)
    }
}

impl Value for NetworkPolicy {
    fn expected() -> String {
        "none, internet, or destinations such as 'allow:203.0.113.0/24,api.example.com:443'".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Self::parse(text).ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Value for SchedulingPolicy {
    fn expected() -> String {
        Self::ALL.map(Self::as_str).join(" or ")
    }

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn print(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Value for Durability {
    fn expected() -> String {
        Self::ALL.map(Self::as_str).join(" or ")
    }

    fn read(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn print(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Value for StoreLevel {
    fn expected() -> String {
        "STORE_ALWAYS, STORE_FAILURES or STORE_FAILURES_NOT_APPLICATION_ERRORS".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "STORE_ALWAYS" => Self::StoreAlways,
            "STORE_FAILURES" => Self::StoreFailures,
            "STORE_FAILURES_NOT_APPLICATION_ERRORS" => Self::StoreFailuresNotApplicationErrors,
            _ => return None,
        })
    }

    fn print(&self) -> String {
        match self {
            Self::StoreAlways => "STORE_ALWAYS",
            Self::StoreFailures => "STORE_FAILURES",
            Self::StoreFailuresNotApplicationErrors => "STORE_FAILURES_NOT_APPLICATION_ERRORS",
            Self::StoreNever => "STORE_NEVER",
        }
        .to_owned()
    }
}

impl Value for PullPolicy {
    fn expected() -> String {
        "always, missing or never".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "always" => Self::Always,
            "missing" => Self::Missing,
            "never" => Self::Never,
            _ => return None,
        })
    }

    fn print(&self) -> String {
        match self {
            Self::Always => "always",
            Self::Missing => "missing",
            Self::Never => "never",
        }
        .to_owned()
    }
}

impl Value for Format {
    fn expected() -> String {
        "auto, text or json".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "auto" => Self::Auto,
            "text" => Self::Text,
            "json" => Self::Json,
            _ => return None,
        })
    }

    fn print(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Text => "text",
            Self::Json => "json",
        }
        .to_owned()
    }
}

/// A value that nobody is shown; empty is none.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Option<String>);

impl Value for Secret {
    const SECRET: bool = true;

    fn expected() -> String {
        "a secret, or nothing".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        Some(Self((!text.is_empty()).then(|| text.to_owned())))
    }

    fn print(&self) -> String {
        String::new()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Secret(…)" } else { "Secret(none)" })
    }
}

/// A value that the node works out by itself unless it is given: `auto`, or the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auto<T>(pub Option<T>);

impl<T: Value> Value for Auto<T> {
    fn expected() -> String {
        format!("auto, or {}", T::expected())
    }

    fn read(text: &str) -> Option<Self> {
        if text == "auto" { Some(Self(None)) } else { T::read(text).map(|value| Self(Some(value))) }
    }

    fn print(&self) -> String {
        self.0.as_ref().map_or_else(|| "auto".to_owned(), Value::print)
    }
}

/// A bound that may be absent: `unlimited`, or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound(pub Option<u32>);

impl Value for Bound {
    fn expected() -> String {
        "unlimited, or a whole number".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        if text == "unlimited" { Some(Self(None)) } else { text.parse().ok().map(|bound| Self(Some(bound))) }
    }

    fn print(&self) -> String {
        self.0.map_or_else(|| "unlimited".to_owned(), |bound| bound.to_string())
    }
}

/// Where to listen: `HOST:PORT`, the host a name or an address (IPv6 in brackets). Port 0 picks a free one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Value for Listen {
    fn expected() -> String {
        "HOST:PORT such as '127.0.0.1:3233' or '[::1]:0'".to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '%' | '_');
        (!bare.is_empty() && bare.chars().all(plain)).then(|| Self { host: bare.to_owned(), port })
    }

    fn print(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads<T: Value>(text: &str, printed: Option<&str>) {
        assert_eq!(T::read(text).map(|value| value.print()).as_deref(), printed, "{text}");
    }

    #[test]
    fn values_read_and_print_back() {
        reads::<Duration>("100 ms", Some("100 ms"));
        reads::<Duration>("120 s", Some("2 min"));
        reads::<Duration>("7 days", Some("7 days"));
        reads::<Duration>("7", None);
        reads::<Duration>("18446744073709551615 ms", None);
        reads::<ByteSize>("8192 MB", Some("8 GB"));
        reads::<Bound>("unlimited", Some("unlimited"));
        reads::<Bound>("-1", None);
        reads::<Auto<ByteSize>>("auto", Some("auto"));
        reads::<Auto<ByteSize>>("much", None);
        reads::<Vec<IpAddr>>("1.1.1.1,::1", Some("1.1.1.1, ::1"));
        reads::<Vec<IpAddr>>("", Some(""));
        reads::<Vec<IpAddr>>("1.1", None);
        reads::<Vec<Subnet>>("10.1.2.3/16,10.2.0.0/16", Some("10.1.0.0/16, 10.2.0.0/16"));
        reads::<Vec<Subnet>>("10.1.0.0/33", None);
        reads::<Auto<NetworkPolicy>>("allow:A.example:80, 1.1.1.1", Some("allow:a.example:80,1.1.1.1/32"));
        reads::<NetworkPolicy>("all", None);
        reads::<Format>("loud", None);
    }

    #[test]
    fn listen_addresses_are_host_and_port() {
        for good in ["127.0.0.1:3233", "localhost:0", "[::1]:80"] {
            reads::<Listen>(good, Some(good));
        }
        for bad in ["127.0.0.1", ":80", "::1:80", "[::1:80", "host:70000", "a b:1", "host:"] {
            reads::<Listen>(bad, None);
        }
    }
}

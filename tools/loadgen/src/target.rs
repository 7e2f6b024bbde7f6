//! What is asked: a method, a URL, headers and a body, made into the bytes of a request once.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::wire::{Handshake, Place};

/// Bounds on one target.
const MAX_URL: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// Largest body, in bytes.
pub const MAX_BODY: usize = 64 << 20;
/// Highest weight.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// How long a server may take to accept the first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(5);

/// Why a target cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Another scheme than `http` and `https`.
    #[error("'{0}' begins neither with http:// nor with https://: the load generator speaks HTTP/1.1 only")]
    Scheme(String),
    /// Not a URL.
    #[error("'{url}' is no URL that can be asked: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The method is not a token.
    #[error("'{0}' is no HTTP method: write one in capitals, such as POST")]
    Method(String),
    /// A header cannot be sent; its value is not shown, it may be secret.
    #[error("the header '{name}' cannot be sent: {why}")]
    Header {
        /// Name, without control characters.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The weight is out of its bounds.
    #[error("weight {0} is out of bounds: 1 to {MAX_WEIGHT}; leave out what is never to be asked")]
    Weight(u32),
    /// The body is too large.
    #[error("the body has {0} bytes, more than {MAX_BODY}")]
    Body(usize),
}

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
#[error("{authority} cannot be reached: {why}; is the server running, and does it listen there?")]
pub struct Unreachable {
    /// `host:port`
    pub authority: String,
    /// What the system said, or a handshake.
    #[source]
    pub why: io::Error,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    host: String,
    port: u16,
    /// `https` is spoken.
    is_encrypted: bool,
}

impl Authority {
    /// `http://host:port`, or `https`
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{self}", self.scheme())
    }

    /// True if handshakes are made there.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    fn scheme(&self) -> &'static str {
        if self.is_encrypted { "https" } else { "http" }
    }

    /// The first address that accepts a connection, and a handshake where one is made.
    pub(crate) fn reach(&self, tls: Option<&Arc<ClientConfig>>) -> Result<Place, Unreachable> {
        let failed = |why: io::Error| Unreachable { authority: self.to_string(), why };
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let handshake = match (self.is_encrypted, tls) {
            (false, _) => None,
            (true, Some(config)) => Some(Handshake::new(config.clone(), host).map_err(failed)?),
            (true, None) => return Err(failed(io::Error::other("nobody says whom to trust there"))),
        };
        let mut why = io::Error::other("the name has no address");
        for address in (host, self.port).to_socket_addrs().map_err(failed)? {
            let place = Place { address, handshake: handshake.clone() };
            match place.connect(FIRST_CONNECTION) {
                Ok(_) => return Ok(place),
                Err(error) => why = error,
            }
        }
        Err(failed(why))
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// One request that is made again and again.
#[derive(Clone)]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// Share of all requests, among the weights of all targets.
    pub weight: u32,
    authority: Authority,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Target {
    /// A request without body, of weight 1, called `METHOD /path`. The URL is
    /// `http[s]://host[:port][/path][?query]`.
    pub fn new(method: &str, url: &str) -> Result<Self, TargetError> {
        if !is_token(method) || method.len() > 32 || method.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(TargetError::Method(printable(method)));
        }
        let (authority, path) = split(url)?;
        let name = format!("{method} {}", path.split('?').next().unwrap_or_default());
        let (method, path) = (method.to_owned(), path.to_owned());
        Ok(Self { name, weight: 1, authority, method, path, headers: Vec::new(), body: Vec::new() })
    }

    /// Sends a header too. Those that frame the message are the generator's own.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, TargetError> {
        let failed = |why| TargetError::Header { name: printable(name), why };
        if !is_token(name) {
            return Err(failed("names consist of letters, digits and dashes"));
        }
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(failed("its value has control characters"));
        }
        if ["content-length", "transfer-encoding", "connection", "expect", "upgrade"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
        {
            return Err(failed("the load generator frames messages itself"));
        }
        if self.headers.len() >= MAX_HEADERS || name.len() + value.len() > MAX_URL {
            return Err(failed("there are too many headers, or it is too long"));
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// Sends a body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Result<Self, TargetError> {
        self.body = body.into();
        if self.body.len() > MAX_BODY {
            return Err(TargetError::Body(self.body.len()));
        }
        Ok(self)
    }

    /// Asks it this often, in proportion to the other targets.
    pub fn weight(mut self, weight: u32) -> Result<Self, TargetError> {
        if weight == 0 || weight > MAX_WEIGHT {
            return Err(TargetError::Weight(weight));
        }
        self.weight = weight;
        Ok(self)
    }

    /// Calls it this in reports.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = printable(name);
        self
    }

    /// True if it sends this header.
    #[must_use]
    pub fn has_header(&self, wanted: &str) -> bool {
        self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    }

    /// Where it is asked.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// `http://host:port/path?query`, or `https`
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{}", self.authority.origin(), self.path)
    }

    /// The headers, with the values of those masked that carry credentials.
    #[must_use]
    pub fn shown_headers(&self) -> Vec<(String, String)> {
        let shown = |(name, value): &(String, String)| {
            let value = if is_secret(name) { "***".to_owned() } else { value.clone() };
            (name.clone(), value)
        };
        self.headers.iter().map(shown).collect()
    }

    /// Length of the body, in bytes.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The same request at another path of the same server.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// The bytes of the request.
    pub(crate) fn render(&self, keep_alive: bool) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if !self.has_header("host") {
            text.push_str(&format!("Host: {}\r\n", self.authority));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() && !self.has_header("content-type") {
            text.push_str("Content-Type: application/json\r\n");
        }
        if !self.body.is_empty() || !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS") {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if !keep_alive {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Never shows headers or bodies: they may be secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

fn split(url: &str) -> Result<(Authority, &str), TargetError> {
    let failed = |why| TargetError::Url { url: printable(url), why };
    let (is_encrypted, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(TargetError::Scheme(printable(url))),
    };
    if url.len() > MAX_URL {
        return Err(failed("it is too long"));
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed("write everything but ASCII in percent encoding, spaces too"));
    }
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (place, path) = rest.split_at_checked(end).ok_or_else(|| failed("it has no host"))?;
    if place.contains('@') {
        return Err(failed("credentials do not belong into URLs"));
    }
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| failed("its port is no number below 65536"))?)
        }
        _ => (place, if is_encrypted { 443 } else { 80 }),
    };
    if host.is_empty() || port == 0 {
        return Err(failed("it has no host, or port 0"));
    }
    if path.starts_with('?') {
        return Err(failed("a query needs a path before it: write /? in place of ?"));
    }
    let path = if path.is_empty() { "/" } else { path };
    Ok((Authority { host: host.to_owned(), port, is_encrypted }, path))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte))
}

/// True if a header of such a name is likely to carry credentials: everybody has names of their own for these.
fn is_secret(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    ["auth", "cookie", "credential", "key", "pass", "secret", "session", "signature", "token"]
        .iter()
        .any(|secret| header.contains(secret))
}

/// Text without control characters and without what turns the direction of text, cut to what fits a line.
pub(crate) fn printable(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_hidden(c) { '\u{fffd}' } else { c }).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        for (url, authority, path) in [
            ("http://h", "h:80", "/"),
            ("http://h:1/a?b=c#d", "h:1", "/a?b=c"),
            ("http://[::1]:3233/x", "[::1]:3233", "/x"),
            ("http://[::1]/x", "[::1]:80", "/x"),
        ] {
            let (found, rest) = split(url).unwrap();
            assert_eq!((found.to_string().as_str(), rest), (authority, path), "{url}");
        }
        for url in [
            "http://",
            "http://:80/",
            "http://h:x/",
            "http://h:0/",
            "http://h/a b",
            "http://u:p@h/",
            "http://h?x",
        ] {
            assert!(split(url).is_err(), "{url}");
        }
        let ftp = split("ftp://h/").unwrap_err().to_string();
        assert!(ftp.contains("neither with http:// nor with https://"), "{ftp}");
        let (encrypted, _) = split("https://h/").unwrap();
        assert_eq!(encrypted.origin(), "https://h:443");
        assert_ne!(encrypted, split("http://h:443/").unwrap().0);
    }

    #[test]
    fn a_request_is_rendered_once_with_its_framing() {
        let target =
            Target::new("POST", "http://h:1/p?q").unwrap().header("X-A", "b").unwrap().body("{}").unwrap();
        let text = String::from_utf8(target.render(false)).unwrap();
        assert_eq!(
            text,
            "POST /p?q HTTP/1.1\r\nHost: h:1\r\nX-A: b\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{}"
        );
        let get = String::from_utf8(Target::new("GET", "http://h/").unwrap().render(true)).unwrap();
        assert_eq!(get, "GET / HTTP/1.1\r\nHost: h:80\r\n\r\n");
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_request() {
        let target = || Target::new("GET", "http://h/").unwrap();
        assert!(Target::new("GET / HTTP/1.1\r\nX:", "http://h/").is_err());
        assert!(Target::new("get", "http://h/").is_err());
        for (name, value) in [("a b", "c"), ("a", "b\r\nc: d"), ("Content-Length", "3"), ("", "x")] {
            assert!(target().header(name, value).is_err(), "{name}: {value}");
        }
        assert!(target().weight(0).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let target = Target::new("GET", "http://h/").unwrap().header("Authorization", "Basic abc").unwrap();
        assert_eq!(target.shown_headers(), [("Authorization".to_owned(), "***".to_owned())]);
        assert!(!format!("{target:?}").contains("abc"));
        for name in [
            "Cookie",
            "X-API-Key",
            "x-auth-token",
            "X-Client-Secret",
            "X-Require-Whisk-Auth",
            "X-Amz-Signature",
        ] {
            assert!(is_secret(name), "{name}");
        }
        assert!(!["Content-Type", "X-Tenant", "Accept"].into_iter().any(is_secret));
    }

    #[test]
    fn what_servers_say_moves_no_cursor() {
        assert_eq!(
            printable("a\u{1b}[2J\u{9b}m\u{202e}b\u{2066}é\n"),
            "a\u{fffd}[2J\u{fffd}m\u{fffd}b\u{fffd}é\u{fffd}"
        );
        assert_eq!(printable(&"x".repeat(1000)).len(), 300);
    }
}

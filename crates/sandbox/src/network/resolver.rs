//! Which name servers a sandbox may ask.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

/// The machine's own list, and the one of systemd-resolved behind its loopback address.
const SOURCES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// The C library reads no more.
const MOST: usize = 3;
/// A list longer than this is not read to its end.
const FILE_BYTES: u64 = 64 * 1024;

/// The configured name servers, else those of the machine. Loopback addresses are left out, because
/// a sandbox's loopback is its own; IPv6 ones because sandboxes speak IPv4.
pub(super) fn resolvers(configured: &[IpAddr]) -> Vec<Ipv4Addr> {
    if !configured.is_empty() {
        return reachable(configured.iter().copied());
    }
    SOURCES
        .iter()
        .map(|path| reachable(nameservers(&read(Path::new(path)))))
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Content of a sandbox's `/etc/resolv.conf`.
pub(super) fn resolv_conf(resolvers: &[Ipv4Addr]) -> String {
    let mut text = String::new();
    for resolver in resolvers {
        let _ = writeln!(text, "nameserver {resolver}");
    }
    text
}

fn read(path: &Path) -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(path) {
        // A list that is not text has no name servers.
        let _ = file.take(FILE_BYTES).read_to_string(&mut text);
    }
    text
}

fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse().ok()).flatten()
    })
}

fn reachable(addresses: impl Iterator<Item = IpAddr>) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    for address in addresses {
        if let IpAddr::V4(address) = address
            && !address.is_loopback()
            && !address.is_unspecified()
            && !found.contains(&address)
            && found.len() < MOST
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_that_name_servers() {
        let text = "# nameserver 192.0.2.9\nsearch x\nnameserver 127.0.0.53\nnameserver\t192.0.2.1 # a\n\
                    nameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver 192.0.2.1\nnameservers 192.0.2.7\n";
        assert_eq!(reachable(nameservers(text)), [Ipv4Addr::new(192, 0, 2, 1)]);
    }

    #[test]
    fn configured_ones_win_and_are_bounded() {
        let configured: Vec<IpAddr> = (1..6).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        assert_eq!(resolvers(&configured).len(), 3);
        assert!(resolvers(&["::1".parse().unwrap()]).is_empty());
    }

    #[test]
    fn writes_one_line_each() {
        let text = resolv_conf(&[Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(text, "nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
    }
}

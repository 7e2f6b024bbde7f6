//! What a cell sees as its file system: a short list of read-only pieces on an empty root.
//!
//! Every cell with an equal [`RootSpec`] shares one prepared tree; what is private to a cell (`/tmp`, `/proc`,
//! `/dev/shm`, `/action`) is added at its start and never listed here.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use chasen_runtime::walls::{self, Wall};
use serde::{Deserialize, Serialize};

use crate::cell::INNER_ID;

/// Most pieces one root may have: a bound for the helper, far above any real root.
pub const MAX_ENTRIES: usize = 128;

/// Folders of the system that are a link into `/usr` on a merged host and a folder of their own elsewhere.
const SYSTEM_FOLDERS: [&str; 5] = ["/bin", "/sbin", "/lib", "/lib64", "/lib32"];

/// Files and folders of `/etc` that programs need and that hold nothing private; bound when the host has them.
const SYSTEM_SETTINGS: [&str; 8] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki",
    "/etc/protocols",
    "/etc/services",
];

/// Language settings outside `/usr` that interpreters of the distribution read at their start.
const LANGUAGE_SETTINGS: [&str; 4] = ["/etc/php", "/etc/ruby", "/etc/perl", "/etc/nodejs"];

/// Certificates of authorities; private keys (`/etc/ssl/private`) stay outside.
const CERTIFICATES: &str = "/etc/ssl/certs";
/// Where Debian has all of them in one file.
const CERTIFICATE_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const TLS_SETTINGS: &str = "/etc/ssl/openssl.cnf";

/// One piece of a root; `target` is an absolute path inside the cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// A file or folder of the host, read-only.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path inside the cell.
        target: PathBuf,
    },
    /// A symbolic link.
    Link {
        /// What the link says.
        to: PathBuf,
        /// Where the link is.
        target: PathBuf,
    },
    /// A small file made for the cells.
    File {
        /// Its whole content.
        content: String,
        /// Where it is.
        target: PathBuf,
    },
}

/// The file system of an image, beneath what the node gives every cell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageRoot {
    /// Folders of the host, lowest first, stacked and never written; all in them belongs to the node's user.
    pub layers: Vec<PathBuf>,
    /// Number that the cell's user has inside.
    pub uid: u32,
    /// Number that the group of the cell's user has inside.
    pub gid: u32,
    /// Made if it is not there.
    pub working_dir: PathBuf,
}

/// The part of a cell's file system that is not its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RootSpec {
    entries: Vec<Entry>,
    image: Option<ImageRoot>,
}

impl RootSpec {
    /// The host's own programs and libraries, with minimal settings; names are resolved by `resolvers`.
    ///
    /// Holds `/usr`, the `lib` links, certificates, time zone, and made-up `passwd`, `group`, `hosts`,
    /// `nsswitch.conf` and `resolv.conf`; nothing else of the host.
    #[must_use]
    pub fn host_system(resolvers: &[IpAddr]) -> Self {
        Self::system(Path::new("/"), resolvers)
    }

    /// The same of a system whose files are below `base` on the host.
    #[must_use]
    pub fn system(base: &Path, resolvers: &[IpAddr]) -> Self {
        let there = |path: &str| base.join(path.trim_start_matches('/'));
        let mut root = Self { entries: Vec::new(), image: None }.with_bind(there("/usr"), "/usr");
        for folder in SYSTEM_FOLDERS {
            match std::fs::read_link(there(folder)) {
                Ok(to) => root.entries.push(Entry::Link { to, target: PathBuf::from(folder) }),
                Err(_) if there(folder).is_dir() => root = root.with_bind(there(folder), folder),
                Err(_) => {}
            }
        }
        for path in SYSTEM_SETTINGS.into_iter().chain(LANGUAGE_SETTINGS) {
            root = root.with_setting(base, Path::new(path));
        }
        // Another system trusts whom the machine trusts, if it finds that where it looks for it.
        let trusted = if Path::new(CERTIFICATE_BUNDLE).exists() { Path::new("/") } else { base };
        root =
            root.with_setting(trusted, Path::new(CERTIFICATES)).with_setting(base, Path::new(TLS_SETTINGS));
        for path in java_settings(base) {
            root = root.with_setting(base, &path);
        }
        if !walls::stand(Wall::HiddenHost) {
            root = root.with_bind("/", "/host");
        }
        root.with_file("/etc/passwd", "root:x:0:0::/:/usr/sbin/nologin\naction:x:1000:1000::/tmp:/bin/sh\n")
            .with_file("/etc/group", "root:x:0:\naction:x:1000:\n")
            .with_file("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
            .with_file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
            .with_file("/etc/resolv.conf", &resolv_conf(resolvers))
    }

    /// An image, which the cell may write everywhere, in a private layer; names are resolved by `resolvers`.
    #[must_use]
    pub fn image(image: ImageRoot, hostname: &str, resolvers: &[IpAddr]) -> Self {
        Self { entries: Vec::new(), image: Some(image) }
            .with_file("/etc/hostname", &format!("{hostname}\n"))
            .with_file("/etc/hosts", &format!("127.0.0.1 localhost {hostname}\n::1 localhost\n"))
            .with_file("/etc/resolv.conf", &resolv_conf(resolvers))
    }

    /// The image, if it is one.
    #[must_use]
    pub fn image_root(&self) -> Option<&ImageRoot> {
        self.image.as_ref()
    }

    /// The user and group number that code sees as its own.
    #[must_use]
    pub fn user(&self) -> (u32, u32) {
        self.image.as_ref().map_or((INNER_ID, INNER_ID), |image| (image.uid, image.gid))
    }

    /// Adds a file or folder of the host, read-only. Binding it at its own path lets the same `argv` work in
    /// [`crate::helper::Mode::InsecureProcess`] too.
    #[must_use]
    pub fn with_bind(mut self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.entries.push(Entry::Bind { source: source.into(), target: target.into() });
        self
    }

    /// Adds a small file with this content.
    #[must_use]
    pub fn with_file(mut self, target: impl Into<PathBuf>, content: &str) -> Self {
        self.entries.push(Entry::File { content: content.to_owned(), target: target.into() });
        self
    }

    /// The pieces, in the order in which they are laid.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds a piece of a system's settings if it is there. The host's links are followed to the real file; those of
    /// another system lead somewhere only inside of it, and stay links.
    fn with_setting(mut self, base: &Path, path: &Path) -> Self {
        if base == Path::new("/") {
            return match path.canonicalize() {
                Ok(source) => self.with_bind(source, path),
                Err(_) => self,
            };
        }
        let source = base.join(path.strip_prefix("/").unwrap_or(path));
        if let Ok(to) = std::fs::read_link(&source) {
            self.entries.push(Entry::Link { to, target: path.to_owned() });
            return self;
        }
        if source.exists() { self.with_bind(source, path) } else { self }
    }
}

/// `/etc/java-*`: where Debian keeps the settings that every `java` reads.
fn java_settings(base: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(base.join("etc")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = listing
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("java-"))
        .map(|entry| Path::new("/etc").join(entry.file_name()))
        .collect();
    found.sort();
    found
}

fn resolv_conf(resolvers: &[IpAddr]) -> String {
    let mut text = String::new();
    for address in resolvers {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "nameserver {address}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(root: &RootSpec, path: &str) -> Option<String> {
        root.entries().iter().find_map(|entry| match entry {
            Entry::File { content, target } if target == Path::new(path) => Some(content.clone()),
            _ => None,
        })
    }

    #[test]
    fn host_system_names_the_resolvers() {
        let root = RootSpec::host_system(&["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]);
        assert_eq!(
            content(&root, "/etc/resolv.conf").unwrap(),
            "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"
        );
    }

    #[test]
    fn another_system_lends_its_own_files_only() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("usr/bin")).unwrap();
        std::fs::create_dir_all(base.path().join("etc/php")).unwrap();
        std::os::unix::fs::symlink("usr/bin", base.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/usr/share/zoneinfo/Etc/UTC", base.path().join("etc/localtime")).unwrap();
        let root = RootSpec::system(base.path(), &[]);
        let links = root.entries().iter().filter_map(|entry| match entry {
            Entry::Link { to, target } => Some((to.to_str().unwrap(), target.to_str().unwrap())),
            Entry::Bind { source, target } => {
                let is_trust = target == Path::new(CERTIFICATES);
                assert!(source.starts_with(base.path()) || is_trust, "{}", source.display());
                None
            }
            Entry::File { .. } => None,
        });
        assert_eq!(
            links.collect::<Vec<_>>(),
            [("usr/bin", "/bin"), ("/usr/share/zoneinfo/Etc/UTC", "/etc/localtime")]
        );
        assert!(
            root.entries()
                .iter()
                .any(|entry| matches!(entry, Entry::Bind { target, .. } if target == Path::new("/etc/php")))
        );
    }

    #[test]
    fn host_system_holds_no_private_keys_and_stays_within_bounds() {
        let root = RootSpec::host_system(&[]);
        assert!(root.entries().len() <= MAX_ENTRIES);
        for entry in root.entries() {
            if let Entry::Bind { target, .. } = entry {
                assert_ne!(target, Path::new("/etc"));
                assert_ne!(target, Path::new("/etc/ssl"));
            }
        }
    }
}

//! The guest's kernel and its first programs: taken from Debian's packages, kept in the user's cache folder.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FETCH: &str = include_str!("fetch.sh");
/// What the guest loads: its devices and root, then what sandboxes need.
const MODULES: [&str; 19] = [
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
    "veth",
    "crc32c_generic",
    "nf_tables",
    "nf_nat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nft_chain_nat",
    "nft_connlimit",
    "nft_ct",
    "nft_fib_inet",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_reject_inet",
];

/// A folder with the files that boot a guest.
pub(super) struct Kernel(PathBuf);

impl Kernel {
    /// The newest kernel of the cache; if it has none, of the package archive.
    pub(super) fn get() -> Result<Self, String> {
        let cache = cache()?;
        fs::create_dir_all(&cache).map_err(at(&cache))?;
        if let Some(folder) = newest(&cache) {
            return Ok(Self(folder));
        }
        println!("── fetching the guest's kernel");
        run(Command::new("sh").args(["-c", FETCH, "sh"]).arg(&cache).args(MODULES))?;
        newest(&cache).map(Self).ok_or_else(|| format!("no kernel came to {}", cache.display()))
    }

    /// The kernel itself.
    pub(super) fn image(&self) -> PathBuf {
        self.0.join("vmlinuz")
    }

    /// Makes the first file system of a guest: `/bin/busybox`, `/modules`, and the files of `folder`.
    pub(super) fn pack(&self, folder: &Path, archive: &Path) -> Result<(), String> {
        // The kernel unpacks archives that follow each other into one tree.
        let script = r#"cp "$0" "$1"; find . | cpio -o -H newc -R 0:0 >> "$1""#;
        let mut command = Command::new(self.0.join("busybox"));
        run(command.args(["sh", "-ec", script]).arg(self.0.join("base.img")).arg(archive).current_dir(folder))
    }
}

fn newest(cache: &Path) -> Option<PathBuf> {
    let folders = fs::read_dir(cache).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|folder| folder.join("base.img").is_file()).max()
}

fn cache() -> Result<PathBuf, String> {
    let folder = |key| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache
        .ok_or("neither XDG_CACHE_HOME nor HOME says where to keep the guest's kernel")?
        .join("chasen/guest")
        .join(contents()))
}

/// A name that is another one when what a guest loads is.
fn contents() -> String {
    let mut hasher = DefaultHasher::new();
    (FETCH, MODULES).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Says where something failed.
pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Runs a command whose words matter only if it fails.
fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

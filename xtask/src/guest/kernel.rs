//! The guest's kernel and its first programs: taken from Debian's packages, kept in the user's cache folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::shell::{self, output};

/// Package that depends on the newest kernel. The `cloud` flavour is smaller, but has no 9p.
const KERNEL: &str = "linux-image-amd64";
/// What the guest loads: its devices and root, then what sandboxes need. One that no file bears is built in.
const MODULES: [&str; 18] = [
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
    "nft_reject_inet",
];

/// Files that boot a guest.
pub(super) struct Kernel {
    /// The kernel itself.
    pub(super) image: PathBuf,
    /// Archive of `/bin/busybox` and `/modules`, whose files are named in the order of loading.
    pub(super) base: PathBuf,
    /// The same busybox, for use here.
    pub(super) busybox: PathBuf,
}

impl Kernel {
    /// The kernel of the cache; if it has none, the newest of the package archive.
    pub(super) fn get() -> Result<Self, String> {
        let cache = cache()?;
        fs::create_dir_all(&cache).map_err(at(&cache))?;
        let complete = |path: &PathBuf| path.join("base.img").is_file();
        let folder = match entries(&cache)?.into_iter().filter(complete).max() {
            Some(folder) => folder,
            None => fetch(&cache)?,
        };
        Ok(Self { image: folder.join("vmlinuz"), base: folder.join("base.img"), busybox: folder.join("busybox") })
    }
}

/// Packs a folder into an archive that a kernel unpacks as its initial memory file system.
pub(super) fn pack(busybox: &Path, folder: &Path, archive: &Path) -> Result<(), String> {
    let mut command = Command::new(busybox);
    let script = "find . | sort | cpio -o -H newc -R 0:0 > \"$0\"";
    silently(command.args(["sh", "-c", script]).arg(archive).current_dir(folder))
}

pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}

/// Makes a folder of the cache: nothing is seen there before it is complete.
fn fetch(cache: &Path) -> Result<PathBuf, String> {
    let package = package().ok_or_else(|| format!("the package archive has no {KERNEL}; it must be Debian's"))?;
    println!("── fetching {package}");
    let work = tempfile::Builder::new().prefix(".").tempdir_in(cache).map_err(at(cache))?;
    silently(Command::new("apt-get").args(["download", "-q", &package, "busybox-static"]).current_dir(work.path()))?;
    let tree = work.path().join("tree");
    for archive in entries(work.path())? {
        silently(Command::new("dpkg-deb").arg("-x").args([&archive, &tree]))?;
    }

    let release = package.trim_start_matches("linux-image-");
    let fresh = work.path().join("fresh");
    let busybox = tree.join("bin/busybox");
    let base = work.path().join("base");
    fs::create_dir_all(&fresh).map_err(at(&fresh))?;
    collect_modules(&busybox, &tree, release, &base.join("modules"))?;
    fs::create_dir_all(base.join("bin")).map_err(at(&base))?;
    copy(&busybox, &base.join("bin/busybox"))?;
    copy(&busybox, &fresh.join("busybox"))?;
    copy(&tree.join("boot").join(format!("vmlinuz-{release}")), &fresh.join("vmlinuz"))?;
    pack(&busybox, &base, &fresh.join("base.img"))?;

    let folder = cache.join(&package);
    match fs::rename(&fresh, &folder) {
        // Another run was quicker.
        Err(_) if folder.join("base.img").is_file() => Ok(folder),
        done => done.map(|()| folder.clone()).map_err(at(&folder)),
    }
}

/// Name of the newest kernel's package.
fn package() -> Option<String> {
    let ask = || {
        let depends = output("apt-cache", &["depends", "--important", KERNEL])?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "))?;
        Some(package.to_owned())
    };
    ask().or_else(|| {
        shell::run("apt-get", ["update", "-qq"]).ok()?;
        ask()
    })
}

/// Copies [`MODULES`] and what they need to `folder`, numbered in the order of loading.
fn collect_modules(busybox: &Path, tree: &Path, release: &str, folder: &Path) -> Result<(), String> {
    // Debian moved modules below `usr`; the tool that reads them knows the older place only.
    let top = if tree.join("lib/modules").is_dir() { tree.to_path_buf() } else { tree.join("usr") };
    silently(Command::new(busybox).args(["depmod", "-b"]).arg(&top).arg(release))?;
    let home = top.join("lib/modules").join(release);
    let path = home.join("modules.dep");
    let needs = fs::read_to_string(&path).map_err(at(&path))?;
    fs::create_dir_all(folder).map_err(at(folder))?;
    for (number, module) in loading_order(&needs).into_iter().enumerate() {
        let name = module.rsplit('/').next().unwrap_or(module);
        copy(&home.join(module), &folder.join(format!("{number:03}-{name}")))?;
    }
    Ok(())
}

/// Files of [`MODULES`], each after those it needs, from lines `file: needed needed…` that list the deepest last.
fn loading_order(needs: &str) -> Vec<&str> {
    let mut order: Vec<&str> = Vec::new();
    for module in MODULES {
        let is_module = |file: &str| file.rsplit('/').next().and_then(|name| name.split('.').next()) == Some(module);
        let line = needs.lines().filter_map(|line| line.split_once(':')).find(|(file, _)| is_module(file));
        let Some((file, needed)) = line else { continue };
        for file in needed.split_whitespace().rev().chain([file]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    order
}

fn cache() -> Result<PathBuf, String> {
    let folder = |key| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Ok(cache.ok_or("neither XDG_CACHE_HOME nor HOME says where the kernel is to be kept")?.join("chasen/guest"))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to).map(drop).map_err(at(from))
}

/// Runs a command whose words matter only if it fails.
fn silently(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_those_they_need() {
        let needs = "kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/netfs/netfs.ko\n\
                     kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko\n\
                     kernel/fs/minix/minix.ko:\n";
        let order = [
            "kernel/net/9p/9pnet.ko",
            "kernel/net/9p/9pnet_virtio.ko.xz",
            "kernel/fs/netfs/netfs.ko",
            "kernel/fs/9p/9p.ko",
        ];
        assert_eq!(loading_order(needs), order);
    }
}

//! Who may read and write a layer's files beside their owner.
//!
//! A node with the machine's root shows an image's files to each cell as the cell's own, by mounts that map owners.
//! Where kernel or disk cannot do that, every user may read and change the cell's view of whatever its owner may: the
//! store itself is closed to everybody, and views are private.

use std::os::fd::AsFd;

/// The first kernels whose overlays take mounts that map owners, and whose file systems in memory do.
const OVERLAYS: (u32, u32) = (5, 19);
const MEMORY: (u32, u32) = (6, 3);

const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const F2FS: u64 = 0xf2f5_2010;
const TMPFS: u64 = 0x0102_1994;

/// True if layers in this folder must be open to everybody.
pub(super) fn for_everybody(folder: impl AsFd) -> std::io::Result<bool> {
    // An ordinary user's cells run as that user.
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let disk = rustix::fs::fstatfs(folder)?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    // The type of the field differs from machine to machine; what matters has 32 bits.
    Ok(!maps_owners(kernel(&release), disk.f_type as u64 & 0xffff_ffff))
}

fn maps_owners(kernel: (u32, u32), disk: u64) -> bool {
    match disk {
        EXT | XFS | BTRFS | F2FS => kernel >= OVERLAYS,
        TMPFS => kernel >= MEMORY,
        _ => false,
    }
}

/// `(6, 1)` of `6.1.0-18-amd64`.
fn kernel(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_disks_decide() {
        assert_eq!(kernel("6.1.0-18-amd64"), (6, 1));
        assert_eq!(kernel("5.15"), (5, 15));
        assert_eq!(kernel("odd"), (0, 0));
        assert!(maps_owners((5, 19), EXT) && !maps_owners((5, 15), EXT));
        assert!(maps_owners((6, 18), TMPFS) && !maps_owners((6, 1), TMPFS));
        assert!(!maps_owners((6, 18), 0x794c_7630), "an overlay");
    }
}

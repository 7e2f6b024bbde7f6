//! For how long nothing can have been lost that was appended: a number that lasts until the machine goes down.
//!
//! Kept in `era`, with the id that the kernel gives each time the machine is up: what a process has appended is the
//! kernel's to write, and is lost with the kernel only.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::files;

pub(crate) const FILE: &str = "era";

/// Where the kernel tells the id of its own life.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The number of the present era, begun if the machine went down since the last. `None`, with a warning, if that cannot be
/// known or kept: then nobody counts on it.
pub(super) fn open(folder: &Path) -> Option<u64> {
    let opened = fs::read_to_string(BOOT_ID).and_then(|boot| open_for(folder, boot.trim()));
    if let Err(error) = &opened {
        tracing::warn!(%error, "it cannot be known whether the machine went down; starts that were announced count as begun");
    }
    opened.ok()
}

fn open_for(folder: &Path, boot: &str) -> io::Result<u64> {
    let file = folder.join(FILE);
    let text = fs::read_to_string(&file).unwrap_or_default();
    if let Some((known, number)) = text.trim().split_once(' ')
        && known == boot
        && let Ok(number) = number.parse()
    {
        return Ok(number);
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    let number = u64::from_le_bytes(bytes);
    let draft = folder.join(format!("{FILE}.new"));
    let mut written = files::private().create(true).truncate(true).open(&draft)?;
    writeln!(written, "{boot} {number}")?;
    written.sync_all()?;
    fs::rename(&draft, &file)?;
    files::sync_folder(folder)?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_lasts_until_the_machine_goes_down() {
        let folder = tempfile::tempdir().unwrap();
        let first = open_for(folder.path(), "a").unwrap();
        assert_eq!(open_for(folder.path(), "a").unwrap(), first);
        let second = open_for(folder.path(), "b").unwrap();
        assert_ne!(second, first);
        assert_ne!(open_for(folder.path(), "a").unwrap(), first, "it does not come back");
        for damage in ["", "b", "b x", "b 18446744073709551616", "\0\0"] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            let anew = open_for(folder.path(), "b").unwrap();
            assert_eq!(open_for(folder.path(), "b").unwrap(), anew, "{damage:?}");
        }
    }
}

//! Forwarding on the links by which sandboxes reach the world, and back.
//!
//! The kernel forwards what comes in by a link whose own `forwarding` setting is on. Sandbox links
//! have it from birth; here it is turned on for the machine's uplinks, no others, and off again
//! when the last node leaves. Where `net.ipv4.ip_forward` is on nothing is touched. Reverse-path
//! filters (`rp_filter`), strict ones too, let sandboxes pass: their routes are symmetric.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::error::NetworkError;
use super::lock;

/// The shared list of links that nodes of this machine turned forwarding on for: each line the
/// key of a node and a link. Its lock guards it.
const LEDGER: &str = "forwarding";

/// Turns forwarding on for `links` on behalf of node `key`.
pub(super) fn turn_on(run_dir: &Path, key: u32, links: &[String]) -> Result<(), NetworkError> {
    let mine = with_ledger(run_dir, |ledger| {
        let mut mine = Vec::new();
        for link in links {
            if ledger.iter().any(|(_, held)| held == link) || !is_on(&setting(link)) {
                ledger.push((key, link.clone()));
                mine.push(setting(link));
            }
        }
        Ok(mine)
    })?;
    // After the ledger: whoever dies in between leaves a line too many, never a setting.
    mine.iter().try_for_each(|path| write(path, true))
}

/// Withdraws node `key`; turns forwarding off for links that no other node holds.
pub(super) fn turn_off(run_dir: &Path, key: u32) -> Result<(), NetworkError> {
    // No ledger, nothing to withdraw: a clean-up must not make folders.
    if !run_dir.join(LEDGER).exists() {
        return Ok(());
    }
    with_ledger(run_dir, |ledger| {
        let (mine, others): (Vec<_>, Vec<_>) = ledger.drain(..).partition(|(holder, _)| *holder == key);
        // Somebody else has made the machine a router since: the setting is theirs now.
        let router = is_on(&setting("all"));
        for (_, link) in &mine {
            let path = setting(link);
            if !router && !others.iter().any(|(_, held)| held == link) && path.exists() {
                write(&path, false)?;
            }
        }
        *ledger = others;
        Ok(())
    })
}

/// Whether forwarding is on for `link`, or could be turned on.
pub(super) fn is_possible(link: &str) -> bool {
    let path = setting(link);
    is_on(&path) || OpenOptions::new().write(true).open(path).is_ok()
}

fn setting(link: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv4/conf").join(link).join("forwarding")
}

fn is_on(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|value| value.trim() != "0")
}

fn write(path: &Path, on: bool) -> Result<(), NetworkError> {
    let value = if on { "1" } else { "0" };
    fs::write(path, value).map_err(|source| NetworkError::Forwarding { path: path.to_owned(), source })
}

fn with_ledger<T>(
    run_dir: &Path,
    change: impl FnOnce(&mut Vec<(u32, String)>) -> Result<T, NetworkError>,
) -> Result<T, NetworkError> {
    let failed = |source| NetworkError::RunFolder { path: run_dir.join(LEDGER), source };
    let mut file = lock::open(run_dir, LEDGER)?;
    // Held for a few system calls by whoever has it.
    file.lock().map_err(failed)?;
    let mut ledger = read(&mut file).map_err(failed)?;
    let changed = change(&mut ledger)?;
    store(&mut file, &ledger).map_err(failed)?;
    Ok(changed)
}

fn read(file: &mut File) -> io::Result<Vec<(u32, String)>> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<(u32, String)> {
    let (key, link) = line.split_once(' ')?;
    Some((u32::from_str_radix(key, 16).ok()?, link.to_owned()))
}

fn store(file: &mut File, ledger: &[(u32, String)]) -> io::Result<()> {
    let text: String = ledger.iter().map(|(key, link)| format!("{key:08x} {link}\n")).collect();
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_survives_and_forgets() {
        let folder = tempfile::tempdir().unwrap();
        with_ledger(folder.path(), |ledger| {
            ledger.push((1, "uplink0".into()));
            ledger.push((2, "uplink0".into()));
            Ok(())
        })
        .unwrap();
        turn_off(folder.path(), 1).unwrap();
        with_ledger(folder.path(), |ledger| {
            assert_eq!(*ledger, [(2, "uplink0".to_owned())]);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn withdrawing_from_nothing_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        turn_off(&folder.path().join("absent"), 1).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_broken_line_is_no_entry() {
        assert_eq!(parse("0000000a eth0"), Some((10, "eth0".into())));
        assert_eq!((parse(""), parse("zz eth0"), parse("12")), (None, None, None));
    }
}

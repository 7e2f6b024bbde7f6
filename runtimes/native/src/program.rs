//! What can be started.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest first line of a script that the kernel reads.
const MAX_FIRST_LINE: u64 = 256;
/// Where an ELF header says which processors the program is for.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
/// The ELF numbers of processors whose programs this one runs; empty where that is not known.
#[rustfmt::skip]
const MACHINES: &[u16] = if cfg!(target_arch = "x86_64") { &[62, 3] }
    else if cfg!(target_arch = "aarch64") { &[183, 40] }
    else { &[] };

/// Makes sure that `path` is a program. The error continues "the path …".
pub(crate) fn make_executable(path: &Path) -> Result<(), String> {
    let found = path.symlink_metadata().map_err(|_| "is not there".to_owned())?;
    if !found.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mode = found.permissions().mode();
    if mode & 0o111 == 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode | 0o755))
            .map_err(|error| format!("is not executable and cannot be made so ({error})"))?;
    }
    Ok(())
}

/// Why the kernel will not start `path`, for the reasons that can be told before it tries. Continues "the path …".
pub(crate) fn not_startable(path: &Path) -> Option<String> {
    let mut start = Vec::new();
    let file = File::open(path).ok()?;
    let mut reader = BufReader::new(file.take(MAX_FIRST_LINE));
    reader.read_until(b'\n', &mut start).ok()?;
    if start.starts_with(b"\x7fELF") {
        // A header is no line: the byte of a line's end may be any of its numbers.
        reader.read_to_end(&mut start).ok()?;
        return foreign(&start);
    }
    let Some(line) = start.strip_prefix(b"#!") else {
        return Some("is neither an ELF program nor a script that begins with #!".to_owned());
    };
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
    (!Path::new(interpreter).is_file())
        .then(|| format!("names an interpreter that is not there: {interpreter:?}"))
}

/// Why this machine's processor does not run a program with this ELF header.
fn foreign(header: &[u8]) -> Option<String> {
    let machine = header.get(ELF_MACHINE).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    match machine {
        None => Some("is a piece of an ELF program".to_owned()),
        Some(machine) if MACHINES.is_empty() || MACHINES.contains(&machine) => None,
        Some(machine) => Some(format!(
            "is an ELF program for another architecture: number {machine}, and this machine is {}",
            std::env::consts::ARCH
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec");
        for (content, reason) in [
            ("\x7fELF...", Some("a piece of an ELF program")),
            ("\x7fELF\x02\x01\x01\0\0\0\n\0\0\0\0\0\x02\0\x2b\0", Some("another architecture: number 43")),
            ("#!/bin/sh\n", None),
            ("#! /bin/sh -e\n", None),
            ("#!/no/such\n", Some("\"/no/such\"")),
            ("#!", Some("\"\"")),
            ("", Some("neither")),
            ("echo hi", Some("neither")),
        ] {
            fs::write(&path, content).unwrap();
            let told = not_startable(&path);
            assert_eq!(told.is_some(), reason.is_some(), "{content:?}: {told:?}");
            assert!(told.unwrap_or_default().contains(reason.unwrap_or_default()));
        }
    }

    #[test]
    fn only_regular_files_are_made_programs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec");
        assert_eq!(make_executable(&path), Err("is not there".to_owned()));
        fs::write(&path, "").unwrap();
        assert_eq!(make_executable(&path), Ok(()));
        assert_ne!(path.metadata().unwrap().permissions().mode() & 0o100, 0);
        std::os::unix::fs::symlink("exec", folder.path().join("link")).unwrap();
        assert_eq!(make_executable(&folder.path().join("link")), Err("is not a regular file".to_owned()));
    }
}

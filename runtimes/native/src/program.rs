//! What can be started.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest first line of a script that the kernel reads.
const MAX_FIRST_LINE: u64 = 256;

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
    BufReader::new(file.take(MAX_FIRST_LINE)).read_until(b'\n', &mut start).ok()?;
    if start.starts_with(b"\x7fELF") {
        return None;
    }
    let Some(line) = start.strip_prefix(b"#!") else {
        return Some("is neither an ELF program nor a script that begins with #!".to_owned());
    };
    let line = String::from_utf8_lossy(line);
    let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
    (!Path::new(interpreter).is_file())
        .then(|| format!("names an interpreter that is not there: {interpreter:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exec");
        for (content, reason) in [
            ("\x7fELF...", None),
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

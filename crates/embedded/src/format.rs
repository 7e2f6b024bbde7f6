//! The version of a data folder: one number in its file `format`, so that an older release refuses the whole folder
//! before it touches any part of it.
//!
//! Each file inside has a version of its own too (`sqlite`, `event_log::segment`) and grows from any older one when it is
//! opened. The folder's number grows with every one of these that an older release could not read.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::{OpenError, files};

/// Version of data folders. The first ones have no file; the second one has progress in the log, dead letters and keys of
/// requests.
pub(crate) const FORMAT: u32 = 2;

/// File below the folder that says its version.
pub(crate) const FILE: &str = "format";

/// Refuses a folder that a newer release wrote, and makes an older one this release's.
pub(crate) fn admit(folder: &Path) -> Result<(), OpenError> {
    if require_known(folder)? < FORMAT {
        write(folder).map_err(OpenError::io("write", &folder.join(FILE)))?;
    }
    Ok(())
}

/// The version of a folder; refuses one that a newer release wrote.
pub(crate) fn require_known(folder: &Path) -> Result<u32, OpenError> {
    let file = folder.join(FILE);
    let found = match fs::read_to_string(&file) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("it says '{}', not a number", text.escape_debug()),
                )
            })
            .map_err(OpenError::io("understand the format in", &file))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
        Err(error) => return Err(OpenError::io("read", &file)(error)),
    };
    if found > FORMAT {
        return Err(OpenError::Newer { file: folder.to_owned(), found, supported: FORMAT });
    }
    Ok(found)
}

/// Says it whole or not at all.
fn write(folder: &Path) -> io::Result<()> {
    let beside = folder.join("format.new");
    let mut file = files::private().create(true).truncate(true).open(&beside)?;
    writeln!(file, "{FORMAT}")?;
    file.sync_all()?;
    fs::rename(&beside, folder.join(FILE))?;
    files::sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_folders_are_taken_over_and_newer_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        for _ in 0..2 {
            admit(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), "2\n");
        }
        fs::write(&file, "1").unwrap();
        admit(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2\n");
        fs::write(&file, "3").unwrap();
        let error = admit(folder.path()).unwrap_err().to_string();
        assert!(error.contains("newer release (format 3, this one reads up to 2)"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "3", "it is left as it is");
        fs::write(&file, "what\n").unwrap();
        let error = admit(folder.path()).unwrap_err().to_string();
        assert!(error.contains(r"'what\n', not a number"), "{error}");
    }
}

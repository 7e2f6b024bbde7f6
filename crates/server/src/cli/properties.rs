//! The properties file of the classic command line: where the API is and with which key, as `wsk` keeps them.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::Failure;

/// Names the file, in place of the one in the home folder.
const VARIABLE: &str = "WSK_CONFIG_FILE";
const FILE: &str = ".wskprops";
/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// What the file says, as far as anybody asks.
#[derive(Default)]
pub(super) struct Properties {
    /// `APIHOST`
    pub(super) host: Option<String>,
    /// `AUTH`, as `uuid:key`
    pub(super) key: Option<String>,
}

impl Properties {
    /// Reads the file that the environment names, or the one in the home folder; nothing if there is none.
    pub(super) fn read() -> Result<Self, Failure> {
        let named = std::env::var_os(VARIABLE).map(PathBuf::from);
        let Some(path) = named.or_else(|| std::env::home_dir().map(|home| home.join(FILE))) else {
            return Ok(Self::default());
        };
        Self::of(&path)
    }

    fn of(path: &Path) -> Result<Self, Failure> {
        let failed =
            |error: std::io::Error| Failure::Usage(format!("{} cannot be read: {error}", path.display()));
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        let mut properties = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
            match name.trim() {
                "APIHOST" => properties.host = value,
                "AUTH" => properties.key = value,
                _ => {}
            }
        }
        Ok(properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_key_are_found_among_other_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("props");
        std::fs::write(&path, "# mine\nAPIHOST = http://h:1\nNAMESPACE=_\nAUTH=a:b=c\nnonsense\n").unwrap();
        let found = Properties::of(&path).unwrap();
        assert_eq!((found.host.as_deref(), found.key.as_deref()), (Some("http://h:1"), Some("a:b=c")));
        assert!(Properties::of(&folder.path().join("none")).unwrap().key.is_none());
        assert!(Properties::of(folder.path()).is_err());
    }
}

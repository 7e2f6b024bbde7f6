//! How `chasen admin` finds the operator's door of a running node: a file in the data folder that only its owner reads.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// Its name.
const FILE: &str = "admin.json";
/// Larger than any of ours.
const MAX_BYTES: u64 = 64 * 1024;
/// User of credentials that the node makes up.
const USER: &str = "admin";
/// Bytes of randomness in a password.
const PASSWORD_BYTES: usize = 24;

/// Where the door is and how it opens. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorFile {
    /// Where it listens.
    pub address: SocketAddr,
    /// `user:password`
    pub credentials: String,
    /// Process of the node.
    pub process: u32,
}

/// The file of this node; dropping it takes the file away.
#[derive(Debug)]
pub struct Announced(PathBuf);

impl DoorFile {
    /// Writes the file of this process, in place of one that an earlier node left behind.
    pub fn announce(folder: &Path, address: SocketAddr, credentials: &str) -> io::Result<Announced> {
        let path = folder.join(FILE);
        let process = std::process::id();
        let text = serde_json::to_vec(&Self { address, credentials: credentials.to_owned(), process })?;
        let beside = path.with_extension(format!("{process}.new"));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        fs::rename(&beside, &path)?;
        Ok(Announced(path))
    }

    /// The door of the node that runs on this folder, if there is one.
    #[must_use]
    pub fn find(folder: &Path) -> Option<Self> {
        let path = folder.join(FILE);
        if fs::metadata(&path).ok()?.len() > MAX_BYTES {
            return None;
        }
        let found: Self = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let process = Pid::from_raw(found.process.try_into().ok()?)?;
        // One that may not be signalled is there, too.
        let gone = test_kill_process(process) == Err(rustix::io::Errno::SRCH);
        (!gone).then_some(found)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, "the file of the administrators' door could not be removed");
        }
    }
}

/// Credentials that nobody can guess.
pub fn made_up_credentials() -> Result<String, getrandom::Error> {
    let mut random = [0; PASSWORD_BYTES];
    getrandom::fill(&mut random)?;
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{USER}:{password}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_door_of_a_living_node_is_found() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DoorFile::find(folder.path()).is_none());
        let address = "127.0.0.1:1234".parse().unwrap();
        let announced = DoorFile::announce(folder.path(), address, "admin:secret").unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let found = DoorFile::find(folder.path()).unwrap();
        assert_eq!((found.address, found.credentials.as_str()), (address, "admin:secret"));
        drop(announced);
        assert!(DoorFile::find(folder.path()).is_none());
        for left in [
            "{",
            "{}",
            // Beyond the largest process number that Linux can have.
            r#"{"address":"127.0.0.1:1","credentials":"a:b","process":4194305}"#,
            r#"{"address":"127.0.0.1:1","credentials":"a:b","process":0}"#,
        ] {
            fs::write(&path, left).unwrap();
            assert!(DoorFile::find(folder.path()).is_none(), "{left}");
        }
    }

    #[test]
    fn made_up_credentials_differ() {
        let [one, other] = [made_up_credentials().unwrap(), made_up_credentials().unwrap()];
        assert!(one != other && one.starts_with("admin:") && one.len() == 54, "{one}");
    }
}

//! How a node starts its helper.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How cells are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Namespaces, control groups, seccomp: the sandbox.
    Isolated,
    /// Plain child processes. **They are not isolated**: they run as the node's user, see its files and its network.
    /// Only for machines where nothing else works and only with code that is trusted.
    InsecureProcess,
}

/// Settings of a [`super::Helper`].
#[derive(Debug, Clone)]
pub struct HelperConfig {
    /// Arguments that make the executable call [`super::main`]; `sandbox-helper` for `chasen`.
    pub arguments: Vec<OsString>,
    /// How cells are started.
    pub mode: Mode,
    /// The node's data folder; the helper's scratch lies in `cells/` below it.
    pub data_dir: PathBuf,
    /// Names what the helper makes on the machine; derived from the data folder, so that a node clears away what a
    /// former node of the same folder left, and nothing else. 1 to 32 lower-case letters, digits and `-`.
    pub node_id: String,
    /// First host user and group number given to cells; used only when the node runs as root.
    pub uid_base: u32,
    /// How many host user numbers there are, and with it how many cells can live at one time.
    pub uid_count: u32,
    /// How long one request to the helper may take.
    pub deadline: Duration,
}

impl HelperConfig {
    /// The usual settings for the node `node_id` that owns `data_dir`.
    #[must_use]
    pub fn new(mode: Mode, data_dir: impl Into<PathBuf>, node_id: impl Into<String>) -> Self {
        Self {
            arguments: vec![OsString::from("sandbox-helper")],
            mode,
            data_dir: data_dir.into(),
            node_id: node_id.into(),
            uid_base: 200_000,
            uid_count: 16_384,
            deadline: Duration::from_secs(10),
        }
    }

    /// Where the helper keeps its lock and the folders of plain processes.
    pub(super) fn scratch_dir(&self) -> PathBuf {
        self.data_dir.join("cells")
    }

    /// Checks that the node's name can be part of paths; the text says what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        let id = &self.node_id;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&id.len()) && id.bytes().all(plain) {
            Ok(())
        } else {
            Err(format!("node name {id:?}: 1 to 32 lower-case letters, digits and dashes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_cannot_lead_out_of_their_folder() {
        let checked = |id: &str| HelperConfig::new(Mode::Isolated, "/data", id).check();
        assert!(checked("4f3a-1").is_ok());
        for id in ["", "..", "a/b", "A", &"a".repeat(33)] {
            assert!(checked(id).is_err(), "{id}");
        }
    }
}

//! Where the binary under test is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The `chasen` binary: `CHASEN_BIN`, or the one that cargo built beside the running test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CHASEN_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>
    let profile = test.ancestors().nth(2).expect("tests lie two folders below the profile's");
    let path = profile.join("chasen");
    assert!(path.is_file(), "{} is not there: run `cargo build -p chasen-server` first", path.display());
    path
}

/// The binary with faults and walls that tests switch: `CHASEN_FAULTS_BIN`, or the one that the test command made beside
/// the other; `None` where nobody has.
#[must_use]
pub fn faults_binary() -> Option<PathBuf> {
    let path = std::env::var_os("CHASEN_FAULTS_BIN").map(PathBuf::from);
    let path = path.unwrap_or_else(|| binary().with_file_name("chasen-faults"));
    path.is_file().then_some(path)
}

/// A command of the binary that inherits no settings from the environment.
#[must_use]
pub fn chasen() -> Command {
    command_of(&binary())
}

/// The same of another binary.
pub(crate) fn command_of(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHASEN_") {
            command.env_remove(name);
        }
    }
    command
}

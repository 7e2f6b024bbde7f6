//! Where the binary under test is.

use std::path::PathBuf;
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

/// A command of the binary that inherits no settings from the environment.
#[must_use]
pub fn chasen() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHASEN_") {
            command.env_remove(name);
        }
    }
    command
}

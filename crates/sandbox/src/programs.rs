//! Programs of the machine that the node starts for itself: interpreters that say what they are, installers, builders.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

/// How variables of the environment begin that are settings of the node; passwords and keys are among them.
const SETTINGS: &[u8] = b"CHASEN_";

/// A program of the machine, with the node's environment but for its settings: they are nobody else's business.
#[must_use]
pub fn of_the_machine(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    command
}

fn is_setting(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SETTINGS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_from_what_programs_need() {
        assert!(is_setting(OsStr::new("CHASEN_ADMIN__CREDENTIALS")));
        for needed in ["PATH", "HOME", "https_proxy", "PYENV_ROOT", "MY_CHASEN_"] {
            assert!(!is_setting(OsStr::new(needed)), "{needed}");
        }
    }

    #[test]
    fn programs_have_the_rest_of_the_environment() {
        let output = of_the_machine("env").output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.lines().any(|line| line.starts_with("PATH=")), "{told}");
        assert!(!told.lines().any(|line| line.starts_with("CHASEN_")), "{told}");
    }
}

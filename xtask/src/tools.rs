//! Tools that the tests need and a new machine lacks.

use crate::shell::{output, run};

/// Version of the dependency checker.
const CARGO_DENY: &str = "0.20.2";

/// Debian packages by the command that they bring.
const PACKAGES: [(&str, &[&str]); 4] =
    [("cc", &["gcc", "libc6-dev"]), ("python3", &["python3"]), ("node", &["nodejs"]), ("npm", &["npm"])];

/// Installs what is missing. Interpreters are optional: what needs one is skipped, visibly, where it cannot be had.
pub(crate) fn install() -> Result<(), String> {
    let missing: Vec<&str> = PACKAGES
        .iter()
        .filter(|(command, _)| output(command, &["--version"]).is_none())
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    if !missing.is_empty() {
        let installed = run("apt-get", ["update", "-qq"]).and_then(|()| {
            run(
                "apt-get",
                ["install", "-y", "-qq", "--no-install-recommends"]
                    .into_iter()
                    .chain(missing.iter().copied()),
            )
        });
        if let Err(why) = installed {
            println!(
                "warning: {} could not be installed ({why}); tests that need them are skipped",
                missing.join(", ")
            );
        }
    }
    if output("python3", &["-m", "pip", "--version"]).is_none() {
        // Needed for the modules that Python functions find installed.
        if let Err(why) = run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "python3-pip"]) {
            println!("warning: pip could not be installed ({why})");
        }
    }
    install_cargo_deny()
}

fn install_cargo_deny() -> Result<(), String> {
    if output("cargo", &["deny", "--version"]).is_some_and(|version| version.ends_with(CARGO_DENY)) {
        return Ok(());
    }
    run("cargo", ["install", "cargo-deny", "--locked", "--version", CARGO_DENY])
}

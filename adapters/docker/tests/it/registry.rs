//! A registry of images, with or without a password, on a port of its own.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use chasen_testkit::{PATIENCE, Process, has_command};
use tempfile::TempDir;

/// Whom a registry with a password lets in.
pub(crate) const USER: &str = "sen";
pub(crate) const PASSWORD: &str = "whisk and bowl";
/// That password as the registry keeps it.
const HASH: &str = "$2b$04$9chPeHSKwLsZ8IJEo7IbZeMOaNHD/D2swQp4EKHklqILMhBCgfyae";
/// What the registry says before its address.
const LISTENS: &str = "listening on ";

/// A running registry.
pub(crate) struct Registry {
    folder: TempDir,
    process: Option<Process>,
    address: String,
}

impl Registry {
    /// Starts one; why not, if that cannot be.
    pub(crate) fn start(with_password: bool) -> Result<Self, String> {
        if !has_command("docker-registry") {
            return Err("'docker-registry' is not installed".to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("users"), format!("{USER}:{HASH}\n")).unwrap();
        let users = folder.path().join("users");
        let guard = format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", users.display());
        let mut registry = Self { folder, process: None, address: "127.0.0.1:0".to_owned() };
        registry.configure(if with_password { &guard } else { "" });
        registry.launch();
        Ok(registry)
    }

    /// `127.0.0.1:PORT`: engines need no encryption there.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    fn configure(&self, guard: &str) {
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {}\n{guard}",
            self.folder.path().join("images").display(),
            self.address,
        );
        std::fs::write(self.folder.path().join("config.yml"), text).unwrap();
    }

    fn launch(&mut self) {
        let log = self.folder.path().join("log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.folder.path().join("config.yml"));
        self.process = Some(Process::start(command, &log));
        let begun = Instant::now();
        self.address = loop {
            match listens_at(&log) {
                Some(address) => break address,
                None => assert!(begun.elapsed() < PATIENCE, "the registry does not listen"),
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
    }
}

fn listens_at(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().find(|line| line.contains(LISTENS))?;
    let (_, rest) = line.split_once(LISTENS)?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    rest.get(..end).map(str::to_owned)
}

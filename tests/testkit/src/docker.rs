//! A container engine for tests: a real `dockerd` with folders, a socket and a network of its own.
//!
//! One per test binary, started by the first test that needs it, ended by [`close`]. What belongs to other engines of
//! the machine is never touched.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::machine::{everything_is_needed, has_command, is_root};
use crate::process::{PATIENCE, Process, run};

/// Name of the network that its containers are in.
pub const NETWORK: &str = "functions";
/// Networks that are tried before the machine counts as having no free one.
const TRIES: u32 = 16;
/// Time between two questions whether it is up.
const LOOK: Duration = Duration::from_millis(20);

static SHARED: OnceLock<Result<Mutex<Option<Arc<Daemon>>>, String>> = OnceLock::new();

/// The engine of this test binary; why there is none, if there cannot be one.
///
/// Panics in continuous integration if it only is not installed: there, nothing may be skipped that could run.
pub fn engine() -> Result<Arc<Daemon>, String> {
    let started = SHARED.get_or_init(|| Daemon::start().map(|daemon| Mutex::new(Some(Arc::new(daemon)))));
    let daemon = started.as_ref().map_err(Clone::clone)?;
    let daemon = daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(daemon.as_ref().expect("nobody asks for an engine after the tests").clone())
}

/// Ends the engine of this test binary, if one was started. After the last test.
pub fn close() {
    if let Some(Ok(daemon)) = SHARED.get() {
        drop(daemon.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }
}

/// An engine.
#[derive(Debug)]
pub struct Daemon {
    /// Locked only because what it prints can be read by one thread.
    process: Option<Mutex<Process>>,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Daemon {
    /// Starts an engine and waits until it answers.
    ///
    /// # Errors
    /// The machine does not let it run; why.
    pub fn start() -> Result<Self, String> {
        Self::start_with(&[])
    }

    /// Starts an engine with more arguments.
    ///
    /// # Errors
    /// The machine does not let it run; why.
    pub fn start_with(arguments: &[&str]) -> Result<Self, String> {
        if !is_root() {
            return Err("a container engine needs root: run the tests as root".to_owned());
        }
        if !has_command("dockerd") {
            assert!(!everything_is_needed(), "dockerd is not installed, and nothing may be skipped here");
            return Err("'dockerd' is not installed".to_owned());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut daemon = Self { process: None, folder, arguments };
        daemon.launch()?;
        daemon.make_network()?;
        Ok(daemon)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// A folder that goes when it goes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Ends it, with all its containers.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same folders.
    pub fn restart(&mut self) {
        self.launch().expect("an engine that ran once runs again");
    }

    /// Gives it the images of an archive as `docker save` writes them.
    pub fn load(&self, archive: &[u8]) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        std::fs::write(file.path(), archive).expect("the archive can be written");
        let mut command = self.curl("POST", "/images/load");
        command.args(["-H", "Content-Type: application/x-tar", "--data-binary"]);
        command.arg(format!("@{}", file.path().display()));
        let done = run(command);
        assert!(done.code == Some(0) && !done.stdout.contains("\"error\""), "an archive: {done:?}");
    }

    /// Gives an image another name.
    pub fn tag(&self, image: &str, repository: &str, tag: &str) {
        let path = format!("/images/{image}/tag?repo={repository}&tag={tag}");
        self.ask("POST", &path, None).unwrap_or_else(|error| panic!("tagging {image}: {error}"));
    }

    /// Has it send an image to its registry. `login` is the `X-Registry-Auth` of its API; engines insist on one.
    pub fn push(&self, repository: &str, tag: &str, login: &str) {
        let mut command = self.curl("POST", &format!("/images/{repository}/push?tag={tag}"));
        command.args(["-H", &format!("X-Registry-Auth: {login}")]);
        let done = run(command);
        assert!(done.code == Some(0) && !done.stdout.contains("\"error\""), "{repository}:{tag}: {done:?}");
    }

    /// Takes an image's name away, and the image if it has no other.
    pub fn forget(&self, image: &str) {
        self.ask("DELETE", &format!("/images/{image}"), None)
            .unwrap_or_else(|error| panic!("{image}: {error}"));
    }

    /// Names of its containers whose names contain this, running or not.
    #[must_use]
    pub fn containers(&self, part: &str) -> Vec<String> {
        self.listed("").into_iter().filter(|name| name.contains(part)).collect()
    }

    /// Names of its containers of an image, running or not.
    #[must_use]
    pub fn containers_of(&self, image: &str) -> Vec<String> {
        let filter: String =
            format!(r#"{{"ancestor":["{image}"]}}"#).bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.listed(&format!("&filters={filter}"))
    }

    fn listed(&self, filter: &str) -> Vec<String> {
        let path = format!("/containers/json?all=true{filter}");
        let listed = self.ask("GET", &path, None).expect("containers can be listed");
        // Names are the only texts in it that begin like this.
        let names = listed.split("\"Names\":[\"/").skip(1).filter_map(|rest| rest.split('"').next());
        names.map(str::to_owned).collect()
    }

    /// Asks its API; the body of the answer, or of the refusal.
    ///
    /// # Errors
    /// The refusal.
    pub fn ask(&self, method: &str, path: &str, json: Option<&str>) -> Result<String, String> {
        let mut command = self.curl(method, path);
        if let Some(json) = json {
            command.args(["-H", "Content-Type: application/json", "--data-binary", json]);
        }
        let done = run(command);
        if done.code == Some(0) { Ok(done.stdout) } else { Err(format!("{} {}", done.stdout, done.stderr)) }
    }

    fn curl(&self, method: &str, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "-X", method, "--unix-socket"]).arg(self.socket());
        command.arg(format!("http://engine{path}"));
        command
    }

    fn launch(&mut self) -> Result<(), String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command.args(["--host", &format!("unix://{}", path("docker.sock"))]);
        command.args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")]);
        // Rules of this machine's firewall are not its to change: containers need no way out here.
        command.args(["--iptables=false", "--ip-masq=false", "--bridge=none", "--log-level=warn"]);
        command.args(&self.arguments);
        // Its own log, and nothing of this process's environment that would lead it elsewhere.
        command.env_remove("DOCKER_HOST");
        let mut process = Process::start(command, &self.folder.path().join("log"));
        let deadline = Instant::now() + PATIENCE;
        while self.ask("GET", "/_ping", None).is_err() {
            if process.has_ended() || Instant::now() > deadline {
                return Err(format!("'dockerd' does not start here: {}", self.last_words()));
            }
            std::thread::sleep(LOOK);
        }
        self.process = Some(Mutex::new(process));
        Ok(())
    }

    /// A network of addresses that nothing else on this machine uses.
    fn make_network(&self) -> Result<(), String> {
        let mut why = String::new();
        for _ in 0..TRIES {
            // A free port is as good a number as any, and never the same for two engines at a time.
            let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let [high, low] = port.map_err(|error| error.to_string())?.port().to_be_bytes();
            let network = format!(
                r#"{{"Name":"{NETWORK}","Driver":"bridge","IPAM":{{"Config":[{{"Subnet":"10.{high}.{low}.0/24"}}]}}}}"#
            );
            match self.ask("POST", "/networks/create", Some(&network)) {
                Ok(_) => return Ok(()),
                Err(error) => why = error,
            }
        }
        Err(format!("'dockerd' makes no network here: {why}"))
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("; ")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_none() {
            return;
        }
        // Its bridge would outlive it, and is only given up when nothing is in it.
        for container in self.containers("") {
            let _ = self.ask("DELETE", &format!("/containers/{container}?force=true"), None);
        }
        let _ = self.ask("DELETE", &format!("/networks/{NETWORK}"), None);
        self.process = None;
        if std::thread::panicking() {
            eprintln!("the engine's last words: {}", self.last_words());
        }
    }
}

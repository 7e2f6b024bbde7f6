//! The programs that build a root: debootstrap, apt inside of it, npm.
//!
//! Each is bound to the life of this process, in namespaces of its own: when it is interrupted nothing goes on behind
//! its back, and nothing stays mounted.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use chasen_sandbox::programs::of_the_machine;
use chasen_sandbox::rootfs::recipe::Npm;

use super::RootfsError;
use super::mirror::Mirrors;
use crate::console::StageBar;

/// `PATH` inside of a root.
const INNER_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What systems have besides the smallest: certificates, names of services and types, time zones.
const BASE_PACKAGES: &str = "ca-certificates,media-types,netbase,tzdata";
/// Variables of the environment that say how to reach the network.
const PROXIES: [&str; 6] = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
/// Longest line of output that is read as one, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// Lines of a failed program's output that are repeated.
const LAST_WORDS: usize = 5;

/// What is not unpacked: nobody reads it in a sandbox.
const EXCLUDED: &str = "path-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n\
                        path-exclude=/usr/share/man/*\npath-exclude=/usr/share/info/*\n\
                        path-exclude=/usr/share/locale/*\n";
const APT_SETTINGS: &str = "APT::Install-Recommends \"false\";\nAcquire::Retries \"3\";\n";
/// Nothing is started while packages are installed.
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

/// Why a program did not do its work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolError {
    /// It is not installed.
    Missing { program: &'static str, install: &'static str },
    /// It failed, and said this last.
    Failed(String),
}

impl From<String> for ToolError {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

type Done = Result<(), ToolError>;

/// The programs, as a `PATH` finds them.
#[derive(Debug)]
pub(super) struct Tools {
    path: OsString,
}

impl Tools {
    pub(super) fn new(path: OsString) -> Self {
        Self { path }
    }

    /// Only root may change roots and make devices. Programs that only say so need none.
    pub(super) fn need_root(&self) -> Result<(), RootfsError> {
        rustix::process::geteuid().is_root().then_some(()).ok_or(RootfsError::NotRoot)
    }

    /// Makes the smallest system of a suite; what was fetched stays in `cache`.
    pub(super) fn debootstrap(
        &self,
        suite: &str,
        mirrors: &Mirrors,
        files: &Path,
        cache: &Path,
        log: &Path,
        bar: &StageBar,
    ) -> Done {
        self.need("debootstrap", "apt-get install debootstrap")?;
        fs::create_dir_all(cache)?;
        let mut command = self.guarded();
        command.args(["--mount-proc", "debootstrap", "--variant=minbase"]);
        command.arg(format!("--include={BASE_PACKAGES}"));
        command.arg(format!("--cache-dir={}", cache.display()));
        command.args([suite.as_ref(), files.as_os_str(), mirrors.main.as_ref()]);
        follow(command, log, |line| {
            if let Some((percent, what)) = base_progress(line) {
                bar.at(percent, what);
            }
        })
    }

    /// Installs packages in a system; goes on where it was interrupted.
    pub(super) fn packages(
        &self,
        suite: &str,
        mirrors: &Mirrors,
        packages: &[&str],
        files: &Path,
        log: &Path,
        bar: &StageBar,
    ) -> Done {
        for (path, text) in [
            ("etc/apt/sources.list", mirrors.sources(suite).as_str()),
            (BUILD_SETTINGS, &format!("{APT_SETTINGS}{}", self.apt_proxies())),
            ("etc/dpkg/dpkg.cfg.d/chasen", EXCLUDED),
            (NO_SERVICES_FILE, NO_SERVICES),
        ] {
            let path = files.join(path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)?;
        }
        fs::set_permissions(files.join(BUILD_SETTINGS), fs::Permissions::from_mode(0o600))?;
        fs::set_permissions(files.join(NO_SERVICES_FILE), fs::Permissions::from_mode(0o755))?;
        let apt: [&[&str]; 3] = [
            &["dpkg", "--configure", "-a"],
            &["apt-get", "update"],
            // A descriptor of its own: apt takes the one that it reports on away from what it starts.
            &["sh", "-c", "exec \"$@\" 3>&1", "sh", "apt-get", "install", "-y", "-o", "APT::Status-Fd=3"],
        ];
        for (number, line) in apt.into_iter().enumerate() {
            let [program, arguments @ ..] = line else { continue };
            let mut command = self.inside(files, Path::new(program));
            command.args(arguments);
            let is_last = number + 1 == apt.len();
            if is_last {
                command.args(packages);
            }
            follow(command, log, |line| {
                if let Some((percent, what)) = apt_progress(line).filter(|_| is_last) {
                    bar.at(percent, what);
                }
            })?;
        }
        Ok(())
    }

    /// Installs a pinned list of npm's packages.
    pub(super) fn npm(&self, npm: &Npm, files: &Path, log: &Path, bar: &StageBar) -> Done {
        self.need("npm", "apt-get install npm")?;
        fs::create_dir_all(files)?;
        fs::write(files.join("package.json"), npm.package.to_string())?;
        fs::write(files.join("package-lock.json"), npm.lock.to_string())?;
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        command.current_dir(files);
        follow(command, log, |line| bar.at(50, line))
    }

    /// A program of a root, to be started inside of it.
    pub(super) fn inside(&self, files: &Path, program: &Path) -> Command {
        let mut command = self.guarded();
        command.arg(format!("--mount-proc={}", files.join("proc").display()));
        command.arg("chroot").arg(files).args(["/usr/bin/env", "-i"]);
        command.arg(format!("PATH={INNER_PATH}")).args(["HOME=/root", "LANG=C.UTF-8"]);
        command.arg("DEBIAN_FRONTEND=noninteractive");
        for name in PROXIES {
            if let Some(value) = std::env::var_os(name) {
                let mut pair = OsString::from(format!("{name}="));
                pair.push(value);
                command.arg(pair);
            }
        }
        command.arg(program);
        command
    }

    /// What a program says; the error is one sentence.
    pub(super) fn output(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{program} cannot be asked ({error})"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What the machine's apt says about proxies, for the one of a root.
    fn apt_proxies(&self) -> String {
        let told = self.output("apt-config", &["dump", "Acquire"]).unwrap_or_default();
        let proxies = told.lines().filter(|line| line.to_lowercase().contains("::proxy"));
        proxies.map(|line| format!("{line}\n")).collect()
    }

    fn need(&self, program: &'static str, install: &'static str) -> Done {
        let found = std::env::split_paths(&self.path).any(|folder| folder.join(program).is_file());
        found.then_some(()).ok_or(ToolError::Missing { program, install })
    }

    /// Ends with this process, sees no processes but its own, and mounts for nobody else.
    fn guarded(&self) -> Command {
        let mut command = self.command("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]);
        command
    }

    fn command(&self, program: &str) -> Command {
        let mut command = of_the_machine(program);
        command.env("PATH", &self.path);
        command
    }
}

/// Settings of apt that hold while a root is built; they may hold a proxy's password.
const BUILD_SETTINGS: &str = "etc/apt/apt.conf.d/99chasen-build";
const NO_SERVICES_FILE: &str = "usr/sbin/policy-rc.d";

/// Removes what only the building needed.
pub(super) fn clean(files: &Path) -> io::Result<()> {
    // Sandboxes have their own; installers of modules lay the machine's over it.
    fs::write(files.join("etc/resolv.conf"), "")?;
    for file in [BUILD_SETTINGS, NO_SERVICES_FILE] {
        match fs::remove_file(files.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    for folder in
        ["var/cache/apt", "var/lib/apt/lists", "var/log", "tmp", "usr/share/man", "usr/share/locale"]
    {
        for entry in fs::read_dir(files.join(folder)).into_iter().flatten() {
            let path = entry?.path();
            if path.symlink_metadata()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
    }
    Ok(())
}

/// Runs a program to its end; every line of both of its streams goes to the log and to `seen`.
fn follow(mut command: Command, log: &Path, mut seen: impl FnMut(&str)) -> Done {
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    let (ours, theirs) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(theirs.try_clone()?).stderr(theirs);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("{program} does not start ({error})"))?;
    // The ends of the pipe that the child has go with it.
    drop(command);
    let mut last_words = std::collections::VecDeque::new();
    let mut lines = BufReader::new(ours);
    let mut line = Vec::new();
    while read_line(&mut lines, &mut line)? {
        log.write_all(&line)?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        seen(text);
        if !text.is_empty() && !is_status(text) {
            last_words.push_back(text.to_owned());
            if last_words.len() > LAST_WORDS {
                last_words.pop_front();
            }
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    let words = last_words.into_iter().collect::<Vec<_>>().join(" | ");
    Err(ToolError::Failed(if words.is_empty() { status.to_string() } else { words }))
}

fn read_line(lines: &mut BufReader<impl Read>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    Ok(lines.take(MAX_LINE).read_until(b'\n', line)? > 0)
}

/// True for what apt says for programs.
fn is_status(line: &str) -> bool {
    ["dlstatus:", "pmstatus:", "pmerror:"].iter().any(|begin| line.starts_with(begin))
}

/// How far debootstrap is: it tells what it does to which package, not how many there are.
fn base_progress(line: &str) -> Option<(u64, &str)> {
    let what = line.strip_prefix("I: ")?;
    let begins =
        [("Retrieving", 10), ("Validating", 15), ("Extracting", 40), ("Unpacking", 55), ("Configuring", 80)];
    begins.into_iter().find(|(word, _)| what.starts_with(word)).map(|(_, percent)| (percent, what))
}

/// `pmstatus:jq:46.1538:Installing jq (amd64)`; fetching is the first half, installing the second.
fn apt_progress(line: &str) -> Option<(u64, &str)> {
    let mut parts = line.splitn(4, ':');
    let begin = match parts.next()? {
        "dlstatus" => 0,
        "pmstatus" => 50,
        _ => return None,
    };
    let (percent, what) = (parts.nth(1)?, parts.next()?);
    let percent: u64 = percent.split('.').next()?.parse().ok()?;
    Some((begin + percent.min(100) / 2, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_programs_say() {
        assert_eq!(base_progress("I: Unpacking libc6:amd64..."), Some((55, "Unpacking libc6:amd64...")));
        assert_eq!(base_progress("W: Unpacking"), None);
        assert_eq!(
            apt_progress("pmstatus:jq:46.1538:Installing jq (amd64)"),
            Some((73, "Installing jq (amd64)"))
        );
        assert_eq!(
            apt_progress("dlstatus:3:78.8597:Retrieving file 3 of 3"),
            Some((39, "Retrieving file 3 of 3"))
        );
        assert_eq!(apt_progress("Reading package lists..."), None);
    }

    #[test]
    fn failures_end_with_the_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo pmstatus:a:1.0:b; for n in 1 2 3 4 5 6; do echo E: $n >&2; done; exit 3"]);
        let mut lines = 0;
        let failed = follow(command, &log, |_| lines += 1).unwrap_err();
        assert_eq!(failed, ToolError::Failed("E: 2 | E: 3 | E: 4 | E: 5 | E: 6".to_owned()));
        assert_eq!((lines, fs::read_to_string(&log).unwrap().lines().count()), (7, 7));
        let mut command = Command::new("sh");
        command.args(["-c", "kill -9 $$"]);
        assert!(
            matches!(follow(command, &log, |_| ()), Err(ToolError::Failed(why)) if why.contains("signal: 9"))
        );
    }
}

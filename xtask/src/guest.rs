//! A guest machine: commands run on Debian's kernel with control groups of version 2 only, whatever this machine
//! mounts. Its root is this machine's, read only, below a layer in memory; it has no network but its own loopback.

mod kernel;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Kernel, at};

use crate::shell::{self, output, root, target};

const QEMU: &str = "qemu-system-x86_64";
const INIT: &str = include_str!("guest/init.sh");
/// Variables of this machine that the commands see, besides those that begin with `CHASEN_`.
const PASSED: [&str; 4] = ["PATH", "HOME", "CARGO_TARGET_DIR", "RUST_BACKTRACE"];
/// How long all commands together may take: without hardware support, the tests of a room take five minutes.
const LIMIT: Duration = Duration::from_secs(900);
/// How much longer the machine may take: the guest itself ends commands that are too slow.
const GRACE: Duration = Duration::from_secs(15);
/// Lines of the console that a failure shows.
const CONSOLE_TAIL: usize = 40;

/// A command for the guest's root user.
pub(crate) struct Job {
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
}

/// Why commands have no exit code.
#[derive(Debug)]
pub(crate) enum GuestError {
    /// No guest can be had here: why.
    Unavailable(String),
    /// The guest was up, and did not see the commands to their end.
    Broken(String),
}

impl fmt::Display for GuestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(out, "no guest: {why}"),
            Self::Broken(why) => write!(out, "the guest broke: {why}"),
        }
    }
}

/// What executes the guest's instructions, and how long it may take to boot.
struct Accelerator {
    name: &'static str,
    patience: Duration,
}

/// The task `guest [--] COMMAND…`: one command in the workspace's folder.
pub(crate) fn task(args: &[String]) -> Result<u8, String> {
    let words = if args.first().is_some_and(|first| first == "--") { args.get(1..) } else { Some(args) };
    match words {
        Some(words @ [_, ..]) => {
            run(&[Job { folder: root(), words: words.to_vec() }]).map_err(|why| why.to_string())
        }
        _ => Err("usage: cargo xtask guest [--] COMMAND [ARGS]".to_owned()),
    }
}

/// Runs commands one after another in a new guest; what they print appears as it comes. Returns 0 or the exit code
/// of the last that failed: 143 if time ran out.
pub(crate) fn run(jobs: &[Job]) -> Result<u8, GuestError> {
    let kernel = available().map_err(GuestError::Unavailable)?;
    let folder = tempfile::tempdir().map_err(|error| GuestError::Unavailable(error.to_string()))?;
    prepare(&kernel, folder.path(), jobs).map_err(GuestError::Unavailable)?;
    let mut outcome = Err(GuestError::Unavailable("nothing here executes a guest".to_owned()));
    for accelerator in accelerators() {
        outcome = boot(&accelerator, &kernel, folder.path());
        if !matches!(outcome, Err(GuestError::Unavailable(_))) {
            break;
        }
    }
    outcome
}

/// The kernel, once all that a guest needs is here.
fn available() -> Result<Kernel, String> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(format!("guests are x86-64 machines, this is {}", std::env::consts::ARCH));
    }
    if output(QEMU, &["--version"]).is_none() {
        shell::run("apt-get", ["update", "-qq"])?;
        shell::run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "qemu-system-x86"])?;
    }
    Kernel::get()
}

/// Hardware where it runs any kernel (some hosts lend a `/dev/kvm` that boots only kernels made for it), else
/// translation, ten times slower.
fn accelerators() -> impl Iterator<Item = Accelerator> {
    let any_kernel =
        ["kvm_intel", "kvm_amd"].iter().any(|module| Path::new("/sys/module").join(module).exists());
    let usable = any_kernel && File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let kvm = usable.then_some(Accelerator { name: "kvm", patience: Duration::from_secs(30) });
    kvm.into_iter().chain([Accelerator { name: "tcg,thread=multi", patience: Duration::from_secs(120) }])
}

/// Makes `initial.img`, the guest's first file system: its first process and what it is to do.
fn prepare(kernel: &Kernel, folder: &Path, jobs: &[Job]) -> Result<(), String> {
    let files = folder.join("files");
    let init = files.join("init");
    fs::create_dir(&files).map_err(at(&files))?;
    fs::write(&init, INIT).map_err(at(&init))?;
    fs::set_permissions(&init, Permissions::from_mode(0o755)).map_err(at(&init))?;
    fs::write(files.join("jobs"), script(jobs)).map_err(at(&files))?;
    let settings = [
        [b"WORKSPACE=".as_slice(), &quoted(root().as_os_str())].concat(),
        [b"TARGET=".as_slice(), &quoted(target().as_os_str())].concat(),
        format!("SECONDS_MOST={}\n", LIMIT.as_secs()).into_bytes(),
    ];
    fs::write(files.join("settings"), settings.join(&b'\n')).map_err(at(&files))?;
    kernel.pack(&files, &folder.join("initial.img"))
}

/// A shell script that runs every command in its folder and environment.
fn script(jobs: &[Job]) -> Vec<u8> {
    let is_passed = |key: &OsStr| {
        key.as_bytes().starts_with(b"CHASEN_") || PASSED.iter().any(|name| key == OsStr::new(name))
    };
    let variables: Vec<Vec<u8>> = std::env::vars_os()
        .filter(|(key, _)| is_passed(key))
        .map(|(key, value)| quoted(OsStr::from_bytes(&[key.as_bytes(), b"=", value.as_bytes()].concat())))
        .collect();
    let mut lines = vec![b"code=0".to_vec()];
    for job in jobs {
        let words: Vec<Vec<u8>> = job.words.iter().map(|word| quoted(OsStr::new(word))).collect();
        // By its full name: else the guest's own tools would take the place of this machine's.
        let front =
            [b"cd ".as_slice(), &quoted(job.folder.as_os_str()), b" && /usr/bin/env -i CHASEN_GUEST=1"];
        lines.push(
            [front.concat(), variables.join(&b' '), words.join(&b' '), b"|| code=$?".to_vec()].join(&b' '),
        );
    }
    lines.push(b"exit $code\n".to_vec());
    lines.join(&b'\n')
}

/// A text as one word of a shell.
fn quoted(text: &OsStr) -> Vec<u8> {
    let parts: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b'\'').collect();
    [b"'".as_slice(), &parts.join(br"'\''".as_slice()), b"'"].concat()
}

/// A running machine, ended when it is let go.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots the guest, shows what the commands print, and returns their exit code.
fn boot(accelerator: &Accelerator, kernel: &Kernel, folder: &Path) -> Result<u8, GuestError> {
    let mut machine = Command::new(QEMU);
    machine.args(["-accel", accelerator.name, "-cpu", "max", "-smp", "2", "-m", "4096", "-no-reboot"]);
    machine.args(["-nodefaults", "-no-user-config", "-display", "none", "-initrd", "initial.img"]);
    machine.arg("-kernel").arg(kernel.image()).arg("-append");
    machine.arg("console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off random.trust_cpu=on");
    machine.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    machine.args(["-serial", "file:console", "-device", "virtio-serial-pci"]);
    machine.args(["-chardev", "stdio,id=output,signal=off", "-device", "virtserialport,chardev=output,nr=1"]);
    machine.args(["-chardev", "file,path=code,id=code", "-device", "virtserialport,chardev=code,nr=2"]);
    // The machine takes a closed standard input for a closed port: it stays open, silent.
    machine.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut machine =
        machine.spawn().map(Machine).map_err(|error| GuestError::Unavailable(format!("{QEMU}: {error}")))?;
    let (up, in_time) =
        machine.0.stdout.take().map_or((false, true), |stdout| show(&chunks(stdout), accelerator));

    let code = fs::read_to_string(folder.join("code")).ok().and_then(|text| text.trim().parse().ok());
    let why = match (up, in_time) {
        (true, true) => "it ended before the commands".to_owned(),
        (true, false) => format!("it is not done {} s after boot", (LIMIT + GRACE).as_secs()),
        (false, true) => format!("it does not boot ({})", accelerator.name),
        (false, false) => {
            format!("it is not up in {} s ({})", accelerator.patience.as_secs(), accelerator.name)
        }
    };
    let why = format!("{why}\n{}", tail(&folder.join("console")));
    code.ok_or(if up { GuestError::Broken(why) } else { GuestError::Unavailable(why) })
}

/// Reads the guest's output as it comes, at most a few chunks ahead.
fn chunks(mut stdout: ChildStdout) -> Receiver<Vec<u8>> {
    let (sender, receiver) = sync_channel(16);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut chunk) {
            if sender.send(chunk.get(..length).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Shows the guest's output. Returns whether there was any (it speaks as soon as it is up), and whether it ended in
/// time.
fn show(chunks: &Receiver<Vec<u8>>, accelerator: &Accelerator) -> (bool, bool) {
    let mut up = false;
    let mut deadline = Instant::now() + accelerator.patience;
    loop {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => {
                if !up {
                    up = true;
                    deadline = Instant::now() + LIMIT + GRACE;
                }
                let mut terminal = io::stdout().lock();
                // Nobody may be reading: the exit code still counts.
                let _ = terminal.write_all(&chunk).and_then(|()| terminal.flush());
            }
            Err(why) => return (up, why == RecvTimeoutError::Disconnected),
        }
    }
}

/// The last lines that the guest's kernel wrote.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(CONSOLE_TAIL)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell_and_the_last_failure_counts() {
        let hostile = "it's $HOME; \"`x`\" \\ \n";
        let job =
            |words: [&str; 3]| Job { folder: std::env::temp_dir(), words: words.map(str::to_owned).to_vec() };
        let script =
            script(&[job(["printf", "%s", hostile]), job(["sh", "-c", "exit 7"]), job(["true", "", ""])]);
        let done = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(String::from_utf8(done.stdout).unwrap(), hostile);
        assert_eq!(done.status.code(), Some(7));
    }
}

//! A guest machine: a command runs on Debian's kernel with control groups of version 2 only, whatever this machine
//! mounts. Its root is this machine's, read only, below a layer in memory; it has no network but its own loopback.

mod kernel;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use kernel::{Kernel, at, pack};

use crate::shell::{self, output, root, target};

const QEMU: &str = "qemu-system-x86_64";
const INIT: &str = include_str!("guest/init.sh");
/// Variables of this machine that the command sees, besides those that begin with `CHASEN_`.
const PASSED: [&str; 4] = ["PATH", "HOME", "CARGO_TARGET_DIR", "RUST_BACKTRACE"];
/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(600);
/// How much longer the machine may take: the command is ended by the guest itself.
const GRACE: Duration = Duration::from_secs(15);
/// Lines of the console that a failure shows.
const CONSOLE_TAIL: usize = 25;

/// Why a command has no exit code.
#[derive(Debug)]
pub(crate) enum GuestError {
    /// No guest can be had here: why.
    Unavailable(String),
    /// The guest was up, and did not see the command to its end.
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

/// What executes the guest's instructions, and how long it takes to boot at most.
struct Accelerator {
    name: &'static str,
    patience: Duration,
}

/// Runs the command in `args` (a leading `--` is ignored) as root in the workspace's folder of a guest; what it
/// prints appears as it comes. Returns its exit code: 143 if it was ended because it took too long.
pub(crate) fn run(args: &[String]) -> Result<u8, GuestError> {
    let command = if args.first().is_some_and(|first| first == "--") { args.get(1..) } else { Some(args) };
    let Some(command) = command.filter(|command| !command.is_empty()) else {
        return Err(GuestError::Broken("usage: cargo xtask guest [--] COMMAND [ARGS]".to_owned()));
    };
    let kernel = available().map_err(GuestError::Unavailable)?;
    let folder = tempfile::tempdir().map_err(|error| GuestError::Unavailable(error.to_string()))?;
    let initial = initial_files(&kernel, folder.path(), command).map_err(GuestError::Unavailable)?;
    let mut last = GuestError::Unavailable("nothing here executes a guest".to_owned());
    for accelerator in accelerators() {
        match boot(&accelerator, &kernel, &initial, folder.path()) {
            Err(why @ GuestError::Unavailable(_)) => last = why,
            done => return done,
        }
    }
    Err(last)
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
fn accelerators() -> Vec<Accelerator> {
    let any_kernel = ["kvm_intel", "kvm_amd"].iter().any(|module| Path::new("/sys/module").join(module).exists());
    let usable = any_kernel && File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let kvm = usable.then_some(Accelerator { name: "kvm", patience: Duration::from_secs(30) });
    let translation = Accelerator { name: "tcg,thread=multi", patience: Duration::from_secs(120) };
    kvm.into_iter().chain([translation]).collect()
}

/// Makes the archive of the guest's first files: those of every run, then the first process and its orders.
fn initial_files(kernel: &Kernel, folder: &Path, command: &[String]) -> Result<std::path::PathBuf, String> {
    let own = folder.join("files");
    fs::create_dir(&own).map_err(at(&own))?;
    let write = |name: &str, bytes: &[u8]| fs::write(own.join(name), bytes).map_err(at(&own));
    write("init", INIT.as_bytes())?;
    write("command", &command_script(command))?;
    write("settings", &settings())?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(own.join("init"), executable).map_err(at(&own))?;

    let (orders, initial) = (folder.join("orders.img"), folder.join("initial.img"));
    pack(&kernel.busybox, &own, &orders)?;
    let mut all = File::create(&initial).map_err(at(&initial))?;
    for part in [&kernel.base, &orders] {
        let mut part = File::open(part).map_err(at(part))?;
        io::copy(&mut part, &mut all).map_err(at(&initial))?;
    }
    Ok(initial)
}

/// A shell script that runs the command in its folder and environment.
fn command_script(command: &[String]) -> Vec<u8> {
    let is_passed = |key: &OsStr| {
        key.as_bytes().starts_with(b"CHASEN_") || PASSED.iter().any(|passed| key == OsStr::new(passed))
    };
    let mut script = [b"cd ", quoted(root().as_os_str()).as_slice(), b" && exec env -i CHASEN_GUEST=1"].concat();
    for (key, value) in std::env::vars_os().filter(|(key, _)| is_passed(key)) {
        script.push(b' ');
        script.extend(quoted(OsStr::from_bytes(&[key.as_bytes(), b"=", value.as_bytes()].concat())));
    }
    for word in command {
        script.push(b' ');
        script.extend(quoted(OsStr::new(word)));
    }
    script.push(b'\n');
    script
}

/// Variables of the guest's first process.
fn settings() -> Vec<u8> {
    let (workspace, target) = (quoted(root().as_os_str()), quoted(target().as_os_str()));
    let limit = format!("\nSECONDS_MOST={}\n", LIMIT.as_secs());
    [b"WORKSPACE=", workspace.as_slice(), b"\nTARGET=", target.as_slice(), limit.as_bytes()].concat()
}

/// A text as one word of a shell.
fn quoted(text: &OsStr) -> Vec<u8> {
    let mut word = vec![b'\''];
    for byte in text.as_bytes() {
        match byte {
            b'\'' => word.extend(br"'\''"),
            byte => word.push(*byte),
        }
    }
    word.push(b'\'');
    word
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

/// Boots the guest, shows what the command prints, and returns the command's exit code.
fn boot(accelerator: &Accelerator, kernel: &Kernel, initial: &Path, folder: &Path) -> Result<u8, GuestError> {
    let status = folder.join("status");
    let console = folder.join("console");
    let mut machine = Command::new(QEMU);
    machine.args(["-accel", accelerator.name, "-cpu", "max", "-smp", "2", "-m", "4096", "-no-reboot"]);
    machine.args(["-nodefaults", "-no-user-config", "-display", "none", "-append"]);
    machine.arg("console=ttyS0 loglevel=4 panic=-1 cgroup_no_v1=all mitigations=off random.trust_cpu=on");
    machine.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initial);
    machine.arg("-serial").arg(option("file:", &console));
    machine.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    machine.args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=output,signal=off"]);
    machine.args(["-device", "virtserialport,chardev=output,nr=1", "-chardev"]);
    machine.arg(option("file,id=status,path=", &status)).args(["-device", "virtserialport,chardev=status,nr=2"]);
    // The machine takes a closed standard input for a closed port: it stays open, silent.
    machine.stdin(Stdio::piped()).stdout(Stdio::piped());
    let unavailable = |error: io::Error| GuestError::Unavailable(format!("{QEMU}: {error}"));
    let mut machine = Machine(machine.spawn().map_err(unavailable)?);
    let Some(stdout) = machine.0.stdout.take() else {
        return Err(GuestError::Unavailable(format!("{QEMU} has no standard output")));
    };

    let up = show(&chunks(stdout), accelerator.patience).map_err(|late| {
        let tail = tail(&console);
        match late {
            Late::Boot => GuestError::Unavailable(format!(
                "not up within {} s ({})\n{tail}",
                accelerator.patience.as_secs(),
                accelerator.name
            )),
            Late::Command => GuestError::Broken(format!("not done within {} s\n{tail}", LIMIT.as_secs())),
        }
    })?;
    let code = fs::read_to_string(&status).ok().and_then(|text| text.trim().parse().ok());
    match code {
        Some(code) => Ok(code),
        None if up => Err(GuestError::Broken(format!("it ended before the command\n{}", tail(&console)))),
        None => Err(GuestError::Unavailable(format!("it does not boot ({})\n{}", accelerator.name, tail(&console)))),
    }
}

/// An option whose value is a file; commas would end it.
fn option(front: &str, path: &Path) -> String {
    format!("{front}{}", path.display().to_string().replace(',', ",,"))
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

/// What took too long.
enum Late {
    Boot,
    Command,
}

/// Shows the guest's output until it ends. Returns whether there was any: the guest speaks as soon as it is up.
fn show(chunks: &Receiver<Vec<u8>>, patience: Duration) -> Result<bool, Late> {
    let mut up = false;
    let mut deadline = Instant::now() + patience;
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
            Err(RecvTimeoutError::Disconnected) => return Ok(up),
            Err(RecvTimeoutError::Timeout) if up => return Err(Late::Command),
            Err(RecvTimeoutError::Timeout) => return Err(Late::Boot),
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
    fn a_word_survives_the_shell() {
        let hostile = "it's $HOME; \"`x`\" \\ \n";
        let script = [b"printf %s ", quoted(OsStr::new(hostile)).as_slice()].concat();
        let shown = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
        assert_eq!(String::from_utf8(shown.stdout).unwrap(), hostile);
    }
}

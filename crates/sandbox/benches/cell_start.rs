//! How long a cell takes: from the start request until the first byte of its program, and back to nothing.
//!
//! `cargo bench -p chasen-sandbox --profile release-fast` prints p50 and p99 of each step. Needs root. The program is a static
//! binary made with `cc`; without `cc` it is this binary, whose dynamic linking is measured along.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench ends at the first surprise, and prints"
)]

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_sandbox::cell::{Cell, CellNetwork, CellSpec, Limits};
use chasen_sandbox::helper::{Helper, HelperConfig, Mode};
use chasen_sandbox::root::RootSpec;

const ROUNDS: usize = 300;
/// Repetitions of what has a bound; the best counts.
const REPETITIONS: usize = 5;
/// Lets the kernel finish what it puts off of the last cell's end, which would be measured along otherwise.
const PAUSE: Duration = Duration::from_millis(10);
/// Says one byte on descriptor 3 and waits for its end.
const PROGRAM: &str =
    "#include <unistd.h>\nint main(void) { char c = 'x'; write(3, &c, 1); read(3, &c, 1); return 0; }\n";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("sandbox-helper") => chasen_sandbox::helper::main(),
        Some("payload") => payload(),
        _ => {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
                .block_on(measure());
            ExitCode::SUCCESS
        }
    }
}

#[allow(unsafe_code)]
fn payload() -> ExitCode {
    use std::io::Write;
    use std::os::fd::FromRawFd;
    // SAFETY: the bench starts this with a stream as descriptor 3, and nothing else here takes it.
    let mut stream = unsafe { UnixStream::from_raw_fd(3) };
    let _ = stream.write_all(b"x").and_then(|()| stream.read(&mut [0]));
    ExitCode::SUCCESS
}

struct Bench {
    helper: Helper,
    root: Arc<RootSpec>,
    network: Option<Arc<OwnedFd>>,
    next: u32,
}

impl Bench {
    /// Starts a cell and waits for its first byte.
    async fn start(&mut self) -> (Cell, tokio::net::UnixStream, Duration) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let null =
            || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap());
        self.next += 1;
        let spec = CellSpec {
            name: format!("b{}", self.next),
            root: Arc::clone(&self.root),
            fork_server: None,
            argv: vec!["/opt/program".to_owned(), "payload".to_owned()],
            env: Vec::new(),
            cwd: "/".to_owned(),
            hostname: "cell".to_owned(),
            limits: Limits::with_memory(128 << 20),
            network: self.network.clone().map_or(CellNetwork::Isolated, CellNetwork::Prepared),
            files: vec![null(), null(), null(), theirs.into()],
        };
        let before = Instant::now();
        let spoken = async {
            ours.readable().await.unwrap();
            before.elapsed()
        };
        let (cell, spoken) = tokio::join!(self.helper.start(spec), spoken);
        (cell.unwrap(), ours, spoken)
    }
}

async fn measure() {
    let data = tempfile::tempdir().unwrap();
    let node_id = format!("bench{}", std::process::id());
    let exe = std::env::current_exe().unwrap();
    let mut config = HelperConfig::new(Mode::Isolated, data.path(), node_id);
    config.arguments = vec!["sandbox-helper".into()];
    let helper = match Helper::spawn(&exe, config).await {
        Ok(helper) => helper,
        Err(error) => return println!("skipped: {error}"),
    };
    let program = static_program(data.path()).unwrap_or(exe);
    let root = Arc::new(RootSpec::host_system(&[]).with_bind(program.clone(), "/opt/program"));
    let layer = data.path().join("layer");
    std::fs::create_dir(&layer).unwrap();
    let network = std::thread::spawn(new_network).join().unwrap().map(Arc::new);
    let mut bench = Bench { helper, root, network, next: 0 };
    println!("{ROUNDS} rounds each, milliseconds");
    for _ in 0..REPETITIONS {
        plain_children(&program);
        rounds("prepared network", PAUSE, &mut bench, &layer).await;
    }
    rounds("prepared network, back to back", Duration::ZERO, &mut bench, &layer).await;
    bench.network = None;
    rounds("fresh network", PAUSE, &mut bench, &layer).await;
    bench.helper.close().await.unwrap();
}

async fn rounds(what: &str, pause: Duration, bench: &mut Bench, layer: &Path) {
    let (first, _, _) = bench.start().await;
    first.kill().await.unwrap();
    let (mut starts, mut mounts, mut kills, mut freezes, mut thaws) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        tokio::time::sleep(pause).await;
        let (cell, _stream, spoken) = bench.start().await;
        starts.push(spoken);
        let timed = |list: &mut Vec<Duration>, before: Instant| list.push(before.elapsed());
        let before = Instant::now();
        cell.mount_code(layer, 1 << 20).await.unwrap();
        timed(&mut mounts, before);
        let before = Instant::now();
        cell.freeze().unwrap();
        timed(&mut freezes, before);
        let before = Instant::now();
        cell.thaw().unwrap();
        timed(&mut thaws, before);
        let before = Instant::now();
        cell.kill().await.unwrap();
        timed(&mut kills, before);
    }
    println!("{what}:");
    for (step, times) in [
        ("start to first byte", starts),
        ("mount code", mounts),
        ("freeze", freezes),
        ("thaw", thaws),
        ("kill", kills),
    ] {
        report(step, times);
    }
}

fn report(step: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
    println!("  {step:<20} p50 {:7.3}  p90 {:7.3}  p99 {:7.3}", at(50), at(90), at(99));
}

/// The reference: the same program as a plain child of this process, which isolates nothing.
#[allow(unsafe_code)]
fn plain_children(program: &Path) {
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    let mut starts = vec![];
    for _ in 0..ROUNDS {
        std::thread::sleep(PAUSE);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let theirs = OwnedFd::from(theirs);
        let mut command = Command::new(program);
        command.arg("payload");
        // SAFETY: between fork and exec the child only calls dup2, which is safe to call there.
        unsafe {
            command.pre_exec(move || match libc::dup2(theirs.as_raw_fd(), 3) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let before = Instant::now();
        let mut child = command.spawn().unwrap();
        ours.read_exact(&mut [0]).unwrap();
        starts.push(before.elapsed());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("plain child process:");
    report("start to first byte", starts);
}

fn static_program(folder: &Path) -> Option<PathBuf> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&source, PROGRAM).ok()?;
    let made = Command::new("cc").args(["-static", "-O2", "-w", "-o"]).args([&program, &source]).status();
    made.is_ok_and(|status| status.success()).then_some(program)
}

/// Makes a network namespace on a thread that ends with it.
#[allow(unsafe_code)]
fn new_network() -> Option<OwnedFd> {
    // SAFETY: only this thread, which ends with this function, changes its namespace.
    let made = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    made.then(|| std::fs::File::open("/proc/thread-self/ns/net").ok().map(OwnedFd::from)).flatten()
}

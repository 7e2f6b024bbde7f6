//! The same closed loop against others: plain servers, and platforms of the registries, which are installed into a
//! folder of the user's cache. Runs only when it is asked for.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{self, Client};
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::plain::Plain;
use crate::report::{Report, grouped};
use crate::throughput::{CLIENTS, MEASURED, WARM_UP};
use crate::{Failure, kinds, node_http};

const REPETITIONS: usize = 3;
/// The release of workerd that is installed.
const WORKERD: &str = "workerd@1.20261117.1";
/// The release of wasmtime that is built: the newest for this project's compiler.
const WASMTIME: &str = "48.0.8";
/// What `wasmtime serve` needs of it to compile, to read text and to have its allocator for many instances.
const WASMTIME_FEATURES: &str =
    "serve,run,component-model-async,cranelift,parallel-compilation,pooling-allocator,wat";
/// Calls that an instance of wasmtime answers before it is dropped: its own default, and as good as any number.
const FRESH: u32 = 1;
const REUSED: u32 = 1_000_000_000;
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");
/// Longest start of a server, and pause between two looks.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// Somebody who answers calls.
struct Peer {
    name: &'static str,
    host: String,
    /// What is asked for, where it is an action.
    action: &'static str,
    /// Ends with it.
    _plain: Option<Plain>,
    /// The best of its runs: calls a second, and that run's p50 and p99 in milliseconds.
    best: (f64, f64, f64),
}

impl Peer {
    fn new(name: &'static str, plain: Plain) -> Self {
        Self { name, host: plain.host.clone(), action: "plain", _plain: Some(plain), best: (0.0, 0.0, 0.0) }
    }

    fn measure(&mut self) -> Result<(), Failure> {
        let request = [http::call(&self.host, self.action)?];
        load::all_succeeded(load::closed(CLIENTS, WARM_UP, &request)?)?;
        let run = load::all_succeeded(load::closed(CLIENTS, MEASURED, &request)?)?;
        if run.rate() > self.best.0 {
            self.best = (run.rate(), load::at(&run, 0.5), load::at(&run, 0.99));
        }
        Ok(())
    }
}

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::with(&[("limits.action-concurrency-max", "200")])?;
    let mut client = Client::connect(&node.host)?;
    let exec = kinds::node()?.exec();
    client.put_action("native", &kinds::native_stub()?, 128)?;
    client.put("shared", &json!({"exec": exec, "limits": {"memory": 256, "concurrency": 200}}))?;
    let ours =
        [("this platform, native stub", "native"), ("this platform, Node.js, one container", "shared")];
    let mut peers = Vec::new();
    for (name, action) in ours {
        client.invoke(action)?.expect(200)?;
        peers.push(Peer { name, host: node.host.clone(), action, _plain: None, best: (0.0, 0.0, 0.0) });
    }
    let cache = cache()?;
    let wasmtime = installed_wasmtime(&cache).map_err(|why| why.to_string());
    for (name, start) in [
        ("plain hyper", Box::new(Plain::hyper) as Box<dyn Fn() -> Result<Plain, Failure>>),
        ("plain Node.js", Box::new(node_http::server)),
        ("plain Go", Box::new(|| go(&cache))),
        ("workerd", Box::new(|| workerd(&cache))),
        ("wasmtime serve, fresh instances", Box::new(|| serve(&wasmtime, FRESH))),
        ("wasmtime serve, reused instances", Box::new(|| serve(&wasmtime, REUSED))),
    ] {
        match start() {
            Ok(plain) => peers.push(Peer::new(name, plain)),
            Err(why) => report.beside(name, format!("not here: {why}")),
        }
    }
    let pressure = Pressure::begin();
    for _ in 0..REPETITIONS {
        peers.iter_mut().try_for_each(Peer::measure)?;
    }
    for Peer { name, best: (rate, half, most), .. } in &peers {
        let what = format!("{name}: no-op with a JSON body, {CLIENTS} clients; p50 / p99");
        report.beside(&what, format!("{}/s; {half:.2} / {most:.2} ms", grouped(*rate, 0)));
    }
    report.beside("meanwhile", pressure.share());
    Ok(())
}

/// Where peers are installed: outside of the checkout, kept between runs.
fn cache() -> Result<PathBuf, Failure> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let base =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).ok_or("there is no HOME")?;
    let folder = base.join("chasen-peers");
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn go(cache: &Path) -> Result<Plain, Failure> {
    let program = cache.join("go-server");
    succeed(Command::new("go").args(["build", "-o"]).arg(&program).arg(format!("{SOURCES}/server.go")))?;
    Plain::of(Command::new(program))
}

fn workerd(cache: &Path) -> Result<Plain, Failure> {
    let program = cache.join("node_modules/.bin/workerd");
    if !program.exists() {
        succeed(
            Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(cache)
                .arg(WORKERD),
        )?;
    }
    listening(|address| {
        let mut command = Command::new(program);
        command.arg("serve").arg(format!("{SOURCES}/workerd.capnp"));
        command.arg(format!("--socket-addr=http={address}"));
        command
    })
}

/// Where wasmtime's program is. It comes as source: the first time it is compiled, which cargo tells about on stderr.
fn installed_wasmtime(cache: &Path) -> Result<PathBuf, Failure> {
    let root = cache.join(format!("wasmtime-{WASMTIME}"));
    let program = root.join("bin/wasmtime");
    if program.exists() {
        return Ok(program);
    }
    // Kept when it is interrupted, so that the next run goes on with it.
    let build = cache.join("wasmtime-build");
    eprintln!("wasmtime {WASMTIME} is compiled, this once: about ten minutes of processor time");
    let done = Command::new("cargo")
        .args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked"])
        .args(["--no-default-features", "--features", WASMTIME_FEATURES, "--root"])
        .arg(&root)
        .arg("--target-dir")
        .arg(&build)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !done.success() {
        return Err("cargo could not install wasmtime-cli: what it says is above".into());
    }
    std::fs::remove_dir_all(build)?;
    Ok(program)
}

/// `wasmtime serve` as it is by default, but for the calls that one instance answers.
fn serve(wasmtime: &Result<PathBuf, String>, calls: u32) -> Result<Plain, Failure> {
    let program = wasmtime.as_ref().map_err(String::as_str)?;
    listening(|address| {
        let mut command = Command::new(program);
        command.arg("serve").arg(format!("--addr={address}"));
        command.arg(format!("--max-instance-reuse-count={calls}"));
        command.arg(format!("{SOURCES}/component.wat"));
        command
    })
}

/// A server that is told where to listen: at a port that was free a moment ago.
fn listening(command: impl FnOnce(SocketAddr) -> Command) -> Result<Plain, Failure> {
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let child = command(address).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let plain = Plain::at(child, address.to_string());
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("it does not listen".into());
        }
        sleep(LOOK);
    }
    Ok(plain)
}

/// Runs a command that must succeed.
fn succeed(command: &mut Command) -> Result<(), Failure> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{shown}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{shown}: {}", String::from_utf8_lossy(&done.stderr).trim()).into())
}

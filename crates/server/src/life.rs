//! The life of a process that holds a node: start, work, stop, within what signals allow.

use std::process::ExitCode;

use chasen_sandbox::walls::{self, Wall};
use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::bind::BindError;
use crate::cli::Failure;
use crate::console;
use crate::node::Node;
use crate::settings::Settings;
use crate::signals::{Signals, StopSignal};

/// What is said while running activations are awaited.
const STOPPING: &str = "running activations may end; a second signal ends the node at once";

/// How the work around a node ended.
#[derive(Debug)]
pub enum Ended<T> {
    /// It came to its end.
    Done(T),
    /// A signal came first; the node was drained.
    Stopped(StopSignal),
    /// A second signal cut the drain short.
    Forced(StopSignal),
}

impl<T> Ended<T> {
    /// The exit code: that of the work, or `stopped` for a drained node.
    pub fn exit_code(self, done: impl FnOnce(T) -> ExitCode, stopped: ExitCode) -> ExitCode {
        match self {
            Self::Done(outcome) => done(outcome),
            Self::Stopped(_) => stopped,
            Self::Forced(signal) => ExitCode::from(signal.exit_code()),
        }
    }
}

/// A binary for tests says so, and which of its walls are open.
#[cfg(feature = "open-walls")]
fn tell_of_open_walls() -> Result<(), Failure> {
    let open = walls::open().map_err(Failure::Usage)?;
    let names: Vec<&str> = open.into_iter().map(Wall::name).collect();
    console::note(&format!(
        "chasen: this binary is for tests, never for work; open walls: [{}]",
        names.join(", ")
    ));
    Ok(())
}

/// Starts a node on the listener, does the work, and drains the node; a signal ends start and work early,
/// a second one the drain.
pub fn with_node<T>(
    settings: &Settings,
    listener: impl Future<Output = Result<TcpListener, BindError>>,
    work: impl AsyncFnOnce(&Node) -> T,
) -> Result<Ended<T>, Failure> {
    #[cfg(feature = "open-walls")]
    tell_of_open_walls()?;
    raise_open_files();
    keep_memory_private();
    // What is laid out for sandboxes must be readable to their users; the data folder itself is closed to others.
    umask(Mode::from_raw_mode(0o022));
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::watch().map_err(|error| Failure::Failed(error.to_string()))?;
        let start = async {
            let listener = listener.await.map_err(|error| Failure::Failed(error.to_string()))?;
            Node::start(settings, listener).await.map_err(|error| Failure::Failed(error.to_string()))
        };
        let node = tokio::select! {
            node = console::with_progress("the node starts", start) => node?,
            signal = signals.next() => return Ok(Ended::Stopped(signal)),
        };
        let ended = tokio::select! {
            outcome = work(&node) => Ended::Done(outcome),
            signal = signals.next() => Ended::Stopped(signal),
        };
        Ok(tokio::select! {
            () = console::with_progress(STOPPING, node.stop(settings.server.drain_timeout)) => ended,
            signal = signals.next() => Ended::Forced(signal),
        })
    });
    // Threads that still wait for something end with the process.
    runtime.shutdown_background();
    ended
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the runtime cannot start: {error}")))
}

/// Largest core file, in bytes: less than any can have, and the one value that also stops programs that are given cores.
const CORE: u64 = 1;

/// Keeps keys and arguments, which are in the node's memory, out of core files and from other programs of its user.
/// The limit is what programs of the node inherit.
fn keep_memory_private() {
    let most = Rlimit { current: Some(CORE), maximum: Some(CORE) };
    // Functions inherit the limit, and could not go above it.
    let bounded = if walls::stand(Wall::NoCoreDumps) { setrlimit(Resource::Core, most) } else { Ok(()) };
    let kept = bounded.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = kept {
        tracing::warn!(%error, "the node's memory could be read from outside");
    }
}

/// Lets the node open as many files as the machine allows: each connection and container takes some.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

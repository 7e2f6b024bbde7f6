//! How a node starts its helper process and hears that it is ready.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram as StdSocket;
use std::path::Path;
use std::process::Stdio;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::link::next_report;
use super::wire::{self, Receiver, Report, Request, Settings};
use super::{HelperConfig, HelperError, Mode};
use crate::cgroup::Layout;

/// A helper that takes requests.
pub(super) struct Launched {
    pub(super) socket: UnixDatagram,
    pub(super) child: Child,
    /// Where its cells' control groups will be.
    pub(super) cgroups: Option<Layout>,
}

/// Starts a helper and waits until it is ready; leaves no control group behind when that fails.
pub(super) async fn launch(exe: &Path, config: &HelperConfig) -> Result<Launched, HelperError> {
    config.check().map_err(HelperError::Unfit)?;
    // The node's groups are made by the node: on version 2 it may have to step aside for them itself.
    let cgroups = match config.mode {
        Mode::Isolated => {
            let layout = Layout::detect(&config.node_id);
            let created = layout.and_then(|layout| layout.create().map(|()| layout));
            Some(created.map_err(|error| HelperError::Unfit(error.to_string()))?)
        }
        Mode::InsecureProcess => None,
    };
    match start_process(exe, config, cgroups.clone()).await {
        Ok((socket, child)) => Ok(Launched { socket, child, cgroups }),
        Err(error) => {
            if let Some(layout) = cgroups {
                layout.remove_empty();
            }
            Err(error)
        }
    }
}

async fn start_process(
    exe: &Path,
    config: &HelperConfig,
    cgroups: Option<Layout>,
) -> Result<(UnixDatagram, Child), HelperError> {
    let spawn_error = |source| HelperError::Spawn { exe: exe.to_path_buf(), source };
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|error| spawn_error(error.into()))?;
    let child = Command::new(exe)
        .args(&config.arguments)
        .env_clear()
        .envs(inherited())
        .stdin(theirs)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(spawn_error)?;
    let socket = register(ours).map_err(spawn_error)?;
    let settings = Settings {
        mode: config.mode,
        scratch_dir: config.scratch_dir(),
        uid_base: config.uid_base,
        uid_count: config.uid_count,
        cgroups,
    };
    match timeout(config.deadline, greet(&socket, settings)).await {
        Ok(greeted) => greeted.map(|()| (socket, child)),
        Err(_) => Err(HelperError::Silent(format!("nothing within {:?}", config.deadline))),
    }
}

/// The environment of a helper: nothing, but in a binary that is made for tests which walls are open.
fn inherited() -> Option<(&'static str, String)> {
    #[cfg(feature = "open-walls")]
    return chasen_runtime::walls::variable();
    #[cfg(not(feature = "open-walls"))]
    None
}

/// Hands our end to the runtime. A sequenced-packet socket is used like a datagram socket; only its end is noticed.
fn register(ours: OwnedFd) -> io::Result<UnixDatagram> {
    let socket = StdSocket::from(ours);
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// Tells a new helper its settings and waits for its first word.
async fn greet(socket: &UnixDatagram, settings: Settings) -> Result<(), HelperError> {
    let silent = |error: io::Error| HelperError::Silent(error.to_string());
    let message = wire::encode(&Request::Configure(settings)).map_err(silent)?;
    wire::send(socket.as_fd(), &message, &[]).map_err(silent)?;
    match next_report(socket, &mut Receiver::new()).await.map_err(silent)? {
        Some((Report::Ready, _)) => Ok(()),
        Some((Report::Unfit { reason }, _)) => Err(HelperError::Unfit(reason)),
        Some(_) => Err(HelperError::Silent("it spoke of cells first".to_owned())),
        None => Err(HelperError::Silent("it ended at once".to_owned())),
    }
}

/// Collects the helper's exit status so that no zombie stays.
pub(super) async fn reap(mut child: Child) {
    match child.wait().await {
        Ok(status) if status.success() => tracing::debug!("the sandbox helper has ended"),
        Ok(status) => tracing::error!(%status, "the sandbox helper has ended"),
        Err(error) => tracing::error!(%error, "the sandbox helper's end was not seen"),
    }
}

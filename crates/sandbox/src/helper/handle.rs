//! The node's handles: of the helper, and of each cell behind it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::launch::{Launched, launch, reap};
use super::link::{Done, LOST_EXIT, Life, Link, Refusal};
use super::prepared::PreparedCell;
use super::wire::{CellKey, Request, StartRequest};
use super::{HelperConfig, Mode};
use crate::cell::{ACTION_FOLDER, Cell, CellNetwork, CellSpec, Exit};
use crate::cgroup::{Control, Layout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Why a helper could not be started.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The process could not be made.
    #[error("cannot start the sandbox helper {}: {source}", exe.display())]
    Spawn {
        /// The executable.
        exe: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It runs, but says that it cannot work on this machine.
    #[error("the sandbox helper cannot work here: {0}; `chasen doctor` tells what is missing")]
    Unfit(String),
    /// It ended or said nothing sensible before it was ready.
    #[error("the sandbox helper gave no sign of readiness: {0}; its own messages are on standard error")]
    Silent(String),
}

/// The helper has ended, and with it every cell; the node must start another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelperLost {
    /// Its end of the socket is closed.
    #[error("the sandbox helper has ended; its cells ended with it")]
    Ended,
    /// It holds the socket but did not answer in time.
    #[error("the sandbox helper gave no answer within {0:?}")]
    Mute(Duration),
}

/// Why a cell could not be started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The specification cannot be right on any machine.
    #[error("the cell is specified wrongly: {0}")]
    Invalid(String),
    /// A step of its making failed, named in the text.
    #[error("the cell could not be made: {0}")]
    Refused(String),
    /// Its program is not there, or is none that this machine executes.
    #[error("the cell's program cannot be executed: {0}")]
    NotExecutable(String),
    /// There is no helper to make it.
    #[error(transparent)]
    Helper(#[from] HelperLost),
}

/// Why code could not be laid over a running cell.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// A step failed, named in the text; the cell is as it was.
    #[error("the code could not be mounted: {0}")]
    Refused(String),
    /// There is no helper to do it.
    #[error(transparent)]
    Helper(#[from] HelperLost),
}

/// The node's end of a running helper; cheap to clone. When the last handle and the last [`Cell`] are dropped the
/// helper ends and takes everything it made with it.
#[derive(Debug, Clone)]
pub struct Helper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    mode: Mode,
    deadline: Duration,
    cgroups: Option<Layout>,
    scratch_dir: PathBuf,
    pid: u32,
    /// Stands for the process, whatever becomes of its number; absent if it had ended already.
    process: Option<OwnedFd>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.hang_up();
    }
}

impl Helper {
    /// Starts a helper from `exe` and waits until it takes requests.
    ///
    /// # Errors
    /// See [`HelperError`].
    pub async fn spawn(exe: &Path, config: HelperConfig) -> Result<Self, HelperError> {
        let Launched { socket, child, cgroups } = launch(exe, &config).await?;
        let link = Arc::new(Link::new(socket));
        let pid = child.id().unwrap_or(0);
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = number.and_then(|number| pidfd_open(number, PidfdFlags::empty()).ok());
        tokio::spawn(Arc::clone(&link).listen());
        tokio::spawn(reap(child));
        Ok(Self {
            inner: Arc::new(Inner {
                link,
                mode: config.mode,
                deadline: config.deadline,
                cgroups,
                scratch_dir: config.scratch_dir(),
                pid,
                process,
            }),
        })
    }

    /// Starts a cell; resolves when its program has been executed.
    ///
    /// Cancelling the future ends the cell in the background.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(&self, spec: CellSpec) -> Result<Cell, StartError> {
        self.bear(spec, false).await
    }

    /// Starts a cell that lacks nothing but its program's files, and executes the program when they come; resolves when
    /// it is ready for them. Isolated cells only.
    ///
    /// Cancelling the future ends the cell in the background.
    ///
    /// # Errors
    /// See [`StartError`]; a program that cannot be executed shows only when it gets its files, by the cell's end.
    pub async fn prepare(&self, mut spec: CellSpec) -> Result<PreparedCell, StartError> {
        if !spec.files.is_empty() || self.inner.mode != Mode::Isolated {
            return Err(StartError::Invalid("only isolated cells without files are prepared".to_owned()));
        }
        let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let (door, theirs) =
            pair.map_err(|error| StartError::Refused(format!("making a socket: {error}")))?;
        spec.files.push(theirs);
        Ok(PreparedCell { cell: self.bear(spec, true).await?, door })
    }

    /// Starts a cell whose program is executed at once, or when its files come by the one file that it has.
    async fn bear(&self, spec: CellSpec, awaits_files: bool) -> Result<Cell, StartError> {
        spec.check().map_err(StartError::Invalid)?;
        let link = &self.inner.link;
        let mut expected = link.expect_answer();
        let key = expected.request;
        let life = link.follow(key);
        // From here on the door ends the cell if this future is dropped.
        let mut door = CellDoor {
            helper: self.clone(),
            key,
            control: match &self.inner.cgroups {
                Some(layout) => Control::of_groups(layout, &spec.name),
                None => Control::of_processes(0),
            },
            name: spec.name.clone(),
            pid: 0,
            life,
        };
        let network = match &spec.network {
            CellNetwork::Prepared(network) => Some(Arc::clone(network)),
            CellNetwork::Isolated => None,
        };
        let fds: Vec<_> =
            spec.files.iter().map(AsFd::as_fd).chain(network.iter().map(|network| network.as_fd())).collect();
        let request = Request::Start(Box::new(StartRequest {
            request: key,
            name: spec.name,
            root: spec.root,
            argv: spec.argv,
            fork_server: spec.fork_server,
            env: spec.env,
            cwd: spec.cwd,
            hostname: spec.hostname,
            limits: spec.limits,
            prepared_network: network.is_some(),
            awaits_files,
        }));
        let exchange = async {
            link.send(&request, &fds).await.map_err(start_send_error)?;
            let answer = expected.answer().await.ok_or(StartError::Helper(HelperLost::Ended))?;
            answer.map_err(|refusal| match refusal {
                Refusal::Step(reason) => StartError::Refused(reason),
                Refusal::NotExecutable(reason) => StartError::NotExecutable(reason),
            })
        };
        let answer = timeout(self.inner.deadline, exchange).await;
        match answer.unwrap_or(Err(StartError::Helper(HelperLost::Mute(self.inner.deadline)))) {
            Ok(Done { pid, .. }) => {
                door.pid = pid;
                if self.inner.cgroups.is_none() {
                    door.control = Control::of_processes(pid);
                }
                Ok(Cell::new(door))
            }
            Err(error) => {
                if matches!(error, StartError::Refused(_) | StartError::NotExecutable(_)) {
                    link.forget(key);
                }
                Err(error)
            }
        }
    }

    /// Resolves when the helper has ended, for whatever reason.
    pub async fn lost(&self) {
        self.inner.link.lost().await;
    }

    /// True once the helper has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.inner.link.is_lost()
    }

    /// Process number of the helper.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// How this helper starts cells.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// Ends every cell and the helper; resolves when all of it is gone.
    ///
    /// # Errors
    /// [`HelperLost::Mute`] when the helper does not come to an end in time, and not even when it is killed.
    pub async fn close(&self) -> Result<(), HelperLost> {
        let Inner { link, deadline, process, .. } = &*self.inner;
        link.hang_up();
        if timeout(*deadline, self.lost()).await.is_ok() {
            return Ok(());
        }
        // The next helper needs what a hanging one holds, and what that one leaves it sweeps away.
        if let Some(process) = process {
            tracing::error!(pid = self.inner.pid, "the sandbox helper hangs, and is killed");
            // Ended meanwhile is as good.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        timeout(*deadline, self.lost()).await.map_err(|_| HelperLost::Mute(*deadline))
    }
}

fn start_send_error(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::InvalidInput => StartError::Invalid(error.to_string()),
        _ => StartError::Helper(HelperLost::Ended),
    }
}

/// What a [`Cell`] does through the helper.
#[derive(Debug)]
pub(crate) struct CellDoor {
    helper: Helper,
    key: CellKey,
    control: Control,
    name: String,
    pid: u32,
    life: watch::Receiver<Life>,
}

impl CellDoor {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) fn action_folder(&self) -> PathBuf {
        match self.helper.inner.mode {
            Mode::Isolated => PathBuf::from(ACTION_FOLDER),
            Mode::InsecureProcess => {
                crate::insecure::action_folder(&self.helper.inner.scratch_dir, &self.name)
            }
        }
    }

    /// The end of the program, if it has ended.
    pub(crate) fn exit_now(&self) -> Option<Exit> {
        match *self.life.borrow() {
            Life::Alive if self.helper.inner.link.is_lost() => Some(LOST_EXIT),
            Life::Alive => None,
            Life::Ended(exit) | Life::Gone(exit, _) => Some(exit),
        }
    }

    pub(crate) async fn exited(&self) -> Exit {
        let mut life = self.life.clone();
        match life.wait_for(|life| *life != Life::Alive).await.as_deref() {
            Ok(Life::Ended(exit) | Life::Gone(exit, _)) => *exit,
            Ok(Life::Alive) | Err(_) => LOST_EXIT,
        }
    }

    pub(crate) async fn mount_code(&self, layer: &Path, upper_bytes: u64) -> Result<(), MountError> {
        if self.helper.inner.mode == Mode::InsecureProcess {
            return crate::insecure::copy_code(layer, &self.action_folder(), upper_bytes).await;
        }
        let link = &self.helper.inner.link;
        let mut expected = link.expect_answer();
        let request = Request::MountCode {
            request: expected.request,
            cell: self.key,
            layer: layer.to_path_buf(),
            upper_bytes,
        };
        let exchange = async {
            link.send(&request, &[]).await.map_err(|_| HelperLost::Ended)?;
            expected.answer().await.ok_or(HelperLost::Ended)
        };
        match timeout(self.helper.inner.deadline, exchange).await {
            Ok(answer) => answer?.map(|_| ()).map_err(|refusal| MountError::Refused(refusal.into_reason())),
            Err(_) => Err(HelperLost::Mute(self.helper.inner.deadline).into()),
        }
    }

    pub(crate) async fn socket(&self) -> io::Result<OwnedFd> {
        let link = &self.helper.inner.link;
        let mut expected = link.expect_answer();
        let request = Request::Socket { request: expected.request, cell: self.key };
        let exchange = async {
            link.send(&request, &[]).await?;
            expected.answer().await.ok_or_else(|| io::Error::other(HelperLost::Ended))
        };
        let deadline = self.helper.inner.deadline;
        let answer =
            timeout(deadline, exchange).await.map_err(|_| io::Error::other(HelperLost::Mute(deadline)))?;
        let done = answer?.map_err(|refusal| io::Error::other(refusal.into_reason()))?;
        done.made.ok_or_else(|| io::Error::other("the helper made no socket"))
    }

    pub(crate) async fn kill(&self) -> Result<Exit, HelperLost> {
        let deadline = self.helper.inner.deadline;
        let mut life = self.life.clone();
        let end = async {
            if !matches!(*life.borrow(), Life::Gone(..)) {
                let request = Request::Kill { cell: self.key };
                self.helper.inner.link.send(&request, &[]).await.map_err(|_| HelperLost::Ended)?;
            }
            let gone = life.wait_for(|life| matches!(life, Life::Gone(..))).await;
            match gone.as_deref() {
                Ok(Life::Gone(exit, leftover)) => {
                    if let Some(leftover) = leftover {
                        tracing::warn!(cell = %self.name, leftover, "a cell left something behind");
                    }
                    Ok(*exit)
                }
                _ => Err(HelperLost::Ended),
            }
        };
        timeout(deadline, end).await.unwrap_or(Err(HelperLost::Mute(deadline)))
    }
}

impl Drop for CellDoor {
    fn drop(&mut self) {
        if matches!(*self.life.borrow(), Life::Gone(..)) || self.life.has_changed().is_err() {
            return;
        }
        let request = Request::Kill { cell: self.key };
        let link = &self.helper.inner.link;
        match link.send_now(&request) {
            // The socket is full: worth another try.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    let link = Arc::clone(link);
                    runtime.spawn(async move { link.send(&request, &[]).await });
                }
            }
            _ => {}
        }
    }
}

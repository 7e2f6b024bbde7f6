//! What the node and its helper say to each other, and how it crosses the socket.
//!
//! One message is one JSON document in one datagram of a Unix sequenced-packet socket, with file descriptors beside
//! it. Both ends check sizes before they trust anything.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Mode;
use crate::cell::{Exit, Limits, MAX_FILES};
use crate::cgroup::Layout;
use crate::root::RootSpec;

/// Longest message, bytes: well below the least send buffer of a socket, far above any sensible start.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;
/// Most descriptors beside one message: the files of a cell and its network namespace.
const MAX_FDS: usize = MAX_FILES + 1;

/// Numbers a cell for as long as one helper lives; the number of the request that started it.
pub(crate) type CellKey = u64;

/// Node → program of a cell that awaits its files: here they are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FilesCome;

/// Node → helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message; answered by [`Report::Ready`] or [`Report::Unfit`].
    Configure(Settings),
    /// Start a cell; answered by [`Report::Done`] with its process number, or [`Report::Refused`]. The descriptors
    /// beside it are the cell's files in order, or the one socket by which they will come if `awaits_files`; then the
    /// network namespace if `prepared_network`.
    Start(Box<StartRequest>),
    /// Lay code over a running cell; answered by [`Report::Done`] or [`Report::Refused`].
    MountCode { request: u64, cell: CellKey, layer: PathBuf, upper_bytes: u64 },
    /// Make a TCP socket in a cell's network; answered by [`Report::Done`] with it, or [`Report::Refused`].
    Socket { request: u64, cell: CellKey },
    /// End a cell; [`Report::Exited`] and [`Report::Gone`] follow. Unknown cells are ignored: they are gone.
    Kill { cell: CellKey },
}

/// What the helper has to know before the first cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) scratch_dir: PathBuf,
    pub(crate) uid_base: u32,
    pub(crate) uid_count: u32,
    pub(crate) cgroups: Option<Layout>,
}

/// A [`crate::cell::CellSpec`] without its descriptors.
#[derive(Serialize, Deserialize)]
pub(crate) struct StartRequest {
    pub(crate) request: CellKey,
    pub(crate) name: String,
    pub(crate) root: Arc<RootSpec>,
    pub(crate) argv: Vec<String>,
    pub(crate) fork_server: Option<Vec<String>>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) hostname: String,
    pub(crate) limits: Limits,
    pub(crate) prepared_network: bool,
    /// Whether the cell shall be ready for its program and execute it when its files come.
    pub(crate) awaits_files: bool,
}

impl fmt::Debug for StartRequest {
    /// Without the environment, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartRequest")
            .field("name", &self.name)
            .field("argv", &self.argv)
            .finish_non_exhaustive()
    }
}

/// Helper → node.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The helper takes requests.
    Ready,
    /// The helper cannot work here and ends.
    Unfit { reason: String },
    /// The request succeeded; a start tells the host's number of the cell's first process, others 0. What was made
    /// is beside it.
    Done { request: u64, pid: u32 },
    /// The request failed; nothing of it is left.
    Refused { request: u64, reason: String },
    /// A cell could be started, but not its program, which is not there or is none; nothing of it is left.
    NotExecutable { request: u64, reason: String },
    /// The program of a cell has ended.
    Exited { cell: CellKey, exit: Exit },
    /// Every process, mount, control group and scratch folder of the cell is gone; or `leftover` says what is not.
    Gone { cell: CellKey, leftover: Option<String> },
}

/// Sends one message and never waits; [`io::ErrorKind::WouldBlock`] when the socket is full.
///
/// # Errors
/// A message above [`MAX_MESSAGE`] is [`io::ErrorKind::InvalidInput`]; otherwise what the socket says.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if message.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} bytes and {} descriptors, at most {MAX_MESSAGE} and {MAX_FDS} are allowed",
                message.len(),
                fds.len()
            ),
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for the files of a program that come in one message by this socket; none if its other end is closed.
///
/// # Errors
/// What the socket says.
pub(crate) fn await_files(socket: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut receiver = Receiver::new();
    loop {
        match receiver.receive::<FilesCome>(socket) {
            Ok(come) => return Ok(come.map(|(_, files)| files).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Interrupted or not: it is looked at again.
                let _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Serialises a message for [`send`].
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a path that is not UTF-8.
pub(crate) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Receives messages into one buffer of fixed size.
pub(crate) struct Receiver {
    buffer: Box<[u8]>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; MAX_MESSAGE].into_boxed_slice() }
    }

    /// Receives one message and its descriptors without waiting; `None` when the other end is closed.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there, [`io::ErrorKind::InvalidData`] for a message that is
    /// too long or not understood, otherwise what the socket says.
    pub(crate) fn receive<M: DeserializeOwned>(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = match recvmsg(
            socket.as_fd(),
            &mut [IoSliceMut::new(&mut self.buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        ) {
            // The other end was closed with something unread in it.
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            other => other?,
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "message or descriptors cut off"));
        }
        let bytes = self.buffer.get(..received.bytes).unwrap_or_default();
        let message = serde_json::from_slice(bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some((message, fds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn message_and_descriptors_arrive_together() {
        let (node, helper) = pair();
        let file = std::fs::File::open("/dev/null").unwrap();
        let bytes = encode(&Request::Kill { cell: 7 }).unwrap();
        send(node.as_fd(), &bytes, &[file.as_fd(), file.as_fd()]).unwrap();
        let (message, fds) = Receiver::new().receive::<Request>(helper.as_fd()).unwrap().unwrap();
        assert!(matches!(message, Request::Kill { cell: 7 }));
        assert_eq!(fds.len(), 2);
    }

    #[test]
    fn oversized_message_is_refused_before_it_is_sent() {
        let (node, _helper) = pair();
        let error = send(node.as_fd(), &vec![b' '; MAX_MESSAGE + 1], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn closed_end_and_nonsense_are_told_apart() {
        let (node, helper) = pair();
        send(node.as_fd(), b"{\"Dance\":1}", &[]).unwrap();
        let mut receiver = Receiver::new();
        let error = receiver.receive::<Request>(helper.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(
            receiver.receive::<Request>(helper.as_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        drop(node);
        assert!(receiver.receive::<Request>(helper.as_fd()).unwrap().is_none());
    }
}

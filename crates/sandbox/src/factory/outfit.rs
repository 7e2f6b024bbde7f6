//! What a cell is given and what the node keeps of it: two streams of output, and a line to the runtime.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use chasen_runtime::connection::{Connection, LineConnection};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::plan::Speech;
use crate::container::Line;

/// The node's ends of what a cell was given.
pub(super) struct Ends {
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) speech: SpeechEnd,
}

/// The node's end of a line.
pub(super) enum SpeechEnd {
    Frames(OwnedFd),
    Lines { input: OwnedFd, output: OwnedFd },
}

impl SpeechEnd {
    /// The line, of which at most `keep` bytes of an answer are kept.
    ///
    /// # Errors
    /// When the async runtime cannot follow it.
    pub(super) fn line(self, keep: usize) -> io::Result<Line> {
        Ok(match self {
            Self::Frames(socket) => Line::Frames(Connection::new(socket, keep)?),
            Self::Lines { input, output } => Line::Lines(LineConnection::new(input, output, keep)?),
        })
    }
}

/// The files of a program that speaks in this way, in order, and what the node keeps.
///
/// # Errors
/// When there are no more descriptors.
pub(super) fn outfit(speech: Speech) -> io::Result<(Vec<OwnedFd>, Ends)> {
    let (stdout, their_stdout) = output_pipe()?;
    let (stderr, their_stderr) = output_pipe()?;
    let pair = || socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (speech, files) = match speech {
        Speech::Frames => {
            let (ours, theirs) = pair()?;
            let nothing = OwnedFd::from(File::open("/dev/null")?);
            (SpeechEnd::Frames(ours), vec![nothing, their_stdout, their_stderr, theirs])
        }
        Speech::FramesOnInput => {
            let (ours, theirs) = pair()?;
            (SpeechEnd::Frames(ours), vec![theirs, their_stdout, their_stderr])
        }
        Speech::Lines => {
            let (their_input, input) = pipe_with(PipeFlags::CLOEXEC)?;
            let (output, their_output) = output_pipe()?;
            (SpeechEnd::Lines { input, output }, vec![their_input, their_stdout, their_stderr, their_output])
        }
    };
    Ok((files, Ends { stdout, stderr, speech }))
}

/// A pipe that a cell writes to. Its user may also open it anew, which is what `> /dev/stderr` does.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::fs::fchmod(&theirs, rustix::fs::Mode::from_raw_mode(0o622))?;
    Ok((ours, theirs))
}

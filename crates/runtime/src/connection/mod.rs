//! Conversations with what runs an action: frames with our launchers, lines with foreign executables.
//!
//! The task that runs an activation does the reading and writing itself. Whatever arrives was possibly written by
//! the function and not by its launcher: it is bounded, checked, and never trusted to come at all.

mod awake;
mod collector;
mod framed;
mod frames;
mod lines;

use std::io;

use chasen_entity::frame::FrameError;

pub use collector::Body;
#[cfg(feature = "platform")]
pub(crate) use collector::Collector;
pub use framed::{Connection, Hello, LogSink, Reply};
pub use lines::LineConnection;

/// Most bytes of one answer that are read, and thrown away beyond the payload bound, to stay in step.
pub const MAX_ANSWER: usize = 256 << 20;

/// Why a conversation is over. It cannot be taken up again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The other end is closed: its process has ended or has let go of it.
    #[error("the runtime closed its connection")]
    Closed,
    /// Bytes that are no frame.
    #[error("the runtime sent something that is no frame: {0}")]
    Frame(#[from] FrameError),
    /// A frame that nobody asked for.
    #[error("the runtime sent a frame that does not belong here: {0}")]
    Unexpected(String),
    /// The longest answer has passed and no end is in sight.
    #[error("the runtime sends without an end")]
    Endless,
    /// Somebody stopped waiting for an answer, so that nobody knows what comes next.
    #[error("an earlier conversation was given up")]
    Abandoned,
    /// The system's word.
    #[error("the connection to the runtime failed: {0}")]
    Io(io::ErrorKind),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => {
                Self::Closed
            }
            kind => Self::Io(kind),
        }
    }
}

//! The log: what actions print passes through here, so that each activation's end can be marked behind all of it.
//!
//! Children share one pipe per stream for the proxy's whole life. A stream's task passes on what comes; when an
//! answer is there, what lies in the pipes by then is passed on first, then the mark follows on a line of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::error_text::runtime::SENTINEL;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// What is read at a time.
const BUFFER: usize = 64 * 1024;
/// Most bytes that a pipe takes without waiting once it says that it takes any.
const PIECE: usize = 4096;
/// How long an answer waits for somebody to take its log.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a thread waits for room before it looks whether anybody still wants that.
const TURN: Duration = Duration::from_millis(200);

/// Both streams.
pub(crate) struct Output {
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    reader: pipe::Receiver,
    writer: OwnedFd,
    passage: Mutex<Passage>,
}

/// From the pipe to where the log goes.
struct Passage {
    sink: Sink,
    buffer: Box<[u8]>,
}

/// Our own standard output or standard error.
struct Sink {
    fd: Arc<OwnedFd>,
    /// True if the last line has not ended.
    in_line: bool,
    /// True once nobody can read it any more.
    closed: bool,
}

impl Output {
    /// Must be called in the async runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { stdout: Stream::new(io::stdout())?, stderr: Stream::new(io::stderr())? }))
    }

    /// Passes on what comes, without an end.
    pub(crate) async fn pump(&self) {
        tokio::join!(self.stdout.pump(), self.stderr.pump());
    }

    /// Standard output and standard error for a child.
    pub(crate) fn for_child(&self) -> io::Result<(Stdio, Stdio)> {
        Ok((self.stdout.writer.try_clone()?.into(), self.stderr.writer.try_clone()?.into()))
    }

    /// A line on standard output.
    pub(crate) async fn print(&self, line: &str) {
        self.stdout.print(line).await;
    }

    /// A line on standard error.
    pub(crate) async fn complain(&self, line: &str) {
        self.stderr.print(line).await;
    }

    /// Passes on what has been printed by now and marks the end of an activation if `mark` says so. Gives up when
    /// nobody takes it.
    pub(crate) async fn finish(&self, mark: bool) {
        let mark = if mark { format!("{SENTINEL}\n") } else { String::new() };
        let _ = timeout(PATIENCE, async {
            self.stdout.finish(mark.as_bytes()).await;
            self.stderr.finish(mark.as_bytes()).await;
        })
        .await;
    }
}

impl Stream {
    fn new(sink: impl AsFd) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            reader: pipe::Receiver::from_owned_fd(reader.into())?,
            writer: writer.into(),
            passage: Mutex::new(Passage {
                sink: Sink::new(sink.as_fd().try_clone_to_owned()?),
                buffer: vec![0; BUFFER].into_boxed_slice(),
            }),
        })
    }

    async fn pump(&self) {
        while self.reader.readable().await.is_ok() {
            let Passage { sink, buffer } = &mut *self.passage.lock().await;
            if let Ok(count) = self.reader.try_read(buffer) {
                sink.write(buffer.get(..count).unwrap_or_default()).await;
            }
        }
    }

    async fn finish(&self, mark: &[u8]) {
        let Passage { sink, buffer } = &mut *self.passage.lock().await;
        let mut left = rustix::io::ioctl_fionread(&self.reader).unwrap_or(0);
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            // Asks the system itself: the async runtime may not have learnt yet of what is there.
            match rustix::io::read(&self.reader, buffer.get_mut(..room).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => {
                    left = left.saturating_sub(count as u64);
                    sink.write(buffer.get(..count).unwrap_or_default()).await;
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if !mark.is_empty() {
            sink.end_line().await;
            sink.write(mark).await;
        }
    }

    async fn print(&self, line: &str) {
        self.finish(b"").await;
        let sink = &mut self.passage.lock().await.sink;
        sink.end_line().await;
        sink.write(line.as_bytes()).await;
        sink.end_line().await;
    }
}

impl Sink {
    fn new(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd), in_line: false, closed: false }
    }

    async fn end_line(&mut self) {
        if self.in_line {
            self.write(b"\n").await;
        }
    }

    /// Writes all of it. The descriptor is shared with others, so it stays as blocking as it was: only as much is
    /// written as it takes without waiting.
    async fn write(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.in_line = *last != b'\n';
        for mut piece in bytes.chunks(PIECE) {
            while !piece.is_empty() && !self.closed {
                self.wait_for_room().await;
                match rustix::io::write(&self.fd, piece) {
                    Ok(count) => piece = piece.get(count..).unwrap_or_default(),
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(_) => self.closed = true,
                }
            }
        }
    }

    /// A thread waits where there is none: seldom, since whoever takes the log mostly takes it at once.
    async fn wait_for_room(&self) {
        while !is_writable(&self.fd, Duration::ZERO) {
            let fd = Arc::clone(&self.fd);
            // In short turns: nobody can call it back.
            let _ = tokio::task::spawn_blocking(move || is_writable(&fd, TURN)).await;
        }
    }
}

/// Waits for room, so long at most. True also where writing fails at once.
fn is_writable(fd: &OwnedFd, longest: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::OUT)];
    let Ok(longest) = Timespec::try_from(longest) else { return true };
    !matches!(poll(&mut fds, Some(&longest)), Ok(0))
}

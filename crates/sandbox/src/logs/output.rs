//! The reading ends of a cell's standard output and standard error.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use chasen_entity::frame::Stream;
use chasen_runtime::lines::Lines;
use jiff::Timestamp;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{SpliceFlags, splice};
use tokio::net::unix::pipe::Receiver;

use super::shared::OwnLog;

/// What is read at a time. Untouched pages of it cost nothing.
const BUFFER: usize = 64 * 1024;
/// The most that a pipe can be made to hold without privileges: no activation's rest is longer.
const MAX_PIPE: usize = 1 << 20;

/// Both pipes of one container.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Pipe,
    stderr: Pipe,
    lines: Mutex<Lines>,
    /// Held by the one that reads for all who are in the container.
    pumping: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    end: Receiver,
    /// Reading and adding happen under this lock, so that pieces stay in order.
    buffer: Mutex<Box<[u8]>>,
}

/// What one look into a pipe gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Read(usize),
    Empty,
    Ended,
}

impl Output {
    /// Takes over the reading ends. Must be called in the async runtime.
    ///
    /// # Errors
    /// When the descriptors are no pipes.
    pub(crate) fn new(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stdout: Pipe::new(Stream::Stdout, stdout)?,
            stderr: Pipe::new(Stream::Stderr, stderr)?,
            lines: Mutex::default(),
            pumping: tokio::sync::Mutex::default(),
        })
    }

    /// Sets how many bytes of log each activation may have.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.lines.lock().set_limit(limit);
    }

    /// Reads whatever comes, for as long as it is polled: a full pipe would stop the function.
    /// Ends when both streams have ended. Safe to cancel.
    pub(crate) async fn pump(&self) {
        let _turn = self.pumping.lock().await;
        tokio::join!(self.stdout.pump(&self.lines), self.stderr.pump(&self.lines));
    }

    /// Adds a line of the platform's own.
    pub(crate) fn note(&self, text: &str) {
        let mut lines = self.lines.lock();
        let now = Timestamp::now();
        lines.add(Stream::Stderr, text.as_bytes(), now);
        lines.add(Stream::Stderr, b"\n", now);
    }

    /// Reads what the pipes hold; it stays for whoever takes next.
    pub(crate) fn drain(&self) {
        // Most activations print nothing: both are asked at once.
        let mut asked = [&self.stdout, &self.stderr].map(|pipe| PollFd::new(&pipe.end, PollFlags::IN));
        let unknown = poll(&mut asked, Some(&Timespec::default())).is_err();
        for (pipe, asked) in [&self.stdout, &self.stderr].into_iter().zip(asked) {
            if unknown || !asked.revents().is_empty() {
                pipe.drain(&self.lines);
            }
        }
    }

    /// Reads what the pipes hold and ends an activation that has a log of its own: its lines, and those that are in
    /// the pipes.
    pub(crate) fn take_with(&self, own: &OwnLog) -> Vec<String> {
        self.drain();
        own.take(&mut self.lines.lock(), Timestamp::now())
    }

    /// Reads what the pipes hold and ends the activation: its lines.
    pub(crate) fn take(&self) -> Vec<String> {
        self.drain();
        self.lines.lock().take(Timestamp::now())
    }
}

impl Pipe {
    fn new(stream: Stream, end: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stream,
            end: Receiver::from_owned_fd(end)?,
            buffer: Mutex::new(vec![0; BUFFER].into_boxed_slice()),
        })
    }

    async fn pump(&self, lines: &Mutex<Lines>) {
        while self.end.readable().await.is_ok() {
            if self.look(lines, |buffer| self.end.try_read(buffer)) == Look::Ended {
                return;
            }
        }
    }

    /// Reads what is there. Asks the system itself: the runtime may learn of these bytes later than of the reply
    /// that followed them.
    fn drain(&self, lines: &Mutex<Lines>) {
        let mut total = 0;
        while total < MAX_PIPE
            && let Look::Read(count) = self.look(lines, |buffer| Ok(rustix::io::read(&self.end, buffer)?))
        {
            total += count;
        }
    }

    fn look(&self, lines: &Mutex<Lines>, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> Look {
        let mut buffer = self.buffer.lock();
        match read(&mut buffer) {
            Ok(0) => Look::Ended,
            Ok(count) => {
                let mut lines = lines.lock();
                lines.add(self.stream, buffer.get(..count).unwrap_or_default(), Timestamp::now());
                if lines.is_full() {
                    drop(lines);
                    return Look::Read(count + self.discard());
                }
                Look::Read(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Look::Empty,
            Err(_) => Look::Ended,
        }
    }

    /// Throws away what the pipe holds without looking at it; returns how much.
    fn discard(&self) -> usize {
        static NOWHERE: OnceLock<Option<File>> = OnceLock::new();
        let nowhere = NOWHERE.get_or_init(|| File::options().write(true).open("/dev/null").ok());
        nowhere.as_ref().map_or(0, |nowhere| {
            splice(self.end.as_fd(), None, nowhere, None, MAX_PIPE, SpliceFlags::NONBLOCK).unwrap_or(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn output(limit: u64) -> (Output, std::io::PipeWriter, std::io::PipeWriter) {
        let (stdout, stdout_writer) = std::io::pipe().unwrap();
        let (stderr, stderr_writer) = std::io::pipe().unwrap();
        let output = Output::new(stdout.into(), stderr.into()).unwrap();
        output.set_limit(limit);
        (output, stdout_writer, stderr_writer)
    }

    fn texts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| &line[31..]).collect()
    }

    #[tokio::test]
    async fn what_is_in_the_pipes_belongs_to_the_activation_that_ends() {
        let (output, mut stdout, mut stderr) = output(1000);
        stdout.write_all(b"one\ntwo").unwrap();
        stderr.write_all(b"err\n").unwrap();
        assert_eq!(texts(&output.take()), ["stdout: one", "stderr: err", "stdout: two"]);
        stdout.write_all(b"late\n").unwrap();
        assert_eq!(texts(&output.take()), ["stdout: late"]);
        drop((stdout, stderr));
        output.pump().await;
        assert!(output.take().is_empty());
    }

    #[tokio::test]
    async fn a_flood_passes_and_leaves_its_first_bytes() {
        const FLOOD: usize = 64 << 20;
        let (output, mut stdout, stderr) = output(1000);
        drop(stderr);
        let function = std::thread::spawn(move || {
            let piece = [b'x'; 1 << 16];
            for _ in 0..FLOOD / piece.len() {
                stdout.write_all(&piece).unwrap();
            }
        });
        output.pump().await;
        function.join().unwrap();
        let lines = output.take();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() < 1000);
        assert!(lines[1].contains("Logs were truncated"));
    }

    #[tokio::test]
    async fn a_limit_of_zero_still_reads() {
        let (output, mut stdout, _stderr) = output(0);
        let function = std::thread::spawn(move || stdout.write_all(&vec![b'x'; 1 << 20]).unwrap());
        tokio::select! {
            () = output.pump() => {}
            () = async { while !function.is_finished() { tokio::task::yield_now().await } } => {}
        }
        function.join().unwrap();
        assert!(output.take().is_empty());
    }
}

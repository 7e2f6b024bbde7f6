//! What a cell with an image prints: read from its two pipes, all the time, into the container's log.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chasen_entity::frame::Stream;
use chasen_runtime::http::Output;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;

/// What is read at a time. Untouched pages of it cost nothing.
const BUFFER: usize = 64 * 1024;
/// The most that a pipe can be made to hold without privileges: nothing that was printed before lies behind it.
const MAX_PIPE: usize = 1 << 20;

/// Both pipes of one cell.
#[derive(Debug)]
pub(super) struct Printed {
    stdout: Pipe,
    stderr: Pipe,
    output: Arc<Output>,
}

#[derive(Debug)]
struct Pipe {
    stream: Stream,
    end: Receiver,
    /// Reading and adding happen under this lock, so that pieces stay in order.
    buffer: Mutex<Box<[u8]>>,
}

impl Printed {
    /// Takes over the reading ends. Must be called in the async runtime.
    ///
    /// # Errors
    /// When the descriptors are no pipes.
    pub(super) fn new(stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stdout: Pipe::new(Stream::Stdout, stdout)?,
            stderr: Pipe::new(Stream::Stderr, stderr)?,
            output: Arc::default(),
        })
    }

    /// Where it is all put.
    pub(super) fn output(&self) -> Arc<Output> {
        Arc::clone(&self.output)
    }

    /// Reads whatever comes until both streams have ended.
    pub(super) async fn pump(&self) {
        tokio::join!(self.stdout.pump(&self.output), self.stderr.pump(&self.output));
        self.output.close();
    }

    /// Reads what the pipes hold now.
    pub(super) fn drain(&self) {
        self.stdout.drain(&self.output);
        self.stderr.drain(&self.output);
    }
}

impl Pipe {
    fn new(stream: Stream, end: OwnedFd) -> io::Result<Self> {
        let buffer = Mutex::new(vec![0; BUFFER].into_boxed_slice());
        Ok(Self { stream, end: Receiver::from_owned_fd(end)?, buffer })
    }

    async fn pump(&self, output: &Output) {
        while self.end.readable().await.is_ok() {
            match self.read(output, |buffer| self.end.try_read(buffer)) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            // A flood must not keep this thread from everybody else.
            tokio::task::yield_now().await;
        }
    }

    /// Asks the system itself: the runtime may learn of these bytes later than of the answer that followed them.
    fn drain(&self, output: &Output) {
        let mut total = 0;
        while total < MAX_PIPE
            && let Ok(count @ 1..) = self.read(output, |buffer| Ok(rustix::io::read(&self.end, buffer)?))
        {
            total += count;
        }
    }

    fn read(&self, output: &Output, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut buffer = self.buffer.lock();
        let count = read(&mut buffer)?;
        if count > 0 {
            output.add(self.stream, buffer.get(..count).unwrap_or_default(), Timestamp::now());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn pipes_are_read_to_their_end_in_order() {
        let (stdout, mut writer) = io::pipe().unwrap();
        let (stderr, other) = io::pipe().unwrap();
        let printed = Printed::new(stdout.into(), stderr.into()).unwrap();
        writer.write_all(b"early\n").unwrap();
        printed.drain();
        let function = std::thread::spawn(move || {
            for number in 0..100_000 {
                writeln!(writer, "{number}").unwrap();
            }
            drop(other);
        });
        printed.pump().await;
        function.join().unwrap();
    }
}

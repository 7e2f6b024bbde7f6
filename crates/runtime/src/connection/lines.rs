//! The one-line form that foreign executables speak: a line in on their standard input, a line out on their
//! descriptor 3.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use super::collector::{Body, Collector};
use super::{Broken, MAX_ANSWER};
use crate::walls::{self, Wall};

/// What is read at a time.
const BUFFER: usize = 8 * 1024;
/// Most bytes that are thrown away before a question: the most that a pipe can hold.
const MAX_STALE: usize = 1 << 20;
/// How long a second line is waited for after a first one that could be an acknowledgement as well as an answer.
const DOUBT: Duration = Duration::from_millis(250);

/// Bytes that were read, and how many of them were used.
#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn forget(&mut self) {
        (self.start, self.end) = (0, 0);
    }
}

/// One executable's connection. Exchanges follow each other.
#[derive(Debug)]
pub struct LineConnection {
    input: pipe::Sender,
    output: pipe::Receiver,
    keep: usize,
    buffer: Buffer,
    /// True until the first line is there: it alone may be an acknowledgement.
    may_acknowledge: bool,
}

impl LineConnection {
    /// Takes over the writing end of the executable's standard input and the reading end of its descriptor 3;
    /// at most `keep` bytes of a line are kept. Must be called in the async runtime.
    ///
    /// # Errors
    /// When the descriptors are no pipes.
    pub fn new(input: OwnedFd, output: OwnedFd, keep: usize) -> io::Result<Self> {
        let input = pipe::Sender::from_owned_fd(input)?;
        let output = pipe::Receiver::from_owned_fd(output)?;
        let buffer = Buffer { bytes: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 };
        Ok(Self { input, output, keep, buffer, may_acknowledge: true })
    }

    /// Sends `text` as one line and waits for one line. What the executable had written before is thrown away, so
    /// that a late acknowledgement or an answer too many is not taken for this one's.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no use after.
    pub async fn exchange(&mut self, text: &[u8]) -> Result<Body, Broken> {
        self.discard()?;
        let mut line: Vec<u8> = Vec::with_capacity(text.len() + 1);
        // Legal in JSON between tokens only, so that nothing is lost.
        for piece in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
            line.extend_from_slice(piece);
        }
        line.push(b'\n');
        let Self { input, output, keep, buffer, .. } = self;
        // Both at once: an executable may answer before it has read to the end.
        let both = tokio::try_join!(write_all(input, &line), read_line(output, buffer, *keep));
        let answer = both.map(|((), answer)| answer)?;
        let doubtful = std::mem::replace(&mut self.may_acknowledge, false) && is_acknowledgement(&answer);
        if doubtful && self.another_line_follows().await? {
            return self.next_line().await;
        }
        Ok(answer)
    }

    /// True if the first line was a late acknowledgement: it came before the question was read, or is not the last.
    async fn another_line_follows(&mut self) -> Result<bool, Broken> {
        let unread = rustix::io::ioctl_fionread(&self.input).map_err(io::Error::from)?;
        if !self.buffer.unread().is_empty() || unread > 0 {
            return Ok(true);
        }
        match timeout(DOUBT, fill(&mut self.output, &mut self.buffer)).await {
            Ok(filled) => filled.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Takes an acknowledgement or another first line that nobody asked for.
    pub async fn first_line(&mut self) -> Result<Body, Broken> {
        let line = self.next_line().await?;
        self.may_acknowledge = false;
        Ok(line)
    }

    /// Sends `text` as one line, without an answer.
    ///
    /// # Errors
    /// As [`LineConnection::exchange`].
    pub async fn send(&mut self, text: &[u8]) -> Result<(), Broken> {
        write_all(&self.input, text).await?;
        write_all(&self.input, b"\n").await
    }

    /// The next line, without its end. Safe to cancel as long as the line is shorter than a pipe's buffer.
    ///
    /// # Errors
    /// As [`LineConnection::exchange`].
    pub async fn next_line(&mut self) -> Result<Body, Broken> {
        read_line(&mut self.output, &mut self.buffer, self.keep).await
    }

    /// Throws away what has been written already.
    fn discard(&mut self) -> Result<(), Broken> {
        if !walls::stand(Wall::ReplyOwner) {
            return Ok(());
        }
        self.buffer.forget();
        for _ in 0..=MAX_STALE / BUFFER {
            // Asks the system itself: the runtime may not have learnt yet of what is there.
            match rustix::io::read(&self.output, &mut *self.buffer.bytes) {
                Ok(0) => return Err(Broken::Closed),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Err(Broken::Endless)
    }
}

/// `{"ok":true}`, spaced in any way.
fn is_acknowledgement(line: &Body) -> bool {
    let Body::Whole(line) = line else { return false };
    let text: Vec<u8> = line.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    text == br#"{"ok":true}"#
}

async fn write_all(input: &pipe::Sender, mut bytes: &[u8]) -> Result<(), Broken> {
    while !bytes.is_empty() {
        match input.try_write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => input.writable().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads up to the next line end; what follows it stays in the buffer.
async fn read_line(output: &mut pipe::Receiver, buffer: &mut Buffer, keep: usize) -> Result<Body, Broken> {
    let mut line = Collector::new(keep, 0);
    loop {
        let unread = buffer.unread();
        if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
            line.add(unread.get(..end).unwrap_or_default());
            buffer.start += end + 1;
            return Ok(line.finish());
        }
        line.add(unread);
        if line.length() > MAX_ANSWER as u64 {
            return Err(Broken::Endless);
        }
        fill(output, buffer).await?;
    }
}

/// Waits for bytes and replaces those in the buffer, all of which have been used, by them. Safe to cancel.
async fn fill(output: &mut pipe::Receiver, buffer: &mut Buffer) -> Result<(), Broken> {
    buffer.forget();
    match output.read(&mut buffer.bytes).await? {
        0 => Err(Broken::Closed),
        count => {
            buffer.end = count;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    struct Executable {
        input: BufReader<std::io::PipeReader>,
        output: std::io::PipeWriter,
    }

    fn pair(keep: usize) -> (LineConnection, Executable) {
        let (input, their_input) = std::io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
        let (output, their_output) = std::io::pipe().unwrap();
        let ours = LineConnection::new(input.into(), output.into(), keep).unwrap();
        (ours, Executable { input: BufReader::new(their_input), output: their_output })
    }

    #[tokio::test]
    async fn a_line_in_and_a_line_out() {
        let (mut ours, mut theirs) = pair(100);
        let runtime = std::thread::spawn(move || {
            for _ in 0..2 {
                let mut line = String::new();
                theirs.input.read_line(&mut line).unwrap();
                theirs.output.write_all(line.to_uppercase().as_bytes()).unwrap();
            }
        });
        assert_eq!(ours.exchange(b"{\"a\":\r\n1}").await.unwrap(), Body::Whole(b"{\"A\":1}".to_vec()));
        assert_eq!(ours.exchange(b"two").await.unwrap(), Body::Whole(b"TWO".to_vec()));
        runtime.join().unwrap();
        assert_eq!(ours.exchange(b"x").await, Err(Broken::Closed));
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_the_next_one_is_whole() {
        let (mut ours, mut theirs) = pair(10);
        let runtime = std::thread::spawn(move || {
            let mut line = String::new();
            theirs.input.read_line(&mut line).unwrap();
            theirs.output.write_all(&[b'x'; 300_000]).unwrap();
            theirs.output.write_all(b"\n").unwrap();
            theirs.input.read_line(&mut line).unwrap();
            theirs.output.write_all(b"{}\n").unwrap();
        });
        assert_eq!(ours.exchange(b"1").await.unwrap(), Body::Cut { length: 300_000, kept: vec![b'x'; 10] });
        assert_eq!(ours.exchange(b"2").await.unwrap(), Body::Whole(b"{}".to_vec()));
        runtime.join().unwrap();
    }

    #[tokio::test]
    async fn a_late_acknowledgement_is_not_the_first_answer() {
        for acknowledges in [true, false] {
            let (mut ours, mut theirs) = pair(100);
            let runtime = std::thread::spawn(move || {
                let mut line = String::new();
                theirs.input.read_line(&mut line).unwrap();
                if acknowledges {
                    theirs.output.write_all(b"{ \"ok\": true }\n").unwrap();
                }
                theirs.output.write_all(b"{\"ok\":true}\n").unwrap();
                theirs.input.read_line(&mut line).unwrap();
                theirs.output.write_all(b"{\"ok\":true}\n").unwrap();
            });
            for _ in 0..2 {
                assert_eq!(ours.exchange(b"1").await.unwrap(), Body::Whole(b"{\"ok\":true}".to_vec()));
            }
            runtime.join().unwrap();
        }
    }

    #[tokio::test]
    async fn what_was_written_before_the_question_is_no_answer() {
        let (mut ours, mut theirs) = pair(100);
        theirs.output.write_all(b"{\"ok\":true}\n{\"stale\":1}\n").unwrap();
        let runtime = std::thread::spawn(move || {
            let mut line = String::new();
            theirs.input.read_line(&mut line).unwrap();
            theirs.output.write_all(b"{\"fresh\":1}\n").unwrap();
            theirs
        });
        assert_eq!(ours.exchange(b"1").await.unwrap(), Body::Whole(b"{\"fresh\":1}".to_vec()));
        runtime.join().unwrap();
    }
}

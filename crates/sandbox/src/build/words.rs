//! What a compiler says, within bounds.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

/// Most bytes that are kept; compilers say what matters first.
const KEPT: usize = 64 * 1024;
/// What is read at a time.
const PIECE: usize = 4096;
/// What a silent failure is called.
const SILENT: &str = "cannot compile";

/// What a developer is told about code that was not built: several lines, without the last line's end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(String);

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self(text.trim_end().to_owned())
    }
}

impl Words {
    /// All of it; never empty.
    pub(crate) fn text(&self) -> &str {
        if self.0.is_empty() { SILENT } else { &self.0 }
    }

    /// True if nothing was said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a line of the platform's own.
    pub(super) fn add(&mut self, line: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0.push_str(line);
    }
}

/// Listens to a pipe.
pub(super) struct Listener {
    pipe: Receiver,
    heard: Vec<u8>,
    cut: bool,
}

impl Listener {
    /// Takes over the reading end. Must be called in the async runtime.
    pub(super) fn new(end: OwnedFd) -> io::Result<Self> {
        Ok(Self { pipe: Receiver::from_owned_fd(end)?, heard: Vec::new(), cut: false })
    }

    /// Listens until everybody who could speak has ended. Safe to cancel.
    pub(super) async fn listen(&mut self) {
        while self.pipe.readable().await.is_ok() && self.take() {}
    }

    /// What was said, with what the pipe still holds.
    pub(super) fn finish(mut self) -> Words {
        // Bounded: nobody fills it any more, and it holds no more than the system's largest pipe.
        while self.take_now() > 0 {}
        let mut words = Words::from(String::from_utf8_lossy(&self.heard).as_ref());
        if self.cut {
            words.add("… (more was said)");
        }
        words
    }

    /// False at the end.
    fn take(&mut self) -> bool {
        let mut piece = [0; PIECE];
        match self.pipe.try_read(&mut piece) {
            Ok(0) => false,
            Ok(count) => {
                self.keep(piece.get(..count).unwrap_or_default());
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Asks the system itself, which may know of more than the runtime.
    fn take_now(&mut self) -> usize {
        let mut piece = [0; PIECE];
        let count = rustix::io::read(&self.pipe, &mut piece).unwrap_or(0);
        self.keep(piece.get(..count).unwrap_or_default());
        count
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT.saturating_sub(self.heard.len());
        self.cut |= room < piece.len();
        self.heard.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn everything_is_heard_and_the_beginning_kept() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut listener = Listener::new(reader.into()).unwrap();
        let speaker = std::thread::spawn(move || {
            writeln!(writer, "main.go:3:5: undefined: x").unwrap();
            writer.write_all(&vec![b'x'; 4 * KEPT]).unwrap();
        });
        listener.listen().await;
        speaker.join().unwrap();
        let words = listener.finish();
        assert!(words.text().starts_with("main.go:3:5: undefined: x\nxxx"));
        assert!(words.text().ends_with("\n… (more was said)"));
        assert!(words.text().len() < KEPT + 100);
    }

    #[test]
    fn silence_has_a_name() {
        assert_eq!(Words::default().text(), "cannot compile");
        assert_eq!(Words::from("a\n").text(), "a");
    }
}

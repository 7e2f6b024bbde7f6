//! What a newborn tells the helper through its pipe: that its program runs, why it never will, or how it ended.

use std::os::fd::{AsFd, OwnedFd};

use crate::cell::ExitStatus;

/// Longest text of a failure that is passed on, bytes; a pipe passes this much in one piece.
const MAX_REASON: usize = 1024;

/// One message from a newborn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// Everything is ready for the program, which a fork server may bear now.
    Prepared,
    /// The program has been executed, or will be as soon as its files come.
    Started,
    /// A step failed; the newborn ends.
    Failed(String),
    /// All is well, but the program is not there or is none; the newborn ends.
    NotExecutable(String),
    /// The program has ended; the newborn follows it.
    Ended(ExitStatus),
}

const PREPARED: u8 = b'p';
const STARTED: u8 = b's';
const FAILED: u8 = b'f';
const NOT_EXECUTABLE: u8 = b'x';
const RETURNED: u8 = b'r';
const SIGNALLED: u8 = b'k';

/// The newborn's end.
#[derive(Debug)]
pub(crate) struct Teller(pub(crate) OwnedFd);

impl Teller {
    /// Sends one message: kind, length of the rest in two bytes, the rest.
    pub(crate) fn tell(&self, news: &News) {
        let number;
        let (kind, rest): (u8, &[u8]) = match news {
            News::Prepared => (PREPARED, &[]),
            News::Started => (STARTED, &[]),
            News::Failed(reason) => (FAILED, reason.as_bytes()),
            News::NotExecutable(reason) => (NOT_EXECUTABLE, reason.as_bytes()),
            News::Ended(ExitStatus::Code(code)) => {
                number = code.to_be_bytes();
                (RETURNED, &number)
            }
            News::Ended(ExitStatus::Signal(signal)) => {
                number = signal.to_be_bytes();
                (SIGNALLED, &number)
            }
            News::Ended(ExitStatus::Lost) => return,
        };
        let rest = rest.get(..MAX_REASON.min(rest.len())).unwrap_or_default();
        let length = u16::try_from(rest.len()).unwrap_or(0);
        let message = [&[kind], length.to_be_bytes().as_slice(), rest].concat();
        // When the helper is gone this process is about to be killed as well.
        let _ = rustix::io::write(&self.0, &message);
    }

    /// Whether the helper still listens.
    pub(crate) fn is_heard(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut pipe = [PollFd::new(&self.0, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut pipe, Some(&now)).is_ok_and(|ready| ready == 0)
    }
}

/// The helper's end.
#[derive(Debug)]
pub(crate) struct Listener {
    pipe: OwnedFd,
    pending: Vec<u8>,
    closed: bool,
}

impl Listener {
    /// Makes a pair; neither end blocks nor survives an `exec`.
    pub(crate) fn pair() -> rustix::io::Result<(Self, Teller)> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (pipe, teller) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok((Self { pipe, pending: Vec::new(), closed: false }, Teller(teller)))
    }

    /// The next complete message; `None` when none is there yet.
    pub(crate) fn next(&mut self) -> Option<News> {
        loop {
            if let Some(news) = self.take() {
                return Some(news);
            }
            let mut chunk = [0; 256];
            match rustix::io::read(self.pipe.as_fd(), &mut chunk) {
                Ok(0) => {
                    self.closed = true;
                    return None;
                }
                Ok(count) => self.pending.extend(chunk.get(..count).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits until the other end is closed; gives the last message.
    pub(crate) fn wait_for_close(&mut self) -> Option<News> {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut last = None;
        while !self.closed {
            match self.next() {
                Some(news) => last = Some(news),
                None if self.closed => {}
                None => {
                    // Interrupted or not: it is looked at again.
                    let _ = poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], None);
                }
            }
        }
        last
    }

    /// Whether the newborn has closed its end, so that nothing more will come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    fn take(&mut self) -> Option<News> {
        let (kind, length) = match *self.pending.as_slice() {
            [kind, high, low, ..] => (kind, usize::from(u16::from_be_bytes([high, low]))),
            _ => return None,
        };
        let rest = self.pending.get(3..3 + length)?.to_vec();
        self.pending.drain(..3 + length);
        let number = || rest.as_slice().try_into().map(i32::from_be_bytes).unwrap_or(-1);
        Some(match kind {
            PREPARED => News::Prepared,
            STARTED => News::Started,
            RETURNED => News::Ended(ExitStatus::Code(number())),
            SIGNALLED => News::Ended(ExitStatus::Signal(number())),
            NOT_EXECUTABLE => News::NotExecutable(String::from_utf8_lossy(&rest).into_owned()),
            _ => News::Failed(String::from_utf8_lossy(&rest).into_owned()),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_whole() {
        let (mut listener, teller) = Listener::pair().unwrap();
        assert_eq!(listener.next(), None);
        assert!(!listener.is_closed());
        teller.tell(&News::Prepared);
        teller.tell(&News::Started);
        teller.tell(&News::Ended(ExitStatus::Signal(9)));
        teller.tell(&News::Failed("x".repeat(5000)));
        assert_eq!(listener.next(), Some(News::Prepared));
        assert_eq!(listener.next(), Some(News::Started));
        assert_eq!(listener.next(), Some(News::Ended(ExitStatus::Signal(9))));
        assert_eq!(listener.next(), Some(News::Failed("x".repeat(MAX_REASON))));
        drop(teller);
        assert_eq!(listener.next(), None);
        assert!(listener.is_closed());
    }

    #[test]
    fn teller_notices_that_nobody_listens() {
        let (listener, teller) = Listener::pair().unwrap();
        assert!(teller.is_heard());
        drop(listener);
        assert!(!teller.is_heard());
    }
}

//! One connection: who is holding things up, and a close that lets the client read its answer.
//!
//! A connection is *idle* (between requests, or taking a response), *reading a head*, or *busy* (a request is being
//! served, which has bounds of its own). The phase is a word that the stream and the service write and that one
//! lazily re-armed timer per connection reads: a request costs no timer operation.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Longest time that a closing connection is read from, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Busy,
}

/// Phase of a connection and since when, shared by its stream, its service and its watchdog.
#[derive(Debug)]
pub(crate) struct Activity {
    opened: Instant,
    /// Milliseconds since `opened`, then two bits of phase.
    word: AtomicU64,
    unread_body: AtomicBool,
    last: AtomicBool,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            word: AtomicU64::new(0),
            unread_body: AtomicBool::new(false),
            last: AtomicBool::new(false),
        })
    }

    /// A request is being served.
    pub(crate) fn begin(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
        self.last.store(false, Ordering::Relaxed);
        self.set(Phase::Busy);
    }

    /// A request has its response.
    pub(crate) fn end(&self) {
        self.set(Phase::Idle);
    }

    /// A response goes out before its request was read: close slowly. A `short` rest has most likely arrived, and
    /// is skipped without closing anything.
    pub(crate) fn leave_unread(&self, short: bool) {
        self.unread_body.store(true, Ordering::Relaxed);
        self.last.store(!short, Ordering::Relaxed);
    }

    /// True if the connection can serve no other request after this one.
    pub(crate) fn is_last(&self) -> bool {
        self.last.load(Ordering::Relaxed)
    }

    fn received(&self) {
        if self.get().0 == Phase::Idle {
            self.set(Phase::Head);
        }
    }

    fn sent(&self) {
        if self.get().0 == Phase::Idle {
            self.set(Phase::Idle);
        }
    }

    /// When the present phase is over its bound; `None` while there is none.
    pub(crate) fn deadline(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let (phase, since) = self.get();
        match phase {
            Phase::Idle => Some(since + idle),
            Phase::Head => Some(since + head),
            Phase::Busy => None,
        }
    }

    fn get(&self) -> (Phase, Instant) {
        let word = self.word.load(Ordering::Relaxed);
        let phase = match word & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, self.opened + Duration::from_millis(word >> 2))
    }

    fn set(&self, phase: Phase) {
        self.word.store(crate::clock::millis(self.opened.elapsed()) << 2 | phase as u64, Ordering::Relaxed);
    }
}

/// A stream that reports its activity, and that reads on for a moment when it is closed over an unread body.
pub(crate) struct WatchedStream {
    stream: TcpStream,
    activity: Arc<Activity>,
    closing: Closing,
}

enum Closing {
    Open,
    Lingering(Pin<Box<Sleep>>),
}

impl WatchedStream {
    pub(crate) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity, closing: Closing::Open }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.received();
        }
        poll
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if poll.is_ready() {
            self.activity.sent();
        }
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if poll.is_ready() {
            self.activity.sent();
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.closing, Closing::Open) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.activity.unread_body.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            this.closing = Closing::Lingering(Box::pin(tokio::time::sleep(LINGER)));
        }
        let Closing::Lingering(until) = &mut this.closing else { return Poll::Ready(Ok(())) };
        let mut scratch = [0u8; 16 * 1024];
        loop {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return until.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(30);
    const IDLE: Duration = Duration::from_secs(70);

    #[tokio::test(start_paused = true)]
    async fn phases_have_their_deadlines() {
        let activity = Activity::new();
        let start = Instant::now();
        assert_eq!(activity.deadline(HEAD, IDLE), Some(start + IDLE));
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.received();
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.received();
        assert_eq!(
            activity.deadline(HEAD, IDLE),
            Some(start + Duration::from_secs(1) + HEAD),
            "drops do not prolong"
        );
        activity.begin();
        activity.received();
        assert_eq!(activity.deadline(HEAD, IDLE), None);
        activity.end();
        tokio::time::advance(Duration::from_secs(1)).await;
        activity.sent();
        assert_eq!(
            activity.deadline(HEAD, IDLE),
            Some(start + Duration::from_secs(3) + IDLE),
            "a taken byte does"
        );
    }
}

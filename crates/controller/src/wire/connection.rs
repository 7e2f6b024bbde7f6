//! One connection: who is holding things up, and a close that lets the client read its answer.
//!
//! A connection is *idle* (between requests), *reading a head*, *busy* (a request is being served, which has bounds of
//! its own), or *answering* (the client takes the response). The phase is a word that the stream and the service write and that one
//! lazily re-armed timer per connection reads: a request costs no timer operation. Whoever takes a response slowly
//! has the time of an idle one, and bytes that were taken buy more at [`SLOWEST`].

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Longest time that a closing connection is read from, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(5);

/// Bytes of a response that a client must take in a second, on the whole.
const SLOWEST: u64 = 4 * 1024;

/// The order is that in which connections make room for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Idle,
    Head,
    Busy,
    Answering,
}

/// Phase of a connection and since when, shared by its stream, its service and its watchdog.
#[derive(Debug)]
pub(crate) struct Activity {
    /// The other end.
    peer: IpAddr,
    opened: Instant,
    /// Milliseconds since `opened`, then two bits of phase.
    word: AtomicU64,
    unread_body: AtomicBool,
    last: AtomicBool,
    evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Activity {
    pub(crate) fn new(peer: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            peer,
            opened: Instant::now(),
            word: AtomicU64::new(0),
            unread_body: AtomicBool::new(false),
            last: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// The address of the other end.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Asks the connection to make room for another one; it stays if a request has come meanwhile.
    pub(crate) fn evict(&self) {
        self.evicted.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// True if it was asked to make room and nobody is served on it. While somebody is, the question is forgotten.
    pub(crate) fn is_evicted(&self) -> bool {
        let asked = self.evicted.load(Ordering::Acquire);
        let stays = asked && self.silence().is_none();
        if stays {
            self.evicted.store(false, Ordering::Release);
        }
        asked && !stays
    }

    /// Ready once the connection was asked to make room; else whoever polls is woken when it is.
    pub(crate) fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Since when nobody is served or answered; `None` while somebody is.
    pub(crate) fn silence(&self) -> Option<(Phase, Instant)> {
        Some(self.get()).filter(|(phase, _)| matches!(phase, Phase::Idle | Phase::Head))
    }

    /// A request is being served.
    pub(crate) fn begin(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
        self.last.store(false, Ordering::Relaxed);
        self.set(Phase::Busy);
    }

    /// A request has its response, which goes out.
    pub(crate) fn end(&self) {
        self.set(Phase::Answering);
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

    fn sent(&self, bytes: usize) {
        let (phase, since) = self.get();
        if phase == Phase::Answering {
            let bought = Duration::from_millis((bytes as u64).saturating_mul(1000) / SLOWEST);
            self.set_at(phase, (since + bought).min(Instant::now()));
        }
    }

    fn flushed(&self) {
        let (phase, since) = self.get();
        if phase == Phase::Answering {
            self.set_at(Phase::Idle, since);
        }
    }

    /// When the present phase is over its bound; `None` while there is none.
    pub(crate) fn deadline(&self, head: Duration, idle: Duration) -> Option<Instant> {
        let (phase, since) = self.get();
        match phase {
            Phase::Idle | Phase::Answering => Some(since + idle),
            Phase::Head => Some(since + head),
            Phase::Busy => None,
        }
    }

    fn get(&self) -> (Phase, Instant) {
        let word = self.word.load(Ordering::Relaxed);
        let phase = match word & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Answering,
        };
        (phase, self.opened + Duration::from_millis(word >> 2))
    }

    fn set(&self, phase: Phase) {
        self.set_at(phase, Instant::now());
    }

    fn set_at(&self, phase: Phase, since: Instant) {
        let since = crate::clock::millis(since.saturating_duration_since(self.opened));
        self.word.store(since << 2 | phase as u64, Ordering::Relaxed);
    }
}

/// A stream that reports its activity, and that reads on for a moment when it is closed over an unread body.
pub(crate) struct WatchedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    closing: Closing,
}

enum Closing {
    Open,
    Lingering(Pin<Box<Sleep>>),
}

impl<S> WatchedStream<S> {
    pub(crate) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, closing: Closing::Open }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes)) = poll {
            self.activity.sent(bytes);
        }
        poll
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes)) = poll {
            self.activity.sent(bytes);
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(poll, Poll::Ready(Ok(()))) {
            self.activity.flushed();
        }
        poll
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
        let activity = Activity::new(IpAddr::from([127, 0, 0, 1]));
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
        tokio::time::advance(Duration::from_secs(10)).await;
        let (ended, second) = (start + Duration::from_secs(2), Duration::from_secs(1));
        activity.sent(1);
        assert_eq!(activity.deadline(HEAD, IDLE), Some(ended + IDLE), "nor does a byte");
        activity.sent(4096);
        assert_eq!(activity.deadline(HEAD, IDLE), Some(ended + second + IDLE), "what is taken does");
        activity.sent(1 << 20);
        assert_eq!(activity.deadline(HEAD, IDLE), Some(Instant::now() + IDLE), "but not in advance");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_served_is_not_asked_to_go() {
        let activity = Activity::new(IpAddr::from([127, 0, 0, 1]));
        assert!(!activity.is_evicted());
        activity.evict();
        assert!(activity.is_evicted());
        activity.begin();
        assert!(!activity.is_evicted());
        activity.end();
        activity.evict();
        assert!(!activity.is_evicted(), "nor who is answered");
        activity.flushed();
        assert!(!activity.is_evicted(), "the question is forgotten");
        activity.evict();
        assert!(activity.is_evicted());
    }
}

//! The framed connection: any number of exchanges at a time over one socket, without a task of its own.
//!
//! With one exchange in flight its task writes the request and reads the reply, nothing else wakes. With several,
//! whoever waits first reads for all and hands replies to their owners; when its own has come, the next one reads.

use std::collections::hash_map::Entry;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use chasen_entity::frame::{FrameKind, HEADER_LEN, PROTOCOL_VERSION, Stream, encode_header};
use chasen_entity::{ActivationId, ById};
use parking_lot::Mutex;
use rustix::io::Errno;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::Broken;
use super::awake::{Habit, Wait};
use super::collector::Body;
use super::frames::{Frame, Frames};
use crate::walls::{self, Wall};

/// What a launcher says when its interpreter is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Hello {
    /// Version of the protocol that it speaks.
    pub protocol: u8,
    /// True if it takes several runs at a time.
    pub concurrent: bool,
}

/// What a launcher answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Initialisation succeeded.
    Initialized,
    /// The function's answer.
    Result(Body),
    /// The runtime refused or failed.
    DeveloperError(Body),
}

/// Where what one activation prints goes, if its launcher attributes it.
pub trait LogSink: Send + Sync {
    /// Takes a piece, cut anywhere; called in the order of printing. Whatever is kept of it is bounded by the sink.
    fn add(&self, stream: Stream, text: &[u8]);
}

/// One launcher's connection.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    writing: AsyncMutex<()>,
    reading: AsyncMutex<Incoming>,
    exchanges: Mutex<Exchanges>,
    habit: Habit,
}

/// What comes from the launcher.
#[derive(Debug)]
struct Incoming {
    /// The socket once more, known to the async runtime for reading only: a socket that is known for writing too
    /// would wake somebody whenever the launcher has read.
    socket: pipe::Receiver,
    frames: Frames,
    keep: usize,
}

/// Who waits for what.
#[derive(Debug, Default)]
struct Exchanges {
    slots: ById<Exchange>,
    broken: Option<Broken>,
}

/// One request under way.
struct Exchange {
    slot: Slot,
    log: Option<Arc<dyn LogSink>>,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.slot.fmt(f)
    }
}

#[derive(Debug)]
enum Slot {
    /// Its owner writes, reads, or is about to look.
    Open,
    /// Its owner sleeps until this is used or dropped.
    Asleep(oneshot::Sender<Reply>),
    /// Another one's reading brought the reply before its owner slept.
    Delivered(Reply),
}

impl Connection {
    /// Takes over one end of a Unix stream socket pair; at most `keep` bytes of a payload are kept.
    /// Must be called in the async runtime.
    ///
    /// # Errors
    /// When the descriptor is not fit for it.
    pub fn new(socket: OwnedFd, keep: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let incoming = pipe::Receiver::from_owned_fd_unchecked(socket.try_clone()?)?;
        Ok(Self {
            socket,
            writing: AsyncMutex::default(),
            reading: AsyncMutex::new(Incoming { socket: incoming, frames: Frames::new(), keep }),
            exchanges: Mutex::default(),
            habit: Habit::new(&Handle::current()),
        })
    }

    /// Waits for the launcher's first word.
    ///
    /// # Errors
    /// [`Broken`] when it ends, or says anything else.
    pub async fn hello(&self) -> Result<Hello, Broken> {
        let frame = self.reading.lock().await.next_frame().await?;
        let hello = match (frame.kind, frame.body) {
            (FrameKind::Hello, Body::Whole(text)) => serde_json::from_slice::<Hello>(&text).ok(),
            _ => None,
        };
        hello
            .filter(|hello| hello.protocol == PROTOCOL_VERSION)
            .ok_or_else(|| Broken::Unexpected("not the greeting of a launcher of this version".to_owned()))
    }

    /// Sends a request and waits for the reply to `id`; what is printed for it meanwhile goes to `log`, or nowhere.
    /// Dropping the future before its end breaks the connection.
    ///
    /// # Errors
    /// [`Broken`], now and for everybody else from now on.
    pub async fn exchange(
        &self,
        kind: FrameKind,
        id: &ActivationId,
        payload: &[u8],
        log: Option<Arc<dyn LogSink>>,
    ) -> Result<Reply, Broken> {
        {
            let mut exchanges = self.exchanges.lock();
            if let Some(broken) = &exchanges.broken {
                return Err(broken.clone());
            }
            match exchanges.slots.entry(*id) {
                Entry::Vacant(vacant) => vacant.insert(Exchange { slot: Slot::Open, log }),
                Entry::Occupied(_) => {
                    return Err(Broken::Unexpected(format!("activation {id} runs here already")));
                }
            };
        }
        let mut pending = Pending { connection: self, reason: Broken::Abandoned, done: false };
        let result = self.write_and_wait(kind, id, payload).await;
        match &result {
            Ok(_) => pending.done = true,
            Err(broken) => pending.reason = broken.clone(),
        }
        result
    }

    async fn write_and_wait(
        &self,
        kind: FrameKind,
        id: &ActivationId,
        payload: &[u8],
    ) -> Result<Reply, Broken> {
        {
            let _turn = self.writing.lock().await;
            self.write(kind, id, payload).await?;
        }
        let wait = self.habit.wait();
        if let Ok(mut incoming) = self.reading.try_lock() {
            self.look(&mut incoming, &wait)?;
            return self.read_until(&mut incoming, *id).await;
        }
        let mut receiver = match self.fall_asleep(*id)? {
            Sleep::Delivered(reply) => return Ok(reply),
            Sleep::Until(receiver) => receiver,
        };
        tokio::select! {
            biased;
            reply = &mut receiver => reply.map_err(|_| self.reason()),
            mut incoming = self.reading.lock() => {
                // The one who read before may have delivered just before leaving.
                if let Ok(reply) = receiver.try_recv() {
                    return Ok(reply);
                }
                self.read_until(&mut incoming, *id).await
            }
        }
    }

    /// Reads what comes at once, without sleeping.
    fn look(&self, incoming: &mut Incoming, wait: &Wait<'_>) -> Result<(), Broken> {
        let read = wait.look(|| {
            let room = incoming.frames.room();
            // Without room a read would look like the end.
            if room.is_empty() {
                return None;
            }
            match rustix::io::read(&self.socket, room) {
                Err(Errno::AGAIN | Errno::INTR) => None,
                read => Some(read),
            }
        });
        match read {
            None => Ok(()),
            Some(Ok(0)) => Err(Broken::Closed),
            Some(Ok(count)) => {
                incoming.frames.filled(count);
                Ok(())
            }
            Some(Err(error)) => Err(io::Error::from(error).into()),
        }
    }

    /// Reads until the reply to `own` is there; replies to others are handed over.
    async fn read_until(&self, incoming: &mut Incoming, own: ActivationId) -> Result<Reply, Broken> {
        {
            let mut exchanges = self.exchanges.lock();
            if let Some(broken) = &exchanges.broken {
                return Err(broken.clone());
            }
            if let Some(reply) = exchanges.take_delivered(&own) {
                return Ok(reply);
            }
            if let Some(exchange) = exchanges.slots.get_mut(&own) {
                exchange.slot = Slot::Open;
            }
        }
        loop {
            let frame = incoming.next_frame().await?;
            let is_log = frame.kind == FrameKind::Log;
            if let Some(reply) = self.take(frame, own)? {
                self.hand_over_rest(incoming, own);
                return Ok(reply);
            }
            if is_log {
                // A flood must not keep this thread from looking at the time.
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Sees to a frame: the reply to `own` is given back.
    fn take(&self, frame: Frame, own: ActivationId) -> Result<Option<Reply>, Broken> {
        let id = ActivationId::from_bytes(frame.activation_id);
        let reply = match frame.kind {
            FrameKind::Initialized => Reply::Initialized,
            FrameKind::Result => Reply::Result(frame.body),
            FrameKind::DeveloperError => Reply::DeveloperError(frame.body),
            FrameKind::Log => return self.pass_on(&id, &frame.body).map(|()| None),
            FrameKind::Hello | FrameKind::Init | FrameKind::Run => {
                return Err(Broken::Unexpected(format!("a frame of kind {:?}", frame.kind)));
            }
        };
        self.exchanges.lock().deliver(id, own, reply)
    }

    /// Hands over the frames that came with the reply to `own`: their owners need not take turns in reading then.
    fn hand_over_rest(&self, incoming: &mut Incoming, own: ActivationId) {
        while let Some(frame) = incoming.frames.next(incoming.keep).transpose() {
            let seen_to = frame.map_err(Broken::from).and_then(|frame| self.take(frame, own));
            if let Err(broken) = seen_to {
                return self.break_for_all(broken);
            }
        }
    }

    /// Gives a piece of log to whom it belongs. Activations that are over have their record: nobody takes it then.
    fn pass_on(&self, id: &ActivationId, body: &Body) -> Result<(), Broken> {
        let (Body::Whole(piece) | Body::Cut { kept: piece, .. }) = body;
        let Some((stream, text)) = piece.split_first() else {
            return Err(Broken::Unexpected("a piece of log without a stream".to_owned()));
        };
        let stream = Stream::from_u8(*stream)
            .ok_or_else(|| Broken::Unexpected(format!("a piece of log for stream {stream}")))?;
        let log = self.exchanges.lock().slots.get(id).and_then(|exchange| exchange.log.clone());
        if let Some(log) = log {
            log.add(stream, text);
        }
        Ok(())
    }

    fn fall_asleep(&self, own: ActivationId) -> Result<Sleep, Broken> {
        let mut exchanges = self.exchanges.lock();
        if let Some(broken) = &exchanges.broken {
            return Err(broken.clone());
        }
        if let Some(reply) = exchanges.take_delivered(&own) {
            return Ok(Sleep::Delivered(reply));
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(exchange) = exchanges.slots.get_mut(&own) {
            exchange.slot = Slot::Asleep(sender);
        }
        Ok(Sleep::Until(receiver))
    }

    async fn write(&self, kind: FrameKind, id: &ActivationId, payload: &[u8]) -> Result<(), Broken> {
        let mut header = Vec::with_capacity(HEADER_LEN);
        encode_header(&mut header, kind, Some(id), payload.len());
        let (mut header, mut payload) = (header.as_slice(), payload);
        while !(header.is_empty() && payload.is_empty()) {
            let written =
                match rustix::io::writev(&self.socket, &[IoSlice::new(header), IoSlice::new(payload)]) {
                    Ok(written) => written,
                    Err(Errno::AGAIN) => {
                        self.writable().await?;
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    Err(error) => return Err(io::Error::from(error).into()),
                };
            let of_header = written.min(header.len());
            header = header.get(of_header..).unwrap_or_default();
            payload = payload.get(written - of_header..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the launcher has read some of what lies in the socket.
    async fn writable(&self) -> io::Result<()> {
        pipe::Sender::from_owned_fd_unchecked(self.socket.try_clone()?)?.writable().await
    }

    /// Ends the conversation for everybody.
    fn break_for_all(&self, reason: Broken) {
        let mut exchanges = self.exchanges.lock();
        if exchanges.broken.is_none() {
            exchanges.broken = Some(reason);
        }
        // Sleepers see their sender gone. Whoever reads now breaks on its own or comes to its end.
        exchanges.slots.clear();
    }

    fn reason(&self) -> Broken {
        self.exchanges.lock().broken.clone().unwrap_or(Broken::Abandoned)
    }
}

impl Incoming {
    async fn next_frame(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some(frame) = self.frames.next(self.keep)? {
                return Ok(frame);
            }
            match self.socket.read(self.frames.room()).await? {
                0 => return Err(Broken::Closed),
                count => self.frames.filled(count),
            }
        }
    }
}

impl Exchanges {
    /// The reply that another one's reading brought, which ends the exchange.
    fn take_delivered(&mut self, own: &ActivationId) -> Option<Reply> {
        let Entry::Occupied(entry) = self.slots.entry(*own) else { return None };
        match entry.get().slot {
            Slot::Delivered(_) => match entry.remove().slot {
                Slot::Delivered(reply) => Some(reply),
                Slot::Open | Slot::Asleep(_) => None,
            },
            Slot::Open | Slot::Asleep(_) => None,
        }
    }

    /// Takes a reply that was read by the owner of the exchange `own`, and gives it back if it is its own.
    fn deliver(
        &mut self,
        id: ActivationId,
        own: ActivationId,
        reply: Reply,
    ) -> Result<Option<Reply>, Broken> {
        let id = if walls::stand(Wall::ReplyOwner) { id } else { own };
        let Entry::Occupied(mut entry) = self.slots.entry(id) else {
            return Err(Broken::Unexpected("a reply to nothing that was asked".to_owned()));
        };
        match &entry.get().slot {
            Slot::Delivered(_) => return Err(Broken::Unexpected("a second reply".to_owned())),
            Slot::Open if id == own => {
                entry.remove();
                return Ok(Some(reply));
            }
            // What it prints from here on is nobody's, whenever its owner comes to look.
            Slot::Open => *entry.get_mut() = Exchange { slot: Slot::Delivered(reply), log: None },
            Slot::Asleep(_) => {
                // A receiver that is gone has broken the connection already.
                if let Slot::Asleep(owner) = entry.remove().slot {
                    drop(owner.send(reply));
                }
            }
        }
        Ok(None)
    }
}

enum Sleep {
    Delivered(Reply),
    Until(oneshot::Receiver<Reply>),
}

/// An exchange under way: unless it is done, its end is the connection's.
struct Pending<'a> {
    connection: &'a Connection,
    reason: Broken,
    done: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.connection.break_for_all(self.reason.clone());
    }
}

#[cfg(test)]
mod tests;

//! One connection: a request out, a reply in, never waiting.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::measure::ErrorClass;
use crate::reply::{Broken, Decoder};
use crate::wire::{Place, Wire};

/// Bytes of a body that are kept for whoever asks what was wrong.
const OPENING: usize = 200;

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    /// So much of the request is written.
    Sending(usize),
    Receiving,
    /// Nothing is asked.
    Idle,
}

/// What came of looking at a connection.
#[derive(Debug)]
pub(super) enum Looked {
    /// It goes on when the socket is ready again, to be written to where this is true.
    Wait { to_write: bool },
    /// The reply is whole.
    Answered,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) class: ErrorClass,
    pub(super) why: String,
}

impl Failed {
    fn broken(why: impl std::fmt::Display) -> Self {
        Self { class: ErrorClass::Broken, why: why.to_string() }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    state: State,
    pub(super) decoder: Decoder,
    /// The part of a reply's head or chunk line that could not be read yet.
    held: Vec<u8>,
    /// How the body begins.
    pub(super) opening: Vec<u8>,
    /// True if the poll is asked to tell when it can be written to.
    pub(super) watches_write: bool,
    pub(super) received: u64,
}

impl Connection {
    /// Begins to connect. The outer error is one of this machine.
    pub(super) fn open(place: &Place, is_head: bool) -> Result<Result<Self, Failed>, std::io::Error> {
        let to = place.address;
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Ok(Err(Failed { class: ErrorClass::Connect, why: error.to_string() })),
        }
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        Ok(Ok(Self {
            wire: Wire::new(stream, place.handshake.as_ref())?,
            state: State::Connecting,
            decoder: Decoder::new(is_head),
            held: Vec::new(),
            opening: Vec::new(),
            watches_write: true,
            received: 0,
        }))
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.wire.stream()
    }

    /// The next request may be sent.
    pub(super) fn ask(&mut self, is_head: bool) {
        self.state = State::Sending(0);
        self.decoder = Decoder::new(is_head);
        self.opening.clear();
        self.received = 0;
    }

    /// The reply is taken; true if the connection can be used again.
    pub(super) fn release(&mut self) -> bool {
        let is_sent = self.state == State::Receiving;
        self.state = State::Idle;
        is_sent && self.decoder.keep_alive && self.held.is_empty()
    }

    /// Does what can be done without waiting: connect, write `request`, read with the help of `scratch`.
    pub(super) fn go_on(&mut self, request: &[u8], scratch: &mut [u8]) -> Result<Looked, Failed> {
        if self.state == State::Connecting && !self.is_connected()? {
            return Ok(Looked::Wait { to_write: true });
        }
        if let State::Sending(written) = self.state {
            self.send(request, written)?;
            if self.wire.is_shaking_hands() || self.state == State::Receiving && self.received == 0 {
                // Nothing can have come yet.
                return Ok(Looked::Wait { to_write: self.has_unsent() });
            }
        }
        match self.receive(scratch)? {
            true => Ok(Looked::Answered),
            false => Ok(Looked::Wait { to_write: self.has_unsent() }),
        }
    }

    fn has_unsent(&self) -> bool {
        self.wire.has_unsent().unwrap_or(matches!(self.state, State::Sending(_)))
    }

    fn is_connected(&mut self) -> Result<bool, Failed> {
        let failed = |error: std::io::Error| Failed { class: ErrorClass::Connect, why: error.to_string() };
        if let Some(error) = self.stream().take_error().map_err(failed)? {
            return Err(failed(error));
        }
        match self.stream().peer_addr() {
            Ok(_) => {
                self.state = State::Sending(0);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn send(&mut self, request: &[u8], mut written: usize) -> Result<(), Failed> {
        while let Some(rest) = request.get(written..).filter(|rest| !rest.is_empty()) {
            match self.wire.write(rest) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.state = State::Sending(written);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if self.wire.is_shaking_hands() => {
                    return Err(Failed { class: ErrorClass::Connect, why: error.to_string() });
                }
                // The server may have answered before it closed: that is read first.
                Err(error) if written == 0 => return Err(Failed::broken(error)),
                Err(_) => break,
            }
        }
        self.state = State::Receiving;
        Ok(())
    }

    /// True once the reply is whole.
    fn receive(&mut self, scratch: &mut [u8]) -> Result<bool, Failed> {
        loop {
            let held = self.held.len();
            let (before, free) =
                scratch.split_at_mut_checked(held).ok_or_else(|| Failed::broken(Broken::Head))?;
            if free.is_empty() {
                return Err(Failed::broken(Broken::Head));
            }
            before.copy_from_slice(&self.held);
            let room = free.len();
            let length = match self.wire.read(free) {
                Ok(0) => return self.decoder.end().map(|()| true).map_err(Failed::broken),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::broken(error)),
            };
            self.received += length as u64;
            let input = scratch.get(..held + length).unwrap_or_default();
            let opening = &mut self.opening;
            let mut keep = |part: &[u8]| {
                let room = OPENING.saturating_sub(opening.len());
                if room > 0 {
                    opening.extend_from_slice(part.get(..room).unwrap_or(part));
                }
            };
            let used = self.decoder.decode(input, &mut keep).map_err(Failed::broken)?;
            self.held.clear();
            self.held.extend_from_slice(input.get(used..).unwrap_or_default());
            if self.decoder.is_done() {
                return Ok(true);
            }
            if length < room {
                return Ok(false);
            }
        }
    }
}

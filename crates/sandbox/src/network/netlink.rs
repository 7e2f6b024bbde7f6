//! Netlink: messages, attributes and a socket to the kernel.
//!
//! The kernel handles a request while it is being sent, so every answer but a dump's waits in the
//! socket when the call returns: no request here waits for anybody.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};

use super::error::NetworkError;

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// The kernel's largest dump message is 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;
const ERROR: u16 = 2;
const DONE: u16 = 3;

pub(super) const REQUEST: u16 = 0x1;
pub(super) const ACK: u16 = 0x4;
pub(super) const DUMP: u16 = 0x300;
pub(super) const EXCLUSIVE: u16 = 0x200;
pub(super) const CREATE: u16 = 0x400;
pub(super) const APPEND: u16 = 0x800;

/// A list of netlink attributes in wire form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds one attribute and the padding to four bytes. Callers keep values below 64 KiB; the
    /// kernel refuses the message of one that did not.
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as every nf_tables attribute wants it.
    pub(super) fn be32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// The same, of eight bytes.
    pub(super) fn be64(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut terminated = value.as_bytes().to_vec();
        terminated.push(0);
        self.bytes(kind, &terminated)
    }

    pub(super) fn nest(self, kind: u16, inner: Self) -> Self {
        self.nested_bytes(kind, &inner.0)
    }

    /// Nests attributes that are in wire form already.
    pub(super) fn nested_bytes(self, kind: u16, inner: &[u8]) -> Self {
        self.bytes(kind | NESTED, inner)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Reads attributes from wire form; stops at the first malformed one.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes, 0)?);
        let kind = read_u16(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// One request: type, flags, the fixed header of its family, attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    pub(super) fn new(kind: u16, flags: u16, fixed: &[u8], attributes: &Attributes) -> Self {
        let mut body = fixed.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        body.extend_from_slice(attributes.as_bytes());
        Self { kind, flags: flags | REQUEST, body }
    }

    fn encode(&self, sequence: u32, out: &mut Vec<u8>) {
        let length = u32::try_from(HEADER_BYTES + self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&self.flags.to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
        out.resize(out.len().next_multiple_of(4), 0);
    }

    #[cfg(test)]
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A request and what it does, in words that complete "cannot …".
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) message: Message,
    /// Whether the kernel says that it is done; refusals it always says.
    acknowledged: bool,
}

impl Step {
    pub(super) fn new(what: &'static str, message: Message) -> Self {
        Self { what, message, acknowledged: true }
    }

    /// A step that the kernel only answers when it refuses it.
    pub(super) fn unacknowledged(what: &'static str, message: Message) -> Self {
        Self { what, message, acknowledged: false }
    }
}

struct Incoming<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

fn incoming(mut bytes: &[u8]) -> impl Iterator<Item = Incoming<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(read_u32(bytes, 0)?).ok()?;
        let message = Incoming {
            kind: read_u16(bytes, 4)?,
            sequence: read_u32(bytes, 8)?,
            body: bytes.get(HEADER_BYTES..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The errno of an answer of type `ERROR`; zero is an acknowledgement.
fn errno(body: &[u8]) -> i32 {
    read_u32(body, 0).map_or(libc::EBADMSG, |raw| raw.cast_signed().wrapping_neg())
}

/// A netlink socket of the network namespace in which it was opened, wherever its thread goes.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket for links, addresses, routes and neighbours.
    pub(super) fn route() -> Result<Self, NetworkError> {
        Self::open(SockProtocol::NetlinkRoute, "open a netlink socket for links and routes")
    }

    /// Opens a socket for nf_tables and connection tracking.
    pub(super) fn netfilter() -> Result<Self, NetworkError> {
        Self::open(SockProtocol::NetlinkNetFilter, "open a netlink socket for packet filtering")
    }

    fn open(protocol: SockProtocol, what: &'static str) -> Result<Self, NetworkError> {
        let fd = socket::socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .map_err(|error| NetworkError::kernel(what, error.into()))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends `steps` together. Every step that can be is acknowledged, or the first refusal is the
    /// error; the steps after a refused one may still have happened.
    pub(super) fn run(&mut self, steps: &[Step]) -> Result<(), NetworkError> {
        let first = self.sequence.wrapping_add(1);
        let mut request = Vec::new();
        for step in steps {
            self.sequence = self.sequence.wrapping_add(1);
            let mut message = step.message.clone();
            message.flags |= if step.acknowledged { ACK } else { 0 };
            message.encode(self.sequence, &mut request);
        }
        let expected = steps.iter().filter(|step| step.acknowledged).count();
        let sent = steps.first().map_or("talk to the kernel", |step| step.what);
        self.send(&request).map_err(|error| NetworkError::kernel(sent, error))?;
        let mut acknowledged = 0;
        let mut refusal = None;
        while let Some(length) =
            self.receive(MsgFlags::MSG_DONTWAIT).map_err(|e| NetworkError::kernel(sent, e))?
        {
            for answer in incoming(self.buffer.get(..length).unwrap_or_default()) {
                let position = answer.sequence.wrapping_sub(first);
                if answer.kind != ERROR {
                    continue;
                }
                match errno(answer.body) {
                    0 => acknowledged += 1,
                    code => {
                        let position = usize::try_from(position).unwrap_or(usize::MAX);
                        let what = steps.get(position).map_or(sent, |step| step.what);
                        refusal.get_or_insert((what, io::Error::from_raw_os_error(code)));
                    }
                }
            }
        }
        match refusal {
            Some((what, error)) => Err(NetworkError::kernel(what, error)),
            None if acknowledged < expected => {
                Err(NetworkError::kernel(sent, io::Error::other("the kernel did not acknowledge every step")))
            }
            None => Ok(()),
        }
    }

    /// Sends one question and hands every answer's type and body to `each`. A question with
    /// [`DUMP`] has many answers.
    pub(super) fn ask(&mut self, step: &Step, mut each: impl FnMut(u16, &[u8])) -> Result<(), NetworkError> {
        let failed = |error| NetworkError::kernel(step.what, error);
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = Vec::new();
        let mut message = step.message.clone();
        let dump = message.flags & DUMP == DUMP;
        if !dump {
            message.flags |= ACK;
        }
        message.encode(self.sequence, &mut request);
        self.send(&request).map_err(failed)?;
        // A dump goes on being produced while it is read, by the reader's own call.
        while let Some(length) = self.receive(MsgFlags::MSG_DONTWAIT).map_err(failed)? {
            for answer in incoming(self.buffer.get(..length).unwrap_or_default()) {
                match answer.kind {
                    DONE => return Ok(()),
                    ERROR => match errno(answer.body) {
                        0 => return Ok(()),
                        code => return Err(failed(io::Error::from_raw_os_error(code))),
                    },
                    kind => each(kind, answer.body),
                }
            }
        }
        Err(failed(io::Error::other("the kernel's answer has no end")))
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let sent = socket::send(self.fd.as_raw_fd(), request, MsgFlags::empty())?;
        if sent == request.len() { Ok(()) } else { Err(io::Error::other("the request was cut short")) }
    }

    /// Length of the next datagram now in the buffer, or `None` when there is none.
    fn receive(&mut self, flags: MsgFlags) -> io::Result<Option<usize>> {
        loop {
            match socket::recv(self.fd.as_raw_fd(), &mut self.buffer, flags) {
                Ok(length) => return Ok(Some(length)),
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let written = Attributes::new().bytes(3, b"abcde").u32(4, 7).nest(5, Attributes::new().text(1, "x"));
        assert_eq!(written.as_bytes().len() % 4, 0);
        let read: Vec<_> = attributes(written.as_bytes()).collect();
        assert_eq!(read[0], (3, b"abcde".as_slice()));
        assert_eq!(read[1], (4, 7u32.to_ne_bytes().as_slice()));
        assert_eq!(read[2].0, 5);
        assert_eq!(attributes(read[2].1).collect::<Vec<_>>(), [(1, b"x\0".as_slice())]);
    }

    #[test]
    fn malformed_attributes_end_the_reading() {
        for bytes in [&[0u8; 4][..], &[3, 0, 1, 0], &[200, 0, 1, 0, 9], &[8, 0]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_carries_its_length_and_sequence() {
        let message = Message::new(16, CREATE, &[1, 2, 3], &Attributes::new().u32(1, 9));
        let mut wire = Vec::new();
        message.encode(5, &mut wire);
        assert_eq!(wire.len(), 16 + 4 + 8);
        let read = incoming(&wire).next().unwrap();
        assert_eq!((read.kind, read.sequence, read.body.len()), (16, 5, 12));
        assert_eq!(&read.body[..4], [1, 2, 3, 0]);
    }

    #[test]
    fn the_kernel_answers_a_dump_of_links() {
        let mut socket = Socket::route().unwrap();
        let message = Message::new(libc::RTM_GETLINK, DUMP, &[0; 16], &Attributes::new());
        let mut links = 0;
        socket.ask(&Step::new("list the links", message), |_, _| links += 1).unwrap();
        assert!(links >= 1);
    }
}

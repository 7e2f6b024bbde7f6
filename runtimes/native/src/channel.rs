//! Frames over a blocking stream.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use chasen_entity::ActivationId;
use chasen_entity::frame::{FrameHeader, FrameKind, HEADER_LEN, decode_header, encode_header};

/// Most bytes of a request.
const MAX_REQUEST: usize = 256 << 20;
/// Most bytes of a reply that the other end reads to stay in step.
const MAX_REPLY: u64 = 256 << 20;

/// The invoker's line to this launcher.
pub(crate) struct Channel {
    socket: UnixStream,
}

/// One request.
pub(crate) struct Request {
    pub(crate) kind: FrameKind,
    pub(crate) activation_id: ActivationId,
    pub(crate) payload: Vec<u8>,
}

impl Channel {
    /// Takes over standard input.
    pub(crate) fn from_standard_input() -> io::Result<Self> {
        // The copy is closed on exec and children get another standard input: the function cannot reach it.
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(false)?;
        Ok(Self { socket })
    }

    /// The next request; `None` when the invoker has closed.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Request>> {
        let mut header = [0; HEADER_LEN];
        match self.socket.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let FrameHeader { kind, activation_id, payload_len } =
            decode_header(&header, MAX_REQUEST).map_err(io::Error::other)?;
        let mut payload = vec![0; payload_len];
        self.socket.read_exact(&mut payload)?;
        Ok(Some(Request { kind, activation_id: ActivationId::from_bytes(activation_id), payload }))
    }

    /// Sends a whole payload.
    pub(crate) fn send(
        &mut self,
        kind: FrameKind,
        id: Option<&ActivationId>,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut frame = Vec::with_capacity(HEADER_LEN + payload.len());
        encode_header(&mut frame, kind, id, payload.len());
        frame.extend_from_slice(payload);
        self.socket.write_all(&frame)
    }

    /// Sends a result of which only the first bytes were kept. The other end keeps no more either, but counts:
    /// the rest is blanks.
    pub(crate) fn send_cut_result(&mut self, id: &ActivationId, kept: &[u8], length: u64) -> io::Result<()> {
        let length = length.min(MAX_REPLY);
        let mut header = Vec::with_capacity(HEADER_LEN);
        encode_header(
            &mut header,
            FrameKind::Result,
            Some(id),
            usize::try_from(length).unwrap_or(usize::MAX),
        );
        self.socket.write_all(&header)?;
        self.socket.write_all(kept)?;
        let blanks = length.saturating_sub(kept.len() as u64);
        io::copy(&mut io::repeat(b' ').take(blanks), &mut self.socket)?;
        Ok(())
    }

    /// Says `{"error": text}`.
    pub(crate) fn refuse(&mut self, id: &ActivationId, text: &str) -> io::Result<()> {
        let body = serde_json::json!({ "error": text }).to_string();
        self.send(FrameKind::DeveloperError, Some(id), body.as_bytes())
    }
}

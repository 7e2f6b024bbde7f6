//! The launcher protocol: frames between an invoker and a launcher inside a sandbox.
//!
//! One frame is `u32 length` (big endian, of everything after it), `u8 kind`, 16 bytes of activation id
//! (all zero where a frame belongs to none), then the payload. Replies may come in any order: the id says
//! whose they are. This file is pure: it encodes and decodes, the rooms at both ends do the reading.
//!
//! **Runs that overlap.** `Hello` says whether the launcher can have several runs in it, `Init` how many the action
//! allows. With one, runs follow each other and what a run prints comes through the standard streams. With more, the
//! launcher takes the next `Run` before it has answered the last, and attributes what user code prints while it
//! serves an activation: as [`FrameKind::Log`] frames, all of an activation's before its reply. What belongs to no
//! activation (printed while the code is loaded, by native code or by child processes) comes through the standard
//! streams as ever. Frames about activations that are not in flight are dropped if they are logs, and break the
//! connection if they are replies.

use std::fmt;

use crate::ActivationId;

/// Bytes before the payload: length, kind, activation id.
pub const HEADER_LEN: usize = 4 + 1 + 16;

/// Version that a launcher announces in [`FrameKind::Hello`].
pub const PROTOCOL_VERSION: u8 = 1;

/// Most bytes of text in one [`FrameKind::Log`] frame; a longer one is no frame.
pub const MAX_LOG: usize = 64 * 1024;

/// Which stream a piece of log was printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

impl Stream {
    /// The stream with this number, if there is one.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Launcher → invoker, once, when the interpreter is up: payload `{"protocol":1,"concurrent":bool}`.
    Hello = 1,
    /// Invoker → launcher, once: payload `{"value":{"name","main","binary","maxPayload","concurrency","path","env":{…}}}`;
    /// the code lies in `path`, and `concurrency` (at least 1) is the most runs that will be in flight.
    Init = 2,
    /// Launcher → invoker: `Init` succeeded; empty payload.
    Initialized = 3,
    /// Invoker → launcher: payload is the `/run` body, `{"value":…,"namespace":…,…}`.
    Run = 4,
    /// Launcher → invoker: the function's answer, the text of a 200 reply.
    Result = 5,
    /// Launcher → invoker: the runtime refused or failed (a non-200 reply): `{"error":…}` or raw text.
    DeveloperError = 6,
    /// Launcher → invoker: one piece of log of an activation that shares its sandbox with others: payload is one byte
    /// ([`Stream`]), then at most [`MAX_LOG`] bytes of UTF-8, cut anywhere.
    Log = 7,
}

impl FrameKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Init,
            3 => Self::Initialized,
            4 => Self::Run,
            5 => Self::Result,
            6 => Self::DeveloperError,
            7 => Self::Log,
            _ => return None,
        })
    }
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame says.
    pub kind: FrameKind,
    /// The activation it belongs to; all zero for none.
    pub activation_id: [u8; 16],
    /// Bytes of payload that follow.
    pub payload_len: usize,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The kind byte is not known.
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    /// The length is shorter than a header or longer than the reader allows.
    #[error("frame of {length} bytes, allowed are {minimum} to {maximum}")]
    Length {
        /// Announced length.
        length: usize,
        /// Shortest possible.
        minimum: usize,
        /// Longest that this reader takes.
        maximum: usize,
    },
}

/// Decodes a header; `max_payload` bounds what the reader will allocate.
pub fn decode_header(bytes: &[u8; HEADER_LEN], max_payload: usize) -> Result<FrameHeader, FrameError> {
    let [l0, l1, l2, l3, kind, id @ ..] = bytes;
    let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
    let minimum = HEADER_LEN - 4;
    let maximum = max_payload.saturating_add(minimum);
    if length < minimum || length > maximum {
        return Err(FrameError::Length { length, minimum, maximum });
    }
    let kind = FrameKind::from_u8(*kind).ok_or(FrameError::UnknownKind(*kind))?;
    let longest_log = MAX_LOG + 1 + minimum;
    if kind == FrameKind::Log && length > longest_log {
        return Err(FrameError::Length { length, minimum, maximum: longest_log });
    }
    Ok(FrameHeader { kind, activation_id: *id, payload_len: length - minimum })
}

/// Appends a header for `payload_len` bytes of payload to `out`; the caller appends the payload.
pub fn encode_header(
    out: &mut Vec<u8>,
    kind: FrameKind,
    activation_id: Option<&ActivationId>,
    payload_len: usize,
) {
    let length = u32::try_from(payload_len.saturating_add(HEADER_LEN - 4)).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(&activation_id.map_or([0; 16], ActivationId::to_bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        let id = ActivationId::from_bytes([7; 16]);
        let mut out = Vec::new();
        encode_header(&mut out, FrameKind::Run, Some(&id), 5);
        let header: [u8; HEADER_LEN] = out.as_slice().try_into().unwrap();
        let decoded = decode_header(&header, 5).unwrap();
        assert_eq!(decoded, FrameHeader { kind: FrameKind::Run, activation_id: [7; 16], payload_len: 5 });
        assert!(matches!(decode_header(&header, 4), Err(FrameError::Length { .. })));
    }

    #[test]
    fn forged_headers_are_errors() {
        let mut header = [0u8; HEADER_LEN];
        assert!(matches!(decode_header(&header, 10), Err(FrameError::Length { .. })));
        header[3] = 17;
        assert_eq!(decode_header(&header, 10), Err(FrameError::UnknownKind(0)));
        header[4] = 200;
        assert_eq!(decode_header(&header, 10), Err(FrameError::UnknownKind(200)));
    }

    #[test]
    fn pieces_of_log_are_short() {
        for (payload, good) in [(MAX_LOG + 1, true), (MAX_LOG + 2, false)] {
            let mut out = Vec::new();
            encode_header(&mut out, FrameKind::Log, None, payload);
            let header: [u8; HEADER_LEN] = out.as_slice().try_into().unwrap();
            assert_eq!(decode_header(&header, usize::MAX).is_ok(), good);
        }
    }
}

//! Replies of HTTP/1.1, read as they come: heads, lengths, chunks. Pure; bodies are passed on and never kept.

use std::mem::MaybeUninit;

use httparse::{Header, Response, Status};

/// Most headers of a reply.
const MAX_HEADERS: usize = 96;
/// Most bytes of a body.
const MAX_BODY: u64 = 256 << 20;
/// Where the platform puts the id of the activation.
const ACTIVATION_ID: &str = "x-openwhisk-activation-id";

/// Why a reply is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its head is none, or too large.
    #[error("the head of the reply cannot be read")]
    Head,
    /// It names two lengths, or none that can be.
    #[error("the reply contradicts itself about its length")]
    Length,
    /// A chunk is none.
    #[error("a chunk of the reply cannot be read")]
    Chunk,
    /// Its body is too large.
    #[error("the reply has more than {MAX_BODY} bytes")]
    TooLarge,
    /// Its end is missing.
    #[error("the connection was closed before the reply was whole")]
    Cut,
    /// It is no reply to the request.
    #[error("the server switched protocols")]
    Upgrade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are to come.
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// Reads one reply.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Status; 0 until the head is there.
    pub status: u16,
    /// True if the connection can be used again afterwards.
    pub keep_alive: bool,
    /// Id of the activation, if the reply names one.
    pub activation: Option<u128>,
    is_head: bool,
    bytes: u64,
}

impl Decoder {
    /// `is_head`: the reply is one to `HEAD`, which has no body whatever its head says.
    #[must_use]
    pub fn new(is_head: bool) -> Self {
        Self { state: State::Head, status: 0, keep_alive: true, activation: None, is_head, bytes: 0 }
    }

    /// True once the reply is whole.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what it can of `input` and says how much that was; what is left must be given again with more behind it.
    pub fn decode(&mut self, input: &[u8], body: &mut impl FnMut(&[u8])) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let step = match self.state {
                State::Head => self.head(rest)?,
                State::Body(left) => {
                    let (taken, left) = self.pass(rest, left, body)?;
                    self.state = if left == 0 { State::Done } else { State::Body(left) };
                    taken
                }
                State::Chunk(left) => {
                    let (taken, left) = self.pass(rest, left, body)?;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    taken
                }
                State::UntilClose => self.pass(rest, u64::MAX, body)?.0,
                State::ChunkSize => self.chunk_size(rest)?,
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        self.state = State::ChunkSize;
                        2
                    }
                    [b'\r'] => 0,
                    _ => return Err(Broken::Chunk),
                },
                State::Trailers => self.trailer(rest),
                State::Done => 0,
            };
            if step == 0 {
                break;
            }
            used += step;
        }
        Ok(used)
    }

    /// The connection ended: for some replies that is how they end.
    pub fn end(&mut self) -> Result<(), Broken> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Broken::Cut),
        }
    }

    fn head(&mut self, input: &[u8]) -> Result<usize, Broken> {
        let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
        let mut response = Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            input,
            &mut headers,
        );
        let Status::Complete(length) = parsed.map_err(|_| Broken::Head)? else { return Ok(0) };
        self.status = response.code.ok_or(Broken::Head)?;
        if self.status == 101 {
            return Err(Broken::Upgrade);
        }
        if self.status < 100 {
            return Err(Broken::Head);
        }
        if self.status < 200 {
            return Ok(length);
        }
        self.keep_alive = response.version == Some(1);
        let (mut declared, mut chunked) = (None, false);
        for header in response.headers.iter() {
            let (name, value) = (header.name, header.value);
            // Lengths first: few headers are of interest.
            match name.len() {
                14 if name.eq_ignore_ascii_case("content-length") => {
                    let length = number(value).ok_or(Broken::Length)?;
                    if declared.is_some_and(|other| other != length) {
                        return Err(Broken::Length);
                    }
                    declared = Some(length);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    chunked =
                        words(value).next_back().is_some_and(|word| word.eq_ignore_ascii_case(b"chunked"));
                    if !chunked {
                        return Err(Broken::Length);
                    }
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    if has_word(value, b"close") {
                        self.keep_alive = false;
                    } else if has_word(value, b"keep-alive") {
                        self.keep_alive = true;
                    }
                }
                25 if name.eq_ignore_ascii_case(ACTIVATION_ID) => {
                    self.activation = hex(value);
                }
                _ => {}
            }
        }
        self.state = if self.is_head || matches!(self.status, 204 | 304) {
            State::Done
        } else if chunked {
            State::ChunkSize
        } else {
            match declared {
                Some(0) => State::Done,
                Some(length) if length > MAX_BODY => return Err(Broken::TooLarge),
                Some(length) => State::Body(length),
                None => {
                    self.keep_alive = false;
                    State::UntilClose
                }
            }
        };
        Ok(length)
    }

    /// Passes on what there is of a piece: how much, and how much of the piece is left.
    fn pass(
        &mut self,
        input: &[u8],
        left: u64,
        body: &mut impl FnMut(&[u8]),
    ) -> Result<(usize, u64), Broken> {
        let taken = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        body(input.get(..taken).unwrap_or_default());
        self.bytes += taken as u64;
        if self.bytes > MAX_BODY {
            return Err(Broken::TooLarge);
        }
        Ok((taken, left - taken as u64))
    }

    fn chunk_size(&mut self, input: &[u8]) -> Result<usize, Broken> {
        let Status::Complete((length, size)) =
            httparse::parse_chunk_size(input).map_err(|_| Broken::Chunk)?
        else {
            return Ok(0);
        };
        self.state = match size {
            0 => State::Trailers,
            size if size > MAX_BODY => return Err(Broken::TooLarge),
            size => State::Chunk(size),
        };
        Ok(length)
    }

    /// One line of the trailers, the last of which is empty.
    fn trailer(&mut self, input: &[u8]) -> usize {
        let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return 0 };
        if end == 0 {
            self.state = State::Done;
        }
        end + 2
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter()
        .try_fold(0u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// Words of a value, which commas part.
fn words(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn has_word(value: &[u8], wanted: &[u8]) -> bool {
    words(value).any(|word| word.eq_ignore_ascii_case(wanted))
}

/// 32 hexadecimal digits.
pub(crate) fn hex(text: &[u8]) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.iter().try_fold(0u128, |id, byte| Some(id << 4 | u128::from(char::from(*byte).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds pieces of `size` bytes, keeping what was not used, as a connection does.
    fn read(reply: &[u8], size: usize, is_head: bool) -> (Decoder, Vec<u8>, Result<(), Broken>) {
        let mut decoder = Decoder::new(is_head);
        let (mut held, mut body) = (Vec::new(), Vec::new());
        for piece in reply.chunks(size) {
            held.extend_from_slice(piece);
            match decoder.decode(&held, &mut |part| body.extend_from_slice(part)) {
                Ok(used) => drop(held.drain(..used)),
                Err(why) => return (decoder, body, Err(why)),
            }
            if decoder.is_done() {
                return (decoder, body, Ok(()));
            }
        }
        let end = decoder.end();
        (decoder, body, end)
    }

    const LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-OpenWhisk-Activation-Id: 0123456789abcdef0123456789abcdef\r\n\r\nhello";
    const CHUNKS: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n";
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello";
    const CLOSE: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello";

    #[test]
    fn bodies_end_by_length_by_chunks_and_by_the_end() {
        for (reply, status, keep_alive) in
            [(LENGTH, 200, true), (CHUNKS, 200, true), (CONTINUE, 404, false), (CLOSE, 200, false)]
        {
            for size in [1, 2, 3, 7, 64, 4096] {
                let (decoder, body, end) = read(reply, size, false);
                assert_eq!(end, Ok(()), "{size}");
                assert_eq!(
                    (decoder.status, decoder.keep_alive, body.as_slice()),
                    (status, keep_alive, &b"hello"[..])
                );
            }
        }
        assert_eq!(read(LENGTH, 9, false).0.activation, Some(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
    }

    #[test]
    fn replies_without_body_end_with_their_head() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(head, 4096, true).2, Ok(()));
        assert_eq!(read(head, 4096, false).2, Err(Broken::Cut));
        assert!(read(b"HTTP/1.1 204 No Content\r\n\r\n", 4096, false).0.is_done());
    }

    #[test]
    fn broken_replies_are_told() {
        for (reply, why) in [
            (&b"SSH-2.0-OpenSSH\r\n"[..], Broken::Head),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Broken::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Broken::Length),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n", Broken::TooLarge),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Broken::Length),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Broken::Chunk),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", Broken::Chunk),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Broken::Upgrade),
            (b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n", Broken::Head),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Broken::Cut),
            (b"", Broken::Cut),
        ] {
            assert_eq!(read(reply, 4096, false).2, Err(why), "{}", String::from_utf8_lossy(reply));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_are_used_twice(bytes in proptest::collection::vec(any::<u8>(), 0..300), chunked: bool) {
            let head: &[u8] = if chunked { b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { b"" };
            let reply = [head, &bytes].concat();
            let whole = read(&reply, reply.len().max(1), false);
            let split = read(&reply, 1, false);
            prop_assert_eq!(whole.2.is_ok(), split.2.is_ok());
        }
    }
}

//! The output of a container as the engine sends it: stdout and stderr cut into frames in one stream.
//!
//! A frame is one byte for the stream (1 stdout, 2 stderr), three of no meaning, the payload's length in four bytes,
//! most significant first, and the payload.

use chasen_entity::frame::Stream;

/// Bytes before each payload.
const HEAD: usize = 8;

/// Takes the frames apart. Holds no payload: pieces are handed on as they come.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head that have come.
    known: usize,
    /// Bytes of the payload that have not.
    left: usize,
}

impl Frames {
    /// Hands the pieces of output in `bytes` to `each`, in order.
    ///
    /// # Errors
    /// A frame of a stream that there is not: what comes is no output of a container.
    pub(crate) fn push<'a>(
        &mut self,
        mut bytes: &'a [u8],
        mut each: impl FnMut(Stream, &'a [u8]),
    ) -> Result<(), UnknownStream> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some((&byte, rest)) = bytes.split_first() else { break };
                bytes = rest;
                if let Some(place) = self.head.get_mut(self.known) {
                    *place = byte;
                }
                self.known += 1;
                if self.known == HEAD {
                    let [_, _, _, _, a, b, c, d] = self.head;
                    self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.known = 0;
                }
                continue;
            }
            let stream = match self.head {
                // An engine sends nothing as stdin; as the reference implementations do, it counts as stdout.
                [0 | 1, ..] => Stream::Stdout,
                [2, ..] => Stream::Stderr,
                [other, ..] => return Err(UnknownStream(other)),
            };
            let (piece, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= piece.len();
            bytes = rest;
            each(stream, piece);
        }
        Ok(())
    }
}

/// A frame of a stream that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine sent a frame of stream {0}, which is neither stdout nor stderr")]
pub(crate) struct UnknownStream(pub(crate) u8);

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: u8, payload: &str) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0], &length[..], payload.as_bytes()].concat()
    }

    fn read(bytes: &[u8], cut: usize) -> Result<(String, String), UnknownStream> {
        let (mut frames, mut out, mut err) = (Frames::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(cut) {
            frames.push(piece, |stream, text| match stream {
                Stream::Stdout => out.extend_from_slice(text),
                Stream::Stderr => err.extend_from_slice(text),
            })?;
        }
        Ok((String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap()))
    }

    #[test]
    fn wherever_it_is_cut() {
        let all = [frame(1, "one\n"), frame(2, "two\n"), frame(1, ""), frame(1, "three\n")].concat();
        for cut in 1..=all.len() {
            assert_eq!(read(&all, cut).unwrap(), ("one\nthree\n".to_owned(), "two\n".to_owned()), "{cut}");
        }
    }

    #[test]
    fn what_is_no_output_is_refused() {
        assert_eq!(read(b"HTTP/1.1 200 OK\r\n\r\nxxxxxxx", 5), Err(UnknownStream(b'H')));
    }

    #[test]
    fn a_length_is_not_believed_before_its_bytes_come() {
        let mut frames = Frames::default();
        let mut seen = 0;
        frames.push(&[1, 0, 0, 0, 255, 255, 255, 255, b'x'], |_, piece| seen += piece.len()).unwrap();
        assert_eq!(seen, 1);
    }
}

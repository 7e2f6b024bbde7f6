//! Streams of JSON documents: the steps of a pull, the engine's events.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Longest document. A step of a pull has some hundred bytes, an event brings the container's labels.
const MAX_LINE: usize = 256 * 1024;

/// Documents out of an answer that goes on, one per line.
#[derive(Debug)]
pub(super) struct Lines<B = Incoming> {
    body: B,
    /// Came and is not read.
    buffer: BytesMut,
    /// Bytes of the buffer in which there is no end of a line.
    searched: usize,
    ended: bool,
}

impl<B> Lines<B>
where
    B: hyper::body::Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next line that is not blank; `None` at the end. Nothing is lost if the caller stops waiting.
    pub(super) async fn next(&mut self) -> Result<Option<BytesMut>, String> {
        loop {
            let found = self.buffer.get(self.searched..).and_then(|new| new.iter().position(|&b| b == b'\n'));
            if let Some(at) = found {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.ended {
                let rest = self.buffer.split();
                self.searched = 0;
                return Ok((!rest.trim_ascii().is_empty()).then_some(rest));
            }
            if self.searched > MAX_LINE {
                return Err(format!("a line of more than {MAX_LINE} bytes"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => self.ended = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    async fn lines(pieces: &[&'static str]) -> Result<Vec<String>, String> {
        let frames: Vec<Result<Frame<Bytes>, Infallible>> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
        let mut lines = Lines::new(StreamBody::new(stream::iter(frames)));
        let mut all = Vec::new();
        while let Some(line) = lines.next().await? {
            all.push(String::from_utf8(line.to_vec()).unwrap());
        }
        Ok(all)
    }

    #[tokio::test]
    async fn wherever_it_is_cut() {
        assert_eq!(
            lines(&["{\"a\":1}\n{\"b\"", ":2}\r", "\n\n", "{}"]).await.unwrap(),
            ["{\"a\":1}", "{\"b\":2}\r", "{}"]
        );
        assert_eq!(lines(&[]).await.unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_refused() {
        let piece: &'static str = Box::leak("x".repeat(MAX_LINE).into_boxed_str());
        assert!(lines(&[piece, piece, piece]).await.is_err());
    }
}

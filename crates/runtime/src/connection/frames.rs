//! Frames out of a stream of bytes; pure, so that every way of cutting the stream can be tested.

use chasen_entity::frame::{FrameError, FrameHeader, FrameKind, HEADER_LEN, decode_header};

use super::MAX_ANSWER;
use super::collector::{Body, Collector};

/// What is read at a time. Untouched pages of it cost nothing.
const BUFFER: usize = 64 * 1024;

/// One received frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) activation_id: [u8; 16],
    pub(super) body: Body,
}

/// Takes bytes, gives frames.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    current: Option<(FrameHeader, Collector)>,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, current: None }
    }

    /// Room for more bytes; never empty after [`Frames::next`] gave `None`.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that `count` bytes were put into [`Frames::room`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The next whole frame, or `None` if more bytes are needed for it. At most `keep` bytes of a payload are kept.
    pub(super) fn next(&mut self, keep: usize) -> Result<Option<Frame>, FrameError> {
        let (header, mut collector) = match self.current.take() {
            Some(current) => current,
            None => {
                let Some(header) = self.unread().first_chunk::<HEADER_LEN>() else { return Ok(None) };
                let header = decode_header(header, MAX_ANSWER)?;
                self.start += HEADER_LEN;
                (header, Collector::new(keep, header.payload_len))
            }
        };
        let missing = header.payload_len - usize::try_from(collector.length()).unwrap_or(usize::MAX);
        let unread = self.unread();
        let piece = unread.get(..missing).unwrap_or(unread);
        let taken = piece.len();
        collector.add(piece);
        self.start += taken;
        if taken < missing {
            self.current = Some((header, collector));
            return Ok(None);
        }
        Ok(Some(Frame { kind: header.kind, activation_id: header.activation_id, body: collector.finish() }))
    }

    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::ActivationId;
    use chasen_entity::frame::encode_header;
    use proptest::prelude::*;

    use super::*;

    fn feed(keep: usize, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, FrameError> {
        let (mut frames, mut got) = (Frames::new(), Vec::new());
        let mut rest = bytes;
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let room = frames.room();
            let count = (*cuts.next().unwrap()).clamp(1, room.len().min(rest.len()));
            room[..count].copy_from_slice(&rest[..count]);
            frames.filled(count);
            rest = &rest[count..];
            while let Some(frame) = frames.next(keep)? {
                got.push(frame);
            }
        }
        Ok(got)
    }

    fn kinds() -> impl Strategy<Value = FrameKind> {
        (1u8..=7).prop_map(|kind| FrameKind::from_u8(kind).unwrap())
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            sent in prop::collection::vec((kinds(), any::<[u8; 16]>(), prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            cuts in prop::collection::vec(1usize..200, 1..8),
        ) {
            let mut bytes = Vec::new();
            for (kind, id, payload) in &sent {
                encode_header(&mut bytes, *kind, Some(&ActivationId::from_bytes(*id)), payload.len());
                bytes.extend_from_slice(payload);
            }
            let keep = 100;
            let got = feed(keep, &bytes, &cuts).unwrap();
            let expected: Vec<Frame> = sent.into_iter().map(|(kind, activation_id, payload)| {
                let body = if payload.len() > keep {
                    Body::Cut { length: payload.len() as u64, kept: payload[..keep].to_vec() }
                } else {
                    Body::Whole(payload)
                };
                Frame { kind, activation_id, body }
            }).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..2000), cuts in prop::collection::vec(1usize..100, 1..4)) {
            // Errors are fine; kept bytes stay within the bound and nothing panics.
            if let Ok(frames) = feed(10, &bytes, &cuts) {
                for frame in frames {
                    let (Body::Whole(kept) | Body::Cut { kept, .. }) = frame.body;
                    prop_assert!(kept.len() <= 10);
                }
            }
        }
    }

    #[test]
    fn a_length_beyond_every_answer_is_refused_before_anything_is_kept() {
        let mut bytes = Vec::new();
        encode_header(&mut bytes, FrameKind::Result, None, MAX_ANSWER + 1);
        assert!(matches!(feed(10, &bytes, &[7]), Err(FrameError::Length { .. })));
    }

    #[test]
    fn payloads_longer_than_the_buffer_pass() {
        let mut bytes = Vec::new();
        encode_header(&mut bytes, FrameKind::Result, None, 3 * BUFFER);
        bytes.resize(bytes.len() + 3 * BUFFER, b'x');
        let got = feed(usize::MAX, &bytes, &[BUFFER]).unwrap();
        assert_eq!(got[0].body, Body::Whole(vec![b'x'; 3 * BUFFER]));
    }
}

//! Layers packed with zstd: one frame after the other, whatever lies between them skipped.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How a frame begins.
pub(super) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How something begins that readers skip, but for its first byte, of which four bits are anybody's.
const SKIPPED: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Bytes that are unpacked at a time.
const PIECE: usize = 128 << 10;

/// Unpacks frames. How far back a frame may refer, and with it the memory that it takes, is the decoder's to bound.
pub(super) struct Frames<R> {
    packed: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(packed: R) -> Self {
        Self { packed: BufReader::new(packed), decoder: FrameDecoder::new(), within: false }
    }

    /// Enters the next frame; false at the end.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            let mut magic = [0; 4];
            self.packed.read_exact(&mut magic)?;
            let [first, rest @ ..] = magic;
            if rest == SKIPPED && first & 0xf0 == 0x50 {
                let mut length = [0; 4];
                self.packed.read_exact(&mut length)?;
                let length = u64::from(u32::from_le_bytes(length));
                if io::copy(&mut (&mut self.packed).take(length), &mut io::sink())? < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                continue;
            }
            self.decoder.reset(magic.as_slice().chain(&mut self.packed)).map_err(io::Error::other)?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.within {
                if !self.enter()? {
                    return Ok(0);
                }
                self.within = true;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let piece = BlockDecodingStrategy::UptoBytes(PIECE);
                self.decoder.decode_blocks(&mut self.packed, piece).map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 if self.decoder.is_finished() => self.within = false,
                0 => {}
                count => return Ok(count),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hello\n` and `world\n`, each in a frame, something skipped between them.
    fn packed() -> Vec<u8> {
        let frame = |text: &[u8]| {
            // One raw block that is the last, in a frame that tells its length.
            let mut frame = [MAGIC.as_slice(), &[0x20, text.len() as u8]].concat();
            let header = (text.len() as u32) << 3 | 1;
            frame.extend(&header.to_le_bytes()[..3]);
            [frame.as_slice(), text].concat()
        };
        let skipped = [[0x5c, 0x2a, 0x4d, 0x18].as_slice(), &3_u32.to_le_bytes(), b"abc"].concat();
        [frame(b"hello\n"), skipped, frame(b"world\n")].concat()
    }

    #[test]
    fn frames_follow_each_other() {
        let mut text = String::new();
        Frames::new(packed().as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello\nworld\n");
    }

    #[test]
    fn what_is_cut_off_or_odd_is_an_error() {
        let packed = packed();
        for length in (1..packed.len()).filter(|length| ![15, 26].contains(length)) {
            assert!(Frames::new(&packed[..length]).read_to_end(&mut Vec::new()).is_err(), "{length}");
        }
        assert!(
            Frames::new([MAGIC.as_slice(), &[0xff; 40]].concat().as_slice())
                .read_to_end(&mut Vec::new())
                .is_err()
        );
    }
}

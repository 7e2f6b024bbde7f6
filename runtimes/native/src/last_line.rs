//! Tells the last line of a stream from those before it, in bounded memory.

use std::io::{self, Write};

/// Passes lines on, except the last one that is not blank.
pub(crate) struct LastLine<W> {
    log: W,
    keep: usize,
    /// The last line that was not blank.
    held: Option<Line>,
    /// Blank lines since.
    blanks: u64,
    /// The line that has not ended yet.
    current: Line,
}

/// A line of which at most the first bytes are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// First bytes, without white space around where the line is whole.
    pub(crate) kept: Vec<u8>,
    /// Length of the whole line.
    pub(crate) length: u64,
}

impl Line {
    fn add(&mut self, bytes: &[u8], keep: usize) {
        let room = keep - self.kept.len();
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.length += bytes.len() as u64;
    }

    /// True if not all of it was kept.
    pub(crate) fn is_cut(&self) -> bool {
        self.length > self.kept.len() as u64
    }

    fn is_blank(&self) -> bool {
        !self.is_cut() && self.kept.trim_ascii().is_empty()
    }
}

impl<W: Write> LastLine<W> {
    /// Passes lines on to `log`; keeps `keep` bytes of each, more are lost.
    pub(crate) fn new(log: W, keep: usize) -> Self {
        Self { log, keep, held: None, blanks: 0, current: Line::default() }
    }

    /// Takes bytes of the stream; what is log by then is flushed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        // What follows the last line end is the line to come.
        let rest = lines.next_back().unwrap_or_default();
        for line in lines {
            self.current.add(line, self.keep);
            self.end_line()?;
        }
        self.current.add(rest, self.keep);
        self.log.flush()
    }

    /// Ends the stream: the last line that is not blank, if there is one.
    pub(crate) fn finish(mut self) -> io::Result<Option<Line>> {
        if !self.current.is_blank() {
            self.end_line()?;
        }
        self.log.flush()?;
        Ok(self.held)
    }

    fn end_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.current);
        if line.is_blank() {
            self.blanks += 1;
            return Ok(());
        }
        if let Some(mut held) = self.held.replace(line) {
            held.kept.push(b'\n');
            self.log.write_all(&held.kept)?;
        }
        for _ in 0..std::mem::take(&mut self.blanks) {
            self.log.write_all(b"\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, piece: usize, keep: usize) -> (String, Option<(String, u64)>) {
        let mut log = Vec::new();
        let mut stream = LastLine::new(&mut log, keep);
        for piece in text.as_bytes().chunks(piece) {
            stream.feed(piece).unwrap();
        }
        let last = stream.finish().unwrap().map(|line| (String::from_utf8(line.kept).unwrap(), line.length));
        (String::from_utf8(log).unwrap(), last)
    }

    #[test]
    fn the_last_line_is_the_result_and_the_others_are_log() {
        for (text, log, last) in [
            ("", "", None),
            ("\n \n", "", None),
            ("{}", "", Some("{}")),
            ("{}\n", "", Some("{}")),
            ("a\nb\n{}\n\n", "a\nb\n", Some("{}")),
            ("\na\n\n\nb\n", "\na\n\n\n", Some("b")),
            ("a\n{} \n \n", "a\n", Some("{} ")),
        ] {
            for piece in 1..4 {
                let last = last.map(|last| (last.to_owned(), last.len() as u64));
                assert_eq!(split(text, piece, 100), (log.to_owned(), last), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn lines_beyond_the_bound_are_cut_and_counted() {
        let (log, last) = split("123456789\n123456789\n", 4, 5);
        assert_eq!((log.as_str(), last), ("12345\n", Some(("12345".to_owned(), 9))));
    }
}

//! Bodies of bounded length: the first bytes are kept, all are counted.

/// An answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// It was longer than the bound.
    Cut {
        /// Length of the whole in bytes.
        length: u64,
        /// Its first bytes, as many as the bound.
        kept: Vec<u8>,
    },
}

/// Collects one body.
#[derive(Debug)]
pub(crate) struct Collector {
    kept: Vec<u8>,
    length: u64,
    keep: usize,
}

impl Collector {
    /// A collector that keeps `keep` bytes; `expected` of them get room at once.
    pub(crate) fn new(keep: usize, expected: usize) -> Self {
        Self { kept: Vec::with_capacity(expected.min(keep)), length: 0, keep }
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let room = self.keep - self.kept.len();
        self.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        self.length += bytes.len() as u64;
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn finish(self) -> Body {
        if self.length > self.kept.len() as u64 {
            Body::Cut { length: self.length, kept: self.kept }
        } else {
            Body::Whole(self.kept)
        }
    }
}

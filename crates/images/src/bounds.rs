//! What an archive may ask for.

/// Bounds of one import.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Entries of one layer.
    pub entries: u64,
    /// Bytes that all new layers of one import may unpack to.
    pub total: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of one path, and of what a link says.
    pub path_len: usize,
    /// Folders above one another.
    pub depth: usize,
    /// How many times its packed size a layer may unpack to, beyond `ratio_free`.
    pub ratio: u64,
    /// Bytes that a layer may unpack to whatever its packed size.
    pub ratio_free: u64,
    /// Bytes of the disk that stay free.
    pub reserve: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            total: 32 << 30,
            file: 16 << 30,
            path_len: 4096,
            depth: 128,
            ratio: 200,
            ratio_free: 256 << 20,
            reserve: 64 << 20,
        }
    }
}

//! What the machine must offer before a sandbox can be trusted.

/// One thing that is missing, why it matters, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The missing feature, in the operator's words.
    pub what: String,
    /// What it protects or provides.
    pub why: String,
    /// The exact command or setting that would provide it.
    pub how: String,
}

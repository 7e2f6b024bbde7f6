//! Texts of sequences and compositions.

/// 400: a sequence without components.
pub const NO_COMPONENT: &str = "No component specified for the sequence.";

//! What can be wrong with settings, said so that it can be put right.

use std::fmt;
use std::path::PathBuf;

use super::layers::Origin;

/// Similarity from which a known key is offered in place of an unknown one.
const SIMILAR: f64 = 0.75;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A settings file cannot be read.
    #[error("the settings file {path} cannot be read: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// `--set` without `=`.
    #[error("--set {0}: write it as --set section.key=value")]
    Assignment(String),
    /// No setting has this name.
    #[error("{key} ({origin}): there is no such setting{}", near.map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// As given.
        key: String,
        /// Who gave it.
        origin: Origin,
        /// The known key that looks most like it.
        near: Option<&'static str>,
    },
    /// A variable that names a setting but for one underscore.
    #[error("environment {name}: sections are followed by two underscores; write {meant}")]
    Undivided {
        /// As given.
        name: String,
        /// As it must be.
        meant: String,
    },
    /// A text that is no value of its setting.
    #[error("{key} = {text:?} ({origin}): expected {expected}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// As given.
        text: String,
        /// Who gave it.
        origin: Origin,
        /// What would be right.
        expected: String,
    },
    /// A secret among the arguments.
    #[error("{key}: arguments stand in the process list; give secrets in a settings file or in {variable}")]
    SecretFlag {
        /// Which setting.
        key: &'static str,
        /// Its variable.
        variable: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Conflict(String),
}

/// Everything that is wrong, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<Problem>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the settings cannot be used:")?;
        for problem in &self.0 {
            writeln!(f, "  {problem}")?;
        }
        write!(f, "`chasen config --reference` describes every setting")
    }
}

impl std::error::Error for SettingsError {}

/// The known key that looks most like this one, if any does.
pub(super) fn nearest(key: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let key = key.replace('_', "-");
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&key, candidate), candidate))
        .filter(|(similarity, candidate)| *similarity >= SIMILAR || same_key(&key, candidate))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// True if only the section is wrong or missing.
fn same_key(key: &str, candidate: &str) -> bool {
    let own = |key: &str| key.rsplit('.').next().map(str::to_owned);
    own(key) == own(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered() {
        let known =
            ["limits.fires-per-minute", "limits.invocations-per-minute", "node.memory", "server.listen"];
        for (key, near) in [
            ("limits.fires-per-minut", Some("limits.fires-per-minute")),
            ("limits.fires_per_minute", Some("limits.fires-per-minute")),
            ("memory", Some("node.memory")),
            ("listen", Some("server.listen")),
            ("colour", None),
        ] {
            assert_eq!(nearest(key, known.into_iter()), near, "{key}");
        }
    }
}

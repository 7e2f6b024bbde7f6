//! Reads declared keys out of the layers and remembers what was declared.

use std::collections::BTreeMap;

use super::layers::{Given, Layers, Origin, environment_name};
use super::problem::{Problem, SettingsError, nearest};
use super::value::Value;

/// One declared setting with its effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// `section.key`
    pub key: &'static str,
    /// Effective value.
    pub value: String,
    /// Value where nobody gives one.
    pub default: String,
    /// Who gave the effective value.
    pub origin: Origin,
    /// What a value looks like.
    pub expected: String,
    /// What the setting does.
    pub about: &'static str,
    /// True if the value is not shown.
    pub secret: bool,
}

/// Takes values out of layers, one declaration at a time.
pub(super) struct Reader {
    given: BTreeMap<String, Given>,
    problems: Vec<Problem>,
    undivided: Vec<String>,
    rows: Vec<Row>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self { given: layers.given, problems: layers.problems, undivided: layers.undivided, rows: Vec::new() }
    }

    /// Declares a key and reads its value. A text that cannot be read is a problem, and the default stands in.
    pub(super) fn value<T: Value>(&mut self, key: &'static str, default: T, about: &'static str) -> T {
        let default_text = default.print();
        let (value, origin) = match self.given.remove(key) {
            None => (default, Origin::Default),
            Some(Given { origin: Origin::Flag(_), .. }) if T::SECRET => {
                self.problems.push(Problem::SecretFlag { key, variable: environment_name(key) });
                (default, Origin::Default)
            }
            Some(given) => match T::read(&given.text) {
                Some(value) => (value, given.origin),
                None => {
                    let Given { text, origin } = given;
                    self.problems.push(Problem::Value { key, text, origin, expected: T::expected() });
                    (default, Origin::Default)
                }
            },
        };
        self.rows.push(Row {
            key,
            value: value.print(),
            default: default_text,
            origin,
            expected: T::expected(),
            about,
            secret: T::SECRET,
        });
        value
    }

    /// Notes values that do not go together.
    pub(super) fn require(&mut self, good: bool, text: impl FnOnce() -> String) {
        if !good {
            self.problems.push(Problem::Conflict(text()));
        }
    }

    /// All rows, or all problems; keys that were given and never declared are problems too.
    pub(super) fn finish(mut self) -> Result<Vec<Row>, SettingsError> {
        for (key, given) in self.given {
            let near = nearest(&key, self.rows.iter().map(|row| row.key));
            self.problems.push(Problem::Unknown { key, origin: given.origin, near });
        }
        for name in self.undivided {
            let meant = self.rows.iter().map(|row| environment_name(row.key));
            if let Some(meant) = meant.into_iter().find(|meant| meant.replace("__", "_") == name) {
                self.problems.push(Problem::Undivided { name, meant });
            }
        }
        if self.problems.is_empty() { Ok(self.rows) } else { Err(SettingsError(self.problems)) }
    }
}

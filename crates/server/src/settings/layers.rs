//! Layers of settings: defaults, then a file, then the environment, then flags; the later one wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::problem::Problem;

/// Prefix of environment variables that are settings.
const ENVIRONMENT_PREFIX: &str = "CHASEN_";
/// Largest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave it.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A text that somebody gave for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// The text.
    pub(super) text: String,
    /// Who gave it.
    pub(super) origin: Origin,
}

/// Everything that was given, by key. Layers are added from the weakest to the strongest.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) given: BTreeMap<String, Given>,
    pub(super) problems: Vec<Problem>,
    /// Variables with the prefix but without a section.
    pub(super) undivided: Vec<String>,
}

impl Layers {
    /// Adds the keys of a TOML file.
    pub fn add_file(&mut self, path: &Path) {
        match read_file(path) {
            Ok(table) => self.add_table("", &table, path),
            Err(why) => self.problems.push(Problem::File { path: path.to_owned(), why }),
        }
    }

    fn add_table(&mut self, prefix: &str, table: &toml::Table, path: &Path) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value {
                toml::Value::Table(inner) => self.add_table(&format!("{key}."), inner, path),
                other => self.set(key, plain_text(other), Origin::File(path.to_owned())),
            }
        }
    }

    /// Adds the environment variables that are settings: `CHASEN_SECTION__KEY`.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if !key.contains("__") {
                self.undivided.push(name);
                continue;
            }
            let key = key.to_ascii_lowercase().replace("__", ".").replace('_', "-");
            self.set(key, text, Origin::Environment(name));
        }
    }

    /// Adds one `key=value` of `--set`.
    pub fn add_assignment(&mut self, assignment: &str) {
        match assignment.split_once('=') {
            Some((key, text)) => self.add_flag("--set", key.trim(), text.trim().to_owned()),
            None => self.problems.push(Problem::Assignment(assignment.to_owned())),
        }
    }

    /// Adds what a flag of its own says about a key.
    pub fn add_flag(&mut self, flag: &'static str, key: &str, text: String) {
        self.set(key.to_owned(), text, Origin::Flag(flag));
    }

    fn set(&mut self, key: String, text: String, origin: Origin) {
        self.given.insert(key, Given { text, origin });
    }
}

fn read_file(path: &Path) -> Result<toml::Table, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("{length} bytes is more than settings can need ({MAX_FILE_BYTES})"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())
}

/// A TOML value as it would be written after `--set key=`.
fn plain_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(plain_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The environment's name of a key.
#[must_use]
pub(super) fn environment_name(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "__").replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(layers: &Layers) -> Vec<(&str, &str)> {
        layers.given.iter().map(|(key, given)| (key.as_str(), given.text.as_str())).collect()
    }

    #[test]
    fn environment_names_map_to_keys_and_back() {
        let mut layers = Layers::default();
        let pair = |name: &str| (name.to_owned(), "7".to_owned());
        layers.add_environment([pair("CHASEN_LIMITS__FIRES_PER_MINUTE"), pair("CHASEN_BIN"), pair("PATH")]);
        assert_eq!(texts(&layers), [("limits.fires-per-minute", "7")]);
        assert_eq!(environment_name("limits.fires-per-minute"), "CHASEN_LIMITS__FIRES_PER_MINUTE");
    }

    #[test]
    fn files_flatten_to_keys_and_later_layers_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chasen.toml");
        std::fs::write(
            &path,
            "[server]\nlisten = 'a:1'\ndata = '/x'\n[sandbox]\ndns = ['1.1.1.1', '9.9.9.9']\n",
        )
        .unwrap();
        let mut layers = Layers::default();
        layers.add_file(&path);
        layers.add_environment([("CHASEN_SERVER__LISTEN".to_owned(), "b:2".to_owned())]);
        layers.add_assignment("server.data = /y");
        assert_eq!(
            texts(&layers),
            [("sandbox.dns", "1.1.1.1, 9.9.9.9"), ("server.data", "/y"), ("server.listen", "b:2")]
        );
        assert_eq!(layers.given["server.listen"].origin.to_string(), "environment CHASEN_SERVER__LISTEN");
        assert!(layers.problems.is_empty());
    }

    #[test]
    fn unreadable_layers_are_problems() {
        let mut layers = Layers::default();
        layers.add_file(Path::new("/nonexistent/chasen.toml"));
        layers.add_assignment("server.listen");
        let texts: Vec<String> = layers.problems.iter().map(ToString::to_string).collect();
        assert!(texts[0].contains("/nonexistent/chasen.toml"), "{texts:?}");
        assert!(texts[1].contains("--set server.listen"), "{texts:?}");
    }
}

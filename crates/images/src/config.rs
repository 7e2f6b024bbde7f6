//! What an image says of itself, read from the document that its identity is the digest of.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// Most bytes of environment, command and folder together: what a start can carry, with room for the node's own.
const MAX_WORDS: usize = 64 << 10;

/// The parts of the document that matter here.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    /// When it was made.
    pub(crate) created: Option<String>,
    #[serde(default)]
    config: Option<Run>,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

/// How the image is to be run, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) command: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: String,
    /// Name or number, and a group behind a colon; empty for the first user.
    pub(crate) user: String,
}

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("its configuration cannot be read: {error}"))
    }

    /// What the image is for, as `linux/amd64`.
    pub(crate) fn platform(&self) -> Platform {
        Platform { os: self.os.clone(), architecture: self.architecture.clone() }
    }

    /// Digests of the unpacked layers, lowest first.
    pub(crate) fn layers(&self) -> &[Digest] {
        &self.rootfs.diff_ids
    }

    /// How it wants to be run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn run_config(&self) -> Result<RunConfig, String> {
        let none = Run::default();
        let run = self.config.as_ref().unwrap_or(&none);
        let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let variables = words(&run.env);
        let split = |variable: &String| match variable.split_once('=') {
            Some((name, value)) if !name.is_empty() => Some((name.to_owned(), value.to_owned())),
            Some(_) => None,
            None => Some((variable.clone(), String::new())),
        };
        let env = variables.iter().filter_map(split).collect();
        let command = [words(&run.entrypoint), words(&run.cmd)].concat();
        let working_dir = match run.working_dir.as_deref().unwrap_or_default() {
            "" => "/".to_owned(),
            folder if folder.starts_with('/') => folder.to_owned(),
            folder => format!("/{folder}"),
        };
        let user = run.user.clone().unwrap_or_default();
        let all = || variables.iter().chain(&command).chain([&working_dir, &user]);
        if all().map(|word| word.len() + 1).sum::<usize>() > MAX_WORDS {
            return Err(format!("its environment and command are longer than {MAX_WORDS} bytes"));
        }
        if all().any(|word| word.contains('\0')) {
            return Err("its environment or command holds a zero byte".to_owned());
        }
        Ok(RunConfig { command, env, working_dir, user })
    }
}

/// A system and a processor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
}

impl Platform {
    /// This machine's, in the words of images.
    pub(crate) fn here() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "x86" => "386",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned() }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        write!(f, "{}/{}", or(&self.os), or(&self.architecture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(run: &str) -> Result<RunConfig, String> {
        let text =
            format!(r#"{{"architecture":"amd64","os":"linux","config":{run},"rootfs":{{"diff_ids":[]}}}}"#);
        Document::read(text.as_bytes()).unwrap().run_config()
    }

    #[test]
    fn entry_point_and_command_are_one_line() {
        let run = config(
            r#"{"Env":["A=1=2","B","=x"],"Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"app","User":"nobody"}"#,
        );
        let run = run.unwrap();
        assert_eq!(run.command, ["/e", "c"]);
        assert_eq!(run.env, [("A".into(), "1=2".into()), ("B".into(), String::new())]);
        assert_eq!((run.working_dir.as_str(), run.user.as_str()), ("/app", "nobody"));
    }

    #[test]
    fn what_is_missing_has_a_meaning() {
        for empty in ["{}", "null", r#"{"Env":null,"Cmd":null,"Entrypoint":null}"#] {
            let run = config(empty).unwrap();
            assert_eq!((run.command.len(), run.env.len(), run.working_dir.as_str()), (0, 0, "/"));
        }
    }

    #[test]
    fn words_are_bounded_and_without_zeros() {
        let long = format!(r#"{{"Env":["A={}"]}}"#, "x".repeat(MAX_WORDS));
        assert!(config(&long).unwrap_err().contains("longer"));
        assert!(config(r#"{"Cmd":["a\u0000"]}"#).unwrap_err().contains("zero"));
    }
}

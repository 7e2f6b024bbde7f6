//! The no-op function in each language, for the node and for the launcher alone.

use chasen_entity::Manifest;
use chasen_entity::manifest::Interpreter;
use serde_json::{Value, json};

use crate::Failure;

pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) code: &'static str,
    pub(crate) command: Vec<String>,
}

impl Kind {
    /// The `exec` of an action.
    pub(crate) fn exec(&self) -> Value {
        json!({"kind": self.name, "code": self.code})
    }
}

const RUNTIMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtimes");

pub(crate) fn node() -> Result<Kind, Failure> {
    kind("nodejs:20", "function main() { return {}; }")
}

pub(crate) fn python() -> Result<Kind, Failure> {
    kind("python:3.11", "def main(args):\n    return {}\n")
}

pub(crate) fn php() -> Result<Kind, Failure> {
    kind("php:8.1", "<?php function main(array $args): array { return []; }\n")
}

pub(crate) fn ruby() -> Result<Kind, Failure> {
    kind("ruby:2.5", "def main(args)\n  {}\nend\n")
}

/// The kind with the command that the manifest gives it.
fn kind(name: &'static str, code: &'static str) -> Result<Kind, Failure> {
    let manifest = Manifest::parse(include_str!("../../runtimes/runtimes.json"))?;
    let launch =
        manifest.resolve(name).and_then(|kind| kind.launch.clone()).ok_or("the manifest has no such kind")?;
    let mut command = vec![interpreter(&launch.interpreter)?];
    command.extend(launch.args);
    command.push(format!("{RUNTIMES}/{}", launch.launcher));
    Ok(Kind { name, code, command })
}

/// The very program that the node uses: what the interpreter itself says it is, behind any shim.
fn interpreter(interpreter: &Interpreter) -> Result<String, Failure> {
    let (command, question) = match interpreter.command.as_str() {
        "python" => (format!("python{}", interpreter.version), ["-c", "import sys; print(sys.executable)"]),
        "php" => ("php".to_owned(), ["-r", "print PHP_BINARY;"]),
        "ruby" => ("ruby".to_owned(), ["-e", "print RbConfig.ruby"]),
        other => (other.to_owned(), ["-p", "process.execPath"]),
    };
    let answer = std::process::Command::new(&command).args(question).output()?;
    let path = String::from_utf8(answer.stdout)?.trim().to_owned();
    if path.is_empty() { Err(format!("{command} does not say where it is").into()) } else { Ok(path) }
}

/// The `exec` of the native stub: a static ActionLoop executable.
pub(crate) fn native_stub() -> Result<Value, Failure> {
    use base64::Engine;
    let folder = std::env::temp_dir().join(format!("chasen-stub-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let program = folder.join("stub");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/stub/stub.c");
    let built =
        std::process::Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source).status()?;
    if !built.success() {
        return Err("cc could not build the native stub".into());
    }
    let code = base64::engine::general_purpose::STANDARD.encode(std::fs::read(&program)?);
    std::fs::remove_dir_all(&folder)?;
    Ok(json!({"kind": "blackbox", "image": "openwhisk/actionloop-base", "code": code}))
}

//! The no-op function in each language, for the node and for the launcher alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chasen_entity::Manifest;
use chasen_entity::manifest::Interpreter;
use serde_json::{Value, json};

use crate::Failure;

pub(crate) struct Kind {
    pub(crate) name: &'static str,
    code: Code,
    pub(crate) command: Vec<String>,
    /// Where the launcher is started.
    pub(crate) cwd: PathBuf,
    /// Runs that the launcher is told may overlap.
    concurrency: usize,
}

enum Code {
    Source(&'static str),
    /// A program that is started anew for every run.
    Script(&'static str),
    /// A Java class of this name: its file, and base64 of the jar around it.
    Class {
        name: &'static str,
        file: Vec<u8>,
        jar: String,
    },
}

impl Kind {
    /// The `exec` of an action.
    pub(crate) fn exec(&self) -> Value {
        match &self.code {
            Code::Source(code) => json!({"kind": self.name, "code": code}),
            Code::Script(code) => {
                json!({"kind": self.name, "image": "openwhisk/dockerskeleton", "code": code})
            }
            Code::Class { name, jar, .. } => json!({"kind": self.name, "code": jar, "main": name}),
        }
    }

    /// Lays the code into a folder as a node would, and says what initialises a launcher with it.
    pub(crate) fn lay_out(&self, folder: &Path) -> Result<Value, Failure> {
        let (main, binary) = match &self.code {
            Code::Source(code) | Code::Script(code) => {
                fs::write(folder.join("exec"), code)?;
                ("main", false)
            }
            Code::Class { name, file, .. } => {
                fs::write(folder.join(format!("{name}.class")), file)?;
                (*name, true)
            }
        };
        let concurrency = self.concurrency;
        let value = json!({
            "name": "bench", "main": main, "binary": binary, "env": {}, "path": folder, "concurrency": concurrency,
        });
        Ok(json!({ "value": value }))
    }
}

const RUNTIMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtimes");
const GSON: &str = "/usr/share/java/gson.jar";
/// What the action of a benchmark is given, in bytes.
const MEMORY: u64 = 256 << 20;

pub(crate) fn node() -> Result<Kind, Failure> {
    kind("nodejs:20", Code::Source("function main() { return {}; }"), None)
}

/// The same kind with a function of one's own, whose runs overlap.
pub(crate) fn node_running(code: &'static str, concurrency: usize) -> Result<Kind, Failure> {
    Ok(Kind { concurrency, ..kind("nodejs:20", Code::Source(code), None)? })
}

pub(crate) fn python() -> Result<Kind, Failure> {
    kind("python:3.11", Code::Source("def main(args):\n    return {}\n"), None)
}

pub(crate) fn php() -> Result<Kind, Failure> {
    kind("php:8.1", Code::Source("<?php function main(array $args): array { return []; }\n"), None)
}

pub(crate) fn ruby() -> Result<Kind, Failure> {
    kind("ruby:2.5", Code::Source("def main(args)\n  {}\nend\n"), None)
}

/// A script, on the launcher of executables, which is the platform's own program and speaks on its standard input.
pub(crate) fn bash() -> Result<Kind, Failure> {
    const COMMAND: [&str; 3] = ["sh", "-c", "exec \"$0\" native-launcher <&3 3<&-"];
    let mut command = COMMAND.map(str::to_owned).to_vec();
    command.push(chasen_testkit::binary().to_string_lossy().into_owned());
    let code = Code::Script("#!/bin/bash\necho '{}'\n");
    Ok(Kind { name: "blackbox", code, command, cwd: PathBuf::from("/"), concurrency: 1 })
}

/// A jar, on the launcher that a node has built below its data folder.
pub(crate) fn java(data: &Path) -> Result<Kind, Failure> {
    kind("java:8", class()?, Some(&data.join("runtimes/modules")))
}

fn class() -> Result<Code, Failure> {
    use base64::Engine;
    const NAME: &str = "Empty";
    let folder = tempfile::tempdir()?;
    let source = format!(
        "public class {NAME} {{ public static com.google.gson.JsonObject main(com.google.gson.JsonObject args) {{ \
         return new com.google.gson.JsonObject(); }} }}"
    );
    fs::write(folder.path().join(format!("{NAME}.java")), source)?;
    let build = format!("javac -cp {GSON} {NAME}.java && jar cf empty.jar {NAME}.class");
    let built = Command::new("sh").args(["-c", &build]).current_dir(folder.path()).status()?;
    if !built.success() {
        return Err("the JDK could not build the class".into());
    }
    let jar = base64::engine::general_purpose::STANDARD.encode(fs::read(folder.path().join("empty.jar"))?);
    Ok(Code::Class { name: NAME, file: fs::read(folder.path().join(format!("{NAME}.class")))?, jar })
}

/// The kind with the command that the manifest gives it; `modules` is the folder of built launchers.
fn kind(name: &'static str, code: Code, modules: Option<&Path>) -> Result<Kind, Failure> {
    let manifest = Manifest::parse(include_str!("../../runtimes/runtimes.json"))?;
    let launch =
        manifest.resolve(name).and_then(|kind| kind.launch.clone()).ok_or("the manifest has no such kind")?;
    let launcher = launch.launcher.as_ref().ok_or("the kind has no launcher")?;
    let launcher = modules.unwrap_or(Path::new(RUNTIMES)).join(launcher);
    let cwd = modules.and(launcher.parent()).unwrap_or(Path::new("/")).to_owned();
    let mut command = vec![interpreter(&launch.interpreter)?];
    command.extend(launch.args.iter().map(|argument| argument.replace("{memory}", &MEMORY.to_string())));
    command.push(launcher.to_string_lossy().into_owned());
    Ok(Kind { name, code, command, cwd, concurrency: 1 })
}

/// The very program that the node uses: what the interpreter itself says it is, behind any shim.
fn interpreter(interpreter: &Interpreter) -> Result<String, Failure> {
    let (command, question) = match interpreter.command.as_str() {
        "python" => (format!("python{}", interpreter.version), ["-c", "import sys; print(sys.executable)"]),
        "java" => ("readlink".to_owned(), ["-f", "/usr/bin/java"]),
        "php" => ("php".to_owned(), ["-r", "print PHP_BINARY;"]),
        "ruby" => ("ruby".to_owned(), ["-e", "print RbConfig.ruby"]),
        other => (other.to_owned(), ["-p", "process.execPath"]),
    };
    let answer = Command::new(&command).args(question).output()?;
    let path = String::from_utf8(answer.stdout)?.trim().to_owned();
    if path.is_empty() { Err(format!("{command} does not say where it is").into()) } else { Ok(path) }
}

/// The `exec` of a function in Go that was compiled before.
pub(crate) fn go_executable() -> Result<Value, Failure> {
    use base64::Engine;
    const SOURCE: &str =
        "package main\n\nfunc Main(args map[string]interface{}) map[string]interface{} {\n\treturn args\n}\n";
    let folder = tempfile::tempdir()?;
    let (source, bin) = (folder.path().join("source"), folder.path().join("bin"));
    fs::create_dir_all(&source)?;
    fs::create_dir_all(&bin)?;
    fs::write(source.join("exec"), SOURCE)?;
    let compiled =
        Command::new(Path::new(RUNTIMES).join("go/compile")).arg("main").args([&source, &bin]).output()?;
    if !compiled.status.success() {
        return Err(format!(
            "the function could not be compiled: {}",
            String::from_utf8_lossy(&compiled.stdout)
        )
        .into());
    }
    let code = base64::engine::general_purpose::STANDARD.encode(fs::read(bin.join("exec"))?);
    Ok(json!({"kind": "go:default", "code": code}))
}

/// The `exec` of the native stub: a static ActionLoop executable.
pub(crate) fn native_stub() -> Result<Value, Failure> {
    native_stub_that_waits(Duration::ZERO)
}

/// The native stub with a pause before each answer that needs no processor.
pub(crate) fn native_stub_that_waits(pause: Duration) -> Result<Value, Failure> {
    use base64::Engine;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("stub");
    let pause = format!("-DPAUSE={}", pause.as_micros());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/stub/stub.c");
    let built =
        Command::new("cc").args(["-O2", "-static", &pause, "-o"]).arg(&program).arg(source).status()?;
    if !built.success() {
        return Err("cc could not build the native stub".into());
    }
    let code = base64::engine::general_purpose::STANDARD.encode(fs::read(&program)?);
    Ok(json!({"kind": "blackbox", "image": "openwhisk/actionloop-base", "code": code}))
}

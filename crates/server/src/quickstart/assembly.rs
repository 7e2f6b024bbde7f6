//! The sample of .NET: functions are zips of assemblies, so its source is compiled first, by the SDK that the kind's
//! launcher was compiled by.

use std::io::{Cursor, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_sandbox::programs::of_the_machine;
use tokio::process::Command;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::sandboxes::Sandboxes;

/// Name of the assembly, and of its source.
const ASSEMBLY: &str = "Hello";
/// Longest time that a compiler takes.
const PATIENCE: Duration = Duration::from_mins(2);
/// Longest part of what a compiler says that is repeated, in characters.
const ECHO: usize = 300;

/// The code of an action of this kind, from its source. The error says what went wrong.
pub(super) async fn compile(sandboxes: &Sandboxes, kind: &str, source: &str) -> Result<String, String> {
    let Some((folder, program)) = sandboxes.compiler(kind).await else {
        return Err("there is no compiler".to_owned());
    };
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let [from, to] = ["cs", "dll"].map(|end| scratch.path().join(ASSEMBLY).with_extension(end));
    std::fs::write(&from, source).map_err(|error| error.to_string())?;
    let mut compiler = Command::from(of_the_machine("sh"));
    compiler.arg(folder.join("csc")).arg(&to).arg(&from).env("DOTNET", program).kill_on_drop(true);
    let ended = tokio::time::timeout(PATIENCE, compiler.output()).await;
    let ended = ended.map_err(|_| format!("the compiler took more than {} s", PATIENCE.as_secs()))?;
    let output = ended.map_err(|error| format!("the compiler cannot be started: {error}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let said: String = String::from_utf8_lossy(&said).trim().chars().take(ECHO).collect();
        return Err(format!("the compiler refuses it: {said}"));
    }
    archive(&to).map_err(|error| format!("the assembly cannot be packed: {error}"))
}

/// A zip with this file at its root, as base64.
fn archive(file: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file(name.as_ref(), SimpleFileOptions::default())?;
    writer.write_all(&bytes)?;
    Ok(STANDARD.encode(writer.finish()?.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assemblies_are_packed_under_their_own_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Hello.dll");
        std::fs::write(&path, b"MZ").unwrap();
        let packed = STANDARD.decode(archive(&path).unwrap()).unwrap();
        let mut read = zip::ZipArchive::new(Cursor::new(packed)).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read.by_index(0).unwrap().name().unwrap(), "Hello.dll");
    }
}

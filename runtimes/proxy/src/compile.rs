//! `-compile`: code in on standard input, an archive that starts without a compiler out on standard output.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chasen_entity::error_text::runtime::MISSING_CODE;
use chasen_runtime::code::{EXEC, UnpackError, is_executable};
use serde_json::{Map, Value};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::children::Children;
use crate::code::{self, Code};
use crate::compiler;
use crate::environment::{from_object, json_error};
use crate::settings::Settings;
use crate::signals::Signals;

/// Most bytes of code.
const MAX_CODE: u64 = 512 << 20;
/// Mode of everything in the archive.
const MODE: u32 = 0o755;
/// What a single source is called in an archive of its family; executables are `exec` everywhere.
const SOURCES: [(&str, &str); 4] =
    [("nodejs", "index.js"), ("python", "__main__.py"), ("ruby", "main.rb"), ("php", "index.php")];

/// Compiles. The error is for the developer.
pub(crate) async fn compile(
    main: &str,
    env: &str,
    settings: &Settings,
    children: &Arc<Children>,
) -> Result<(), String> {
    let _signals = Signals::handle(children).map_err(|error| error.to_string())?;
    let env = serde_json::from_str::<Map<String, Value>>(env)
        .map_err(|error| format!("-env is no JSON object: {}", json_error(env.as_bytes(), &error)))?;
    let mut variables = settings.child.clone();
    variables.extend(from_object(&env));
    let mut bytes = Vec::new();
    io::stdin()
        .take(MAX_CODE)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the code cannot be read from standard input: {error}"))?;
    if bytes.is_empty() {
        return Err(MISSING_CODE.to_owned());
    }
    let code = Code::from_bytes(bytes);
    let placed = match code.place(&settings.actions, "src", settings.save_jar.as_deref()) {
        Ok(placed) => placed,
        Err(UnpackError::Code(bad)) => return Err(bad.to_string()),
        Err(error @ UnpackError::Disk(_)) => {
            return Err(format!("{error}: {} must be writable", settings.actions.display()));
        }
    };
    let packed = match compiler::build(&placed, main, &variables, settings, children).await {
        Ok(folder) => name_source(&folder, &settings.kind.family, main)
            .and_then(|()| pack(&folder))
            .map_err(|error| error.to_string()),
        Err(words) => Err(words.trim_end().to_owned()),
    };
    if !settings.debug {
        placed.own.iter().for_each(|own| code::remove(own));
    }
    io::stdout().write_all(&packed?).map_err(|error| format!("the archive cannot be written: {error}"))
}

/// Gives a single source the name under which its family's launcher looks for it.
fn name_source(folder: &Path, family: &str, main: &str) -> io::Result<()> {
    let source = folder.join(EXEC);
    let name = SOURCES.iter().find(|(known, _)| *known == family);
    let Some((_, name)) = name.filter(|_| source.is_file() && !is_executable(folder)) else {
        return Ok(());
    };
    let target = folder.join(name);
    fs::rename(source, &target)?;
    if family == "nodejs" {
        // A single source need not export its entry point; a module must.
        let mut file = fs::OpenOptions::new().append(true).open(target)?;
        let keys: Vec<&str> = main.split('.').collect();
        if let [name] = keys.as_slice() {
            write!(file, "\nif (!module.exports[{0:?}]) module.exports[{0:?}] = {0};\n", name)?;
        }
    }
    Ok(())
}

/// A zip archive of a folder: names relative to it, links as links.
fn pack(folder: &Path) -> io::Result<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().unix_permissions(MODE);
    let mut left: Vec<PathBuf> = sorted(folder)?;
    while let Some(path) = left.pop() {
        let name = path.strip_prefix(folder).map_err(io::Error::other)?;
        let name = String::from_utf8_lossy(name.as_os_str().as_bytes()).into_owned();
        let kind = path.symlink_metadata()?.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path)?;
            writer.add_symlink(name, target.to_string_lossy(), options)?;
        } else if kind.is_dir() {
            writer.add_directory(format!("{name}/"), options)?;
            left.extend(sorted(&path)?);
        } else if kind.is_file() {
            writer.start_file(name, options)?;
            io::copy(&mut File::open(&path)?, &mut writer)?;
        }
    }
    Ok(writer.finish()?.into_inner())
}

/// What lies in a folder, the first by name last.
fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_hold_the_whole_tree() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("lib/deep")).unwrap();
        fs::write(folder.path().join("lib/deep/a"), "content").unwrap();
        fs::write(folder.path().join("exec"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("lib/deep/a", folder.path().join("link")).unwrap();
        let packed = Code::from_bytes(pack(folder.path()).unwrap());
        let base = tempfile::tempdir().unwrap();
        let placed = packed.place(base.path(), "src", None).unwrap().folder;
        assert_eq!(fs::read_to_string(placed.join("link")).unwrap(), "content");
        assert_eq!(fs::read_link(placed.join("link")).unwrap(), Path::new("lib/deep/a"));
        assert!(is_executable(&placed));
    }
}

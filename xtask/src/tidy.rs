//! Rules of the house that no other tool knows: the star of rooms, documented roots, no god files.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::root;

/// Rooms that every room may use.
const CENTRE: [&str; 3] = ["chasen-entity", "chasen-spi", "chasen-telemetry"];
/// What hosts of runtimes share: the rooms of them here, and the proxy, which is a program of its own.
const RUNTIME: &str = "chasen-runtime";
const HOSTS: [&str; 2] = ["chasen-sandbox", "chasen-docker"];
/// The one room that knows all others.
const WIRING: &str = "chasen-server";
/// Lines after which a file is too long to be about one thing.
const LONGEST_FILE: usize = 600;

/// Checks every rule; all violations at once.
pub(crate) fn check() -> Result<(), String> {
    let root = root();
    let mut violations = star_of_rooms(&root)?;
    let mut files = Vec::new();
    for folder in ["crates", "adapters", "runtimes", "tests", "benches", "tools", "xtask"] {
        rust_files(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = read(file)?;
        let name = file.strip_prefix(&root).unwrap_or(file).display();
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            violations.push(format!("{name}: {lines} lines, more than {LONGEST_FILE}: split it by meaning"));
        }
        if !text.starts_with("//!") {
            violations.push(format!("{name}: does not open with `//!`, saying what it is"));
        }
    }
    let architecture = read(&root.join("ARCHITECTURE.md"))?;
    for room in rooms(&root)? {
        let name = room.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !architecture.contains(&format!("`{name}`")) {
            violations.push(format!("ARCHITECTURE.md: does not name the room `{name}`"));
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(format!("tidy:\n  {}", violations.join("\n  "))) }
}

/// A room depends on the centre only; the wiring may depend on all; nobody depends on the wiring.
fn star_of_rooms(root: &Path) -> Result<Vec<String>, String> {
    let mut violations = Vec::new();
    for room in rooms(root)? {
        let manifest = read(&room.join("Cargo.toml"))?;
        let name = format!("chasen-{}", room.file_name().unwrap_or_default().to_string_lossy());
        if name == WIRING {
            continue;
        }
        let production = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for dependency in production.lines().filter_map(|line| line.split(['.', ' ', '=']).next()) {
            let own = dependency.starts_with("chasen-") && dependency != name;
            let allowed = CENTRE.contains(&dependency) && !CENTRE.contains(&name.as_str())
                || matches!(name.as_str(), "chasen-spi" | RUNTIME) && dependency == "chasen-entity"
                || HOSTS.contains(&name.as_str()) && dependency == RUNTIME;
            if own && !allowed {
                violations.push(format!("{name} depends on {dependency}: rooms meet in {WIRING} only"));
            }
        }
    }
    Ok(violations)
}

/// Rooms, and the adapters of foreign engines, which are rooms in all but their place.
fn rooms(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut rooms = Vec::new();
    for folder in ["crates", "adapters"].map(|name| root.join(name)).into_iter().filter(|path| path.is_dir())
    {
        rooms.extend(entries(&folder)?.into_iter().filter(|path| path.join("Cargo.toml").is_file()));
    }
    Ok(rooms)
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | "node_modules") {
            rust_files(&path, found)?;
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_of_this_workspace_form_a_star() {
        assert_eq!(star_of_rooms(&root()), Ok(Vec::new()));
    }

    #[test]
    fn an_edge_between_rooms_is_found() {
        let folder = std::env::temp_dir().join(format!("chasen-tidy-{}", std::process::id()));
        let room = folder.join("crates/controller");
        fs::create_dir_all(&room).unwrap();
        fs::write(
            room.join("Cargo.toml"),
            "[dependencies]\nchasen-entity.workspace = true\nchasen-scheduler.workspace = true\n",
        )
        .unwrap();
        let violations = star_of_rooms(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(violations.len(), 1, "{violations:?}");
    }
}

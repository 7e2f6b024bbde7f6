//! `chasen runtimes`: builds, shows and removes root file systems.

use std::path::PathBuf;
use std::process::ExitCode;

use chasen_sandbox::rootfs::recipe;
use rustix::fs::Mode;
use serde_json::{Value, json};

use super::grammar::{RuntimesCommand, SettingsArgs};
use super::{Done, Failure, failed};
use crate::admin::door::DoorFile;
use crate::console::{self, StageBar};
use crate::data;
use crate::rootfs::{RootfsError, Roots};
use crate::settings::Settings;

/// Does it.
pub(super) fn run(command: &RuntimesCommand) -> Done {
    match command {
        RuntimesCommand::Build { settings, name, mirror } => build(settings, name, mirror.as_deref()),
        RuntimesCommand::List { settings, json } => list(settings, *json),
        RuntimesCommand::Remove { settings, name } => remove(settings, name),
    }
}

fn folder(settings: &SettingsArgs) -> Result<PathBuf, Failure> {
    let (settings, _) = Settings::read(settings.layers())?;
    Ok(settings.server.data.0.unwrap_or_else(data::default_folder))
}

fn roots(folder: &std::path::Path) -> Roots {
    Roots::new(folder, std::env::var_os("PATH").unwrap_or_default())
}

fn build(settings: &SettingsArgs, name: &str, mirror: Option<&str>) -> Done {
    let folder = folder(settings)?;
    // What is built must be readable to the users of sandboxes; the data folder itself is closed to others.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let folder = data::prepare(&folder).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let built = runtime.block_on(roots(&folder).build(name, mirror, &StageBar::new(name))).map_err(failed)?;
    let held = built.record.interpreters.iter().map(|held| format!("{} {}", held.command, held.version));
    console::out(&format!("{name} holds {}\n", held.collect::<Vec<_>>().join(", ")));
    Ok(ExitCode::SUCCESS)
}

fn list(settings: &SettingsArgs, as_json: bool) -> Done {
    let roots = roots(&folder(settings)?);
    let built = roots.built();
    let mut rows: Vec<Value> = recipe::all()
        .iter()
        .map(|(name, recipe)| json!({"name": name, "about": recipe.about, "state": "not built"}))
        .collect();
    for row in &mut rows {
        let name = row["name"].as_str().unwrap_or_default().to_owned();
        if roots.is_begun(&name) {
            row["state"] = "interrupted".into();
        }
        if let Some(root) = built.iter().find(|root| root.name == name) {
            row["state"] = "built".into();
            row["files"] = root.files.display().to_string().into();
            row["bytes"] = root.record.bytes.into();
            row["interpreters"] = serde_json::to_value(&root.record.interpreters).map_err(failed)?;
        }
    }
    if as_json {
        console::out(&format!("{:#}\n", Value::from(rows)));
        return Ok(ExitCode::SUCCESS);
    }
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    console::out(&format!("{:<12} {:<12} {:>8}  {}\n", "name", "state", "MB", "about"));
    for row in &rows {
        let size = row["bytes"].as_u64().map(|bytes| (bytes >> 20).to_string()).unwrap_or_default();
        let (name, state, about) = (text(row, "name"), text(row, "state"), text(row, "about"));
        console::out(&format!("{name:<12} {state:<12} {size:>8}  {about}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(settings: &SettingsArgs, name: &str) -> Done {
    let folder = folder(settings)?;
    if DoorFile::find(&folder).is_some() {
        return Err(failed(RootfsError::InUse { folder, name: name.to_owned() }));
    }
    roots(&folder).remove(name).map_err(failed)?;
    console::out(&format!("{name} is removed\n"));
    Ok(ExitCode::SUCCESS)
}

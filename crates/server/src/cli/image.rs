//! `chasen image`: container images of this data folder, run by its sandboxes without a container engine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chasen_images::{Images, Imported};
use clap::Subcommand;
use serde_json::json;

use super::grammar::SettingsArgs;
use super::{Done, Failure, failed};
use crate::console::{self, ByteBar};
use crate::settings::Settings;
use crate::{data, wiring};

#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Import images from an archive; a running node has them from then on
    ///
    /// Takes what `docker save`, `podman save` and `skopeo copy` write: archives of Docker, packed or not, and OCI
    /// layouts, as a file or a folder. Layers are verified and unpacked into the data folder, each once.
    Import {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Archive, or folder with an OCI layout
        file: PathBuf,
        /// Name of the image, if the archive gives it none or another one; for archives with one image
        #[arg(long, value_name = "REPOSITORY:TAG")]
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the images that are there
    List {
        #[command(flatten)]
        settings: SettingsArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an image, and the layers that no other one has; not while a node runs it
    Remove {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Name of the image
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
pub(super) fn run(command: &ImageCommand) -> Done {
    match command {
        ImageCommand::Import { settings, file, name, json } => import(settings, file, name.as_deref(), *json),
        ImageCommand::List { settings, json } => list(settings, *json),
        ImageCommand::Remove { settings, name, json } => remove(settings, name, *json),
    }
}

fn folder(settings: &SettingsArgs) -> Result<PathBuf, Failure> {
    let (settings, _) = Settings::read(settings.layers())?;
    Ok(settings.server.data.0.unwrap_or_else(data::default_folder))
}

fn images(settings: &SettingsArgs) -> Result<Images, Failure> {
    Ok(wiring::images(&folder(settings)?))
}

fn import(settings: &SettingsArgs, file: &Path, name: Option<&str>, as_json: bool) -> Done {
    let folder = data::prepare(&folder(settings)?).map_err(failed)?;
    let bar = ByteBar::new("import");
    let imported = wiring::images(&folder).import(file, name, &bar);
    bar.end();
    let imported = imported.map_err(failed)?;
    if as_json {
        let all: Vec<_> = imported.iter().map(as_value).collect();
        return shown(&json!(all));
    }
    for image in &imported {
        console::out(&format!("{} is imported as {}\n", image.references.join(", "), image.id));
        let Imported { new_layers, shared_layers, left_out, .. } = image;
        console::out(&format!("  {new_layers} new layers, {shared_layers} that were there already\n"));
        if *left_out > 0 {
            console::out(&format!(
                "  {left_out} device files and pipes are left out: sandboxes have their own\n"
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn as_value(image: &Imported) -> serde_json::Value {
    json!({
        "names": image.references,
        "id": image.id,
        "newLayers": image.new_layers,
        "sharedLayers": image.shared_layers,
        "leftOut": image.left_out,
    })
}

fn list(settings: &SettingsArgs, as_json: bool) -> Done {
    let listed = images(settings)?.list().map_err(failed)?;
    if as_json {
        let row = |image: &chasen_images::Listed| {
            json!({
                "name": image.reference,
                "id": image.id,
                "bytes": image.bytes,
                "created": image.created,
                "layers": image.layers,
            })
        };
        return shown(&json!(listed.iter().map(row).collect::<Vec<_>>()));
    }
    let width = listed.iter().map(|image| image.reference.len()).max().unwrap_or(0).max(4);
    console::out(&format!("{:<width$}  {:<12}  {:>7}  {:<20}  layers\n", "name", "id", "MB", "created"));
    for image in &listed {
        let id: String = image.id.hex().chars().take(12).collect();
        let created: String = image.created.as_deref().unwrap_or("unknown").chars().take(19).collect();
        let size = image.bytes.div_ceil(1 << 20);
        let (name, layers) = (&image.reference, image.layers);
        console::out(&format!("{name:<width$}  {id}  {size:>7}  {created:<20}  {layers}\n"));
    }
    Ok(ExitCode::SUCCESS)
}

fn remove(settings: &SettingsArgs, name: &str, as_json: bool) -> Done {
    let removed = images(settings)?.remove(name).map_err(failed)?;
    if as_json {
        return shown(&json!({
            "name": removed.reference,
            "id": removed.id,
            "imageGone": removed.image_gone,
            "freed": removed.freed,
        }));
    }
    let what = if removed.image_gone { "is removed" } else { "is no name any more; the image has others" };
    console::out(&format!("{} {what}; {} bytes are free again\n", removed.reference, removed.freed));
    Ok(ExitCode::SUCCESS)
}

fn shown(value: &serde_json::Value) -> Done {
    console::out(&format!("{value:#}\n"));
    Ok(ExitCode::SUCCESS)
}

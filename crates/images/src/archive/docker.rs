//! The archives of `docker save`: `manifest.json` names configurations and layers by path.

use serde::Deserialize;

use super::{Blobs, Found, MAX_IMAGES, Refusal, assemble, verified};
use crate::{Digest, Reference};

/// The table of contents.
pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The images that a manifest names.
pub(super) fn images(blobs: &dyn Blobs, manifest: &[u8]) -> Result<Vec<Found>, Refusal> {
    let entries: Vec<Entry> = serde_json::from_slice(manifest)
        .map_err(|error| format!("its {MANIFEST} cannot be read: {error}"))?;
    if entries.len() > MAX_IMAGES {
        return Err(format!("it holds {} images, more than {MAX_IMAGES}", entries.len()).into());
    }
    entries.into_iter().map(|entry| image(blobs, entry)).collect()
}

fn image(blobs: &dyn Blobs, entry: Entry) -> Result<Found, Refusal> {
    let id = digest_in(&entry.config).ok_or_else(|| {
        format!("its {MANIFEST} names the configuration {}, which is no digest", entry.config)
    })?;
    let config = verified(blobs, &entry.config, &id)?;
    let names = entry.repo_tags.unwrap_or_default();
    let names = names.iter().filter_map(|name| Reference::parse(name)).collect();
    // Older archives name layers by something else than their content; the digests of the configuration hold anyway.
    let packed = |path: &String| path.starts_with("blobs/").then(|| digest_in(path)).flatten();
    let layers = entry.layers.into_iter().map(|path| (path.clone(), packed(&path))).collect();
    assemble(names, id, &config, layers)
}

/// The digest that a path ends with: `blobs/sha256/0123…`, `0123….json`, or `sha256:0123…`.
fn digest_in(path: &str) -> Option<Digest> {
    let name = path.rsplit('/').next()?;
    let name = name.strip_suffix(".json").unwrap_or(name);
    Digest::parse(name).or_else(|| Digest::from_hex(name))
}

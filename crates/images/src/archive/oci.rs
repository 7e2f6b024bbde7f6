//! OCI image layouts: `index.json` names manifests by digest, possibly through further indexes, one per platform.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Blobs, Found, MAX_IMAGES, Refusal, assemble, blob_path, verified};
use crate::config::Platform;
use crate::{Digest, ImageError, Reference};

/// The table of contents.
pub(super) const INDEX: &str = "index.json";
/// Indexes above one another.
const MAX_DEPTH: u32 = 4;
/// Where tools write names, the whole one first.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
/// What marks something that is no image but says something of one.
const ATTESTATION: &str = "vnd.docker.reference.type";

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: Digest,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// An index or a manifest: which of them is told by what it has.
#[derive(Debug, Deserialize)]
struct Either {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// The images that an index leads to and that are for this machine.
pub(super) fn images(blobs: &dyn Blobs, index: &[u8]) -> Result<Vec<Found>, Refusal> {
    let index: Index =
        serde_json::from_slice(index).map_err(|error| format!("its {INDEX} cannot be read: {error}"))?;
    let mut search = Search { blobs, found: Vec::new(), elsewhere: None, seen: 0 };
    search.look(&index.manifests, &[], 0)?;
    match (search.found.is_empty(), search.elsewhere) {
        (true, Some(other)) => Err(Refusal::Image(other)),
        _ => Ok(search.found),
    }
}

struct Search<'a> {
    blobs: &'a dyn Blobs,
    found: Vec<Found>,
    /// The last image that is for another machine.
    elsewhere: Option<ImageError>,
    seen: usize,
}

impl Search<'_> {
    fn look(&mut self, descriptors: &[Descriptor], above: &[Reference], depth: u32) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(format!("its indexes lie more than {MAX_DEPTH} deep").into());
        }
        for descriptor in descriptors {
            self.seen += 1;
            if self.seen > MAX_IMAGES {
                return Err(format!("it names more than {MAX_IMAGES} images").into());
            }
            self.follow(descriptor, above, depth)?;
        }
        Ok(())
    }

    fn follow(&mut self, descriptor: &Descriptor, above: &[Reference], depth: u32) -> Result<(), Refusal> {
        if descriptor.annotations.contains_key(ATTESTATION) {
            return Ok(());
        }
        let here = Platform::here();
        if let Some(platform) = descriptor.platform.as_ref().filter(|platform| **platform != here) {
            let (image, machine) = (platform.to_string(), here.to_string());
            self.elsewhere = Some(ImageError::Platform { image, machine });
            return Ok(());
        }
        let own = names(&descriptor.annotations);
        let names = if own.is_empty() { above.to_vec() } else { own };
        let path = blob_path(&descriptor.digest);
        let manifest = verified(self.blobs, &path, &descriptor.digest)?;
        let manifest: Either =
            serde_json::from_slice(&manifest).map_err(|error| format!("{path} cannot be read: {error}"))?;
        if let Some(manifests) = manifest.manifests {
            return self.look(&manifests, &names, depth + 1);
        }
        let Some(config) = manifest.config else {
            return Err(format!("{path} is neither an index nor the manifest of an image").into());
        };
        let id = config.digest;
        let config = verified(self.blobs, &blob_path(&id), &id)?;
        let layers = manifest.layers.into_iter();
        let layers = layers.map(|layer| (blob_path(&layer.digest), Some(layer.digest))).collect();
        match assemble(names, id, &config, layers) {
            Ok(image) => self.found.push(image),
            Err(Refusal::Image(other @ ImageError::Platform { .. })) => self.elsewhere = Some(other),
            Err(refusal) => return Err(refusal),
        }
        Ok(())
    }
}

/// The names among annotations. Some tools write a bare tag, which names nothing by itself.
fn names(annotations: &BTreeMap<String, String>) -> Vec<Reference> {
    let given = NAMES.iter().filter_map(|key| annotations.get(*key));
    let whole = given.filter(|name| name.contains(['/', ':', '@']));
    whole.filter_map(|name| Reference::parse(name)).take(1).collect()
}

//! Images for tests, made without an engine and without a registry: well-behaved ones, servers of every kind of
//! manners, and archives that no store should trust.
//!
//! An [`Image`] becomes an archive as `docker save` writes it, or an OCI layout. Everything here panics on failure: the
//! test that called is the one that failed.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test machinery fails by panicking"
)]

mod archive;
mod hostile;
mod layer;
mod parts;
mod ready;

pub use archive::{Compression, Image, architecture};
pub use hostile::{Hostile, hostile_archives};
pub use layer::{Layer, gzip, set_link};
pub use parts::{busybox, misbehaving, proxy};
pub use ready::{of_actionloop, of_misbehaving, of_shell};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use serde_json::Value;

    use super::*;

    fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn archives_name_their_parts_by_digest() {
        let image =
            Image::new("a/b:1").layer(Layer::default().file("etc/x", 0o644, b"x").whiteout("etc", "y"));
        let docker = entries(&image.docker_archive());
        let manifest: Value = serde_json::from_slice(&docker["manifest.json"]).unwrap();
        let layer = &docker[manifest[0]["Layers"][0].as_str().unwrap()];
        let config: Value = serde_json::from_slice(&docker[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], layer::digest(layer));
        assert_eq!(entries(layer).keys().collect::<Vec<_>>(), ["etc/.wh.y", "etc/x"]);
        for compression in [Compression::None, Compression::Gzip] {
            for (path, content) in entries(&image.oci_archive(compression)) {
                if let Some(name) = path.strip_prefix("blobs/sha256/").filter(|name| !name.is_empty()) {
                    assert_eq!(name, layer::hex(&content));
                }
            }
        }
    }

    #[test]
    fn the_misbehaving_server_needs_nothing_of_its_image() {
        let program = misbehaving();
        assert_eq!(program, misbehaving(), "built once");
        let image = of_misbehaving("m:1", &["init=exit"]);
        assert_eq!(image.config["Cmd"][0], "init=exit");
        let mut child = std::process::Command::new(&program).env_clear().arg("mistake").spawn().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(2));
    }

    #[test]
    fn hostile_archives_have_names_of_their_own() {
        let all = hostile_archives("/tmp/victim");
        let names: std::collections::BTreeSet<&str> = all.iter().map(|hostile| hostile.name).collect();
        assert!(names.len() == all.len() && all.len() > 20);
    }
}

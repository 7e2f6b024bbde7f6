//! Archives that no store should trust.

use serde_json::json;
use tar::EntryType;

use crate::archive::{Compression, Image};
use crate::layer::{Layer, set_link};

/// An archive, and what makes it one that must be refused or unpacked without harm.
pub struct Hostile {
    /// For messages of tests.
    pub name: &'static str,
    /// True if nothing of it may be taken in. Else the harm is left out or contained, and the rest may be.
    pub refused: bool,
    /// The archive, as it would be imported.
    pub archive: Vec<u8>,
}

/// All of them. What they try to reach is `victim`, an absolute path that must not come to be or change.
#[must_use]
pub fn hostile_archives(victim: &str) -> Vec<Hostile> {
    let mut all = layers(victim);
    all.extend(envelopes());
    all
}

/// One bad layer in an otherwise good image.
fn layers(victim: &str) -> Vec<Hostile> {
    let layer = |name, refused, layer: Layer| {
        let image = Image::new(&format!("hostile/{name}:1"))
            .layer(Layer::default().folder("etc/", 0o755).file("etc/good", 0o644, b"good"))
            .layer(layer)
            .with("Cmd", json!(["/bin/true"]));
        Hostile { name, refused, archive: image.docker_archive() }
    };
    let node = |kind, major, minor| {
        Layer::default().entry(
            kind,
            "dev/mem",
            0o666,
            |header| {
                header.set_device_major(major).unwrap();
                header.set_device_minor(minor).unwrap();
            },
            &[],
        )
    };
    let up = format!("../../../../../../../..{victim}");
    let (folder, file) = victim.rsplit_once('/').unwrap();
    vec![
        layer("character-device", false, node(EntryType::Char, 1, 1)),
        layer("block-device", false, node(EntryType::Block, 8, 0)),
        layer("fifo", false, Layer::default().entry(EntryType::Fifo, "run/fifo", 0o666, |_| {}, &[])),
        layer("absolute-name", false, Layer::default().file(victim, 0o644, b"harm")),
        layer("name-with-parents", true, Layer::default().file(&up, 0o644, b"harm")),
        layer("folder-with-parents", true, Layer::default().folder("etc/../../", 0o777)),
        layer(
            "file-through-an-absolute-link",
            false,
            Layer::default().link("way", folder).file(&format!("way/{file}"), 0o644, b"harm"),
        ),
        layer(
            "file-through-a-relative-link",
            false,
            Layer::default().link("way", &format!("../../../../../../../..{folder}")).file(
                &format!("way/{file}"),
                0o644,
                b"harm",
            ),
        ),
        layer("hard-link-to-an-absolute-name", true, Layer::default().hard_link("stolen", "/etc/shadow")),
        layer(
            "hard-link-with-parents",
            true,
            Layer::default().hard_link("stolen", "../../../../../../etc/shadow"),
        ),
        layer(
            "hard-link-through-a-link",
            true,
            Layer::default().link("way", "/etc").hard_link("stolen", "way/shadow"),
        ),
        layer("hard-link-to-nothing", true, Layer::default().hard_link("stolen", "etc/nothing")),
        layer("whiteout-of-the-parent", true, Layer::default().file("etc/.wh...", 0o644, &[])),
        layer("whiteout-of-nothing", true, Layer::default().file("etc/.wh.", 0o644, &[])),
        layer(
            "set-user-id",
            false,
            Layer::default().folder("bin/", 0o755).file("bin/become", 0o6755, b"#!/bin/sh\n"),
        ),
        layer(
            "claims-a-petabyte",
            true,
            Layer::default().entry(
                EntryType::Regular,
                "large",
                0o644,
                |header| header.set_size(1 << 50),
                &[],
            ),
        ),
        layer("sparse-petabyte", true, sparse(1 << 50)),
        layer(
            "long-link",
            false,
            Layer::default().entry(
                EntryType::Symlink,
                "far",
                0o777,
                |header| set_link(header, &"x/".repeat(50)),
                &[],
            ),
        ),
    ]
}

/// A file in GNU's sparse form: no bytes, and the claim of so many.
fn sparse(size: u64) -> Layer {
    Layer::default().entry(
        EntryType::GNUSparse,
        "sparse",
        0o644,
        |header| {
            if let Some(gnu) = header.as_gnu_mut() {
                gnu.set_real_size(size);
            }
        },
        &[],
    )
}

/// Paths and contents of a layout.
type Files = Vec<(String, Vec<u8>)>;

/// Good layers, and something wrong about the way they are packed.
fn envelopes() -> Vec<Hostile> {
    let good = || {
        Image::new("hostile/envelope:1")
            .layer(Layer::default().file("good", 0o644, b"good"))
            .with("Cmd", json!(["/bin/true"]))
    };
    let refused = |name, archive| Hostile { name, refused: true, archive };
    let changed = |change: fn(&mut Files)| {
        let mut files = good().oci_files(Compression::None);
        change(&mut files);
        pack(&files)
    };
    let other_config = {
        let mut image = good();
        let config = image.configuration();
        image.layers = vec![Layer::default().file("other", 0o644, b"other").tar()];
        let mut archive = Layer::default();
        let manifest =
            json!([{"Config": "config.json", "RepoTags": ["hostile/mixed:1"], "Layers": ["layer.tar"]}]);
        archive = archive.file("manifest.json", 0o644, manifest.to_string().as_bytes());
        archive = archive.file("config.json", 0o644, &config);
        archive.file("layer.tar", 0o644, &image.layers.concat()).tar()
    };
    let whole = good().docker_archive();
    let missing =
        json!([{"Config": "../../etc/passwd", "RepoTags": ["hostile/outside:1"], "Layers": ["/etc/passwd"]}]);
    vec![
        refused(
            "blob-with-another-digest",
            changed(|files| {
                let layer = largest(files);
                files.iter_mut().filter(|(_, content)| Some(&**content) == layer.as_deref()).for_each(
                    |(_, content)| {
                        if let Some(byte) = content.get_mut(600) {
                            *byte ^= 1;
                        }
                    },
                );
            }),
        ),
        refused(
            "blob-that-is-not-there",
            changed(|files| {
                let layer = largest(files);
                files.retain(|(_, content)| Some(content) != layer.as_ref());
            }),
        ),
        refused("layer-of-another-image", other_config),
        refused(
            "manifest-that-points-outside",
            Layer::default().file("manifest.json", 0o644, missing.to_string().as_bytes()).tar(),
        ),
        refused(
            "manifest-without-an-end",
            Layer::default().file("manifest.json", 0o644, "[".repeat(1 << 20).as_bytes()).tar(),
        ),
        refused("no-manifest", Layer::default().file("README", 0o644, b"hello").tar()),
        refused("half-an-archive", whole.get(..whole.len() / 2).unwrap_or_default().to_vec()),
        refused("nothing", Vec::new()),
        refused("noise", (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()),
    ]
}

/// The content of the largest blob, which is the layer.
fn largest(files: &Files) -> Option<Vec<u8>> {
    let blobs = files.iter().filter(|(path, _)| path.starts_with("blobs/"));
    blobs.max_by_key(|(_, content)| content.len()).map(|(_, content)| content.clone())
}

fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let archive = Layer::default();
    files.iter().fold(archive, |archive, (path, content)| archive.file(path, 0o644, content)).tar()
}

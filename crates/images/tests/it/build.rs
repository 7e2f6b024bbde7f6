//! Archives as other tools write them, and as nobody should.

use std::path::Path;

use chasen_images::Digest;
use chasen_test_images::{Layer, set_link};
pub(crate) use chasen_test_images::{architecture, gzip};
use serde_json::{Value, json};

/// An entry of a layer.
#[derive(Debug)]
pub(crate) struct Item {
    name: &'static str,
    kind: tar::EntryType,
    mode: u32,
    link: &'static str,
    content: Vec<u8>,
    attributes: Vec<(&'static str, &'static str)>,
}

impl Item {
    fn new(name: &'static str, kind: tar::EntryType) -> Self {
        Self { name, kind, mode: 0o644, link: "", content: Vec::new(), attributes: Vec::new() }
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn attribute(mut self, name: &'static str, value: &'static str) -> Self {
        self.attributes.push((name, value));
        self
    }
}

pub(crate) fn file(name: &'static str, content: &str) -> Item {
    Item { content: content.as_bytes().to_vec(), ..Item::new(name, tar::EntryType::Regular) }
}

pub(crate) fn folder(name: &'static str) -> Item {
    Item::new(name, tar::EntryType::Directory).mode(0o755)
}

pub(crate) fn symlink(name: &'static str, to: &'static str) -> Item {
    Item { link: to, ..Item::new(name, tar::EntryType::Symlink) }
}

pub(crate) fn hard_link(name: &'static str, to: &'static str) -> Item {
    Item { link: to, ..Item::new(name, tar::EntryType::Link) }
}

pub(crate) fn device(name: &'static str) -> Item {
    Item::new(name, tar::EntryType::Char)
}

/// A layer's archive.
pub(crate) fn layer(items: &[Item]) -> Vec<u8> {
    let add = |layer: Layer, item: &Item| {
        let layer = if item.attributes.is_empty() { layer } else { layer.attributes(&item.attributes) };
        let owned = |header: &mut tar::Header| {
            set_link(header, item.link);
            header.set_mtime(1_000_000_000);
            header.set_uid(12);
            header.set_gid(34);
        };
        layer.entry(item.kind, item.name, item.mode, owned, &item.content)
    };
    items.iter().fold(Layer::default(), add).tar()
}

/// The configuration of an image with these layers.
pub(crate) fn config(run: &Value, layers: &[Vec<u8>]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    json!({
        "architecture": architecture(), "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": run, "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

/// A tar file with these members.
pub(crate) fn tarball(path: &Path, members: &[(String, Vec<u8>)]) {
    let add = |archive: Layer, (name, content): &(String, Vec<u8>)| archive.file(name, 0o644, content);
    std::fs::write(path, members.iter().fold(Layer::default(), add).tar()).unwrap();
}

/// What `docker save` writes for one image.
pub(crate) fn docker_save(path: &Path, tags: &[&str], config: &Value, layers: &[Vec<u8>]) {
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let mut members = vec![(config_name.clone(), config)];
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        names.push(format!("{index}/layer.tar"));
        members.push((names[index].clone(), layer.clone()));
    }
    let manifest = json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
    members.push(("manifest.json".to_owned(), manifest.to_string().into_bytes()));
    tarball(path, &members);
}

/// The blobs of an OCI layout.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) members: Vec<(String, Vec<u8>)>,
}

impl Layout {
    /// Adds a blob; its descriptor.
    pub(crate) fn blob(&mut self, content: Vec<u8>) -> Value {
        let digest = Digest::of(&content);
        let size = content.len();
        self.members.push((format!("blobs/sha256/{}", digest.hex()), content));
        json!({ "digest": digest.to_string(), "size": size })
    }

    /// Adds an image with packed layers; the descriptor of its manifest.
    pub(crate) fn image(&mut self, config: &Value, layers: &[Vec<u8>]) -> Value {
        let config = self.blob(config.to_string().into_bytes());
        let layers: Vec<Value> = layers.iter().map(|layer| self.blob(gzip(layer))).collect();
        self.blob(json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().into_bytes())
    }

    /// Adds the table of contents.
    pub(crate) fn index(&mut self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        self.members.push(("index.json".to_owned(), index.to_string().into_bytes()));
    }

    /// Lays it out in a folder.
    pub(crate) fn lay(&self, folder: &Path) {
        for (name, content) in &self.members {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
    }
}

/// A descriptor with one more field.
pub(crate) fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

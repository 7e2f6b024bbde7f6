//! Images, and the two forms in which they travel.

use serde_json::{Map, Value, json};

use crate::layer::{Layer, digest, gzip, hex};

/// How the layers of an OCI layout are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// With gzip.
    Gzip,
}

/// This machine's processor, in the words of the format.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An image in the making.
#[derive(Debug, Clone)]
pub struct Image {
    /// `name:tag`
    pub reference: String,
    /// Processor that it is for, in the words of the format.
    pub architecture: String,
    /// `config` of its configuration: `Env`, `Entrypoint`, `Cmd`, `WorkingDir`, `User`.
    pub config: Map<String, Value>,
    /// Its layers as tar archives, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    /// An image without anything, for this machine.
    #[must_use]
    pub fn new(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            architecture: architecture().to_owned(),
            config: Map::new(),
            layers: Vec::new(),
        }
    }

    /// Sets one key of the configuration.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// Lays a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer.tar());
        self
    }

    /// The configuration document.
    #[must_use]
    pub fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| digest(layer)).collect();
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": self.layers.iter().map(|_| json!({"created_by": "a test"})).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes()
    }

    /// A tar archive as `docker save` writes it: `manifest.json` first, layers plain.
    #[must_use]
    pub fn docker_archive(&self) -> Vec<u8> {
        let configuration = self.configuration();
        let config_name = format!("{}.json", hex(&configuration));
        let layer_names: Vec<String> =
            self.layers.iter().map(|layer| format!("{}/layer.tar", hex(layer))).collect();
        let manifest =
            json!([{"Config": config_name, "RepoTags": [self.reference], "Layers": layer_names}]).to_string();
        let mut archive = Layer::default().file("manifest.json", 0o644, manifest.as_bytes()).file(
            &config_name,
            0o644,
            &configuration,
        );
        for (name, layer) in layer_names.iter().zip(&self.layers) {
            archive = archive.file(name, 0o644, layer);
        }
        archive.tar()
    }

    /// A tar archive of an OCI layout.
    #[must_use]
    pub fn oci_archive(&self, compression: Compression) -> Vec<u8> {
        let mut archive = Layer::default().folder("blobs/", 0o755).folder("blobs/sha256/", 0o755);
        for (path, content) in self.oci_files(compression) {
            archive = archive.file(&path, 0o644, &content);
        }
        archive.tar()
    }

    /// The files of an OCI layout: paths below its folder, and contents.
    #[must_use]
    pub fn oci_files(&self, compression: Compression) -> Vec<(String, Vec<u8>)> {
        let mut files = vec![("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())];
        let mut blob = |media_type: &str, content: Vec<u8>| {
            let descriptor =
                json!({"mediaType": media_type, "digest": digest(&content), "size": content.len()});
            files.push((format!("blobs/sha256/{}", hex(&content)), content));
            descriptor
        };
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| match compression {
                Compression::None => blob("application/vnd.oci.image.layer.v1.tar", layer.clone()),
                Compression::Gzip => blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip(layer)),
            })
            .collect();
        let config = blob("application/vnd.oci.image.config.v1+json", self.configuration());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": layers,
        });
        let mut manifest =
            blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().into_bytes());
        if let Some(manifest) = manifest.as_object_mut() {
            manifest.insert("platform".to_owned(), json!({"architecture": self.architecture, "os": "linux"}));
            manifest.insert(
                "annotations".to_owned(),
                json!({
                    "org.opencontainers.image.ref.name": self.reference,
                    "io.containerd.image.name": self.reference,
                }),
            );
        }
        let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string().into_bytes();
        files.push(("index.json".to_owned(), index));
        files
    }
}

//! The node under measurement.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use chasen_testkit::{Builder, node};

use crate::Failure;

pub(crate) struct Node {
    node: chasen_testkit::Node,
    /// `host:port`
    pub(crate) host: String,
    /// From the start of the process to its ready line.
    pub(crate) ready_after: Duration,
    _manifest: Option<tempfile::TempDir>,
}

impl Node {
    pub(crate) fn start() -> Result<Self, Failure> {
        Self::of(node(), None)
    }

    /// A node with these settings.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        Self::of(settings.iter().fold(node(), |builder, (key, value)| builder.set(key, value)), None)
    }

    /// A node that does everything but what blocks on one thread.
    pub(crate) fn single_threaded() -> Result<Self, Failure> {
        Self::of(node().environment("TOKIO_WORKER_THREADS", "1"), None)
    }

    /// A node with these settings whose manifest asks for no stem cells: every first call is cold.
    pub(crate) fn without_stem_cells(settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let mut manifest: serde_json::Value =
            serde_json::from_str(include_str!("../../runtimes/runtimes.json"))?;
        let families = manifest.get_mut("runtimes").and_then(|families| families.as_object_mut());
        for kind in
            families.into_iter().flatten().flat_map(|(_, kinds)| kinds.as_array_mut().into_iter().flatten())
        {
            kind.as_object_mut().map(|kind| kind.remove("stemCells"));
        }
        let path = folder.path().join("runtimes.json");
        fs::write(&path, manifest.to_string())?;
        let builder = settings.iter().fold(node(), |builder, (key, value)| builder.set(key, value));
        Self::of(builder.set("runtimes.manifest", &path.to_string_lossy()), Some(folder))
    }

    fn of(builder: Builder, manifest: Option<tempfile::TempDir>) -> Result<Self, Failure> {
        let begun = Instant::now();
        let node = builder.start();
        let ready_after = begun.elapsed();
        let host = node.base().strip_prefix("http://").ok_or("the node does not speak http")?.to_owned();
        Ok(Self { node, host, ready_after, _manifest: manifest })
    }

    /// A namespace beside the guest's; its credentials.
    pub(crate) fn tenant(&self, name: &str) -> Result<String, Failure> {
        let created = chasen_testkit::chasen()
            .args(["admin", "user", "create", name, "--data"])
            .arg(self.data())
            .output()?;
        if !created.status.success() {
            return Err(format!("no namespace {name}: {}", String::from_utf8_lossy(&created.stderr)).into());
        }
        Ok(String::from_utf8(created.stdout)?.trim().to_owned())
    }

    pub(crate) fn data(&self) -> &Path {
        self.node.data()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.node.pid()
    }
}

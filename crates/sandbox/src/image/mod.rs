//! Imported images, run in cells: what a container engine does for them, done by the sandbox.
//!
//! An image's layers lie unpacked on this machine ([`chasen_spi::image_store`]). A cell sees them as its root beneath a
//! private layer in memory, runs the image's own command as the image's user, and is spoken with over HTTP on a socket
//! that the helper makes inside the cell's network. In all else it is a cell as any other: no rights, filtered system
//! calls, bounded memory, processes and network.

mod engine;
mod printed;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::exec::BLACKBOX;
use chasen_runtime::http::{HttpContainer, Settings};
use chasen_spi::container_factory::{Container, ContainerFactory, ContainerSpec, CreateError};
use chasen_spi::image_store::{HeldImage, ImageConfig, ImageStore};
use chasen_telemetry::task;

use crate::cell::CellSpec;
use crate::factory::{Cells, NotStarted, SandboxConfig, limits, network_of, output_pipe};
use crate::helper::Mode;
use crate::network::Lease;
use crate::root::{ImageRoot, RootSpec};
use engine::CellEngine;
use printed::Printed;

/// Where programs are looked for in images that do not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes containers of imported images.
pub struct ImageFactory {
    config: Arc<SandboxConfig>,
    cells: Arc<Cells>,
    store: Arc<dyn ImageStore>,
    resolvers: Vec<IpAddr>,
    api_host: Option<String>,
}

impl ImageFactory {
    pub(crate) fn new(
        config: Arc<SandboxConfig>,
        cells: Arc<Cells>,
        store: Arc<dyn ImageStore>,
        resolvers: Vec<IpAddr>,
        api_host: Option<String>,
    ) -> Self {
        Self { config, cells, store, resolvers, api_host }
    }

    /// The name of the image that runs a kind, or a blackbox.
    fn image(&self, kind: &str, image: Option<&str>) -> Option<String> {
        if kind == BLACKBOX {
            return image.map(str::to_owned);
        }
        Some(self.config.runtimes.manifest().resolve(kind)?.image.to_string())
    }

    async fn make(&self, spec: &ContainerSpec) -> Result<HttpContainer<CellEngine>, CreateError> {
        let name = self
            .image(&spec.kind, spec.image.as_deref())
            .ok_or_else(|| failed("the runtimes manifest has the kind no more"))?;
        let (store, asked) = (Arc::clone(&self.store), name.clone());
        let held = tokio::task::spawn_blocking(move || store.hold(&asked)).await.map_err(failed)?;
        let image = held.map_err(failed)?.ok_or_else(|| CreateError::Pull(name.clone()))?;
        if image.config.command.is_empty() {
            tracing::warn!(image = name, "the image names no program to run");
            return Err(CreateError::NotExecutable(name));
        }
        let lease = self.cells.lease(&spec.network).await?;
        let cell_name = self.cells.next_name(repository(&name));
        let specify = || self.specify(spec, &image, &cell_name, lease.as_ref());
        let (cell, ends) = self.cells.try_start(specify).await.map_err(|error| match error {
            NotStarted::NotExecutable(why) => {
                tracing::warn!(image = name, why, "the image's program cannot be executed");
                CreateError::NotExecutable(name.clone())
            }
            NotStarted::Failed(error) => error,
        })?;
        let printed = Arc::new(Printed::new(ends.stdout, ends.stderr).map_err(failed)?);
        let pumped = Arc::clone(&printed);
        // For as long as the cell lives: a full pipe would stop it.
        drop(task::spawn("output of an image", async move { pumped.pump().await }));
        let settings = Settings {
            memory: spec.memory,
            keep: self.config.payload.kept(),
            sentinelled: self.config.runtimes.manifest().marks_logs(&spec.kind, spec.image.as_deref()),
            quiet: std::time::Duration::ZERO,
        };
        let output = printed.output();
        Ok(HttpContainer::new(CellEngine::new(cell, printed, lease, image), output, settings))
    }

    fn specify(
        &self,
        spec: &ContainerSpec,
        image: &HeldImage,
        name: &str,
        lease: Option<&Lease>,
    ) -> io::Result<(CellSpec, Ends)> {
        let (stdout, their_stdout) = output_pipe()?;
        let (stderr, their_stderr) = output_pipe()?;
        let ImageConfig { uid, gid, working_dir, command, .. } = &image.config;
        let root = ImageRoot {
            layers: image.layers.clone(),
            uid: *uid,
            gid: *gid,
            working_dir: PathBuf::from(working_dir),
        };
        let cell = CellSpec {
            name: name.to_owned(),
            root: Arc::new(RootSpec::image(root, name, &self.resolvers)),
            argv: command.clone(),
            fork_server: None,
            env: self.environment(&image.config, name),
            cwd: working_dir.clone(),
            hostname: name.to_owned(),
            limits: limits(&self.config, spec),
            network: network_of(lease)?,
            files: vec![OwnedFd::from(File::open("/dev/null")?), their_stdout, their_stderr],
        };
        Ok((cell, Ends { stdout, stderr }))
    }

    /// The image's own, with what it lacks, and what the node gives every function.
    fn environment(&self, image: &ImageConfig, hostname: &str) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = vec![
            ("PATH".to_owned(), PATH.to_owned()),
            ("HOSTNAME".to_owned(), hostname.to_owned()),
            ("HOME".to_owned(), image.home.clone()),
        ];
        let api_host = self.api_host.iter().map(|host| ("__OW_API_HOST".to_owned(), host.clone()));
        for (name, value) in image.env.iter().cloned().chain(api_host).chain(self.config.extra_env.clone()) {
            match env.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => env.push((name, value)),
            }
        }
        env
    }
}

/// The node's ends of what a cell was given.
struct Ends {
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// `action` of `registry.example:5000/some/action:tag`.
fn repository(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

fn failed(error: impl std::fmt::Display) -> CreateError {
    CreateError::Failed(error.to_string())
}

#[async_trait]
impl ContainerFactory for ImageFactory {
    fn is_up(&self) -> bool {
        self.cells.is_up()
    }

    fn serves(&self, kind: &str, image: Option<&str>) -> bool {
        // A plain process has no root of its own.
        self.config.mode == Mode::Isolated
            && self.image(kind, image).is_some_and(|image| self.store.has(&image))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        Ok(Arc::new(self.make(spec).await?))
    }

    async fn close(&self) {
        self.cells.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_name_cells() {
        for (image, name) in
            [("action", "action"), ("a/b:1", "b"), ("registry.example:5000/a/b", "b"), ("a/b@sha256:00", "b")]
        {
            assert_eq!(repository(image), name);
        }
    }
}

//! The factory: which containers are the engine's, what they are made with, and in which order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ImageReference, NetworkPolicy, error_text};
use chasen_runtime::http::{Engine as _, HttpContainer, Output, Settings};
use chasen_spi::container_factory::{Container, ContainerFactory, ContainerSpec, CreateError};
use chasen_telemetry::task;
use http::StatusCode;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::DockerConfig;
use crate::container::{EngineContainer, read_output};
use crate::engine::{Engine, EngineError, HostConfig, LogConfig, NewContainer, Ulimit};
use crate::images::{Check, Images, NotPulled};
use crate::watch::Line;

/// Containers that the engine makes at a time: more of them take longer each.
const PARALLEL_STARTS: u32 = 10;
/// How long a container waits for an engine that does not answer.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a container that could run waits for a registry that need not answer.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(10);
/// How long closing waits for what is being made, and then for the last removals.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);
/// How long an activation's log may be silent after its answer before all of it counts as arrived.
const QUIET: Duration = Duration::from_millis(20);
/// Most processes and threads of a container.
const PIDS: u32 = 1024;
/// Most open files of each of its processes.
const FILES: u64 = 1024;
/// Label of every container, with the node's id.
const LABEL: &str = "chasen.node";

/// Makes containers of an engine.
pub struct DockerFactory {
    maker: Arc<Maker>,
    keeper: JoinHandle<()>,
}

struct Maker {
    config: DockerConfig,
    line: Arc<Line>,
    images: Images,
    starts: Semaphore,
    made: AtomicU64,
    closed: AtomicBool,
}

/// Why a container was not started.
enum NotStarted {
    /// Its image is not here.
    NoImage,
    /// As the invoker is told.
    Failed(CreateError),
}

impl DockerFactory {
    /// A factory for the engine at the configured socket. Returns at once: the engine may come later, and may go and
    /// come again.
    #[must_use]
    pub fn open(config: DockerConfig) -> Self {
        let line = Arc::new(Line::new(config.socket.clone(), format!("{LABEL}={}", config.node_id)));
        let kept = Arc::clone(&line);
        let keeper = task::spawn("container engine", async move { kept.keep().await });
        let maker = Maker {
            images: Images::new(config.credentials.clone()),
            config,
            line,
            starts: Semaphore::new(PARALLEL_STARTS as usize),
            made: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        };
        Self { maker: Arc::new(maker), keeper }
    }

    /// The version of the API that the engine at this socket speaks.
    ///
    /// # Errors
    /// No engine answers there, or one that is too old.
    pub async fn probe(socket: &Path) -> Result<String, EngineError> {
        Ok(Engine::connect(socket).await?.version().to_string())
    }
}

impl Drop for DockerFactory {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[async_trait]
impl ContainerFactory for DockerFactory {
    fn is_up(&self) -> bool {
        !self.maker.closed.load(Ordering::Acquire) && self.maker.line.engine().is_ok()
    }

    fn serves(&self, kind: &str, image: Option<&str>) -> bool {
        let manifest = self.maker.config.runtimes.manifest();
        match image {
            Some(image) => self.maker.config.kinds || !manifest.is_own_blackbox(image),
            None => manifest.resolve(kind).is_some(),
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        let (maker, spec) = (Arc::clone(&self.maker), spec.clone());
        let (tell, made) = oneshot::channel();
        // Goes on when nobody waits any more: then what comes of it is removed.
        drop(task::spawn("container creation", async move {
            if let Err(Ok(unwanted)) = tell.send(maker.make(&spec).await) {
                unwanted.stop().await;
            }
        }));
        let made = made.await.unwrap_or_else(|_| Err(failed("its creation was broken off")))?;
        Ok(made)
    }

    async fn close(&self) {
        self.maker.closed.store(true, Ordering::Release);
        let idle = self.maker.starts.acquire_many(PARALLEL_STARTS);
        if timeout(CLOSE_PATIENCE, idle).await.is_err() {
            tracing::warn!(
                "containers are still being made; what comes of them is removed at the next start"
            );
        }
        match timeout(CLOSE_PATIENCE, self.maker.line.remove_all()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "containers may be left until the next start"),
            Err(_) => tracing::warn!("containers may be left until the next start: the engine is slow"),
        }
        self.keeper.abort();
    }
}

impl Maker {
    async fn make(&self, spec: &ContainerSpec) -> Result<Arc<HttpContainer<EngineContainer>>, CreateError> {
        // An engine's network is as open as the engine makes it: nobody here looks at its packets. Without one nobody
        // could speak with the container.
        if spec.network != NetworkPolicy::Internet {
            let policy = spec.network.to_string();
            return Err(CreateError::PolicyNotKept(error_text::network::not_kept(
                &policy,
                "a container engine",
            )));
        }
        let (image, is_actions) = self.image(spec)?;
        let engine = self.line.engine_within(ENGINE_PATIENCE).await.map_err(|why| failed(&*why))?;
        let check = Check::of(self.config.pull, ImageReference::of(&image).version(), is_actions);
        let container = self.checked(&engine, spec, &image, check).await.map_err(|error| match error {
            // The image is the platform's choice: another factory may do without it.
            CreateError::Pull(image) if spec.image.is_none() => CreateError::NotRunnable(format!(
                "its image {image} is not in the container engine and could not be pulled"
            )),
            other => other,
        })?;
        let sentinelled = self.config.runtimes.manifest().marks_logs(&spec.kind, spec.image.as_deref());
        let keep = self.config.payload.kept();
        let settings = Settings { memory: spec.memory, keep, sentinelled, quiet: QUIET };
        let output = container.output();
        Ok(Arc::new(HttpContainer::new(container, output, settings)))
    }

    /// The image of a container, and whether it is an action's own choice.
    fn image(&self, spec: &ContainerSpec) -> Result<(String, bool), CreateError> {
        let manifest = self.config.runtimes.manifest();
        match &spec.image {
            Some(image) => Ok((image.clone(), !manifest.is_own_blackbox(image))),
            None => match manifest.resolve(&spec.kind) {
                Some(kind) => Ok((kind.image.to_string(), false)),
                None => Err(failed("the runtimes manifest has the kind no more")),
            },
        }
    }

    /// Starts a container of an image that was looked after. What is here is started while the registry is asked:
    /// nearly always it is what the registry has.
    async fn checked(
        &self,
        engine: &Engine,
        spec: &ContainerSpec,
        image: &str,
        check: Check,
    ) -> Result<EngineContainer, CreateError> {
        let not_pulled = || CreateError::Pull(image.to_owned());
        let start = || self.start(engine, spec, image);
        let started = match check {
            Check::Never => start().await,
            Check::IfMissing => match start().await {
                Err(NotStarted::NoImage) => match self.images.pull(engine, image).await {
                    Ok(()) => start().await,
                    Err(NotPulled::Refused) => Err(NotStarted::NoImage),
                    Err(NotPulled::NoEngine(why)) => return Err(failed(&*why)),
                },
                other => other,
            },
            Check::Required | Check::Wanted => {
                let (started, pulled) = tokio::join!(start(), self.pulled(engine, image, check));
                match pulled {
                    Ok(()) => {
                        // What cannot be told counts as another one.
                        let newest = engine.image_id(image).await.ok().flatten();
                        match started {
                            Ok(started) if newest.as_deref() == Some(started.image_id()) => Ok(started),
                            outdated => {
                                discard(outdated).await;
                                start().await
                            }
                        }
                    }
                    Err(NotPulled::Refused) if check == Check::Wanted => started,
                    Err(why) => {
                        discard(started).await;
                        return Err(match why {
                            NotPulled::Refused => not_pulled(),
                            NotPulled::NoEngine(why) => failed(&*why),
                        });
                    }
                }
            }
        };
        started.map_err(|why| match why {
            NotStarted::NoImage => not_pulled(),
            NotStarted::Failed(error) => error,
        })
    }

    async fn pulled(&self, engine: &Engine, image: &str, check: Check) -> Result<(), NotPulled> {
        let pull = self.images.pull(engine, image);
        if check == Check::Required || !matches!(engine.image_id(image).await, Ok(Some(_))) {
            return pull.await;
        }
        timeout(REGISTRY_PATIENCE, pull).await.unwrap_or(Err(NotPulled::Refused))
    }

    /// Creates and starts a container of what is here. Nothing is left of one that fails.
    async fn start(
        &self,
        engine: &Engine,
        spec: &ContainerSpec,
        image: &str,
    ) -> Result<EngineContainer, NotStarted> {
        let _turn = self.starts.acquire().await.map_err(failed_start)?;
        if self.closed.load(Ordering::Acquire) {
            return Err(failed_start("the node is stopping"));
        }
        let name = self.next_name(spec);
        let life = self.line.enter(&name);
        let started = async {
            let created = engine.create(&name, &self.new_container(spec, image)).await;
            let created = created.map_err(|error| not_created(error, image));
            life.created(created?);
            // Podman makes what it attaches to, and says here what Docker says at the start.
            let attached = engine.attach(&name).await.map_err(|error| not_started(error, image))?;
            let output = Arc::new(Output::default());
            read_output(name.clone(), attached, Arc::clone(&output));
            engine.start(&name).await.map_err(|error| not_started(error, image))?;
            life.started();
            let inspected = engine.inspect(&name).await.map_err(failed_start)?;
            let network = &self.config.network;
            EngineContainer::new(name.clone(), network, inspected, life, Arc::clone(&self.line), output)
                .map_err(failed_start)
        };
        let started = started.await;
        match &started {
            Ok(_) => {}
            // Nothing was created.
            Err(NotStarted::NoImage) => self.line.strike(&name),
            Err(NotStarted::Failed(_)) => self.line.remove(&name).await,
        }
        started
    }

    fn new_container(&self, spec: &ContainerSpec, image: &str) -> NewContainer {
        let config = &self.config;
        let api_host = config.api_host.iter().map(|host| format!("__OW_API_HOST={host}"));
        NewContainer {
            image: image.to_owned(),
            env: api_host.chain(config.env.iter().cloned()).collect(),
            labels: BTreeMap::from([(LABEL.to_owned(), config.node_id.clone())]),
            host_config: HostConfig {
                network_mode: config.network.clone(),
                cpu_shares: cpu_shares(spec.memory.as_bytes(), config.node_memory.as_bytes()),
                memory: spec.memory.as_bytes(),
                // No swap beyond the memory.
                memory_swap: spec.memory.as_bytes(),
                pids_limit: PIDS,
                ulimits: vec![Ulimit { name: "nofile", soft: FILES, hard: FILES }],
                cap_drop: vec!["NET_RAW", "NET_ADMIN"],
                security_opt: vec!["no-new-privileges"],
                dns: config.dns.iter().map(ToString::to_string).collect(),
                runtime: config.runtime.clone(),
                // Read as it comes: what nobody reads must not fill a disk.
                log_config: LogConfig { driver: "none" },
            },
        }
    }

    /// `wsk1f3a_7_nodejs20`
    fn next_name(&self, spec: &ContainerSpec) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        let kind: String = spec.kind.chars().filter(char::is_ascii_alphanumeric).collect();
        format!("wsk{}_{number}_{kind}", self.config.node_id)
    }
}

async fn discard(started: Result<EngineContainer, NotStarted>) {
    if let Ok(started) = started {
        started.stop().await;
    }
}

/// A container's weight among those that want a processor: its part of the node's memory.
fn cpu_shares(memory: u64, node: u64) -> u64 {
    const WHOLE: u64 = 1024;
    const LEAST: u64 = 2;
    (u128::from(WHOLE) * u128::from(memory))
        .checked_div(node.into())
        .and_then(|shares| u64::try_from(shares).ok())
        .unwrap_or(WHOLE)
        .max(LEAST)
}

/// What the engine's refusal to create a container means.
fn not_created(error: EngineError, image: &str) -> NotStarted {
    match &error {
        // A network that is not there is told the same way; an image may be called so, too.
        EngineError::Refused { status: StatusCode::NOT_FOUND, message, .. }
            if !message.replace(image, "").to_lowercase().contains("network") =>
        {
            NotStarted::NoImage
        }
        _ => not_started(error, image),
    }
}

/// What the engine's refusal to create or start a container means.
fn not_started(error: EngineError, image: &str) -> NotStarted {
    /// What engines say of images that name no program.
    const NONE: [&str; 2] = ["no command specified", "no command or entrypoint provided"];
    /// How they begin what they say of a program: other things may be missing or forbidden, too.
    const PROGRAM: [&str; 3] = ["exec: ", "executable", "exec format error"];
    /// How it goes on if the program is at fault.
    const AT_FAULT: [&str; 4] =
        ["not found", "no such file or directory", "permission denied", "exec format error"];
    if let EngineError::Refused { message, .. } = &error {
        let message = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        if says(&NONE) || (says(&PROGRAM) && says(&AT_FAULT)) {
            tracing::info!(image, reason = message, "an image cannot be executed");
            return NotStarted::Failed(CreateError::NotExecutable(image.to_owned()));
        }
    }
    failed_start(error)
}

fn failed(why: impl ToString) -> CreateError {
    CreateError::Failed(why.to_string())
}

fn failed_start(why: impl ToString) -> NotStarted {
    NotStarted::Failed(failed(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_shared_by_memory() {
        const MB: u64 = 1 << 20;
        assert_eq!(cpu_shares(256 * MB, 2048 * MB), 128);
        assert_eq!(cpu_shares(MB, 1 << 40), 2, "the engine takes no less");
        assert_eq!(cpu_shares(256 * MB, 0), 1024);
    }

    #[test]
    fn images_that_are_missing_are_told_from_networks_that_are() {
        let missing = |message: &str, image| {
            let call = "create a container";
            let message = message.to_owned();
            not_created(EngineError::Refused { call, status: StatusCode::NOT_FOUND, message }, image)
        };
        for (message, image) in [
            ("No such image: shop/tea:1", "shop/tea:1"),
            ("No such image: shop/network-probe:1", "shop/network-probe:1"),
            ("shop/network: image not known", "shop/network"),
        ] {
            assert!(matches!(missing(message, image), NotStarted::NoImage), "{message}");
        }
        assert!(matches!(missing("network nowhere not found", "shop/tea"), NotStarted::Failed(_)));
    }

    #[test]
    fn what_is_wrong_with_an_image_is_told_from_what_is_wrong_with_the_engine() {
        let refused = |message: &str| EngineError::Refused {
            call: "start a container",
            status: StatusCode::BAD_REQUEST,
            message: message.to_owned(),
        };
        for message in [
            "No command specified",
            r#"runc create failed: exec: "/nothing": stat /nothing: no such file or directory: unknown"#,
            r#"exec: "exec": executable file not found in $PATH: unknown"#,
            r#"exec: "/data": permission denied: unknown"#,
            "crun: executable file `nothing` not found in $PATH: No such file or directory",
            "crun: open executable: Permission denied: OCI permission denied",
        ] {
            assert!(
                matches!(not_started(refused(message), "i"), NotStarted::Failed(CreateError::NotExecutable(image)) if image == "i"),
                "{message}"
            );
        }
        for message in [
            "network nowhere not found",
            "crun: setrlimit `RLIMIT_NPROC`: Operation not permitted: OCI permission denied",
            r#"error mounting "/proc/x" to rootfs: no such file or directory"#,
        ] {
            let error = not_started(refused(message), "i");
            assert!(matches!(error, NotStarted::Failed(CreateError::Failed(_))), "{message}");
        }
    }
}

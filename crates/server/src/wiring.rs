//! The assembly drawing: every part of a running node, and how settings become theirs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chasen_controller::{Controller, ControllerConfig, Rates};
use chasen_docker::DockerFactory;
use chasen_embedded::{Embedded, EmbeddedConfig, ParameterKeys};
use chasen_entity::limits::Range;
use chasen_entity::manifest::{Image, RuntimeKind};
use chasen_entity::{ActionLimits, ByteSize, EntityName, LimitBounds, Manifest, PayloadLimits};
use chasen_images::{Bounds, Images};
use chasen_invoker::{InvokerConfig, KernelPressure, NodeInvoker};
use chasen_sandbox::factory::SandboxConfig;
use chasen_sandbox::helper::Mode;
use chasen_sandbox::network::NetworkConfig;
use chasen_scheduler::{Fleet, KindRouter, NullDomain, Policies, Scheduler, SchedulerConfig};
use chasen_spi::{ContainerFactory, CpuPressure, NoGrants, Runtimes};
use chasen_telemetry::clock;

use crate::node::reachable;
use crate::sandboxes::Sandboxes;
use crate::settings::{Bound, Limits, Settings};
use crate::{data, memory};

/// Every part of a running node.
pub struct Parts {
    /// Entities, code, subjects, events and records, in the data folder.
    pub stores: Embedded,
    /// Makes containers.
    pub sandboxes: Arc<Sandboxes>,
    /// Keeps the containers.
    pub invoker: NodeInvoker,
    /// Gives activations slots of containers.
    pub scheduler: Scheduler,
    /// The REST front.
    pub controller: Arc<Controller>,
}

impl Parts {
    /// Joins the rooms.
    #[must_use]
    pub fn wire(
        settings: &Settings,
        stores: Embedded,
        keys: ParameterKeys,
        runtimes: Arc<Runtimes>,
        sandboxes: Arc<Sandboxes>,
        docker: Option<Arc<DockerFactory>>,
    ) -> Self {
        let keys = Arc::new(keys);
        let mut factories: Vec<Arc<dyn ContainerFactory>> = vec![sandboxes.clone(), sandboxes.images()];
        if let Some(docker) = docker {
            // Who serves first is asked first; the others have what it cannot run.
            let place = if settings.docker.kinds { 0 } else { factories.len() };
            factories.insert(place, docker);
        }
        let invoker = NodeInvoker::new(
            invoker_config(settings),
            runtimes.clone(),
            factories,
            stores.attachment_store(),
        );
        let serving = invoker.clone();
        let mut router = KindRouter::new();
        if settings.node.null_kind {
            router = router.route(|kind, _| kind == NULL, Arc::new(NullDomain::default()));
        }
        let policies = Arc::new(Policies::with_default(settings.scheduler.policy));
        let fleet = Fleet::new(vec![Arc::new(invoker.clone())], policies.clone(), clock::now());
        router = router.route(move |kind, _| serving.serves(kind), Arc::new(fleet));
        let config = SchedulerConfig {
            policies,
            max_pending_namespace: count(settings.limits.pending_invocations),
            ..SchedulerConfig::default()
        };
        let (log, letters) = (stores.event_log(), stores.dead_letter_store());
        let scheduler = Scheduler::new(config, router, log, keys.clone(), letters);
        let controller = Controller::new(chasen_controller::Parts {
            artifacts: stores.artifact_store(),
            attachments: stores.attachment_store(),
            subjects: stores.subject_store(),
            activations: stores.activation_store(),
            dead_letters: stores.dead_letter_store(),
            idempotency: stores.idempotency_store(),
            invoke: Arc::new(scheduler.clone()),
            entitlement: Arc::new(NoGrants),
            parameter_lock: keys,
            runtimes,
            config: controller_config(settings),
        });
        Self { stores, sandboxes, invoker, scheduler, controller }
    }
}

/// The kind whose actions the node answers itself.
const NULL: &str = "null";

/// The manifest with the kind that the node answers itself.
pub(crate) fn with_null_kind(mut manifest: Manifest) -> Manifest {
    let kind = RuntimeKind::new(NULL, Image { name: NULL.to_owned(), ..Image::default() });
    manifest.runtimes.insert(NULL.to_owned(), vec![kind]);
    manifest
}

/// What the data folder is opened with.
#[must_use]
pub fn embedded_config(settings: &Settings, folder: &Path, address: String) -> EmbeddedConfig {
    EmbeddedConfig {
        address,
        retention: settings.activations.retention,
        max_bytes: settings.activations.max_bytes,
        slow_commit: settings.activations.slow_commit,
        ..EmbeddedConfig::new(PathBuf::from(folder))
    }
}

/// The URL of an API that listens at an address, as this machine reaches it.
pub(crate) fn base(is_tls: bool, address: SocketAddr) -> String {
    format!("{}://{}", scheme(is_tls), reachable(address))
}

/// How an API with TLS or without it is asked.
pub(crate) fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

/// The images that were imported into a data folder.
#[must_use]
pub fn images(folder: &Path) -> Images {
    Images::new(folder.join("images"), Bounds::default())
}

/// What sandboxes are opened with.
#[must_use]
pub fn sandbox_config(
    settings: &Settings,
    executable: PathBuf,
    folder: &Path,
    runtimes: Arc<Runtimes>,
    address: SocketAddr,
    door_port: u16,
) -> SandboxConfig {
    let insecure = settings.sandbox.insecure_process;
    let node_id = data::node_id(folder);
    // Plain processes have the node's own network: they find the API where everybody does.
    let own_address = insecure.then(|| base(settings.server.tls.is_on(), address));
    SandboxConfig {
        mode: if insecure { Mode::InsecureProcess } else { Mode::Isolated },
        modules_dir: folder.join("runtimes").join("modules"),
        network: settings.sandbox.network.then(|| NetworkConfig {
            dns: settings.sandbox.dns.clone(),
            lent: settings.sandbox.network_allow_private.clone(),
            prepared: usize::try_from(settings.sandbox.prepared_networks).unwrap_or(usize::MAX),
            ..NetworkConfig::new(node_id.clone(), door_port)
        }),
        api_host: settings.server.api_host.0.clone().or(own_address),
        payload: payload_limits(&settings.limits),
        node_memory: node_memory(settings),
        build_memory: settings.sandbox.build_memory,
        fork_server: settings.sandbox.fork_server,
        prepared_cells: usize::try_from(settings.sandbox.prepared_cells).unwrap_or(0),
        ..SandboxConfig::new(executable, folder, node_id, runtimes)
    }
}

pub(crate) fn node_memory(settings: &Settings) -> ByteSize {
    settings.node.memory.0.unwrap_or_else(memory::available_for_containers)
}

fn invoker_config(settings: &Settings) -> InvokerConfig {
    let most_pressure = settings.scheduler.cpu_pressure.0;
    let namespaces = settings.node.dedicated_namespaces.iter();
    InvokerConfig {
        memory: node_memory(settings),
        labels: settings.node.labels.iter().cloned().collect(),
        dedicated: namespaces.filter_map(|name| EntityName::new(name)).collect(),
        burst: settings.scheduler.burst.0,
        pressure: Some(Arc::new(KernelPressure::default()) as Arc<dyn CpuPressure>),
        most_pressure: most_pressure.map_or(f64::INFINITY, f64::from),
        pause_grace: settings.sandbox.pause_grace,
        idle_container: settings.sandbox.idle_container,
        stem_check_delay: settings.sandbox.stem_check_delay,
        stem_check_interval: settings.sandbox.stem_check_interval,
        payload: payload_limits(&settings.limits),
        ..InvokerConfig::default()
    }
}

fn controller_config(settings: &Settings) -> ControllerConfig {
    let limits = &settings.limits;
    let whole = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let (connections, per_address) =
        (whole(settings.server.connections), settings.server.connections_per_address.0);
    ControllerConfig {
        rates: Rates {
            invocations_per_minute: limits.invocations_per_minute.0,
            concurrent_invocations: limits.concurrent_invocations.0,
            fires_per_minute: limits.fires_per_minute.0,
        },
        limit_bounds: limit_bounds(limits),
        default_limits: default_limits(limits),
        namespace_limits: settings.namespace_limits.limits(),
        sequence_length: limits.sequence_length,
        max_connections: connections,
        max_connections_per_address: per_address.map_or(connections / 2, whole),
        domain: Some(settings.server.domain.clone()).filter(|domain| !domain.is_empty()),
        max_exec: limits.exec_max,
        max_parameters: limits.parameters_max,
        max_payload: limits.payload_max,
        max_list_limit: limits.list_max.into(),
        default_list_limit: limits.list_default.into(),
        shared_packages_execute_only: settings.packages.shared_execute_only,
        runtimes_whitelist: settings.runtimes.whitelist.clone(),
        durability_non_blocking: settings.durability.non_blocking,
        durability_blocking: settings.durability.blocking,
        store_blocking: settings.activations.store_blocking_level,
        store_non_blocking: settings.activations.store_non_blocking_level,
        ..ControllerConfig::default()
    }
}

/// The limits of actions that set none: the usual ones, within the bounds.
fn default_limits(limits: &Limits) -> ActionLimits {
    let bounds = limit_bounds(limits);
    let usual = ActionLimits::default();
    let within = |usual: u32, range: Range| usual.max(range.min).min(range.max);
    let or_within = |given: Option<u32>, usual, range| given.unwrap_or_else(|| within(usual, range));
    ActionLimits {
        timeout: or_within(limits.action_timeout_default.0.map(millis), usual.timeout, bounds.timeout),
        memory: or_within(limits.action_memory_default.0.map(megabytes), usual.memory, bounds.memory),
        logs: or_within(limits.action_logs_default.0.map(megabytes), usual.logs, bounds.logs),
        concurrency: or_within(limits.action_concurrency_default.0, usual.concurrency, bounds.concurrency),
        instances: None,
    }
}

pub(crate) fn payload_limits(limits: &Limits) -> PayloadLimits {
    PayloadLimits { max: limits.payload_max, truncation: limits.payload_truncation }
}

fn count(bound: Bound) -> usize {
    bound.0.map_or(usize::MAX, |bound| usize::try_from(bound).unwrap_or(usize::MAX))
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn megabytes(size: ByteSize) -> u32 {
    u32::try_from(size.as_mb()).unwrap_or(u32::MAX)
}

fn limit_bounds(limits: &Limits) -> LimitBounds {
    LimitBounds {
        timeout: Range { min: millis(limits.action_timeout_min), max: millis(limits.action_timeout_max) },
        memory: Range { min: megabytes(limits.action_memory_min), max: megabytes(limits.action_memory_max) },
        logs: Range { min: megabytes(limits.action_logs_min), max: megabytes(limits.action_logs_max) },
        concurrency: Range {
            min: LimitBounds::default().concurrency.min,
            max: limits.action_concurrency_max,
        },
    }
}

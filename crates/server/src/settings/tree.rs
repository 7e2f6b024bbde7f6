//! The tree of settings: every key, its kind, default and meaning, in one function.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chasen_docker::PullPolicy;
use chasen_embedded::ParameterKeysConfig;
use chasen_entity::{
    ByteSize, Durability, LimitBounds, NetworkPolicy, SchedulingPolicy, StoreLevel, Subnet, UserLimits,
};
use chasen_telemetry::log::Format;

use super::check::MAX_EXEC;
use super::layers::Layers;
use super::problem::SettingsError;
use super::reader::{Reader, Row};
use super::value::{Auto, Bound, Listen, Secret};

/// The authority that gives certificates to everybody.
const AUTHORITY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// All settings of a node. Each field's meaning is in [`Settings::declare`].
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Settings {
    pub server: Server,
    pub log: Log,
    pub node: Node,
    pub scheduler: Scheduler,
    pub limits: Limits,
    pub namespace_limits: NamespaceLimits,
    pub sandbox: Sandbox,
    pub docker: Docker,
    pub activations: Activations,
    pub durability: Durabilities,
    pub runtimes: Runtimes,
    pub packages: Packages,
    pub parameter_storage: ParameterStorage,
    pub admin: Admin,
}

/// The node's doors and its folder.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Server {
    pub listen: Listen,
    pub tls: Tls,
    pub connections: u32,
    pub connections_per_address: Auto<u32>,
    pub data: Auto<PathBuf>,
    pub drain_timeout: Duration,
    pub api_host: Auto<String>,
    pub domain: String,
    pub allow_guest: bool,
}

/// TLS of the API's door.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Tls {
    pub certificate: Auto<PathBuf>,
    pub key: Auto<PathBuf>,
    pub acme_domains: Vec<String>,
    pub acme_contact: String,
    pub acme_directory: String,
    pub acme_ca: Auto<PathBuf>,
}

impl Tls {
    /// None.
    #[must_use]
    pub fn off() -> Self {
        Self {
            certificate: Auto(None),
            key: Auto(None),
            acme_domains: Vec::new(),
            acme_contact: String::new(),
            acme_directory: AUTHORITY.to_owned(),
            acme_ca: Auto(None),
        }
    }

    /// True if the door speaks TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.certificate.0.is_some() || !self.acme_domains.is_empty()
    }
}

/// The operator's log.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Log {
    pub filter: String,
    pub format: Format,
}

/// What the node may use of its machine.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Node {
    pub memory: Auto<ByteSize>,
    pub labels: Vec<String>,
    pub dedicated_namespaces: Vec<String>,
    /// `node.null-kind`
    pub null_kind: bool,
}

/// When containers are started, and where.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Scheduler {
    pub policy: SchedulingPolicy,
    pub burst: Bound,
    pub cpu_pressure: Bound,
}

/// Bounds on what callers and actions may do.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Limits {
    pub invocations_per_minute: Bound,
    pub concurrent_invocations: Bound,
    pub fires_per_minute: Bound,
    pub pending_invocations: Bound,
    pub sequence_length: u32,
    pub action_timeout_min: Duration,
    pub action_timeout_max: Duration,
    pub action_timeout_default: Auto<Duration>,
    pub action_memory_min: ByteSize,
    pub action_memory_max: ByteSize,
    pub action_memory_default: Auto<ByteSize>,
    pub action_logs_min: ByteSize,
    pub action_logs_max: ByteSize,
    pub action_logs_default: Auto<ByteSize>,
    pub action_concurrency_max: u32,
    pub action_concurrency_default: Auto<u32>,
    pub exec_max: ByteSize,
    pub parameters_max: ByteSize,
    pub payload_max: ByteSize,
    pub payload_truncation: ByteSize,
    pub list_max: u32,
    pub list_default: u32,
}

/// Bounds of namespaces that have none of their own.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct NamespaceLimits {
    pub action_timeout_min: Auto<Duration>,
    pub action_timeout_max: Auto<Duration>,
    pub action_memory_min: Auto<ByteSize>,
    pub action_memory_max: Auto<ByteSize>,
    pub action_logs_min: Auto<ByteSize>,
    pub action_logs_max: Auto<ByteSize>,
    pub action_concurrency_min: Auto<u32>,
    pub action_concurrency_max: Auto<u32>,
    pub parameters_max: Auto<ByteSize>,
    pub payload_max: Auto<ByteSize>,
    pub payload_truncation: Auto<ByteSize>,
    pub network: Auto<NetworkPolicy>,
}

/// The sandboxes of actions.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Sandbox {
    pub pause_grace: Duration,
    pub idle_container: Duration,
    pub stem_check_delay: Duration,
    pub stem_check_interval: Duration,
    pub network: bool,
    pub dns: Vec<IpAddr>,
    pub network_allow_private: Vec<Subnet>,
    pub prepared_networks: u32,
    pub prepared_cells: u32,
    pub fork_server: bool,
    pub build_memory: ByteSize,
    pub insecure_process: bool,
}

/// The container engine, Docker or Podman, for images.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Docker {
    pub enabled: Auto<bool>,
    pub socket: Auto<PathBuf>,
    pub network: String,
    pub pull: PullPolicy,
    pub credentials: Auto<PathBuf>,
    pub kinds: bool,
    pub runtime: Auto<String>,
    pub dns: Vec<IpAddr>,
    pub env: Vec<String>,
}

/// Records of activations.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Activations {
    pub retention: Duration,
    pub max_bytes: ByteSize,
    pub slow_commit: Duration,
    pub store_blocking_level: StoreLevel,
    pub store_non_blocking_level: StoreLevel,
}

/// What accepted activations outlive.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Durabilities {
    pub non_blocking: Durability,
    pub blocking: Durability,
}

/// Kinds of actions.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Runtimes {
    pub manifest: Auto<PathBuf>,
    pub whitelist: Vec<String>,
}

/// Packages of other namespaces.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Packages {
    pub shared_execute_only: bool,
}

/// The administrators' door.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Admin {
    pub listen: Listen,
    pub credentials: Secret,
}

/// Parameters at rest.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct ParameterStorage {
    pub current: String,
    pub aes_128: Secret,
    pub aes_256: Secret,
}

impl ParameterStorage {
    /// What the keys are made from.
    #[must_use]
    pub fn keys(&self) -> ParameterKeysConfig {
        ParameterKeysConfig {
            current: self.current.clone(),
            aes_128: self.aes_128.0.clone(),
            aes_256: self.aes_256.0.clone(),
        }
    }
}

impl NamespaceLimits {
    /// The same as limits of a namespace.
    #[must_use]
    pub fn limits(&self) -> UserLimits {
        let millis = |time: Auto<Duration>| Some(u32::try_from(time.0?.as_millis()).unwrap_or(u32::MAX));
        let mb = |size: Auto<ByteSize>| Some(u32::try_from(size.0?.as_mb()).unwrap_or(u32::MAX));
        UserLimits {
            min_action_timeout: millis(self.action_timeout_min),
            max_action_timeout: millis(self.action_timeout_max),
            min_action_memory: mb(self.action_memory_min),
            max_action_memory: mb(self.action_memory_max),
            min_action_logs: mb(self.action_logs_min),
            max_action_logs: mb(self.action_logs_max),
            min_action_concurrency: self.action_concurrency_min.0,
            max_action_concurrency: self.action_concurrency_max.0,
            max_parameter_size: self.parameters_max.0,
            max_payload_size: self.payload_max.0,
            truncation_size: self.payload_truncation.0,
            network: self.network.0.clone(),
            ..UserLimits::default()
        }
    }
}

impl Settings {
    /// Reads the settings out of the layers: the tree and its rows, or everything that is wrong.
    pub fn read(layers: Layers) -> Result<(Self, Vec<Row>), SettingsError> {
        let mut reader = Reader::new(layers);
        let settings = Self::declare(&mut reader);
        settings.check(&mut reader);
        Ok((settings, reader.finish()?))
    }

    /// The table of all keys.
    #[rustfmt::skip]
    fn declare(reader: &mut Reader) -> Self {
        let bounds = LimitBounds::default();
        let millis = |time: u32| Duration::from_millis(time.into());
        let mb = |size: u32| ByteSize::mb(size.into());
        Self {
            server: Server {
                listen: reader.value("server.listen", Listen { host: "127.0.0.1".to_owned(), port: 3233 },
                    "Where the API listens. Port 0 picks a free one. On addresses that are not loopback the well-known guest does not exist; see `server.allow-guest`."),
                tls: Tls {
                    certificate: reader.value("server.tls.certificate", Auto(None),
                        "File with the certificate of the API's door and its chain, PEM. It is read again when it changes. `auto` is none: plain HTTP, or `server.tls.acme.domains`."),
                    key: reader.value("server.tls.key", Auto(None),
                        "File with the key of that certificate, PEM."),
                    acme_domains: reader.value("server.tls.acme.domains", Vec::new(),
                        "Names, or addresses, that an authority is asked to certify by ACME, as `api.example.org`. It looks for a proof at port 443 of each, which must lead to `server.listen`. To give names here is to agree to the authority's terms."),
                    acme_contact: reader.value("server.tls.acme.contact", String::new(),
                        "E-mail address for what the authority has to say about the account."),
                    acme_directory: reader.value("server.tls.acme.directory", AUTHORITY.to_owned(),
                        "The authority's ACME directory."),
                    acme_ca: reader.value("server.tls.acme.ca", Auto(None),
                        "File with the authorities that vouch for that directory, PEM. `auto` is those of the machine."),
                },
                connections: reader.value("server.connections", 20_000,
                    "Connections that each door has open at a time. Beyond it, silent ones of whoever has most are closed for new ones."),
                connections_per_address: reader.value("server.connections-per-address", Auto(None),
                    "Connections of them that one address, or one /64 network of IPv6, may have; more are closed at once. `auto` is half of all."),
                data: reader.value("server.data", Auto(None),
                    "Folder of everything the node keeps. `auto` is `chasen` below `XDG_DATA_HOME` or `~/.local/share`."),
                drain_timeout: reader.value("server.drain-timeout", Duration::from_secs(30),
                    "How long a stopping node waits for running activations. What is left then ends in records that say so, or goes on at the next start where nobody waits for it."),
                domain: reader.value("server.domain", "localhost".to_owned(),
                    "Host name whose subdomains are namespaces: `http://guest.localhost:3233/shop/order` is the web action `shop/order` of `guest`. Empty for none."),
                api_host: reader.value("server.api-host", Auto(None),
                    "Address of the API that functions find in `__OW_API_HOST`. `auto` is the node's door for sandboxes."),
                allow_guest: reader.value("server.allow-guest", false,
                    "Let the well-known guest exist although the API listens beyond loopback: everybody who reaches it can run code."),
            },
            log: Log {
                filter: reader.value("log.filter", "info".to_owned(),
                    "What the log says, as `level` or `level,module=level`."),
                format: reader.value("log.format", Format::Auto,
                    "How log lines look. `auto` is text on a terminal, JSON elsewhere."),
            },
            node: Node {
                memory: reader.value("node.memory", Auto(None),
                    "Memory that all containers of the node may have together. `auto` is three quarters of what the machine, or the node's control group, has available at start."),
                labels: reader.value("node.labels", Vec::new(),
                    "What this node has that others have not, as `gpu, fast`: actions ask for it by the annotation `invoker-resources`."),
                dedicated_namespaces: reader.value("node.dedicated-namespaces", Vec::new(),
                    "Namespaces whose actions the node runs, as `alice, bob`; nothing runs those of everybody."),
                null_kind: reader.value("node.null-kind", false,
                    "Offer the kind `null`, for measuring: the node answers its actions itself, with their arguments. Their `code` is not looked at."),
            },
            scheduler: Scheduler {
                policy: reader.value("scheduler.policy", SchedulingPolicy::EventDriven,
                    "When containers are started, and where, unless a namespace or an action says. `sharding` is OpenWhisk's, for comparison."),
                burst: reader.value("scheduler.burst", Bound(Some(50)),
                    "Containers that a node starts in a second, and at once, beyond the first one of their action; first ones do not count. With 0 every action has one."),
                cpu_pressure: reader.value("scheduler.cpu-pressure", Bound(Some(80)),
                    "Share of a second, in percent, in which work had to wait for a processor, at most 100: from there on, containers beyond the first one of their action are started up to a second later."),
            },
            limits: Limits {
                invocations_per_minute: reader.value("limits.invocations-per-minute", Bound(None),
                    "Invocations that a namespace may ask for in a calendar minute."),
                concurrent_invocations: reader.value("limits.concurrent-invocations", Bound(Some(10_000)),
                    "Invocations that a namespace may have in flight."),
                fires_per_minute: reader.value("limits.fires-per-minute", Bound(None),
                    "Trigger fires that a namespace may ask for in a calendar minute."),
                pending_invocations: reader.value("limits.pending-invocations", Bound(Some(100_000)),
                    "Invocations of a namespace that may wait in the log: for their time (`delay`, `at`), or for room in the queue of their action."),
                sequence_length: reader.value("limits.sequence-length", 50,
                    "Most actions in a sequence."),
                action_timeout_min: reader.value("limits.action-timeout-min", millis(bounds.timeout.min),
                    "Lowest time limit that an action may set."),
                action_timeout_max: reader.value("limits.action-timeout-max", millis(bounds.timeout.max),
                    "Highest time limit that an action may set."),
                action_timeout_default: reader.value("limits.action-timeout-default", Auto(None),
                    "Time limit of an action that sets none. `auto` is 1 min within the bounds."),
                action_memory_min: reader.value("limits.action-memory-min", mb(bounds.memory.min),
                    "Lowest memory limit that an action may set, in whole MB."),
                action_memory_max: reader.value("limits.action-memory-max", mb(bounds.memory.max),
                    "Highest memory limit that an action may set, in whole MB."),
                action_memory_default: reader.value("limits.action-memory-default", Auto(None),
                    "Memory limit of an action that sets none, in whole MB. `auto` is 256 MB within the bounds."),
                action_logs_min: reader.value("limits.action-logs-min", mb(bounds.logs.min),
                    "Lowest log limit that an action may set, in whole MB."),
                action_logs_max: reader.value("limits.action-logs-max", mb(bounds.logs.max),
                    "Highest log limit that an action may set, in whole MB."),
                action_logs_default: reader.value("limits.action-logs-default", Auto(None),
                    "Log limit of an action that sets none, in whole MB. `auto` is 10 MB within the bounds."),
                action_concurrency_max: reader.value("limits.action-concurrency-max", bounds.concurrency.max,
                    "Highest number of activations that an action may let share a container."),
                action_concurrency_default: reader.value("limits.action-concurrency-default", Auto(None),
                    "Activations that share a container where an action does not say. `auto` is 1."),
                exec_max: reader.value("limits.exec-max", MAX_EXEC,
                    "Longest code of an action, as sent, with the names that belong to it; at most 48 MB."),
                parameters_max: reader.value("limits.parameters-max", ByteSize::mb(1),
                    "Longest parameters, and longest annotations, of an entity."),
                payload_max: reader.value("limits.payload-max", ByteSize::mb(1),
                    "Longest body of an invocation or a fire, and longest result of an activation."),
                payload_truncation: reader.value("limits.payload-truncation", ByteSize::mb(1),
                    "How much is shown of a result that is too long."),
                list_max: reader.value("limits.list-max", 200,
                    "Most elements of a list page."),
                list_default: reader.value("limits.list-default", 30,
                    "Elements of a list page where the request does not say."),
            },
            namespace_limits: NamespaceLimits {
                action_timeout_min: reader.value("namespace-limits.action-timeout-min", Auto(None),
                    "Lowest time limit in namespaces that have no such limit of their own. `auto` is, here and below, what `limits` says."),
                action_timeout_max: reader.value("namespace-limits.action-timeout-max", Auto(None),
                    "Highest time limit in such namespaces."),
                action_memory_min: reader.value("namespace-limits.action-memory-min", Auto(None),
                    "Lowest memory limit in such namespaces, in whole MB."),
                action_memory_max: reader.value("namespace-limits.action-memory-max", Auto(None),
                    "Highest memory limit in such namespaces, in whole MB."),
                action_logs_min: reader.value("namespace-limits.action-logs-min", Auto(None),
                    "Lowest log limit in such namespaces, in whole MB."),
                action_logs_max: reader.value("namespace-limits.action-logs-max", Auto(None),
                    "Highest log limit in such namespaces, in whole MB."),
                action_concurrency_min: reader.value("namespace-limits.action-concurrency-min", Auto(None),
                    "Lowest number of activations that share a container in such namespaces."),
                action_concurrency_max: reader.value("namespace-limits.action-concurrency-max", Auto(None),
                    "Highest number of activations that share a container in such namespaces."),
                parameters_max: reader.value("namespace-limits.parameters-max", Auto(None),
                    "Longest parameters, and longest annotations, in such namespaces."),
                payload_max: reader.value("namespace-limits.payload-max", Auto(None),
                    "Longest arguments and results in such namespaces."),
                payload_truncation: reader.value("namespace-limits.payload-truncation", Auto(None),
                    "How much is shown of a result that is too long in such namespaces."),
                network: reader.value("namespace-limits.network", Auto(None),
                    "Where functions of such namespaces may connect to: `none`, `internet`, or `allow:` and a list of destinations. `auto` is `internet`."),
            },
            sandbox: Sandbox {
                pause_grace: reader.value("sandbox.pause-grace", Duration::from_millis(100),
                    "How long a container idles before it is frozen."),
                idle_container: reader.value("sandbox.idle-container", Duration::from_mins(10),
                    "How long an unused container is kept."),
                stem_check_delay: reader.value("sandbox.stem-check-delay", Duration::from_mins(10),
                    "How long after the start the demand for reactive stem cells is looked at for the first time (OpenWhisk: `prewarm-expiration-check-init-delay`)."),
                stem_check_interval: reader.value("sandbox.stem-check-interval", Duration::from_mins(10),
                    "How often it is looked at from then on (OpenWhisk: `prewarm-expiration-check-interval`)."),
                network: reader.value("sandbox.network", true,
                    "Give functions a network. Without one they reach nothing, not even the API, and the node needs no rights over the machine's network."),
                dns: reader.value("sandbox.dns", Vec::new(),
                    "Name servers that the node asks for functions, wherever they are; nothing takes those of the machine."),
                network_allow_private: reader.value("sandbox.network-allow-private", Vec::new(),
                    "Private networks (such as `10.1.0.0/16`) that the network policy of a namespace may name; no function reaches any other, and none those that its namespace does not name."),
                prepared_networks: reader.value("sandbox.prepared-networks", 4,
                    "Network namespaces kept ready for new containers."),
                prepared_cells: reader.value("sandbox.prepared-cells", 2,
                    "Sandboxes kept ready for each kind and memory that was started in the last ten minutes, of eight of them at most: all of a sandbox but its program, which makes cold starts sooner. Each has a network of its own and takes about half a megabyte, beside `node.memory`. 0 keeps none."),
                fork_server: reader.value("sandbox.fork-server", false,
                    "Let sandboxes of Python be forked from an interpreter that is up already: they start much sooner, but share its address layout and hash seed. Needs root."),
                build_memory: reader.value("sandbox.build-memory", ByteSize::mb(1024),
                    "Memory of a sandbox in which code is compiled, its files included; beside `node.memory`. One such sandbox per two processors runs at a time, two at least, and never all of them for one namespace."),
                insecure_process: reader.value("sandbox.insecure-process", false,
                    "Run functions as plain processes, without any isolation. Only for code that you trust as much as the node."),
            },
            docker: Docker {
                enabled: reader.value("docker.enabled", Auto(None),
                    "Run images in containers of Docker or Podman. `auto` does so if an engine answers at the socket when the node starts; `true` waits for one."),
                socket: reader.value("docker.socket", Auto(None),
                    "The engine's socket. `auto` is what `DOCKER_HOST` says, if that is a `unix://` address, or `/var/run/docker.sock`."),
                network: reader.value("docker.network", "bridge".to_owned(),
                    "The engine's network that containers are in. The node must reach its addresses."),
                pull: reader.value("docker.pull", PullPolicy::Always,
                    "When registries are asked. `always`: before every container of an image that an action names, which must succeed for the tag `latest` and need not for others; images of kinds when they are missing. `missing`: only for what is missing. `never`: only what the engine has is run."),
                credentials: reader.value("docker.credentials", Auto(None),
                    "File with logins of registries, in the format of Docker's `config.json`; it is read at every pull. Every action may then name images that they open. `auto` logs in nowhere."),
                kinds: reader.value("docker.kinds", false,
                    "Prefer the images of the runtimes manifest to sandboxes of the platform's own. Otherwise the engine gets what the sandbox cannot run."),
                runtime: reader.value("docker.runtime", Auto(None),
                    "Low-level runtime of containers, such as `runc`, `crun` or `runsc`. `auto` is the engine's own."),
                dns: reader.value("docker.dns", Vec::new(),
                    "Name servers of containers; nothing takes the engine's own."),
                env: reader.value("docker.env", Vec::new(),
                    "More environment of every container, as `NAME=value, OTHER=value`. Not for secrets: functions see it."),
            },
            activations: Activations {
                retention: reader.value("activations.retention", Duration::from_hours(7 * 24),
                    "How long records of activations are kept."),
                max_bytes: reader.value("activations.max-bytes", ByteSize::mb(10 * 1024),
                    "Most disk that records of activations take; the oldest go first."),
                slow_commit: reader.value("activations.slow-commit", Duration::from_millis(50),
                    "Work that nobody waits for, and work that is to be synced, is refused with 503 while bringing an event to the disk usually takes longer than this."),
                store_blocking_level: reader.value("activations.store-blocking-level", StoreLevel::StoreAlways,
                    "Which activations that somebody waits for leave a record."),
                store_non_blocking_level: reader.value("activations.store-non-blocking-level", StoreLevel::StoreAlways,
                    "Which other activations leave a record."),
            },
            durability: Durabilities {
                non_blocking: reader.value("durability.non-blocking", Durability::Synced,
                    "What non-blocking invocations and fires of triggers outlive once they are accepted: `memory` the death of the node's process, `synced` a power cut too. The limit `durability` of a namespace wins; the header `X-Chasen-Durability` of a call can ask for more."),
                blocking: reader.value("durability.blocking", Durability::Memory,
                    "The same for blocking calls; `synced` ones are answered when their record is on the disk."),
            },
            runtimes: Runtimes {
                manifest: reader.value("runtimes.manifest", Auto(None),
                    "A runtimes manifest to use in place of the built-in one. What was put in force through the administrators' door goes before it."),
                whitelist: reader.value("runtimes.whitelist", Vec::new(),
                    "Kinds that every namespace may use, beside those that its own limits allow. Where both say nothing, all kinds may be used."),
            },
            packages: Packages {
                shared_execute_only: reader.value("packages.shared-execute-only", false,
                    "Let packages of other namespaces be executed and not read."),
            },
            parameter_storage: ParameterStorage {
                current: reader.value("parameter-storage.current", "node".to_owned(),
                    "What new parameters of actions and packages are locked with before they are stored: `node`, a key that the node makes and keeps in `parameters.key` of its data folder, unseen by clients; `aes-128` or `aes-256`, keys of yours, which let `GET` show locked values; everything else, and one without its key, leaves them open."),
                aes_128: reader.value("parameter-storage.aes-128", Secret(None),
                    "Key of 16 bytes. Any key that is given unlocks what it locked, whatever is current."),
                aes_256: reader.value("parameter-storage.aes-256", Secret(None),
                    "Key of 32 bytes. Any key that is given unlocks what it locked, whatever is current."),
            },
            admin: Admin {
                listen: reader.value("admin.listen", Listen { host: "127.0.0.1".to_owned(), port: 0 },
                    "Where the administrators' door listens; port 0 picks a free one. `chasen admin` finds it through a file in the data folder."),
                credentials: reader.value("admin.credentials", Secret(None),
                    "`USER:PASSWORD` of the administrators' door. Without it, the node makes up credentials at every start and keeps them in that file."),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{effective, reference};

    fn read(assignments: &[&str]) -> Result<(Settings, Vec<Row>), SettingsError> {
        let mut layers = Layers::default();
        for assignment in assignments {
            layers.add_assignment(assignment);
        }
        Settings::read(layers)
    }

    #[test]
    fn defaults_make_a_working_node() {
        let (settings, rows) = read(&[]).unwrap();
        assert_eq!(settings.server.listen, Listen { host: "127.0.0.1".to_owned(), port: 3233 });
        assert_eq!(settings.limits.concurrent_invocations, Bound(Some(10_000)));
        assert!(
            rows.iter().all(|row| row.origin == crate::settings::Origin::Default && row.value == row.default)
        );
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let bad = ["limits.fires-per-minut=3", "server.drain-timeout=soon", "limits.action-memory-min=4 GB"];
        let text = read(&bad).unwrap_err().to_string();
        for part in [
            "limits.fires-per-minut (flag --set): there is no such setting; did you mean limits.fires-per-minute?",
            "server.drain-timeout = \"soon\" (flag --set): expected a duration such as",
            "limits.action-memory-min is larger than limits.action-memory-max",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn variables_with_one_underscore_are_not_passed_over() {
        let mut layers = Layers::default();
        let names = ["CHASEN_LIMITS_FIRES_PER_MINUTE", "CHASEN_BIN"];
        layers.add_environment(names.map(|name| (name.to_owned(), "7".to_owned())));
        let error = Settings::read(layers).unwrap_err().to_string();
        assert!(error.contains("write CHASEN_LIMITS__FIRES_PER_MINUTE"), "{error}");
        assert!(!error.contains("CHASEN_BIN"), "{error}");
    }

    #[test]
    fn the_effective_tree_is_a_settings_file_that_says_the_same() {
        let (_, rows) = read(&["server.listen=[::1]:0", "limits.fires-per-minute=60"]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("effective.toml");
        std::fs::write(&path, effective(&rows)).unwrap();
        let mut layers = Layers::default();
        layers.add_file(&path);
        let (_, again) = Settings::read(layers).unwrap();
        let values = |rows: &[Row]| rows.iter().map(|row| (row.key, row.value.clone())).collect::<Vec<_>>();
        assert_eq!(values(&again), values(&rows));
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let (_, rows) = read(&[]).unwrap();
        let page = include_str!("../../../../docs/settings.md");
        assert!(page == reference(&rows), "write it anew: chasen config --reference > docs/settings.md");
    }
}

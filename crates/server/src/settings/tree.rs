//! The tree of settings: every key, its kind, default and meaning, in one function.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chasen_embedded::{ParameterKeys, ParameterKeysConfig};
use chasen_entity::{ByteSize, LimitBounds};
use chasen_telemetry::log::Format;

use super::layers::Layers;
use super::problem::SettingsError;
use super::reader::{Reader, Row};
use super::value::{Auto, Bound, Listen, Secret};

/// Most network namespaces that are kept ready.
const MAX_PREPARED_NETWORKS: u32 = 256;

/// All settings of a node. Each field's meaning is in [`Settings::declare`].
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Settings {
    pub server: Server,
    pub log: Log,
    pub node: Node,
    pub limits: Limits,
    pub sandbox: Sandbox,
    pub activations: Activations,
    pub runtimes: Runtimes,
    pub parameter_storage: ParameterStorage,
}

/// The node's doors and its folder.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Server {
    pub listen: Listen,
    pub data: Auto<PathBuf>,
    pub drain_timeout: Duration,
    pub api_host: Auto<String>,
    pub allow_guest: bool,
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
}

/// Bounds on what callers and actions may do.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Limits {
    pub invocations_per_minute: Bound,
    pub concurrent_invocations: Bound,
    pub fires_per_minute: Bound,
    pub sequence_length: u32,
    pub action_timeout_min: Duration,
    pub action_timeout_max: Duration,
    pub action_memory_min: ByteSize,
    pub action_memory_max: ByteSize,
    pub action_logs_max: ByteSize,
    pub action_concurrency_max: u32,
}

/// The sandboxes of actions.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Sandbox {
    pub pause_grace: Duration,
    pub idle_container: Duration,
    pub network: bool,
    pub dns: Vec<IpAddr>,
    pub prepared_networks: u32,
    pub insecure_process: bool,
}

/// Records of activations.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Activations {
    pub retention: Duration,
    pub max_bytes: ByteSize,
}

/// Kinds of actions.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each field is described where its key is declared")]
pub struct Runtimes {
    pub manifest: Auto<PathBuf>,
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
        Self {
            server: Server {
                listen: reader.value("server.listen", Listen { host: "127.0.0.1".to_owned(), port: 3233 },
                    "Where the API listens. Port 0 picks a free one. On addresses that are not loopback the well-known guest does not exist; see `server.allow-guest`."),
                data: reader.value("server.data", Auto(None),
                    "Folder of everything the node keeps. `auto` is `chasen` below `XDG_DATA_HOME` or `~/.local/share`."),
                drain_timeout: reader.value("server.drain-timeout", Duration::from_secs(30),
                    "How long a stopping node waits for running activations. What is left then ends in records that say so."),
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
            },
            limits: Limits {
                invocations_per_minute: reader.value("limits.invocations-per-minute", Bound(None),
                    "Invocations that a namespace may ask for in a calendar minute."),
                concurrent_invocations: reader.value("limits.concurrent-invocations", Bound(Some(10_000)),
                    "Invocations that a namespace may have in flight."),
                fires_per_minute: reader.value("limits.fires-per-minute", Bound(None),
                    "Trigger fires that a namespace may ask for in a calendar minute."),
                sequence_length: reader.value("limits.sequence-length", 50,
                    "Most actions in a sequence."),
                action_timeout_min: reader.value("limits.action-timeout-min", Duration::from_millis(bounds.timeout.min.into()),
                    "Lowest time limit that an action may set."),
                action_timeout_max: reader.value("limits.action-timeout-max", Duration::from_millis(bounds.timeout.max.into()),
                    "Highest time limit that an action may set."),
                action_memory_min: reader.value("limits.action-memory-min", ByteSize::mb(bounds.memory.min.into()),
                    "Lowest memory limit that an action may set, in whole MB."),
                action_memory_max: reader.value("limits.action-memory-max", ByteSize::mb(bounds.memory.max.into()),
                    "Highest memory limit that an action may set, in whole MB."),
                action_logs_max: reader.value("limits.action-logs-max", ByteSize::mb(bounds.logs.max.into()),
                    "Highest log limit that an action may set, in whole MB."),
                action_concurrency_max: reader.value("limits.action-concurrency-max", bounds.concurrency.max,
                    "Highest number of activations that an action may let share a container."),
            },
            sandbox: Sandbox {
                pause_grace: reader.value("sandbox.pause-grace", Duration::from_millis(100),
                    "How long a container idles before it is frozen."),
                idle_container: reader.value("sandbox.idle-container", Duration::from_mins(10),
                    "How long an unused container is kept."),
                network: reader.value("sandbox.network", true,
                    "Give functions a network. Without one they reach nothing, not even the API, and the node needs no rights over the machine's network."),
                dns: reader.value("sandbox.dns", Vec::new(),
                    "Name servers that functions use; nothing takes those of the machine."),
                prepared_networks: reader.value("sandbox.prepared-networks", 4,
                    "Network namespaces kept ready for new containers."),
                insecure_process: reader.value("sandbox.insecure-process", false,
                    "Run functions as plain processes, without any isolation. Only for code that you trust as much as the node."),
            },
            activations: Activations {
                retention: reader.value("activations.retention", Duration::from_hours(7 * 24),
                    "How long records of activations are kept."),
                max_bytes: reader.value("activations.max-bytes", ByteSize::mb(10 * 1024),
                    "Most disk that records of activations take; the oldest go first."),
            },
            runtimes: Runtimes {
                manifest: reader.value("runtimes.manifest", Auto(None),
                    "A runtimes manifest to use in place of the built-in one."),
            },
            parameter_storage: ParameterStorage {
                current: reader.value("parameter-storage.current", "off".to_owned(),
                    "What new parameters of actions and packages are locked with before they are stored: `aes-128` or `aes-256`; everything else, and one without its key, leaves them open."),
                aes_128: reader.value("parameter-storage.aes-128", Secret(None),
                    "Key of 16 bytes. Any key that is given unlocks what it locked, whatever is current."),
                aes_256: reader.value("parameter-storage.aes-256", Secret(None),
                    "Key of 32 bytes. Any key that is given unlocks what it locked, whatever is current."),
            },
        }
    }

    /// What no single key can know.
    fn check(&self, reader: &mut Reader) {
        let limits = &self.limits;
        let ordered = [
            (limits.action_timeout_min <= limits.action_timeout_max, "action-timeout"),
            (limits.action_memory_min <= limits.action_memory_max, "action-memory"),
        ];
        for (good, name) in ordered {
            reader.require(good, || format!("limits.{name}-min is larger than limits.{name}-max"));
        }
        let memory = self.node.memory.0;
        reader.require(memory.is_none_or(|memory| memory >= limits.action_memory_min), || {
            "node.memory is less than limits.action-memory-min: no action could run".to_owned()
        });
        reader.require(self.sandbox.prepared_networks <= MAX_PREPARED_NETWORKS, || {
            format!(
                "sandbox.prepared-networks is larger than {MAX_PREPARED_NETWORKS}, which no start can use up"
            )
        });
        if let Err(error) = ParameterKeys::new(&self.parameter_storage.keys()) {
            reader.require(false, || format!("parameter-storage: {error}"));
        }
        reader.require(limits.action_concurrency_max >= 1, || {
            "limits.action-concurrency-max is 0: no action could run; give at least 1".to_owned()
        });
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

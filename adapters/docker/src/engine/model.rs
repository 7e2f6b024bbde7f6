//! The engine's JSON, as far as it is used here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Body of every refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    pub(super) message: String,
}

/// What to create a container from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NewContainer {
    /// Reference of the image.
    pub(crate) image: String,
    /// `NAME=value`
    pub(crate) env: Vec<String>,
    /// How its containers are found again.
    pub(crate) labels: BTreeMap<String, String>,
    /// What it may use.
    pub(crate) host_config: HostConfig,
}

/// What a container may use of its machine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HostConfig {
    /// Name of the network that it is in.
    pub(crate) network_mode: String,
    /// Its weight among those that compete for processors.
    pub(crate) cpu_shares: u64,
    /// Bytes.
    pub(crate) memory: u64,
    /// Bytes of memory and swap together.
    pub(crate) memory_swap: u64,
    /// Most processes and threads.
    pub(crate) pids_limit: u32,
    /// Bounds of each process.
    pub(crate) ulimits: Vec<Ulimit>,
    /// Capabilities that it does not get.
    pub(crate) cap_drop: Vec<&'static str>,
    /// Security options.
    pub(crate) security_opt: Vec<&'static str>,
    /// Name servers; the engine's own choice if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) dns: Vec<String>,
    /// Low-level runtime; the engine's own choice if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<String>,
    /// What the engine keeps of its output.
    pub(crate) log_config: LogConfig,
}

/// A bound of each process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Ulimit {
    /// `nofile`
    pub(crate) name: &'static str,
    /// In force.
    pub(crate) soft: u64,
    /// Most that it may be raised to.
    pub(crate) hard: u64,
}

/// What the engine keeps of a container's output.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct LogConfig {
    /// Name of a log driver.
    #[serde(rename = "Type")]
    pub(crate) driver: &'static str,
}

/// A container that was created.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    pub(super) id: String,
}

/// A container as it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    /// Its own id.
    #[serde(default)]
    pub(crate) id: String,
    /// Id of its image.
    pub(crate) image: String,
    /// Whether it runs.
    pub(crate) state: State,
    /// Its addresses.
    #[serde(default)]
    pub(crate) network_settings: NetworkSettings,
}

/// Whether a container runs, and how it ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    /// True while it has a process, paused or not.
    #[serde(default)]
    pub(crate) running: bool,
    /// Number of its first process where the engine runs; 0 if there is none.
    #[serde(default)]
    pub(crate) pid: u32,
    /// True if a process of it was killed for memory.
    #[serde(default, rename = "OOMKilled")]
    pub(crate) oom_killed: bool,
    /// What its first process ended with.
    #[serde(default)]
    pub(crate) exit_code: i64,
}

/// The networks that a container is in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NetworkSettings {
    /// By name.
    #[serde(default)]
    pub(crate) networks: BTreeMap<String, Endpoint>,
}

/// A container's end of a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Endpoint {
    /// Empty while there is none.
    #[serde(default, rename = "IPAddress")]
    pub(crate) ip_address: String,
    /// Address of version 6; empty while there is none.
    #[serde(default, rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
}

/// A container in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    /// Its id.
    pub(crate) id: String,
    /// Its names, each with a slash before it.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// `created`, `running`, `paused`, `exited`, …
    #[serde(default)]
    pub(crate) state: String,
}

impl Listed {
    /// Its name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }

    /// True while it has a process.
    #[must_use]
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "paused")
    }
}

/// An image that is here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Image {
    pub(super) id: String,
}

/// A step of a pull.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PullStep {
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// What happened to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    /// Name of the container.
    pub(crate) name: String,
    /// Its id: a name may have been another container's before.
    pub(crate) id: String,
    /// What it was.
    pub(crate) what: Happened,
}

/// See [`Happening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// Its first process ended, or it was removed.
    Ended,
    /// A process of it was killed for memory.
    OutOfMemory,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventLine {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Debug, Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

impl EventLine {
    /// What matters of it here.
    pub(super) fn happening(mut self) -> Option<Happening> {
        let what = match self.action.as_str() {
            // Podman has said `died`.
            "die" | "died" | "destroy" | "remove" => Happened::Ended,
            "oom" => Happened::OutOfMemory,
            _ => return None,
        };
        Some(Happening { name: self.actor.attributes.remove("name")?, id: self.actor.id, what })
    }
}

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
pub struct NewContainer {
    /// Reference of the image.
    pub image: String,
    /// `NAME=value`
    pub env: Vec<String>,
    /// How its containers are found again.
    pub labels: BTreeMap<String, String>,
    /// What it may use.
    pub host_config: HostConfig,
}

/// What a container may use of its machine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// Name of the network that it is in.
    pub network_mode: String,
    /// Its weight among those that compete for processors.
    pub cpu_shares: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes of memory and swap together.
    pub memory_swap: u64,
    /// Most processes and threads.
    pub pids_limit: u32,
    /// Bounds of each process.
    pub ulimits: Vec<Ulimit>,
    /// Capabilities that it does not get.
    pub cap_drop: Vec<&'static str>,
    /// Security options.
    pub security_opt: Vec<&'static str>,
    /// Name servers; the engine's own choice if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Low-level runtime; the engine's own choice if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// What the engine keeps of its output.
    pub log_config: LogConfig,
}

/// A bound of each process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    /// `nofile`
    pub name: &'static str,
    /// In force.
    pub soft: u64,
    /// Most that it may be raised to.
    pub hard: u64,
}

/// What the engine keeps of a container's output.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    /// Name of a log driver.
    #[serde(rename = "Type")]
    pub driver: &'static str,
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
pub struct Inspected {
    /// Id of its image.
    pub image: String,
    /// Whether it runs.
    pub state: State,
    /// Its addresses.
    #[serde(default)]
    pub network_settings: NetworkSettings,
}

/// Whether a container runs, and how it ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct State {
    /// True while it has a process, paused or not.
    #[serde(default)]
    pub running: bool,
    /// True if a process of it was killed for memory.
    #[serde(default, rename = "OOMKilled")]
    pub oom_killed: bool,
    /// What its first process ended with.
    #[serde(default)]
    pub exit_code: i64,
}

/// The networks that a container is in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// By name.
    #[serde(default)]
    pub networks: BTreeMap<String, Endpoint>,
}

/// A container's end of a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Endpoint {
    /// Empty while there is none.
    #[serde(default, rename = "IPAddress")]
    pub ip_address: String,
    /// Address of version 6; empty while there is none.
    #[serde(default, rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
}

/// A container in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its names, each with a slash before it.
    #[serde(default)]
    pub names: Vec<String>,
    /// `created`, `running`, `paused`, `exited`, …
    #[serde(default)]
    pub state: String,
}

impl Listed {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("", |name| name.trim_start_matches('/'))
    }

    /// True while it has a process.
    #[must_use]
    pub fn is_running(&self) -> bool {
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
pub struct Happening {
    /// Name of the container.
    pub name: String,
    /// Its id: a name may have been another container's before.
    pub id: String,
    /// What it was.
    pub what: Happened,
}

/// See [`Happening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
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

//! `chasen doctor`: what this machine can run, with what, and what to type for the rest.
//!
//! It asks what a node would ask, in the same way, and changes nothing: it may be asked beside a running node.

use std::path::Path;
use std::time::Duration;

use chasen_docker::DockerFactory;
use chasen_entity::Manifest;
use chasen_entity::manifest::{Launch, RuntimeKind};
use chasen_sandbox::cgroup::Layout;
use chasen_sandbox::interpreter::{Interpreter, Interpreters};
use chasen_sandbox::network::Network;
use chasen_sandbox::requirements::{self, Missing};
use chasen_spi::ImageStore;
use serde::Serialize;

use crate::admin::door::DoorFile;
use crate::runtimes::{KeptRuntimes, ModuleSet, RuntimesError};
use crate::settings::Settings;
use crate::{data, docker, wiring};

/// How long an engine may take to say that it is there.
const ENGINE_WAIT: Duration = Duration::from_secs(3);
/// Kernels say here what they are.
const KERNEL: &str = "/proc/sys/kernel/osrelease";

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// True if a node can work here.
    pub works: bool,
    /// The machine.
    pub machine: Machine,
    /// Every kind of the manifest that a node would start with.
    pub kinds: Vec<Diagnosis>,
}

/// What of the machine matters.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The kernel's version.
    pub kernel: String,
    /// Versions of control groups that are used.
    pub control_groups: String,
    /// `isolated`, or `plain processes` without any isolation.
    pub functions_run_as: &'static str,
    /// Whether sandboxes have a network.
    pub network: bool,
    /// What sandboxes and their network lack.
    pub lacking: Vec<Lack>,
    /// The container engine.
    pub engine: Engine,
    /// Names of the images that were imported.
    pub images: Vec<String>,
    /// True if a node runs on the data folder.
    pub node_runs: bool,
}

/// Something that the machine lacks.
#[derive(Debug, Serialize)]
pub struct Lack {
    /// What.
    pub what: String,
    /// What for.
    pub why: String,
    /// What to do.
    pub how: String,
}

impl From<Missing> for Lack {
    fn from(missing: Missing) -> Self {
        Self { what: missing.what, why: missing.why, how: missing.how }
    }
}

/// A container engine.
#[derive(Debug, Serialize)]
pub struct Engine {
    /// Where it would listen.
    pub socket: String,
    /// The version of its API; `null` if none answers or none is wanted.
    pub api: Option<String>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is known of a kind.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Its name.
    pub kind: String,
    /// True if actions of it can be run here.
    pub runnable: bool,
    /// True if it is shown to clients.
    pub offered: bool,
    /// What runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<Means>,
    /// Its preinstalled modules, and whether they are there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<ModulesState>,
    /// Why it cannot be run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The command that makes it runnable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// What runs a kind.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Means {
    /// An interpreter, in a sandbox.
    Interpreter {
        /// Where it is, as sandboxes see it.
        program: String,
        /// Its version.
        version: String,
        /// The built root that it is in.
        #[serde(skip_serializing_if = "Option::is_none")]
        root: Option<String>,
    },
    /// An image.
    Image {
        /// Its name.
        image: String,
        /// What runs it.
        by: &'static str,
    },
}

/// A set of modules.
#[derive(Debug, Serialize)]
pub struct ModulesState {
    /// Its name.
    pub name: String,
    /// True if it is installed; else nodes do that when they start.
    pub installed: bool,
}

/// Looks at the machine, for a node with these settings.
///
/// # Errors
/// The kinds cannot be read.
pub async fn examine(settings: &Settings) -> Result<Report, RuntimesError> {
    let folder = settings.server.data.0.clone().unwrap_or_else(data::default_folder);
    // As the node knows its own, whether it was there before or not.
    let folder = folder.canonicalize().unwrap_or(folder);
    let manifest = KeptRuntimes::new(&folder, settings.runtimes.manifest.0.clone()).start()?;
    let machine = machine(settings, &folder).await;
    let isolated = !settings.sandbox.insecure_process;
    let interpreters = Interpreters::new(isolated.then(|| folder.join("rootfs")));
    let kinds = kinds(&manifest, &interpreters, &machine, &folder).await;
    let works = machine.lacking.is_empty() && kinds.iter().any(|kind| kind.runnable);
    Ok(Report { works, machine, kinds })
}

async fn machine(settings: &Settings, folder: &Path) -> Machine {
    let isolated = !settings.sandbox.insecure_process;
    let node_id = data::node_id(folder);
    let mut lacking = Vec::new();
    if isolated {
        lacking.extend(requirements::missing(&node_id));
        if settings.sandbox.network {
            lacking.extend(Network::missing());
        }
    }
    let listed = wiring::images(folder).list().unwrap_or_default();
    Machine {
        kernel: std::fs::read_to_string(KERNEL).unwrap_or_default().trim().to_owned(),
        control_groups: Layout::detect(&node_id)
            .map(|layout| layout.versions().to_owned())
            .unwrap_or_else(|error| error.to_string()),
        functions_run_as: if isolated { "isolated" } else { "plain processes" },
        network: settings.sandbox.network,
        lacking: lacking.into_iter().map(Lack::from).collect(),
        engine: engine(settings).await,
        images: listed.into_iter().map(|image| image.reference).collect(),
        node_runs: DoorFile::find(folder).is_some(),
    }
}

async fn engine(settings: &Settings) -> Engine {
    let socket = docker::socket(settings);
    let answer = match settings.docker.enabled.0 {
        Some(false) => Err("docker.enabled is false".to_owned()),
        _ => match tokio::time::timeout(ENGINE_WAIT, DockerFactory::probe(&socket)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("it does not answer".to_owned()),
        },
    };
    let socket = socket.display().to_string();
    match answer {
        Ok(api) => Engine { socket, api: Some(api), why: None },
        Err(why) => Engine { socket, api: None, why: Some(why) },
    }
}

async fn kinds(
    manifest: &Manifest,
    interpreters: &Interpreters,
    machine: &Machine,
    folder: &Path,
) -> Vec<Diagnosis> {
    let images = wiring::images(folder);
    let mut kinds = Vec::new();
    for kind in manifest.kinds() {
        let found = match &kind.launch {
            Some(launch) => interpreters.find(&launch.interpreter).await.map_err(Some),
            None => Err(None),
        };
        let is_found = found.is_ok();
        let image = kind.image.to_string();
        let (with, why, command) = match found {
            Ok(interpreter) => (Some(means(&interpreter)), None, None),
            Err(_) if images.has(&image) => (Some(Means::Image { image, by: "sandbox" }), None, None),
            Err(_) if machine.engine.api.is_some() => {
                (Some(Means::Image { image, by: "container engine" }), None, None)
            }
            Err(Some(missing)) => {
                let why = format!("no {} {}: {}", missing.command, missing.version, missing.found);
                (None, Some(why), Some(missing.install))
            }
            Err(None) => {
                let why = format!("only its image {image} runs it");
                (None, Some(why), Some("chasen image import FILE".to_owned()))
            }
        };
        kinds.push(Diagnosis {
            kind: kind.kind.clone(),
            runnable: with.is_some(),
            offered: is_found || !kind.is_optional(),
            with,
            modules: modules(kind, folder),
            why,
            command,
        });
    }
    kinds
}

fn means(interpreter: &Interpreter) -> Means {
    Means::Interpreter {
        program: interpreter.program.display().to_string(),
        version: interpreter.version.clone(),
        root: interpreter.built.as_ref().map(|built| built.name.clone()),
    }
}

/// The state of a kind's modules, if nodes install them.
fn modules(kind: &RuntimeKind, folder: &Path) -> Option<ModulesState> {
    let Launch { modules: Some(name), .. } = kind.launch.as_ref()? else { return None };
    ModuleSet::named(name)?;
    let installed = folder.join("runtimes").join("modules").join(name).exists();
    Some(ModulesState { name: name.clone(), installed })
}

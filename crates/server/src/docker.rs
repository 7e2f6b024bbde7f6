//! The node's container engine: whether there is one, and what it is used with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chasen_docker::{DockerConfig, DockerFactory};
use chasen_spi::Runtimes;

use crate::settings::Settings;
use crate::{data, wiring};

/// Where engines listen unless somebody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The factory of the node's containers; `None` if the settings want none, or leave it to the machine and no engine
/// answers there.
pub async fn open(settings: &Settings, folder: &Path, runtimes: Arc<Runtimes>) -> Option<Arc<DockerFactory>> {
    let socket = socket(settings);
    match settings.docker.enabled.0 {
        Some(false) => return None,
        Some(true) => {}
        None => {
            if let Err(error) = DockerFactory::probe(&socket).await {
                tracing::debug!(%error, "images are not run by a container engine");
                return None;
            }
        }
    }
    Some(Arc::new(DockerFactory::open(config(settings, socket, data::node_id(folder), runtimes))))
}

/// The engine's socket.
#[must_use]
pub fn socket(settings: &Settings) -> PathBuf {
    let of_environment = || socket_of(&std::env::var("DOCKER_HOST").ok()?);
    settings.docker.socket.0.clone().or_else(of_environment).unwrap_or_else(|| DEFAULT_SOCKET.into())
}

/// The socket of an address as `DOCKER_HOST` has it. Engines on other machines cannot be used: their containers have
/// addresses that only those machines reach.
fn socket_of(address: &str) -> Option<PathBuf> {
    let path = address.strip_prefix("unix://")?;
    (!path.is_empty()).then(|| path.into())
}

fn config(settings: &Settings, socket: PathBuf, node_id: String, runtimes: Arc<Runtimes>) -> DockerConfig {
    let docker = &settings.docker;
    DockerConfig {
        socket,
        node_id,
        runtimes,
        kinds: docker.kinds,
        network: docker.network.clone(),
        pull: docker.pull,
        credentials: docker.credentials.0.clone(),
        runtime: docker.runtime.0.clone(),
        dns: docker.dns.clone(),
        env: docker.env.iter().map(|variable| assignment(variable)).collect(),
        // Sandboxes have a door of their own, which other containers of this machine must not reach.
        api_host: settings.server.api_host.0.clone(),
        node_memory: wiring::node_memory(settings),
        payload: wiring::payload_limits(&settings.limits),
    }
}

/// A name alone has no value: to the engine it would mean that the variable is taken away.
fn assignment(variable: &str) -> String {
    if variable.contains('=') { variable.to_owned() } else { format!("{variable}=") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_taken_from_the_environment() {
        assert_eq!(socket_of("unix:///run/podman/podman.sock"), Some("/run/podman/podman.sock".into()));
        assert_eq!(socket_of("tcp://engine:2375"), None);
        assert_eq!(socket_of("unix://"), None);
    }

    #[test]
    fn variables_without_value_are_empty() {
        assert_eq!([assignment("A"), assignment("A=b=c")], ["A=", "A=b=c"]);
    }
}

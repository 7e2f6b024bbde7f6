//! Containers of a Docker or Podman engine, through its API on a Unix socket.
//!
//! Place in the corridor: the invoker calls [`DockerFactory`] through [`chasen_spi::ContainerFactory`]; the factory
//! speaks with the engine (`engine/`) and, through `chasen-runtime`, with what listens on port 8080 of the
//! containers. Nothing here starts a program.

mod config;
mod container;
mod credentials;
mod engine;
mod factory;
mod groups;
mod images;
mod watch;

pub use config::{DockerConfig, PullPolicy};
pub use engine::EngineError;
pub use factory::DockerFactory;

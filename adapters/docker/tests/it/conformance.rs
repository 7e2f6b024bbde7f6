//! The engine as one container factory among others.

use std::sync::Arc;

use chasen_docker::engine::Engine;
use chasen_entity::exec::BLACKBOX;
use chasen_spi::conformance::{Sample, Samples, container_factory};
use chasen_spi::{ContainerFactory, CreateError};
use chasen_testkit::docker::Daemon;
use libtest_mimic::Trial;

use crate::world::{SHELL, factory, of_image, test};

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:1/nothing:1";

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("docker_conforms", conforms)]
}

async fn conforms(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    assert!(Engine::connect(&daemon.socket()).await.is_ok());
    let probed = Arc::clone(&daemon);
    let samples = Samples {
        shell: Sample { kind: BLACKBOX.to_owned(), image: Some(SHELL.to_owned()), code: None },
        refusals: vec![(of_image(NOWHERE), CreateError::Pull(NOWHERE.to_owned()))],
        left: Some(Box::new(move |name| probed.containers(name))),
        ..Samples::default()
    };
    container_factory(&factory, &samples).await;
    factory.close().await;
}

//! The engine as one container factory among others.

use std::sync::Arc;

use chasen_entity::exec::BLACKBOX;
use chasen_spi::conformance::{Sample, Samples, container_factory};
use chasen_spi::{ContainerFactory, CreateError};
use chasen_test_images::of_misbehaving;
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
    let ends = |how: &str| {
        let image = format!("chasen-test/ends:{}", how.replace('=', "-"));
        daemon.load(&of_misbehaving(&image, &[how]).docker_archive());
        Sample { kind: BLACKBOX.to_owned(), image: Some(image), code: None }
    };
    let probed = Arc::clone(&daemon);
    let samples = Samples {
        shell: Sample { kind: BLACKBOX.to_owned(), image: Some(SHELL.to_owned()), code: None },
        end_in_init: vec![ends("init=exit"), ends("listen=nowhere")],
        end_in_run: vec![ends("run=exit")],
        refusals: vec![(of_image(NOWHERE), CreateError::Pull(NOWHERE.to_owned()))],
        left: Some(Box::new(move |name| probed.containers(name))),
    };
    container_factory(&factory, &samples).await;
    factory.close().await;
}

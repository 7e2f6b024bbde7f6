//! The sandbox as one container factory among others.

use chasen_entity::exec::BLACKBOX;
use chasen_entity::manifest::Manifest;
use chasen_entity::{ByteSize, NetworkPolicy};
use chasen_spi::conformance::{Sample, Samples, container_factory};
use chasen_spi::{ContainerFactory, ContainerSpec, CreateError};
use libtest_mimic::Trial;

use crate::house::{groups_of, test};
use crate::world::{NATIVE, NODE, World};

/// A kind that is offered, and whose interpreter no machine has.
const ABSENT: &str = "absent:1";

pub(crate) fn tests() -> Vec<Trial> {
    vec![test("the_sandbox_conforms", conforms)]
}

async fn conforms() {
    let world = World::open_with(|config| {
        let text = serde_json::to_string(&**config.runtimes.manifest()).unwrap();
        let family = format!(
            r#""runtimes":{{"absent":[{{"kind":"{ABSENT}","image":{{"name":"a"}},"chasen":{{"interpreter":{{"command":"absent","version":"1"}},"launcher":"nodejs/launcher.js"}}}}],"#
        );
        config.runtimes.replace(Manifest::parse(&text.replace(r#""runtimes":{"#, &family)).unwrap());
    })
    .await;
    let spec = |kind: &str| ContainerSpec {
        kind: kind.to_owned(),
        image: None,
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    };
    let node = |code: &str| Sample { kind: NODE.to_owned(), image: None, code: Some(code.to_owned()) };
    let mut samples = Samples {
        shell: Sample { kind: BLACKBOX.to_owned(), image: Some(NATIVE.to_owned()), code: None },
        refusals: vec![(spec(ABSENT), CreateError::NotRunnable("install".to_owned()))],
        ..Samples::default()
    };
    match world.factory.create(&spec(NODE)).await {
        Ok(container) => {
            container.stop().await;
            samples.end_in_init = vec![node("process.exit(1)")];
            samples.end_in_run = vec![node("function main() { process.exit(1) }")];
        }
        Err(why) => println!("skipped: runtimes that end by themselves: {why}"),
    }
    let node_id = world.node_id.clone();
    samples.left = Some(Box::new(move |name| {
        let groups = groups_of(&node_id).into_iter().map(|group| group.display().to_string());
        groups.filter(|group| group.ends_with(&format!("/{name}"))).collect()
    }));
    container_factory(&world.factory, &samples).await;
    world.factory.close().await;
}

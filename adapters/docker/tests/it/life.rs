//! Ends that nobody asked for, restarts of the node, and callers that leave.

use std::sync::Arc;
use std::time::Duration;

use chasen_docker::DockerFactory;
use chasen_entity::response::Answer;
use chasen_spi::ContainerFactory;
use chasen_testkit::docker::Daemon;
use libtest_mimic::Trial;

use crate::world::{Guest, SHELL, config, factory, of_image, test, until, within};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an_end_from_outside_is_noticed", killed_outside),
        test("a_frozen_container_can_be_stopped", frozen),
        test("what_an_earlier_life_left_is_removed", leftovers),
        test("a_container_that_nobody_waits_for_is_removed", abandoned),
        test("closing_leaves_nothing", closing),
    ]
}

async fn killed_outside(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    let guest = Guest::shell(&factory, "#!/bin/sh\nsleep 1000").await;
    let name = guest.container.name().to_owned();
    let killed = async {
        until("the run has begun", || {
            let top = daemon.ask("GET", &format!("/containers/{name}/top"), None);
            top.is_ok_and(|processes| processes.contains("sleep"))
        })
        .await;
        daemon.ask("POST", &format!("/containers/{name}/kill"), None).unwrap();
    };
    let (reply, ()) = tokio::join!(within(guest.run("{}")), killed);
    assert_eq!(reply.answer, Answer::Gone);
    within(guest.container.exited()).await;
    assert_eq!(within(guest.run("{}")).await.answer, Answer::Gone, "an address may be another one's by now");
    guest.container.stop().await;
    factory.close().await;
}

async fn frozen(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    let guest = Guest::shell(&factory, "#!/bin/sh\ncat").await;
    let name = guest.container.name().to_owned();
    let state = || daemon.ask("GET", &format!("/containers/{name}/json"), None).unwrap();
    guest.container.freeze().await.unwrap();
    assert!(state().contains(r#""Paused":true"#));
    guest.container.thaw().await.unwrap();
    assert_eq!(guest.result("{}").await, "{}");
    guest.container.freeze().await.unwrap();
    within(guest.container.stop()).await;
    assert!(daemon.containers(&name).is_empty());
    assert!(guest.container.thaw().await.is_err());
    factory.close().await;
}

async fn leftovers(daemon: Arc<Daemon>) {
    let first = config(&daemon);
    let node_id = first.node_id.clone();
    let other = factory(&daemon);
    let neighbour = other.create(&of_image(SHELL)).await.unwrap();
    let crashed = DockerFactory::open(first.clone());
    let spec = of_image(SHELL);
    let (one, two) = tokio::join!(crashed.create(&spec), crashed.create(&spec));
    one.as_ref().unwrap().freeze().await.unwrap();
    // As a crash does: without a word to the engine.
    drop((one, two, crashed));
    assert_eq!(daemon.containers(&node_id).len(), 2);
    let again = DockerFactory::open(first);
    let container = again.create(&of_image(SHELL)).await.unwrap();
    assert_eq!(daemon.containers(&node_id), [container.name()]);
    assert_eq!(daemon.containers(neighbour.name()).len(), 1, "what another node has is its own");
    container.stop().await;
    neighbour.stop().await;
    again.close().await;
    other.close().await;
}

async fn abandoned(daemon: Arc<Daemon>) {
    let config = config(&daemon);
    let node_id = config.node_id.clone();
    let factory = DockerFactory::open(config);
    let spec = of_image(SHELL);
    while let Ok(made) = tokio::time::timeout(Duration::from_millis(1), factory.create(&spec)).await {
        // No engine is that fast, but what looks at the time may be that slow.
        made.unwrap().stop().await;
    }
    // The next one is made behind it.
    let container = factory.create(&of_image(SHELL)).await.unwrap();
    until("only the one that was waited for is left", || daemon.containers(&node_id) == [container.name()])
        .await;
    container.stop().await;
    factory.close().await;
}

async fn closing(daemon: Arc<Daemon>) {
    let config = config(&daemon);
    let node_id = config.node_id.clone();
    let factory = DockerFactory::open(config);
    let container = factory.create(&of_image(SHELL)).await.unwrap();
    assert!(factory.is_up());
    factory.close().await;
    assert!(daemon.containers(&node_id).is_empty());
    assert!(!factory.is_up());
    assert!(factory.create(&of_image(SHELL)).await.is_err());
    within(container.exited()).await;
}

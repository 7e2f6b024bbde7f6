//! Engines that are not there, go, come again, or do not answer.

use std::sync::Arc;

use chasen_docker::{DockerConfig, DockerFactory};
use chasen_entity::response::Answer;
use chasen_spi::{ContainerFactory, CreateError};
use chasen_testkit::docker::Daemon;
use libtest_mimic::{Completion, Trial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::world::{Guest, SHELL, config, of_image, refusal, shell_image, test, until, wait_for, within};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        Trial::ignorable_test("an_engine_may_go_and_come_again", restarts),
        test("without_an_engine_nobody_waits_for_long", nobody),
        test("an_engine_that_says_nothing_is_given_up", silent),
        test("an_engine_that_makes_no_sense_is_given_up", garbage),
    ]
}

/// With an engine of its own.
fn restarts() -> Result<Completion, libtest_mimic::Failed> {
    let started = shell_image(SHELL).and_then(|image| Ok((image, Daemon::start()?)));
    let (image, mut daemon) = match started {
        Ok(started) => started,
        Err(reason) => return Ok(Completion::ignored_with(reason)),
    };
    daemon.load(&image.docker_archive());
    wait_for(async move {
        let config = config(&daemon);
        let node_id = config.node_id.clone();
        let factory = DockerFactory::open(config);
        let guest = Guest::shell(&factory, "#!/bin/sh\ncat").await;
        assert_eq!(guest.result("{}").await, "{}");
        daemon.stop();
        until("the loss is noticed", || !factory.is_up()).await;
        let error = refusal(&factory, &of_image(SHELL)).await;
        assert!(matches!(&error, CreateError::Failed(why) if why.contains("docker.sock")), "{error:?}");
        assert_eq!(within(guest.run("{}")).await.answer, Answer::Gone, "the engine's end was its own");
        daemon.restart();
        until("it is there again", || factory.is_up()).await;
        within(guest.container.exited()).await;
        within(guest.container.stop()).await;
        let again = Guest::shell(&factory, "#!/bin/sh\ncat").await;
        assert_eq!(again.result("{}").await, "{}");
        assert_eq!(daemon.containers(&node_id), [again.container.name()]);
        again.container.stop().await;
        factory.close().await;
    });
    Ok(Completion::Completed)
}

/// A factory for what listens at a socket of the test's own.
fn factory_at(daemon: &Daemon, folder: &tempfile::TempDir) -> DockerFactory {
    DockerFactory::open(DockerConfig { socket: folder.path().join("engine.sock"), ..config(daemon) })
}

async fn refused_soon(factory: &DockerFactory) {
    let error = within(refusal(factory, &of_image(SHELL))).await;
    assert!(matches!(error, CreateError::Failed(_)), "{error:?}");
    assert!(!factory.is_up());
    within(factory.close()).await;
}

async fn nobody(daemon: Arc<Daemon>) {
    let folder = tempfile::tempdir().unwrap();
    assert!(DockerFactory::probe(&folder.path().join("engine.sock")).await.is_err());
    refused_soon(&factory_at(&daemon, &folder)).await;
}

async fn silent(daemon: Arc<Daemon>) {
    let folder = tempfile::tempdir().unwrap();
    // Takes connections, by the grace of the kernel, and never looks at one.
    let _listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
    refused_soon(&factory_at(&daemon, &folder)).await;
}

async fn garbage(daemon: Arc<Daemon>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
    let answers: [&[u8]; 5] = [
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n{\"ApiVersion\":\"1.12345\"}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"ApiVersion\":\"0.90\"}",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nlost",
    ];
    drop(tokio::spawn(async move {
        for answer in answers.into_iter().cycle() {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer).await;
        }
    }));
    let factory = factory_at(&daemon, &folder);
    let error = refusal(&factory, &of_image(SHELL)).await;
    assert!(matches!(error, CreateError::Failed(_)), "{error:?}");
    assert!(!factory.is_up());
    within(factory.close()).await;
}

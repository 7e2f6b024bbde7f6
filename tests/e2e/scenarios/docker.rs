//! Images in containers of an engine, from the request to the record, whatever the image does.

use std::sync::Arc;

use chasen_test_images::{Image, Layer, misbehaving, of_misbehaving, of_shell};
use chasen_testkit::docker::{self, Daemon, NETWORK};
use chasen_testkit::{Client, node};
use serde_json::json;

use crate::functions::{Called, Function, call, eventually, logs};
use crate::scenario::{Need, Scenario};

/// Status of what went wrong by the developer's doing.
const DEVELOPER_ERROR: &str = "action developer error";
const INIT_EXITED: &str = "The action did not initialize and exited unexpectedly.";
/// Time limit of images that never answer, milliseconds.
const TIMEOUT: u64 = 10_000;

pub(crate) fn scenarios() -> Vec<Scenario> {
    [
        Scenario::new("docker::an_image_runs_from_the_request_to_the_record", runs),
        Scenario::new("docker::bad_images_have_their_clear_errors_and_leave_nothing", bad_images),
        Scenario::new("docker::stem_cells_of_a_kind_wait_in_the_engine", stem_cells),
        Scenario::new("docker::what_a_killed_node_left_is_removed", killed),
        Scenario::new("docker::a_node_that_stops_leaves_nothing", stops),
    ]
    .map(|scenario| scenario.needing(Need::Engine).needing(Need::StaticProxy))
    .into()
}

/// A node that uses the engine.
fn node_with(daemon: &Daemon) -> chasen_testkit::Builder {
    node()
        .set("docker.socket", &daemon.socket().display().to_string())
        .set("docker.network", NETWORK)
        .set("docker.pull", "missing")
}

/// The engine, with a shell under this name.
fn shell(name: &str) -> (Arc<Daemon>, String) {
    let daemon = docker::engine().unwrap();
    let image = format!("chasen-e2e/{name}:1");
    // Engines know images by content: one of its own has containers of its own.
    let shell = of_shell(&image).expect("its parts are there").with("Labels", json!({"scenario": name}));
    daemon.load(&shell.docker_archive());
    (daemon, image)
}

async fn runs() {
    let (daemon, image) = shell("runs");
    let node = node_with(&daemon).set("docker.env", "REGION=north").start();
    let client = node.client();
    let code = "#!/bin/sh\necho brewing\necho steam >&2\nread -r args\nprintf '{\"args\":%s,\"region\":\"%s\",\"name\":\"%s\"}' \"$args\" \"$REGION\" \"$__OW_ACTION_NAME\"";
    Function::of_image("tea", &image, Some(code)).put(&client).await;
    let mut texts: Vec<String> = Vec::new();
    for (cups, is_cold) in [(1, true), (2, false), (3, false)] {
        let called = call(&client, "tea", &json!({"cups": cups})).await;
        let expected = json!({"args": {"cups": cups}, "region": "north", "name": "/guest/tea"});
        assert_eq!(called.result(), &expected);
        assert_eq!(called.annotation("initTime").is_u64(), is_cold, "{}", called.text);
        let lines = logs(&client, called.id()).await;
        texts.extend(lines.iter().map(|line| line[31..].to_owned()));
        texts.sort_unstable();
        // How the end of its log is told is known after the first call: what came too late for that is the second one's.
        let said = |text: &str| std::iter::repeat_n(text.to_owned(), cups);
        if !is_cold {
            let all: Vec<String> = said("stderr: steam").chain(said("stdout: brewing")).collect();
            assert_eq!(texts, all);
        }
        assert_eq!(daemon.containers_of(&image).len(), 1);
    }
}

/// What an image does, and what comes of it.
struct Case {
    name: &'static str,
    image: Image,
    /// It never answers: how long that is waited for is not the test's to wait.
    is_silent: bool,
    /// Status text, and the beginning of the error; `None` for a success.
    failure: Option<(&'static str, String)>,
}

fn cases() -> Vec<Case> {
    const RUN_EXITED: &str = "The action did not produce a valid response and exited unexpectedly.";
    let reference = |name: &str| format!("chasen-e2e/bad-{name}:1");
    let manner = |name, manner: &str, failure: Option<(&'static str, &str)>| Case {
        name,
        image: of_misbehaving(&reference(name), &[manner]),
        is_silent: matches!(manner, "listen=never" | "run=hang"),
        failure: failure.map(|(status, text)| (status, text.to_owned())),
    };
    let without_program = |name, image: Image| Case {
        name,
        image,
        is_silent: false,
        failure: Some((DEVELOPER_ERROR, format!("executable file not found in image {}", reference(name)))),
    };
    vec![
        manner(
            "never",
            "listen=never",
            Some((
                DEVELOPER_ERROR,
                "The action exceeded its time limits of 10000 milliseconds during initialization.",
            )),
        ),
        manner("late", "listen=late:1500", None),
        manner("garbage", "run=garbage", Some((DEVELOPER_ERROR, RUN_EXITED))),
        manner("closes", "run=half", Some((DEVELOPER_ERROR, RUN_EXITED))),
        manner(
            "huge",
            "run=huge",
            Some((
                "application error",
                "The action produced a response that exceeded the allowed length: 20971528 > 1048576 bytes. The truncated response was: {",
            )),
        ),
        manner("exits", "run=exit", Some((DEVELOPER_ERROR, RUN_EXITED))),
        manner("exits-early", "init=exit", Some((DEVELOPER_ERROR, INIT_EXITED))),
        // As the first process of its container it ignores SIGTERM as well.
        manner(
            "hangs",
            "run=hang",
            Some((DEVELOPER_ERROR, "The action exceeded its time limits of 10000 milliseconds.")),
        ),
        manner(
            "grows",
            "run=grow",
            Some((DEVELOPER_ERROR, "The action exhausted its memory and was aborted.")),
        ),
        manner("refuses", "init=status:502", Some((DEVELOPER_ERROR, "as told"))),
        manner("chunks", "run=chunked", None),
        without_program(
            "empty",
            Image::new(&reference("empty")).layer(Layer::default().file("x", 0o644, b"x")),
        ),
        without_program(
            "absent",
            of_misbehaving(&reference("absent"), &[]).with("Entrypoint", json!(["/absent"])),
        ),
    ]
}

async fn bad_images() {
    let (daemon, image) = shell("canary");
    // Room for one container: a bad one that left any memory taken would be the last.
    let node = node_with(&daemon).set("node.memory", "256 MB").start();
    let client = node.client();
    Function::of_image("canary", &image, Some("#!/bin/sh\ncat")).put(&client).await;
    for case in cases() {
        daemon.load(&case.image.docker_archive());
        let reference = case.image.reference.clone();
        let mut action = Function::of_image(case.name, &reference, None);
        if case.is_silent {
            action = action.limit("timeout", TIMEOUT);
        }
        action.put(&client).await;
        let called = call(&client, case.name, &json!({})).await;
        check(&case, &called);
        // A success and an application error leave it to the next call.
        if case.failure.is_some_and(|(status, _)| status == DEVELOPER_ERROR) {
            gone(&daemon, &reference).await;
        }
        sings(&client).await;
    }
    // A program of another processor: engines notice at the start, or when it has ended.
    let foreign = "chasen-e2e/bad-foreign:1";
    daemon.load(&of_foreign_program(foreign).docker_archive());
    Function::of_image("foreign", foreign, None).put(&client).await;
    let called = call(&client, "foreign", &json!({})).await;
    let (status, text) = called.failure();
    assert_eq!(status, DEVELOPER_ERROR);
    let texts = [INIT_EXITED.to_owned(), format!("executable file not found in image {foreign}")];
    assert!(texts.contains(&text), "{text}");
    gone(&daemon, foreign).await;
    sings(&client).await;
    // Nobody listens there.
    let nowhere = "127.0.0.1:1/nothing:1";
    Function::of_image("nowhere", nowhere, None).put(&client).await;
    let called = call(&client, "nowhere", &json!({})).await;
    let text = format!("Failed to pull container image '{nowhere}'.");
    assert_eq!(called.failure(), (DEVELOPER_ERROR, text));
    sings(&client).await;
}

/// An image whose program no processor of this machine runs.
pub(crate) fn of_foreign_program(reference: &str) -> Image {
    // Where ELF's header says for which processor it is: the one that this machine is not of.
    const MACHINE: usize = 18;
    const X86_64: u8 = 62;
    const AARCH64: u8 = 183;
    let mut program = std::fs::read(misbehaving()).unwrap();
    program[MACHINE] = if program[MACHINE] == X86_64 { AARCH64 } else { X86_64 };
    let layer = Layer::default().file("program", 0o755, &program);
    Image::new(reference).layer(layer).with("Entrypoint", json!(["/program"]))
}

fn check(case: &Case, called: &Called) {
    match &case.failure {
        None => assert_eq!(called.result(), &json!({"ok": true}), "{}", case.name),
        Some((status, text)) => {
            let failure = called.failure();
            assert!(failure.0 == *status && failure.1.starts_with(text), "{}: {failure:?}", case.name);
        }
    }
}

async fn gone(daemon: &Daemon, image: &str) {
    eventually(&format!("the container of {image} is gone"), async || {
        daemon.containers_of(image).is_empty().then_some(())
    })
    .await;
}

/// The next call is served.
async fn sings(client: &Client) {
    assert_eq!(call(client, "canary", &json!({"sings": true})).await.result(), &json!({"sings": true}));
}

async fn stem_cells() {
    let (daemon, image) = shell("stem");
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("runtimes.json");
    let kind = json!({"runtimes": {"shell": [{"kind": "shell:1",
        "image": {"prefix": "chasen-e2e", "name": "stem", "tag": "1"},
        "stemCells": [{"initialCount": 1, "memory": "128 MB"}]}]}});
    std::fs::write(&manifest, kind.to_string()).unwrap();
    let node = node_with(&daemon).set("runtimes.manifest", &manifest.display().to_string()).start();
    let client = node.client();
    let code = "#!/bin/sh\nread -r host < /etc/hostname\nprintf '{\"host\":\"%s\"}' \"$host\"";
    let mut claimed = 0;
    for number in 0_u32.. {
        // One that runs and is nobody's yet; the pool may know of it a moment later than the engine.
        let waiting = daemon.containers_of(&image);
        let name = format!("action{number}");
        Function::of_kind(&name, "shell:1", code).limit("memory", 128).put(&client).await;
        let called = call(&client, &name, &json!({})).await;
        let host = called.result()["host"].as_str().unwrap();
        let was_waiting = waiting.iter().any(|container| {
            assert!(container.ends_with("_shell1"), "{container}");
            let inspected = daemon.ask("GET", &format!("/containers/{container}/json"), None);
            inspected.is_ok_and(|inspected| inspected.contains(&format!("\"Id\":\"{host}")))
        });
        claimed += u32::from(was_waiting);
        if claimed == 2 {
            return;
        }
        assert!(number < 20, "stem cells are claimed and replaced: {claimed} were");
        // The next one takes its place.
        let more = async || (daemon.containers_of(&image).len() > waiting.len()).then_some(());
        eventually("a stem cell is made", more).await;
    }
}

async fn killed() {
    let (daemon, image) = shell("killed");
    let mut node = node_with(&daemon).start();
    let client = node.client();
    Function::of_image("tea", &image, Some("#!/bin/sh\ncat")).put(&client).await;
    assert_eq!(call(&client, "tea", &json!({"cup": 1})).await.result(), &json!({"cup": 1}));
    let [left] = <[String; 1]>::try_from(daemon.containers_of(&image)).unwrap();
    node.kill();
    assert_eq!(daemon.containers_of(&image), std::slice::from_ref(&left));
    node.restart();
    assert_eq!(call(&node.client(), "tea", &json!({"cup": 2})).await.result(), &json!({"cup": 2}));
    let [now] = <[String; 1]>::try_from(daemon.containers_of(&image)).unwrap();
    let state = daemon.ask("GET", &format!("/containers/{now}/json"), None).unwrap();
    assert!(state.contains("\"Running\":true"), "{state}");
}

async fn stops() {
    let (daemon, image) = shell("stops");
    let mut node = node_with(&daemon).start();
    let client = node.client();
    Function::of_image("tea", &image, Some("#!/bin/sh\ncat")).put(&client).await;
    call(&client, "tea", &json!({})).await.result();
    assert!(node.stop().success());
    assert!(daemon.containers_of(&image).is_empty());
}

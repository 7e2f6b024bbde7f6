//! The life of a node: ready line, doors, signals, folder lock, restart.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use chasen_testkit::{PATIENCE, Signal, chasen, node, run};
use serde_json::json;

use crate::functions::{Function, HELLO, eventually};
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("serve::a_ready_node_answers", ready),
        Scenario::new("serve::the_ready_line_is_all_of_stdout_and_sigterm_ends_with_0", ready_line),
        Scenario::new("serve::sigterm_lets_running_activations_end", drain),
        Scenario::new("serve::a_second_signal_ends_at_once", second_signal),
        Scenario::blocking("serve::a_taken_port_is_named", taken_port),
        Scenario::new("serve::a_second_node_on_the_same_folder_is_told_who_holds_it", second_node),
        Scenario::new("serve::actions_and_records_survive_kill_9", survives_kill),
        Scenario::new("serve::the_guest_is_for_loopback_only", guest),
        Scenario::new("serve::functions_reach_an_api_that_listens_everywhere", door_everywhere)
            .needing(Need::command("node")),
        Scenario::new("serve::functions_without_a_network_run", no_network),
    ]
}

async fn ready() {
    let node = node().start();
    let anonymous = node.anonymous();
    let ping = anonymous.get("/ping").await.unwrap();
    assert_eq!((ping.status.as_u16(), ping.text().as_str()), (200, "pong"));
    let info = anonymous.get("/").await.unwrap().json();
    assert!(info["runtimes"]["nodejs"][0]["kind"].is_string(), "{info}");
    let namespaces = node.client().get("/api/v1/namespaces").await.unwrap();
    assert_eq!((namespaces.status.as_u16(), namespaces.json()), (200, json!(["guest"])));
    assert_eq!(anonymous.get("/api/v1/namespaces").await.unwrap().status.as_u16(), 401);
}

async fn ready_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = chasen();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    let mut process = chasen_testkit::Process::start(command, &folder.path().join("log"));
    let line = process.line().expect("a ready line");
    let port = line.strip_prefix("chasen ready on http://127.0.0.1:").expect("the ready line");
    assert_ne!(port.parse::<u16>().unwrap(), 0);
    process.signal(Signal::TERM);
    assert_eq!(process.line(), None, "nothing but the ready line");
    assert_eq!(process.wait(PATIENCE).code(), Some(0));
}

async fn drain() {
    let mut node = node().start();
    let client = node.client();
    Function::native("slow", "#!/bin/sh\nsleep 2\necho '{\"done\":true}'\n").put(&client).await;
    let slow = tokio::spawn(async move { client.invoke("slow", &json!({}), true).await });
    until_in_flight(&node).await;
    node.signal(Signal::TERM);
    let reply = slow.await.unwrap().unwrap();
    assert_eq!(reply.json()["response"]["result"], json!({"done": true}), "{}", reply.text());
    assert_eq!(node.wait().code(), Some(0));
}

async fn second_signal() {
    let mut node = node().start();
    let client = node.client();
    Function::native("slow", "#!/bin/sh\nsleep 50\n").put(&client).await;
    let slow = tokio::spawn(async move { client.invoke("slow", &json!({}), true).await });
    until_in_flight(&node).await;
    node.signal(Signal::TERM);
    // Two signals of one sort become one where the first has not been seen yet.
    eventually("the first signal is seen", async || node.log().contains("a second signal").then_some(()))
        .await;
    node.signal(Signal::TERM);
    assert_ne!(node.wait().code(), Some(0), "its drain was cut short");
    assert!(slow.await.unwrap().is_err());
}

/// Waits until a function that sleeps runs below the node.
async fn until_in_flight(node: &chasen_testkit::Node) {
    let begun = Instant::now();
    while !chasen_testkit::has_descendant(node.pid(), "sleep") {
        assert!(begun.elapsed() < PATIENCE, "no function runs: {}", node.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn taken_port() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut command = chasen();
    command.args(["serve", "--listen", &address, "--data"]).arg(folder.path());
    let finished = run(command);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains(&address) && finished.stderr.contains("--listen"), "{finished:?}");
}

async fn second_node() {
    let node = node().start();
    let mut command = chasen();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(node.data());
    let finished = run(command);
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{finished:?}");
    assert!(finished.stderr.contains(&node.pid().to_string()), "{finished:?}");
    assert_eq!(node.anonymous().get("/ping").await.unwrap().status.as_u16(), 200);
}

async fn survives_kill() {
    let mut node = node().start();
    Function::native("hello", HELLO).put(&node.client()).await;
    let record = node.client().invoke("hello", &json!({}), true).await.unwrap().json();
    let id = record["activationId"].as_str().unwrap().to_owned();
    node.kill();
    node.restart();
    let client = node.client();
    let found = client.activation(&id).await.unwrap();
    assert_eq!(
        (found.status.as_u16(), &found.json()["response"]),
        (200, &record["response"]),
        "{}",
        found.text()
    );
    let again = client.invoke("hello", &json!({}), true).await.unwrap();
    assert_eq!(again.status.as_u16(), 200, "{}", again.text());
}

async fn guest() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, status) in [
        (&["--listen", "127.0.0.1:0"][..], 200),
        (&["--listen", "0.0.0.0:0"], 401),
        (&["--listen", "0.0.0.0:0", "--allow-guest"], 200),
    ] {
        let mut command = chasen();
        command.arg("serve").args(arguments).arg("--data").arg(folder.path().join("data"));
        let mut process = chasen_testkit::Process::start(command, &folder.path().join("log"));
        let line = process.line().expect("a ready line");
        let port = line.rsplit(':').next().unwrap();
        let client = chasen_testkit::Client::new(&format!("http://127.0.0.1:{port}"));
        let client = client.with_credentials(chasen_testkit::GUEST);
        assert_eq!(client.get("/api/v1/namespaces").await.unwrap().status.as_u16(), status, "{arguments:?}");
        process.signal(Signal::TERM);
        assert_eq!(process.wait(PATIENCE).code(), Some(0));
    }
}

async fn door_everywhere() {
    let node = node().listen("0.0.0.0:0").argument("--allow-guest").start();
    let client = node.client();
    let code = "const main = async () => ({ text: await (await fetch(`${process.env.__OW_API_HOST}/ping`)).text() })";
    Function::nodejs("ping", code).put(&client).await;
    let record = client.invoke("ping", &json!({}), true).await.unwrap().json();
    assert_eq!(record["response"]["result"], json!({"text": "pong"}), "{record}");
}

async fn no_network() {
    let node = node().set("sandbox.network", "false").start();
    let client = node.client();
    let code = "#!/bin/sh\nprintf '{\"door\":\"%s\",\"routes\":%d}' \"$__OW_API_HOST\" $(($(wc -l < /proc/net/route) - 1))\n";
    Function::native("look", code).put(&client).await;
    let record = client.invoke("look", &json!({}), true).await.unwrap().json();
    assert_eq!(record["response"]["result"], json!({"door": "", "routes": 0}), "{record}");
}

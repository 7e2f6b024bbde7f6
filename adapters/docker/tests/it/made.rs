//! What containers are made with, which images cannot be executed, and whom the factory serves.

use std::sync::Arc;

use chasen_docker::DockerFactory;
use chasen_entity::exec::BLACKBOX;
use chasen_entity::response::Answer;
use chasen_entity::{ByteSize, NetworkPolicy, error_text};
use chasen_spi::{ContainerFactory, ContainerSpec, CreateError};
use chasen_test_images::of_misbehaving;
use chasen_testkit::docker::Daemon;
use libtest_mimic::Trial;
use serde_json::json;

use crate::world::{
    FORGETFUL_KIND, Guest, OWN, SHELL, SHELL_KIND, UNMARKED_KIND, config, factory, of_image, of_kind,
    refusal, shell_image, test,
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("containers_are_bounded", bounds),
        test("functions_see_the_environment_of_the_platform", environment),
        test("kinds_run_on_their_images", kinds),
        test("logs_are_waited_for_where_the_manifest_promises_an_end", promised_ends),
        test("images_that_cannot_be_executed_are_told", not_executable),
        test("a_network_that_is_not_there_is_the_platforms_fault", no_network),
        test("network_policies_that_nobody_keeps_are_refused", policies),
    ]
}

async fn bounds(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    let spec = ContainerSpec { memory: ByteSize::mb(256), ..of_image(SHELL) };
    let container = factory.create(&spec).await.unwrap();
    let inspected = daemon.ask("GET", &format!("/containers/{}/json", container.name()), None).unwrap();
    for part in [
        r#""Memory":268435456,"#,
        r#""MemorySwap":268435456,"#,
        // A quarter of the node's memory.
        r#""CpuShares":256,"#,
        r#""PidsLimit":1024,"#,
        r#""CapDrop":["NET_RAW","NET_ADMIN"]"#,
        r#""SecurityOpt":["no-new-privileges"]"#,
        r#""Ulimits":[{"Name":"nofile","Hard":1024,"Soft":1024}]"#,
        r#""LogConfig":{"Type":"none""#,
    ] {
        assert!(inspected.contains(part), "{part}: {inspected}");
    }
    assert!(container.name().starts_with("wsk") && container.name().ends_with("_1_blackbox"));
    container.stop().await;
    factory.close().await;
}

async fn policies(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    for policy in ["none", "allow:a.example"] {
        let network = NetworkPolicy::parse(policy).unwrap();
        let refused = factory.create(&ContainerSpec { network, ..of_image(SHELL) }).await.err().unwrap();
        let text = error_text::network::not_kept(policy, "a container engine");
        assert_eq!(refused, CreateError::PolicyNotKept(text));
    }
    factory.close().await;
}

async fn environment(daemon: Arc<Daemon>) {
    let mut config = config(&daemon);
    config.env = vec!["REGION=north".to_owned(), "EMPTY=".to_owned()];
    config.api_host = Some("http://api.example:3233".to_owned());
    let factory = DockerFactory::open(config);
    let script =
        "#!/bin/sh\nprintf '{\"all\":\"%s|%s|%s\"}' \"$REGION\" \"${EMPTY-unset}\" \"$__OW_API_HOST\"";
    let guest = Guest::shell(&factory, script).await;
    assert_eq!(guest.result("{}").await, r#"{"all":"north||http://api.example:3233"}"#);
    guest.container.stop().await;
    factory.close().await;
}

async fn kinds(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    assert!(factory.serves(SHELL_KIND, None) && !factory.serves("cobol:1", None));
    assert!(factory.serves(BLACKBOX, Some(SHELL)) && !factory.serves(BLACKBOX, Some(OWN)));
    let guest = Guest::of(factory.create(&of_kind(SHELL_KIND)).await.unwrap());
    assert!(matches!(guest.init("#!/bin/sh\ncat").await.answer, Answer::Ok(_)));
    assert_eq!(guest.result(r#"{"a":1}"#).await, r#"{"a":1}"#);
    guest.container.stop().await;
    // Another factory may have it.
    let missing = refusal(&factory, &of_kind("far:1")).await;
    assert!(
        matches!(&missing, CreateError::NotRunnable(what) if what.contains("127.0.0.1:1/far:1")),
        "{missing:?}"
    );
    factory.close().await;
    let mut config = config(&daemon);
    config.kinds = true;
    assert!(DockerFactory::open(config).serves(BLACKBOX, Some(OWN)));
}

async fn promised_ends(daemon: Arc<Daemon>) {
    daemon.load(&of_misbehaving("chasen-test/unmarked:1", &["run=echo"]).docker_archive());
    let factory = factory(&daemon);
    for (kind, is_missed) in [(UNMARKED_KIND, false), (FORGETFUL_KIND, true)] {
        let guest = Guest::of(factory.create(&of_kind(kind)).await.unwrap());
        assert!(matches!(guest.init("code").await.answer, Answer::Ok(_)));
        let reply = guest.run("{}").await;
        assert!(matches!(reply.answer, Answer::Ok(_)), "{reply:?}");
        let says_so = reply.logs.iter().any(|line| line.ends_with(error_text::LOGS_INCOMPLETE));
        assert_eq!(says_so, is_missed, "{kind}: {:?}", reply.logs);
        guest.container.stop().await;
    }
    factory.close().await;
}

async fn not_executable(daemon: Arc<Daemon>) {
    let factory = factory(&daemon);
    for (tag, entry) in [
        ("none", json!(null)),
        ("missing", json!(["/nothing"])),
        ("path", json!(["nothing"])),
        ("folder", json!(["/tmp"])),
        ("text", json!(["/etc/passwd"])),
    ] {
        let image = format!("chasen-test/broken:{tag}");
        daemon.load(&shell_image(&image).unwrap().with("Entrypoint", entry).docker_archive());
        let error = refusal(&factory, &of_image(&image)).await;
        assert_eq!(error, CreateError::NotExecutable(image.clone()));
        assert_eq!(error.to_string(), format!("executable file not found in image {image}"));
    }
    factory.close().await;
}

async fn no_network(daemon: Arc<Daemon>) {
    let mut config = config(&daemon);
    config.network = "nowhere".to_owned();
    let node_id = config.node_id.clone();
    let factory = DockerFactory::open(config);
    let error = refusal(&factory, &of_image(SHELL)).await;
    assert!(matches!(&error, CreateError::Failed(why) if why.contains("nowhere")), "{error:?}");
    assert!(daemon.containers(&node_id).is_empty(), "nothing of it is left");
    factory.close().await;
}

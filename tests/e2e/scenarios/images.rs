//! Imported images: taken in, called, and gone again, without any container engine.

use std::path::Path;

use chasen_test_images::{Image, hostile_archives, of_misbehaving, of_shell};
use chasen_testkit::{Finished, Node, chasen, node, run};
use serde_json::{Value, json};

use crate::docker::of_foreign_program;
use crate::functions::{Function, call, eventually, logs};
use crate::scenario::{Need, Scenario};

/// Our proxy, a shell, and nothing else.
const SHELL: &str = "chasen-test/shell:1";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("images::they_are_imported_called_and_removed", whole_life).needing(Need::StaticProxy),
        Scenario::new("images::they_outlive_the_node_that_ran_them", restarts),
        Scenario::new("images::what_is_wrong_with_them_is_told_and_harms_nobody", bad_manners),
        Scenario::new("images::kinds_without_an_interpreter_run_on_theirs", kinds),
        Scenario::blocking("images::archives_that_no_store_should_trust_are_refused", hostile),
    ]
}

/// `chasen image …` on a node's folder.
fn image(data: &Path, arguments: &[&str]) -> Finished {
    let mut command = chasen();
    command.arg("image").args(arguments).arg("--data").arg(data);
    run(command)
}

fn listed(data: &Path) -> Value {
    let list = image(data, &["list", "--json"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    serde_json::from_str(&list.stdout).unwrap()
}

pub(crate) fn import(node: &Node, image_to_be: &Image) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    std::fs::write(&file, image_to_be.docker_archive()).unwrap();
    let imported = image(node.data(), &["import", &file.display().to_string()]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert!(imported.stdout.contains(&image_to_be.reference), "{imported:?}");
}

async fn whole_life() {
    let shell = of_shell(SHELL).expect("its parts are there");
    let mut node = node().set("sandbox.pause-grace", "20ms").start();
    let client = node.client();
    assert_eq!(listed(node.data()), json!([]));
    let script = "#!/bin/sh\necho counting; echo one >> /counted\n\
                  printf '{\"count\":%d,\"door\":\"%s\",\"user\":%d}' \"$(wc -l < /counted)\" \"$__OW_API_HOST\" \"$(id -u)\"";
    let counter = Function::of_image("counter", SHELL, Some(script));
    counter.put(&client).await;
    let early = call(&client, "counter", &json!({})).await;
    let text = format!("Failed to pull container image '{SHELL}'.");
    assert_eq!(early.failure(), ("action developer error", text));

    import(&node, &shell);
    for count in 1..=3 {
        let called = call(&client, "counter", &json!({})).await;
        let result = called.result();
        assert_eq!((&result["count"], &result["user"]), (&json!(count), &json!(0)), "{}", called.text);
        assert!(result["door"].as_str().unwrap().starts_with("http://"), "{}", called.text);
        let lines = logs(&client, called.id()).await;
        assert!(lines.len() == 1 && lines[0].ends_with("stdout: counting"), "{lines:?}");
    }
    let list = listed(node.data());
    assert_eq!((&list[0]["name"], &list[0]["layers"]), (&json!(format!("docker.io/{SHELL}")), &json!(2)));
    let used = image(node.data(), &["remove", SHELL]);
    assert_eq!(used.code, Some(1), "{used:?}");
    assert!(used.stderr.contains("is in use"), "{used:?}");
    assert!(node.stop().success());
    let removed = image(node.data(), &["remove", SHELL]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert_eq!(listed(node.data()), json!([]));
    assert_eq!(node.data().join("images/layers").read_dir().unwrap().count(), 0);
    let again = image(node.data(), &["remove", SHELL]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("there is no image"), "{again:?}");
}

async fn restarts() {
    let mut node = node().start();
    import(&node, &of_misbehaving("chasen-test/echo:1", &["run=echo"]));
    let client = node.client();
    Function::of_image("echo", "chasen-test/echo:1", None).put(&client).await;
    assert_eq!(call(&client, "echo", &json!({"a": 1})).await.result()["value"], json!({"a": 1}));
    node.kill();
    node.restart();
    let client = node.client();
    assert_eq!(call(&client, "echo", &json!({"a": 2})).await.result()["value"], json!({"a": 2}));
}

/// Every answer has its class and text, and there is memory for the next one: the node has room for two.
async fn bad_manners() {
    let node = node().set("node.memory", "512 MB").start();
    let client = node.client();
    import(&node, &of_misbehaving("chasen-test/good:1", &["run=echo"]));
    Function::of_image("good", "chasen-test/good:1", None).put(&client).await;
    let developer = "action developer error";
    let init_exit = "The action did not initialize and exited unexpectedly.";
    let run_exit = "The action did not produce a valid response and exited unexpectedly.";
    for (name, manner, class, text) in [
        ("exit-in-init", "init=exit", developer, init_exit),
        ("garbage-in-init", "init=garbage", developer, init_exit),
        ("silent-in-init", "init=nothing", developer, init_exit),
        ("exit-in-run", "run=exit", developer, run_exit),
        ("garbage", "run=garbage", developer, run_exit),
        ("close", "run=close", developer, run_exit),
        ("half", "run=half", developer, run_exit),
        (
            "text",
            "run=text",
            developer,
            "The action did not produce a valid JSON or JSON Array response: good morning",
        ),
        ("status", "run=status:502", developer, "as told"),
        ("refuses", "init=status:502", developer, "as told"),
        ("declines", "init=decline", developer, init_exit),
        ("declines-runs", "run=decline", developer, run_exit),
        ("grows", "run=grow", developer, "The action exhausted its memory and was aborted."),
        (
            "never",
            "listen=never",
            developer,
            "The action exceeded its time limits of 5000 milliseconds during initialization.",
        ),
        ("hang", "run=hang", developer, "The action exceeded its time limits of 5000 milliseconds."),
        ("drip", "run=drip", developer, "The action exceeded its time limits of 5000 milliseconds."),
        (
            "huge",
            "run=huge",
            "application error",
            "The action produced a response that exceeded the allowed length: ",
        ),
    ] {
        let reference = format!("chasen-test/{name}:1");
        import(&node, &of_misbehaving(&reference, &[manner]));
        let mut function = Function::of_image(name, &reference, None);
        if text.contains("time limits") {
            function = function.limit("timeout", 5000);
        }
        function.put(&client).await;
        let called = call(&client, name, &json!({})).await;
        let (found, error) = called.failure();
        assert!(
            found == class && error.starts_with(text),
            "{name}: {}",
            called.text.get(..400).unwrap_or(&called.text)
        );
        if class == developer {
            // Nothing of it runs any more: its image can go.
            eventually(name, async || {
                (image(node.data(), &["remove", &reference]).code == Some(0)).then_some(())
            })
            .await;
        }
        assert_eq!(call(&client, "good", &json!({"n": name})).await.result()["value"], json!({"n": name}));
    }
    let entry = |name: &str, entry: Value| {
        of_misbehaving(&format!("chasen-test/{name}:1"), &[]).with("Cmd", json!([])).with("Entrypoint", entry)
    };
    for (name, image) in [
        ("no-program", entry("no-program", json!([]))),
        ("missing-program", entry("missing-program", json!(["/nothing"]))),
        ("foreign-program", of_foreign_program("chasen-test/foreign-program:1")),
    ] {
        let reference = image.reference.clone();
        import(&node, &image);
        Function::of_image(name, &reference, None).put(&client).await;
        let called = call(&client, name, &json!({})).await;
        assert_eq!(called.failure(), (developer, format!("executable file not found in image {reference}")));
        assert_eq!(call(&client, "good", &json!({"n": name})).await.result()["value"], json!({"n": name}));
    }
    import(&node, &of_misbehaving("chasen-test/late:1", &["listen=late:1500"]));
    Function::of_image("late", "chasen-test/late:1", None).put(&client).await;
    assert_eq!(call(&client, "late", &json!({})).await.result(), &json!({"ok": true}));
}

async fn kinds() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("runtimes.json");
    let image = json!({"prefix": "chasen-test", "name": "cobol", "tag": "1"});
    let launch = json!({"interpreter": {"command": "cobol-that-nobody-has", "version": "1"}, "launcher": "nodejs/launcher.js"});
    let kinds = json!({"runtimes": {"cobol": [{"kind": "cobol:1", "image": image, "chasen": launch}]}});
    std::fs::write(&manifest, kinds.to_string()).unwrap();
    let node = node().set("runtimes.manifest", &manifest.display().to_string()).start();
    let client = node.client();
    Function::of_kind("old", "cobol:1", "DISPLAY 'HELLO'").put(&client).await;
    let called = call(&client, "old", &json!({})).await;
    let (class, text) = called.failure();
    assert!(class == "action developer error" && text.contains("cobol"), "{}", called.text);
    import(&node, &of_misbehaving("chasen-test/cobol:1", &["run=echo", "marks"]));
    assert_eq!(call(&client, "old", &json!({"a": 1})).await.result()["value"], json!({"a": 1}));
}

/// A few, for what the command says; the store's own tests have them all.
fn hostile() {
    const SOME: [&str; 4] = [
        "name-with-parents",
        "hard-link-to-an-absolute-name",
        "claims-a-petabyte",
        "blob-with-another-digest",
    ];
    let folder = tempfile::tempdir().unwrap();
    let (data, victim) = (folder.path().join("data"), folder.path().join("victim"));
    let file = folder.path().join("archive.tar");
    let all = hostile_archives(&victim.display().to_string());
    for hostile in all.iter().filter(|hostile| SOME.contains(&hostile.name)) {
        std::fs::write(&file, &hostile.archive).unwrap();
        let outcome = image(&data, &["import", &file.display().to_string()]);
        assert_eq!(outcome.code, Some(1), "{}: {outcome:?}", hostile.name);
        assert!(outcome.stderr.starts_with("chasen: ") && outcome.stderr.lines().count() == 1, "{outcome:?}");
        assert!(!victim.exists(), "{}", hostile.name);
    }
}

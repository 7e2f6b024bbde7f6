//! Archives that are broken or mean harm: the developer is told what is wrong, nothing is written outside.

use std::path::Path;

use chasen_testkit::node;
use serde_json::json;

use crate::archives::{Entry, tar, zip, zip_of_many};
use crate::functions::{Function, Language, call, logs};
use crate::scenario::Scenario;

/// Code that works where an archive is good.
const NODEJS: Entry<'_> = Entry::File("index.js", b"exports.main = () => ({ works: true })");
const PYTHON: Entry<'_> = Entry::File("__main__.py", b"def main(args):\n    return {'works': True}\n");
const NATIVE: Entry<'_> = Entry::File("exec", b"#!/bin/sh\necho '{\"works\":true}'\n");

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("hostile_archives::nodejs_archives_are_unpacked_with_care", || {
            check(Language::Nodejs, NODEJS)
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("hostile_archives::python_archives_are_unpacked_with_care", || {
            check(Language::Python, PYTHON)
        })
        .needing(Language::Python.need()),
        Scenario::new("hostile_archives::archives_of_executables_are_unpacked_with_care", || {
            check(Language::Native, NATIVE)
        }),
    ]
}

async fn check(language: Language, entry: Entry<'static>) {
    let outside = tempfile::tempdir().unwrap();
    let absolute = outside.path().join("absolute").to_str().unwrap().to_owned();
    let upwards = format!("{}{absolute}", "../".repeat(16).trim_end_matches('/'));
    let outside_text = outside.path().to_str().unwrap();
    let entry = &entry;

    let good = zip(&with(entry, &[Entry::Link("folder/link", "../index.js")]));
    // What, the archive, and what the developer must read in the error or the log.
    let bad: Vec<(&str, String, &str)> = vec![
        ("no archive", "Q2VjaSBuJ2VzdCBwYXMgdW4gemlwLgo=".to_owned(), ""),
        ("half an archive", half(&good), "damaged"),
        ("zip upwards", zip(&with(entry, &[Entry::File(&upwards, b"x")])), "illegal name"),
        ("zip absolute", zip(&with(entry, &[Entry::File(&absolute, b"x")])), "illegal name"),
        ("zip link outside", zip(&with(entry, &[Entry::Link("out", "/etc/passwd")])), "leads out"),
        ("zip link upwards", zip(&with(entry, &[Entry::Link("a/out", "../../../etc/passwd")])), "leads out"),
        (
            "zip through a link",
            zip(&with(entry, &[Entry::Link("out", outside_text), Entry::File("out/through", b"x")])),
            "",
        ),
        ("zip bomb", zip(&with(entry, &[Entry::Zeros("bomb", 600 << 20)])), "unpacks to more than"),
        ("zip of many", zip_of_many(entry, 120_000), "more than 100000 entries"),
        (
            "zip of a file and a folder",
            zip(&with(entry, &[Entry::File("a", b"x"), Entry::File("a/b", b"x")])),
            "conflicts",
        ),
        ("tar upwards", tar(&with(entry, &[Entry::File("../../out", b"x")])), "illegal name"),
        ("tar absolute", tar(&with(entry, &[Entry::File(&absolute, b"x")])), "illegal name"),
        ("tar link outside", tar(&with(entry, &[Entry::Link("out", "/etc/passwd")])), "leads out"),
        (
            "tar through a link",
            tar(&with(entry, &[Entry::Link("out", outside_text), Entry::File("out/through", b"x")])),
            "",
        ),
        ("tar hard link", tar(&with(entry, &[Entry::HardLink("out", "/etc/passwd")])), "neither a file"),
        ("tar device", tar(&with(entry, &[Entry::Device("disk")])), "neither a file"),
        ("tar bomb", tar(&with(entry, &[Entry::Zeros("bomb", 600 << 20)])), "unpacks to more than"),
    ];

    let node = node().start();
    let client = node.client();
    Function::native("canary", "#!/bin/sh\necho '{\"sings\":true}'\n").put(&client).await;
    let works = |code: &str| Function::new("works", language, code);
    for code in [&good, &tar(&with(entry, &[]))] {
        works(code).put(&client).await;
        let called = call(&client, "works", &json!({})).await;
        assert_eq!(called.result(), &json!({"works": true}), "{}", called.text);
    }
    let mut wrong = Vec::new();
    for (what, code, error) in &bad {
        Function::new("bad", language, code).put(&client).await;
        let called = call(&client, "bad", &json!({})).await;
        let told = format!("{} {}", called.failure().1, logs(&client, called.id()).await.join("\n"));
        if called.status != 502 || called.failure().0 != "action developer error" || !told.contains(error) {
            wrong.push(format!("{what}: expected {error:?}, got {} {told}", called.status));
        }
        if told.contains(node.data().to_str().unwrap()) {
            wrong.push(format!("{what}: the developer sees the node's folder: {told}"));
        }
        let canary = call(&client, "canary", &json!({})).await;
        if canary.record["response"]["result"] != json!({"sings": true}) {
            wrong.push(format!("{what}: the canary is silent: {}", canary.text));
        }
    }
    let left: Vec<_> = outside.path().read_dir().unwrap().collect();
    assert!(left.is_empty(), "written outside: {left:?}");
    assert!(!node.data().join("out").exists() && !Path::new("/out").exists(), "written outside");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An entry and more of them.
fn with<'a>(entry: &Entry<'a>, more: &[Entry<'a>]) -> Vec<Entry<'a>> {
    std::iter::once(entry).chain(more).cloned().collect()
}

/// The first half of base64 text, still base64.
fn half(text: &str) -> String {
    text[..text.len() / 8 * 4].to_owned()
}

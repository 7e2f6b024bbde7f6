//! Python: functions forked from an interpreter that is up, and packages that an archive lists.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_testkit::{Client, GUEST, Node, node, run};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use crate::functions::{Function, Language, call, eventually, logs};
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    let own = vec![
        Scenario::new("python::forked_functions_behave_and_end_like_others", forked_lives),
        Scenario::new("python::forked_functions_share_nothing_but_their_beginning", forked_walls),
        Scenario::new("python::listed_packages_are_installed_once", packages),
        Scenario::new("python::packages_that_cannot_be_installed_are_the_developers_fault", no_packages),
    ];
    let python = || Language::Python.need();
    let cases = Scenario::blocking("python::the_cases_hold_in_forked_sandboxes", forked_cases);
    let own = own.into_iter().map(|scenario| scenario.needing(python()));
    own.chain([cases.needing(Need::command("python3")).needing(python())]).collect()
}

/// A node that forks, and is known to by now: cells are started without until the fork server is up.
async fn forking() -> (Node, Client) {
    let node = node().set("sandbox.fork-server", "true").start();
    let client = node.client();
    let code = "def main(args):\n    return {'forked': 'fork_server' in open('/proc/self/cmdline').read()}\n";
    let mut tries = 0;
    eventually("a function is forked", async || {
        tries += 1;
        let name = format!("probe-{tries}");
        Function::python(&name, code).put(&client).await;
        let forked = call(&client, &name, &json!({})).await.result()["forked"] == true;
        forked.then_some(())
    })
    .await;
    (node, client)
}

async fn forked_lives() {
    let (_node, client) = forking().await;
    let code = "import os, sys, time\ndef main(args):\n    print('out')\n    print('err', file=sys.stderr)\n    \
                return eval(args['do'])\n";
    Function::python("doer", code).limit("memory", 128).put(&client).await;
    let called = call(&client, "doer", &json!({"do": "{'namespace': os.environ['__OW_NAMESPACE']}"})).await;
    assert_eq!(called.result(), &json!({"namespace": "guest"}));
    let mut lines: Vec<String> = logs(&client, called.id()).await;
    lines.iter_mut().for_each(|line| *line = line.get(31..).unwrap_or_default().to_owned());
    lines.sort_unstable();
    assert_eq!(lines, ["stderr: err", "stdout: out"]);
    for (deed, text) in [
        ("len(bytearray(os.urandom(1)) * (512 << 20))", "The action exhausted its memory and was aborted."),
        ("os._exit(4)", "command exited"),
        ("sys.exit(4)", "command exited"),
    ] {
        let called = call(&client, "doer", &json!({ "do": deed })).await;
        assert_eq!(called.failure(), ("action developer error", text.to_owned()), "{deed}");
        // The next call is served, by a new sandbox.
        let next = call(&client, "doer", &json!({"do": "{'pid': os.getpid()}"})).await;
        assert!(next.result()["pid"].is_number(), "{}", next.text);
    }
    Function::python("sleeper", code).limit("timeout", 3000).put(&client).await;
    let called = call(&client, "sleeper", &json!({"do": "time.sleep(600)"})).await;
    let text = "The action exceeded its time limits of 3000 milliseconds.";
    assert_eq!(called.failure(), ("action developer error", text.to_owned()));
}

async fn forked_walls() {
    let (node, client) = forking().await;
    let code = "import os\nkept = []\ndef main(args):\n    return {'done': eval(args['do'])}\n";
    for name in ["one", "other"] {
        Function::python(name, code).put(&client).await;
    }
    let ask = async |name: &str, deed: &str| {
        call(&client, name, &json!({ "do": deed })).await.result()["done"].clone()
    };
    ask(
        "one",
        "[kept.append('secret'), os.environ.__setitem__('LEFT', 'secret'), open('/tmp/left', 'w').close()]",
    )
    .await;
    assert_eq!(ask("one", "[kept, os.path.exists('/tmp/left')]").await, json!([["secret"], true]));
    assert_eq!(
        ask("other", "[kept, 'LEFT' in os.environ, os.path.exists('/tmp/left')]").await,
        json!([[], false, false])
    );
    // Of processes it sees the first one and itself.
    let seen = "{int(name) for name in os.listdir('/proc') if name.isdigit()} == {1, os.getpid()}";
    assert_eq!(ask("other", seen).await, json!(true));
    let data = node.data().display();
    let hidden = format!("[os.path.exists('{data}'), os.path.exists('/proc/1/root/etc'), os.getuid()]");
    assert_eq!(ask("other", &hidden).await, json!([false, false, 1000]));
    let rights = "[line.split()[1] for line in open('/proc/self/status') if line.startswith(('Cap', 'NoNew', 'Seccomp:'))]";
    let none = "0000000000000000";
    assert_eq!(ask("other", rights).await, json!([none, none, none, none, none, "1", "2"]));
    let networks = "os.readlink('/proc/self/ns/net')";
    let deed = format!("[{networks}]");
    assert_ne!(ask("one", &deed).await, ask("other", &deed).await);
}

/// Every case of the language, in sandboxes that are forked.
fn forked_cases() {
    let node = node().set("sandbox.fork-server", "true").start();
    let mut check = Command::new("python3");
    check.arg(root().join("runtimes/check.py"));
    check.args(["--node", node.base(), "--auth", GUEST, "python"]);
    let checked = run(check);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A package of one module, as an installer takes it.
fn wheel(module: &str, text: &str) -> Vec<u8> {
    let info = |name: &str| format!("{module}-1.0.dist-info/{name}");
    let metadata = format!("Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n");
    let kind = "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    zip_of(&[
        (&format!("{module}.py"), text.as_bytes()),
        (&info("METADATA"), metadata.as_bytes()),
        (&info("WHEEL"), kind.as_bytes()),
        (&info("RECORD"), b""),
    ])
}

fn archive(requirements: &str, code: &str) -> String {
    let leaf = wheel("leaf", "import random\nNAME = 'sencha'\nINSTALLED = __file__\n");
    STANDARD.encode(zip_of(&[
        ("__main__.py", code.as_bytes()),
        ("requirements.txt", requirements.as_bytes()),
        ("leaf-1.0-py3-none-any.whl", &leaf),
    ]))
}

async fn packages() {
    let mut node = node().start();
    let code = "import os, leaf\nbuilt = os.stat(leaf.__file__).st_mtime_ns\n\
                def main(args):\n    return {'leaf': leaf.NAME, 'built': str(built), 'at': leaf.INSTALLED}\n";
    let zip = archive("./leaf-1.0-py3-none-any.whl\n", code);
    let first = {
        let client = node.client();
        Function::of_kind("leaf", "python:default", &zip).limit("timeout", 60_000).put(&client).await;
        let called = call(&client, "leaf", &json!({})).await;
        assert_eq!(called.result()["leaf"], "sencha", "{} {}", called.text, node.log());
        assert!(
            called.result()["at"].as_str().unwrap().starts_with("/action/virtualenv/"),
            "{}",
            called.text
        );
        called.result().clone()
    };
    // Another action with the same code, after a restart, has what was installed then.
    assert!(node.stop().success());
    node.restart();
    let client = node.client();
    Function::of_kind("same", "python:default", &zip).limit("timeout", 60_000).put(&client).await;
    assert_eq!(call(&client, "same", &json!({})).await.result(), &first);
}

async fn no_packages() {
    let node = node().start();
    let client = node.client();
    let zip = archive("./not-there-1.0-py3-none-any.whl\n", "def main(args):\n    return {}\n");
    Function::of_kind("leaf", "python:default", &zip).limit("timeout", 60_000).put(&client).await;
    let called = call(&client, "leaf", &json!({})).await;
    let text = "The action failed to generate or locate a binary. See logs for details.";
    assert_eq!(called.failure(), ("action developer error", text.to_owned()));
    let words: Value = logs(&client, called.id()).await.concat().into();
    assert!(words.as_str().unwrap().contains("not-there-1.0"), "{words}");
}

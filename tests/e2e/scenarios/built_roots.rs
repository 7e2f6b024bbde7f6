//! Roots built for the node: kinds run on what the machine lacks, doctor tells what there is, and nothing of it needs a
//! restart.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use chasen_testkit::{GUEST, Node, binary, chasen, node, run};
use serde_json::{Value, json};

use crate::functions::{Function, call, eventually, logs};
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("built_roots::a_kind_runs_on_a_root_that_came_while_the_node_runs", hand_made)
            .needing(Need::command("busybox"))
            .needing(Need::command("ldd"))
            .needing(Need::Lacking("swiftc")),
        Scenario::new("built_roots::an_advertised_kind_says_what_it_lacks", advertised),
        Scenario::blocking("built_roots::doctor_tells_people_and_programs", doctor),
        Scenario::blocking("built_roots::roots_are_shown_and_removed", shown_and_removed).needing_nothing(),
        Scenario::new("built_roots::deno_answers_logs_and_fails", deno_answers).needing(Need::Deno),
        Scenario::blocking("built_roots::the_cases_of_deno_hold_in_sandboxes", deno_cases)
            .needing(Need::Deno)
            .needing(Need::command("python3")),
        Scenario::new("built_roots::a_real_system_is_built_and_serves_its_kinds", real)
            .needing(Need::RealRoots)
            .needing(Need::RareCommand("debootstrap")),
    ]
}

/// A compiler that puts a line before a text: what it makes of a source is a script of the shell.
const COMPILER: &str = "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\n\
                        { echo '#!/bin/sh'; grep -v ^_whisk \"$3\"; } >\"$2\"; chmod 755 \"$2\"\n";
/// Answers every line with what the root is known by.
const SOURCE: &str = "while read -r line; do\n  echo log of $(cat /usr/share/made-by)\n  \
                      [ -e /usr/bin/env ] && host=true || host=false\n  \
                      echo \"{\\\"made\\\":\\\"$(cat /usr/share/made-by)\\\",\\\"host\\\":$host}\" >&3\ndone\n";
/// What the compiling in a root is done with, besides the shell's own words.
const WORDS: [&str; 11] =
    ["cat", "chmod", "cp", "dirname", "grep", "mkdir", "mktemp", "mv", "rm", "sleep", "true"];

/// Makes a system of a few programs in `folder`, as a recipe's build would leave it.
fn make_by_hand(folder: &Path) {
    let files = folder.join("files");
    for below in ["usr/bin", "usr/share", "etc"] {
        fs::create_dir_all(files.join(below)).unwrap();
    }
    for (link, to) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        symlink(to, files.join(link)).unwrap();
    }
    copy("busybox", &files.join("usr/bin/busybox"));
    for word in WORDS {
        symlink("busybox", files.join("usr/bin").join(word)).unwrap();
    }
    // The shell of busybox would take its own tar.
    for program in ["sh", "tar"] {
        copy(program, &files.join("usr/bin").join(program));
    }
    // What the platform's own program needs too, which is the launcher of what was compiled.
    for program in [PathBuf::from("sh"), PathBuf::from("tar"), binary()] {
        for library in libraries(&program) {
            let inside = library.strip_prefix("/").unwrap();
            let inside =
                if inside.starts_with("usr") { inside.to_owned() } else { Path::new("usr").join(inside) };
            copy(library.to_str().unwrap(), &files.join(inside));
        }
    }
    fs::write(files.join("usr/share/made-by"), "hand").unwrap();
    fs::write(files.join("usr/bin/swiftc"), COMPILER).unwrap();
    fs::set_permissions(files.join("usr/bin/swiftc"), fs::Permissions::from_mode(0o755)).unwrap();
    let record = json!({
        "layout": "system",
        "interpreters": [{"command": "swiftc", "version": "6.0.3", "program": "/usr/bin/swiftc"}],
        "bytes": 1 << 20,
        "built": 0,
    });
    fs::write(folder.join("rootfs.json"), record.to_string()).unwrap();
}

/// Copies a program or a file, wherever a link to it leads.
fn copy(what: &str, to: &Path) {
    let mut which = Command::new("sh");
    which.args(["-c", &format!("realpath \"$(command -v {what} || echo {what})\"")]);
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(run(which).stdout.trim(), to).unwrap();
}

/// The libraries that a program is linked with.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let mut ldd = Command::new("sh");
    ldd.args(["-c", &format!("ldd \"$(command -v {0} || echo {0})\"", program.display())]);
    let told = run(ldd).stdout;
    told.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

async fn kinds(node: &Node) -> Vec<String> {
    let document = node.anonymous().get("/").await.unwrap().json();
    let families = document["runtimes"].as_object().unwrap().values();
    let kinds = families.flat_map(|kinds| kinds.as_array().unwrap());
    kinds.map(|kind| kind["kind"].as_str().unwrap().to_owned()).collect()
}

async fn hand_made() {
    let node = node().start();
    let client = node.client();
    let function = Function::of_kind("whence", "swift:default", SOURCE);
    assert!(!kinds(&node).await.contains(&"swift:5.3".to_owned()));
    let refused = function.offer(&client).await;
    assert_eq!(refused.status.as_u16(), 400, "{}", refused.text());
    assert!(
        refused.text().contains("The specified runtime 'swift:default' is not supported by this platform."),
        "{}",
        refused.text()
    );

    let made = node.data().join("made-by-hand");
    make_by_hand(&made);
    fs::create_dir_all(node.data().join("rootfs")).unwrap();
    fs::rename(&made, node.data().join("rootfs/by-hand")).unwrap();
    let offered = async || kinds(&node).await.contains(&"swift:5.3".to_owned()).then_some(());
    eventually("a root that is built is noticed", offered).await;
    function.put(&client).await;
    let called = call(&client, "whence", &json!({})).await;
    assert_eq!(called.result(), &json!({"made": "hand", "host": false}), "{}", node.log());
    assert!(logs(&client, called.id()).await.concat().contains("stdout: log of hand"));

    let report = examine(node.data(), 0);
    assert_eq!(report["machine"]["node_runs"], true);
    let swift = kind(&report, "swift:5.3");
    assert_eq!((&swift["runnable"], &swift["offered"]), (&true.into(), &true.into()), "{swift}");
    assert_eq!(swift["with"]["root"], "by-hand");
    let mut remove = chasen();
    remove.args(["runtimes", "remove", "by-hand", "--data"]).arg(node.data());
    let refused = run(remove);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("a node runs on"), "{refused:?}");
}

/// Doctor's report on a data folder, as a program reads it.
fn examine(data: &Path, code: i32) -> Value {
    let mut command = chasen();
    command.args(["doctor", "--json", "--data"]).arg(data);
    let told = run(command);
    assert_eq!(told.code, Some(code), "{told:?}");
    serde_json::from_str(&told.stdout).unwrap()
}

fn kind<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == name).unwrap()
}

/// A manifest of the operator with kinds that no machine has, and a native one beside.
const ADVERTISED: &str = r#"{"runtimes":{"ruby":[{"kind":"ruby:0.7","default":true,"image":{"name":"nowhere"},
    "chasen":{"interpreter":{"command":"ruby","version":"0.7"},"launcher":"ruby/launcher.rb"}}]}}"#;

async fn advertised() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("runtimes.json");
    fs::write(&manifest, ADVERTISED).unwrap();
    let node =
        node().set("runtimes.manifest", manifest.to_str().unwrap()).set("docker.enabled", "false").start();
    let client = node.client();
    assert_eq!(kinds(&node).await, ["ruby:0.7"], "what an operator lists is advertised");
    Function::of_kind("old", "ruby:0.7", "def main(args)\n  args\nend\n").put(&client).await;
    let called = call(&client, "old", &json!({})).await;
    let (status, text) = called.failure();
    assert_eq!(status, "action developer error");
    assert!(text.contains("'ruby:0.7'") && text.contains("install it with: "), "{text}");
}

fn doctor() {
    let data = tempfile::tempdir().unwrap();
    let report = examine(data.path(), 0);
    assert_eq!(report["works"], true);
    assert_eq!(report["machine"]["lacking"], json!([]));
    assert_eq!(report["machine"]["node_runs"], false);
    for diagnosis in report["kinds"].as_array().unwrap() {
        let runnable = diagnosis["runnable"].as_bool().unwrap();
        assert_eq!(runnable, diagnosis["with"].is_object(), "{diagnosis}");
        assert_eq!(!runnable, diagnosis["command"].is_string(), "{diagnosis}");
    }
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "it leaves nothing behind");

    let manifest = data.path().join("runtimes.json");
    fs::write(&manifest, ADVERTISED).unwrap();
    let mut command = chasen();
    command.args(["doctor", "--set", "docker.enabled=false", "--data"]).arg(data.path());
    let told = run(command);
    assert_eq!(told.code, Some(1), "no kind can be run: {told:?}");
    assert!(told.stdout.contains("ruby:0.7  no   no ruby 0.7: "), "{told:?}");
    assert!(told.stdout.contains("get it with: "), "{told:?}");
    assert!(told.stdout.contains("a node cannot work here yet; 0 of 1 kinds can be run"), "{told:?}");
}

fn shown_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let root = data.path().join("rootfs/deno");
    fs::create_dir_all(root.join("files")).unwrap();
    let said = |arguments: &[&str]| {
        let mut command = chasen();
        command.arg("runtimes").args(arguments).arg("--data").arg(data.path());
        run(command)
    };
    let shown = |state: &str| {
        let rows: Value = serde_json::from_str(&said(&["list", "--json"]).stdout).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == "deno").unwrap().clone();
        assert_eq!(row["state"], state, "{row}");
    };
    shown("not built");
    fs::write(root.join("rootfs.json"), r#"{"layout":"folder","interpreters":[],"bytes":1,"built":1}"#)
        .unwrap();
    shown("built");
    assert!(said(&["list"]).stdout.contains("debian-13"));
    assert_eq!(said(&["remove", "deno"]).stdout, "deno is removed\n");
    shown("not built");
    let missing = said(&["remove", "deno"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(1), ""), "{missing:?}");
    let unknown = said(&["build", "windows"]);
    assert!(
        unknown.stderr.contains("there is no recipe 'windows'; the recipes are debian-12, "),
        "{unknown:?}"
    );
}

async fn real() {
    let data = tempfile::tempdir().unwrap();
    let mut build = chasen();
    build.args(["runtimes", "build", "debian-13", "--data"]).arg(data.path());
    // Longer than anything else that a scenario waits for.
    let status = build.status().unwrap();
    assert!(status.success(), "{status}");
    let node = node().data(data.path()).start();
    let client = node.client();
    let php = "<?php\nfunction main(array $args): array { return ['text' => mb_strtoupper('grün')]; }\n";
    Function::of_kind("php", "php:8.3", php).put(&client).await;
    assert_eq!(call(&client, "php", &json!({})).await.result(), &json!({"text": "GRÜN"}));
    let python = "import requests\ndef main(args):\n    return {'requests': requests.__name__}\n";
    Function::of_kind("python", "python:3.13", python).put(&client).await;
    assert_eq!(call(&client, "python", &json!({})).await.result(), &json!({"requests": "requests"}));
}

/// A data folder with a built root of Deno, made once; why it cannot be had.
pub(crate) fn deno() -> &'static Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deno");
        let mut build = chasen();
        build.args(["runtimes", "build", "deno", "--data"]).arg(&data);
        let built = run(build);
        if built.code == Some(0) { Ok(data) } else { Err(format!("Deno cannot be had: {}", built.stderr)) }
    })
}

/// Gives a data folder the built root of Deno.
pub(crate) fn lend_deno(data: &Path) {
    let built = deno().as_ref().expect("the scenario needs it");
    fs::create_dir_all(data).unwrap();
    symlink(built.join("rootfs"), data.join("rootfs")).unwrap();
}

async fn deno_answers() {
    let data = tempfile::tempdir().unwrap();
    lend_deno(data.path());
    let node = node().data(data.path()).start();
    let client = node.client();
    let code = "export default ({ n }: { n: number }) => {\n  console.log('seen', n);\n  \
                if (n < 0) throw new Error('negative');\n  return { twice: n * 2 };\n};\n";
    Function::of_kind("twice", "deno:default", code).put(&client).await;
    let called = call(&client, "twice", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"twice": 8}), "{}", node.log());
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let thrown = call(&client, "twice", &json!({"n": -1})).await;
    assert_eq!((thrown.status, thrown.failure()), (502, ("application error", "negative".to_owned())));
    assert!(logs(&client, thrown.id()).await.concat().contains("main.ts:3"), "the line is named");
}

fn deno_cases() {
    let data = tempfile::tempdir().unwrap();
    lend_deno(data.path());
    let node = node().data(data.path()).start();
    let mut check = Command::new("python3");
    check.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/check.py"));
    check.args(["--node", node.base(), "--auth", GUEST, "deno"]);
    let checked = run(check);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains(" passed"), "{checked:?}");
}

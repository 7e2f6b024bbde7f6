//! The first process of a container: orphans, signals, the end, and an image with nothing else in it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{PATIENCE, Proxy, program, script};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("orphans_are_reaped_and_ended", orphans_are_reaped_and_ended),
    ("an_action_that_ignores_the_end_is_ended", an_action_that_ignores_the_end_is_ended),
    ("what_is_under_way_is_drained_and_the_rest_refused", what_is_under_way_is_drained_and_the_rest_refused),
    ("signals_go_on_to_the_action", signals_go_on_to_the_action),
    ("a_launcher_that_ends_takes_the_container_along", a_launcher_that_ends_takes_the_container_along),
    ("a_launcher_that_does_not_start_is_named", a_launcher_that_does_not_start_is_named),
    ("a_launcher_that_breaks_the_protocol_is_ended", a_launcher_that_breaks_the_protocol_is_ended),
    ("bad_settings_are_refused", bad_settings_are_refused),
    ("an_image_from_scratch", an_image_from_scratch),
    ("the_pages_show_what_happens", the_pages_show_what_happens),
];

/// Waits until a process is gone; zombies are there.
fn wait_for_end(pid: &str) {
    let begun = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        assert!(begun.elapsed() < PATIENCE, "process {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn orphans_are_reaped_and_ended() {
    let code = "#!/bin/bash\nwhile read -r line; do\n(setsid sh -c 'sleep 1000 & echo $! > orphan; true' &)\n(exec sleep 0.01 & echo $! > zombie)\nwhile ! [ -s orphan ]; do sleep 0.01; done\necho \"[$(cat orphan), $(cat zombie)]\" >&3\ndone\n";
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    let (_, body) = proxy.run(&json!({}));
    let pids: Vec<u32> = serde_json::from_str(&body).unwrap();
    wait_for_end(&pids[1].to_string());
    let orphan = pids[0].to_string();
    assert!(Path::new(&format!("/proc/{orphan}")).exists());
    proxy.stop();
    wait_for_end(&orphan);
}

fn an_action_that_ignores_the_end_is_ended() {
    let code =
        "#!/bin/bash\ntrap '' TERM INT HUP\nread -r line\necho \"[$$]\" >&3\nwhile :; do sleep 1; done\n";
    let proxy = Proxy::start("actionloop", &[]);
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    let pid = proxy.run(&json!({})).1.trim().trim_matches(['[', ']']).to_owned();
    let begun = Instant::now();
    proxy.stop();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    wait_for_end(&pid);
}

fn what_is_under_way_is_drained_and_the_rest_refused() {
    let proxy = Proxy::start("actionloop", &[]);
    let folder = proxy.folder.path().to_path_buf();
    let code = "#!/bin/bash\nread -r line\ntouch running\nwhile ! [ -e go ]; do sleep 0.01; done\necho '[1]' >&3\nread -r line\n";
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    let under_way = proxy.send("POST", "/run", "", b"{}");
    let begun = Instant::now();
    while !folder.join("running").exists() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.signal("-TERM");
    let refused = loop {
        // Until the signal has arrived, a run waits for its turn: asking for nothing tells the difference.
        let (status, body) = proxy.post("/nothing", "");
        if status != 200 {
            break (status, body);
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    assert_eq!(refused.0, 503);
    assert!(refused.1.contains("shutting down"));
    fs::write(folder.join("go"), "").unwrap();
    assert_eq!(crate::harness::answer(under_way).unwrap().body, "[1]\n");
    let mut proxy = proxy;
    assert_eq!(proxy.wait().code(), Some(0));
    assert_eq!(proxy.logs().sentinels, [1, 1]);
}

fn signals_go_on_to_the_action() {
    let proxy = Proxy::start("actionloop", &[]);
    let code = "#!/bin/bash\ntrap 'touch usr1' USR1\ntouch ready\nread -r line\nwhile ! [ -e usr1 ]; do sleep 0.01; done\necho '[1]' >&3\nread -r line\n";
    assert_eq!(proxy.init(code.as_bytes(), true, &Value::Null).0, 200);
    let begun = Instant::now();
    while !proxy.folder.path().join("ready").exists() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    proxy.signal("-USR1");
    assert_eq!(proxy.run(&json!({})).1, "[1]\n");
}

/// A proxy before a launcher of our own, for this kind.
fn before(kind: &str, launcher: &str) -> (Proxy, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("launcher");
    script(&path, launcher);
    let listener = Command::new(program());
    let mut command = Command::new("/bin/bash");
    // The launcher's words come last.
    command.args(["-c", "exec \"$0\" --kind \"$1\" \"$4\" \"$5\" -- \"$2\" \"$3\""]);
    command.arg(listener.get_program()).arg(kind).arg(&path).arg("word");
    (Proxy::spawn(command, &[]), folder)
}

/// Greets, then does as it likes.
const GREETING: &str = "#!/bin/bash\nhello='{\"protocol\":1,\"concurrent\":false}'\n{ printf '\\0\\0\\0\\x32\\x01'; head -c 16 /dev/zero; printf '%s' \"$hello\"; } >&3\n";

fn a_launcher_that_ends_takes_the_container_along() {
    let (mut proxy, _folder) =
        before("nodejs", &format!("{GREETING}head -c 21 <&3 >/dev/null\necho bye\nexit 7\n"));
    assert!(proxy.try_post("/init", r#"{"value":{"code":"x"}}"#).is_none(), "no answer");
    assert_eq!(proxy.wait().code(), Some(7));
    assert_eq!(proxy.logs().stdout, "bye\n");
}

fn a_launcher_that_does_not_start_is_named() {
    for (launcher, part) in [("#!/no/such\n", "cannot be started"), ("#!/bin/sh\nexit 1\n", "did not greet")]
    {
        let (mut proxy, _folder) = before("nodejs", launcher);
        assert_eq!(proxy.wait().code(), Some(1));
        let logs = proxy.logs();
        assert!(logs.stderr.contains(part) && logs.stderr.contains("/launcher"), "{logs:?}");
    }
}

fn a_launcher_that_breaks_the_protocol_is_ended() {
    let (proxy, _folder) = before(
        "python",
        &format!("{GREETING}head -c 21 <&3 >/dev/null\nprintf 'garbage that is no frame' >&3\nsleep 1000\n"),
    );
    let (status, body) = proxy.post("/init", r#"{"value":{"code":"x"}}"#);
    assert_eq!(status, 502);
    assert!(body.contains("Cannot start action. Check logs for details."), "{body}");
    assert_eq!(proxy.stop().sentinels, [1, 1]);
}

fn bad_settings_are_refused() {
    for (arguments, status, part) in [
        (&["--kind", "cobol"][..], 2, "no launcher for 'cobol:default' is built in"),
        (&["--listen", "nowhere"], 2, "'nowhere' is no address"),
        (&["serve"], 2, "'serve' is no option"),
    ] {
        let output = Command::new(program()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(part), "{text}");
    }
    let node = Command::new(program())
        .args(["--kind", "nodejs", "--", "/bin/true"])
        .env("__OW_RUNTIME_PLATFORM", "cloud")
        .output()
        .unwrap();
    assert_eq!(node.status.code(), Some(9));
    let text = String::from_utf8_lossy(&node.stderr).into_owned();
    assert_eq!(text, "__OW_RUNTIME_PLATFORM (cloud) is not supported by the runtime.\n");
}

/// A program that needs nothing else: answers each line with its own process number.
const STATIC_ACTION: &str = r#"
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc > 1) { printf("{\"pid\":%d}\n", getpid()); return 0; }
    FILE *answers = fdopen(3, "w");
    int c;
    while ((c = getchar()) != EOF)
        if (c == '\n') { puts("logged"); fflush(stdout); fprintf(answers, "{\"pid\":%d}\n", getpid()); fflush(answers); }
    return 0;
}
"#;

fn an_image_from_scratch() {
    let skipped = |why: &str| println!("skipped: an_image_from_scratch: {why}");
    if !is_root() {
        return skipped("it needs root");
    }
    let linked = Command::new(program()).arg("-version").env_clear().output().unwrap();
    assert!(linked.status.success());
    if is_dynamic(&fs::read(program()).unwrap()) {
        return skipped(
            "the program is linked dynamically; build it as docs/proxy.md says and set CHASEN_PROXY_BIN",
        );
    }
    let image = tempfile::tempdir().unwrap();
    fs::copy(program(), image.path().join("chasen-proxy")).unwrap();
    fs::create_dir(image.path().join("proc")).unwrap();
    let source = image.path().with_extension("c");
    fs::write(&source, STATIC_ACTION).unwrap();
    let action = image.path().with_extension("bin");
    let compiled = Command::new("cc").args(["-static", "-o"]).args([&action, &source]).status();
    if !compiled.is_ok_and(|status| status.success()) {
        return skipped("no C compiler that links statically");
    }
    let code = fs::read(&action).unwrap();
    for kind in ["actionloop", "blackbox"] {
        let _ = fs::remove_dir_all(image.path().join("action"));
        // As an engine does it: a root of its own, `/proc`, and the entry point as process 1. Nothing else.
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount", "--kill-child", "sh", "-c"]);
        command.arg("mount -t proc proc \"$0/proc\" && exec chroot \"$0\" /chasen-proxy --kind \"$@\"");
        command.arg(image.path()).arg(kind);
        let mut proxy = Proxy::spawn(command, &[("TMPDIR", "/")]);
        let (status, body) = proxy.init(&code, true, &Value::Null);
        assert_eq!(status, 200, "{body}");
        for _ in 0..3 {
            let (status, body) = proxy.run(&json!({}));
            assert_eq!(status, 200, "{body}");
            let pid = serde_json::from_str::<Value>(&body).unwrap()["pid"].as_u64().unwrap();
            assert!(pid > 1, "the proxy is the first process");
        }
        // The process between us and it does not pass signals on.
        let first = Command::new("pgrep").args(["-P", &proxy.child.id().to_string()]).output().unwrap();
        let first = String::from_utf8(first.stdout).unwrap();
        assert!(Command::new("kill").args(["-TERM", first.trim()]).status().unwrap().success());
        assert_eq!(proxy.wait().code(), Some(0), "as the first process, too");
        assert_eq!(proxy.logs().sentinels, [3, 3]);
    }
    fs::remove_file(source).unwrap();
    fs::remove_file(action).unwrap();
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// True if the program names an interpreter, which is its dynamic linker.
fn is_dynamic(program: &[u8]) -> bool {
    const INTERPRETER: u32 = 3;
    let number = |at: usize, size: usize| {
        program[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // The table of segments, as ELF's 64-bit header has it.
    let (table, entry, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * entry, 4) == INTERPRETER as usize)
}

/// The commands of the pages that a reader can paste.
fn the_pages_show_what_happens() {
    if ["curl", "jq", "node"].iter().any(|tool| Command::new(tool).arg("--version").output().is_err()) {
        println!("skipped: the_pages_show_what_happens: it needs curl, jq and node");
        return;
    }
    for page in ["proxy.md", "write-a-runtime.md"] {
        shows_what_happens(page);
    }
}

/// Runs the marked blocks of a page in one folder, one after the other.
fn shows_what_happens(page: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(page);
    let page = fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> =
        page.split("```sh skip run\n").skip(1).map(|block| block.split("\n```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    // Free now, and very likely still when the page asks for it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program(), folder.path().join("chasen-proxy")).unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for block in blocks {
        // What a block leaves behind when it fails would keep its output open.
        let block = block.replace("127.0.0.1:8080", &free);
        let script = format!("trap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n{block}");
        let output = Command::new("timeout")
            .args(["300", "bash", "-ec", &script])
            .env("PATH", &path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}\n{text}");
    }
}

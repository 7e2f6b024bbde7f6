//! Well-behaved actions of every kind, in real cells.

use std::time::{Duration, Instant};

use chasen_entity::manifest::Manifest;
use chasen_entity::response::Answer;
use chasen_entity::{ByteSize, NetworkPolicy};
use chasen_sandbox::helper::Mode;
use chasen_sandbox::network::NetworkConfig;
use chasen_spi::container_factory::{ContainerFactory, ContainerSpec};
use libtest_mimic::Trial;

use crate::house::{eventually, groups_of, test};
use crate::world::{Draft, LINES, NATIVE, NODE, PHP, PYTHON, RUBY, World, texts, zip_of};

const ECHO_JSON: &str = r#"{"b":1.00,"a":1e400,"ü":"\u00fc"}"#;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("node_runs_source_and_archives", node),
        test("python_runs_source_and_archives", python),
        test("native_passes_json_untouched", native),
        test("native_archives_keep_their_files_writable", native_archive),
        test("native_without_code_is_a_stub", native_stub),
        test("executables_that_speak_lines_run", lines),
        test("executables_that_acknowledge_run", lines_with_acknowledgement),
        test("executables_that_cannot_start_are_refused", lines_refused),
        test("logs_have_streams_and_order_and_belong_to_their_run", logs),
        test("empty_code_is_refused_in_the_kinds_words", empty_code),
        test("bad_archives_are_the_developers_fault_in_the_kinds_words", bad_archives),
        test("environment_is_what_the_contract_says", environment),
        test("frozen_containers_go_on_after_thaw", freeze),
        test("containers_of_one_action_share_a_layer_but_not_changes", sharing),
        test("nothing_is_left_after_stop", leftovers),
        test("a_dead_helper_is_replaced", helper_death),
        test("functions_open_a_thousand_files_and_are_told_of_the_next", open_files),
        test("kinds_change_while_the_factory_is_open", changing_kinds),
        test("runs_of_a_serial_runtime_follow_each_other", serial),
        test("functions_reach_the_door_of_the_node_and_no_other_port", door),
        test("plain_processes_run_the_same_actions", plain),
        test("kinds_that_are_not_here_say_what_to_install", not_runnable),
    ]
}

async fn node() {
    let world = World::open().await;
    let code = "function main(args) { console.log('hi'); return { got: args, dir: process.cwd() } }";
    let Some(guest) = world.start(Draft::new(NODE, code)).await else { return };
    assert_eq!(guest.result(r#"{"n":1}"#).await, r#"{"got":{"n":1},"dir":"/action"}"#);
    let zip = zip_of(&[
        ("package.json", r#"{"main":"a.js"}"#),
        ("a.js", "exports.go = () => require('./b')"),
        ("b.js", "exports.b = 1"),
    ]);
    let mut draft = Draft::archive(NODE, &zip);
    draft.main = Some("go".to_owned());
    let guest = world.start(draft).await.unwrap();
    assert_eq!(guest.result("{}").await, r#"{"b":1}"#);
}

async fn python() {
    let world = World::open().await;
    let code = "import os\ndef main(args):\n  print('hi')\n  return {'got': args, 'uid': os.getuid()}";
    let Some(guest) = world.start(Draft::new(PYTHON, code)).await else { return };
    let reply = guest.run(r#"{"n":1}"#).await;
    assert_eq!(guest.text_of(&reply), r#"{"got":{"n":1},"uid":1000}"#);
    assert_eq!(texts(&reply), ["stdout: hi"]);
    let zip =
        zip_of(&[("__main__.py", "from lib import b\ndef main(args): return {'b': b}"), ("lib.py", "b = 1")]);
    let guest = world.start(Draft::archive(PYTHON, &zip)).await.unwrap();
    assert_eq!(guest.result("{}").await, r#"{"b":1}"#);
}

async fn native() {
    let world = World::open().await;
    let guest = world
        .start(Draft::new(NATIVE, "#!/bin/sh\necho log\necho err > /dev/stderr\nprintf '%s' \"$1\""))
        .await
        .unwrap();
    for _ in 0..3 {
        let reply = guest.run(ECHO_JSON).await;
        assert_eq!(reply.answer, Answer::Ok(ECHO_JSON.as_bytes().to_vec()));
        let mut logs = texts(&reply);
        logs.sort_unstable();
        assert_eq!(logs, ["stderr: err", "stdout: log"]);
    }
    assert_eq!(guest.result("[1, 2]").await, "[1, 2]");
}

async fn native_archive() {
    let world = World::open().await;
    let script = "#!/bin/sh\necho x >> data/count\nprintf '{\"count\":%d,\"dir\":\"%s\"}' $(wc -l < data/count) \"$PWD\"";
    let guest = world
        .start(Draft::archive(NATIVE, &zip_of(&[("exec", script), ("data/count", "x\n")])))
        .await
        .unwrap();
    assert_eq!(guest.result("{}").await, r#"{"count":2,"dir":"/action"}"#);
    assert_eq!(guest.result("{}").await, r#"{"count":3,"dir":"/action"}"#);
}

async fn native_stub() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, "")).await.unwrap();
    let text = r#"{"error":"This is a stub action. Replace it with custom logic."}"#;
    assert_eq!(guest.result("{}").await, text);
}

/// Answers each line, after the first said so, in plain shell.
const LOOP: &str = "while read -r line; do echo got >&2; printf '%s\\n' \"$line\" | sed 's/.*\"value\":\\({[^}]*}\\).*/\\1/' >&3; done";

async fn lines() {
    let world = World::open().await;
    let guest = world.start(Draft::new(LINES, format!("#!/bin/sh\n{LOOP}"))).await.unwrap();
    for arguments in ["{\"a\":1.00}", "{\n\"b\":\n2}"] {
        let reply = guest.run(arguments).await;
        assert_eq!(reply.answer, Answer::Ok(arguments.replace('\n', "").into_bytes()));
        assert_eq!(texts(&reply), ["stderr: got"]);
    }
    let zip = zip_of(&[
        ("exec", "#!/bin/sh\nread -r line\ncat lib >&3\nread -r line\nexit 1"),
        ("lib", "{\"x\":1}\n"),
    ]);
    let guest = world.start(Draft::archive(LINES, &zip)).await.unwrap();
    assert_eq!(guest.result("{}").await, r#"{"x":1}"#);
    assert_eq!(guest.run("{}").await.answer, Answer::Refused(br#"{"error":"command exited"}"#.to_vec()));
}

async fn lines_with_acknowledgement() {
    let world = World::open().await;
    let code = format!("#!/bin/sh\necho '{{ \"ok\": true }}' >&3\n{LOOP}");
    let guest = world.start(Draft::new(LINES, code)).await.unwrap();
    assert_eq!(guest.result(r#"{"a":1}"#).await, r#"{"a":1}"#);
}

async fn lines_refused() {
    let world = World::open().await;
    for (code, text) in [
        ("#!/no/such/thing\n", "cannot start action: /action/exec names an interpreter that is not there"),
        ("no script", "cannot start action: /action/exec is neither an ELF program nor a script"),
    ] {
        let guest = world.create(Draft::new(LINES, code)).await.unwrap();
        match guest.init().await.answer {
            Answer::Refused(body) => assert!(String::from_utf8(body).unwrap().contains(text), "{code}"),
            other => panic!("{code}: {other:?}"),
        }
    }
    let guest = world.create(Draft::new(LINES, "#!/bin/sh\nexit 1")).await.unwrap();
    let reply = guest.init().await;
    // Seen at once if it ended within the moment that is given to a start, else by the first run.
    let refusal =
        if matches!(reply.answer, Answer::Ok(_)) { guest.run("{}").await.answer } else { reply.answer };
    let Answer::Refused(body) = refusal else { panic!("{refusal:?}") };
    assert!(String::from_utf8(body).unwrap().contains("command exited"));

    let guest = world.start(Draft::new(LINES, "#!/bin/sh\nread x\necho 1 >&3")).await.unwrap();
    let text = r#"{"error":"The action did not return a dictionary or array."}"#;
    assert_eq!(guest.result("{}").await, text);
}

async fn logs() {
    let world = World::open().await;
    let code = "print('loading')\nimport sys\ndef main(args):\n  print(args['n'], 'é')\n  print('err', file=sys.stderr)\n  sys.stdout.write('no end')\n  return {}";
    let Some(guest) = world.start(Draft::new(PYTHON, code)).await else { return };
    let reply = guest.run(r#"{"n":1}"#).await;
    let (err, mut out): (Vec<&str>, Vec<&str>) =
        texts(&reply).into_iter().partition(|line| line.starts_with("stderr"));
    assert_eq!(err, ["stderr: err"]);
    assert_eq!(out, ["stdout: loading", "stdout: 1 é", "stdout: no end"], "initialisation first");
    assert!(
        reply.logs.iter().all(|line| line.as_bytes()[..30].ends_with(b"Z") && line.as_bytes()[30] == b' ')
    );
    let reply = guest.run(r#"{"n":2}"#).await;
    out = texts(&reply).into_iter().filter(|line| line.starts_with("stdout")).collect();
    assert_eq!(out, ["stdout: 2 é", "stdout: no end"]);
}

async fn empty_code() {
    let world = World::open().await;
    for kind in [NODE, PYTHON, LINES] {
        let Some(guest) = world.create(Draft::new(kind, "")).await else { continue };
        let text = br#"{"error":"Missing main/no code to execute."}"#;
        assert_eq!(guest.init().await.answer, Answer::Refused(text.to_vec()), "{kind}");
    }
}

async fn bad_archives() {
    let world = World::open().await;
    let evil = zip_of(&[("../x", "")]);
    for (kind, archive, text, log) in [
        (
            NODE,
            evil.as_slice(),
            "Initialization has failed due to: There was an error uncompressing the action archive.",
            true,
        ),
        (
            NODE,
            b"\x7fELF",
            "There was an error uncompressing the action archive. The file type is unsupported",
            true,
        ),
        (
            PYTHON,
            evil.as_slice(),
            "cannot decode the request: the archive has an entry of illegal name",
            false,
        ),
        (PHP, evil.as_slice(), "cannot decode the request: the archive has an entry of illegal name", false),
        (RUBY, evil.as_slice(), "Invalid Binary: failed to open zip file. Please make sure", true),
        (RUBY, b"\x7fELF", "Invalid Binary: failed to open zip file. Please make sure", true),
        (
            NATIVE,
            evil.as_slice(),
            "The action failed to generate or locate a binary. See logs for details.",
            true,
        ),
        (
            NATIVE,
            &zip_of(&[("other", "")]),
            "The action failed to generate or locate a binary. See logs for details.",
            true,
        ),
    ] {
        let Some(guest) = world.create(Draft::archive(kind, archive)).await else { continue };
        let reply = guest.init().await;
        match &reply.answer {
            Answer::Refused(body) => {
                assert!(String::from_utf8_lossy(body).contains(text), "{kind}: {reply:?}")
            }
            other => panic!("{kind}: {other:?}"),
        }
        assert_eq!(!reply.logs.is_empty(), log, "{kind}: {:?}", reply.logs);
    }
}

async fn environment() {
    let world = World::open_with(|config| {
        config.api_host = Some("http://door:1".to_owned());
        config.extra_env.push(("EXTRA".to_owned(), "more".to_owned()));
    })
    .await;
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\nenv >&2\necho '{}'")).await.unwrap();
    let reply = guest.run("{}").await;
    for variable in [
        "__OW_API_HOST=http://door:1",
        "EXTRA=more",
        "HOME=/tmp",
        "LANG=C.UTF-8",
        "__OW_NAMESPACE=guest",
        "__OW_ACTION_NAME=/guest/hello",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ] {
        assert!(
            texts(&reply).contains(&format!("stderr: {variable}").as_str()),
            "{variable} in {:?}",
            reply.logs
        );
    }
    let own = std::env::vars().filter(|(name, _)| name.starts_with("CARGO")).count();
    assert!(own == 0 || !reply.logs.iter().any(|line| line.contains("CARGO")), "nothing of the node's own");
}

async fn freeze() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\necho '{}'")).await.unwrap();
    guest.container.freeze().await.unwrap();
    guest.container.thaw().await.unwrap();
    assert_eq!(guest.result("{}").await, "{}");
    guest.container.freeze().await.unwrap();
    guest.container.stop().await;
}

async fn sharing() {
    let world = World::open().await;
    let draft = || {
        Draft::new(
            NATIVE,
            "#!/bin/sh\necho x >> /action/file\nprintf '{\"lines\":%d}' $(wc -l < /action/file)",
        )
    };
    let (first, second) = (world.start(draft()).await.unwrap(), world.start(draft()).await.unwrap());
    assert_eq!(first.result("{}").await, r#"{"lines":1}"#);
    assert_eq!(first.result("{}").await, r#"{"lines":2}"#);
    assert_eq!(second.result("{}").await, r#"{"lines":1}"#);
    assert_eq!(std::fs::read_dir(world.data.path().join("layers")).unwrap().count(), 1);
}

async fn leftovers() {
    let world = World::open().await;
    for kind in [NATIVE, LINES] {
        let guest = world.create(Draft::new(kind, "#!/bin/sh\nsleep 1000")).await.unwrap();
        guest.container.stop().await;
        guest.container.exited().await;
        guest.container.stop().await;
    }
    world.factory.close().await;
    eventually("no group is left", || groups_of(&world.node_id).is_empty()).await;
    let spec = ContainerSpec {
        kind: "blackbox".to_owned(),
        image: Some(NATIVE.to_owned()),
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    };
    assert!(world.factory.create(&spec).await.is_err(), "a closed factory makes nothing");
}

async fn helper_death() {
    let world = World::open().await;
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\necho '{}'")).await.unwrap();
    let busy = world.start(Draft::new(NATIVE, "#!/bin/sh\nsleep 60\necho '{}'")).await.unwrap();
    let own = std::process::id().to_string();
    let helper = std::fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let data = world.data.path().file_name().unwrap().to_str().unwrap();
        let files = || std::fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        read("cmdline").contains("sandbox-helper")
            && read("stat")
                .rsplit_once(')')
                .is_some_and(|(_, rest)| rest.split_whitespace().nth(1) == Some(own.as_str()))
            && files().any(|fd| {
                std::fs::read_link(fd.path()).is_ok_and(|path| path.to_string_lossy().contains(data))
            })
    });
    let pid = helper.unwrap().file_name().to_str().unwrap().parse().unwrap();
    let kill = || {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    let reply = busy.run_telling("{}", &kill).await;
    assert_eq!(reply.answer, Answer::Lost, "the function did not exit by itself");
    guest.container.exited().await;
    assert_eq!(guest.run("{}").await.answer, Answer::Gone);
    guest.container.stop().await;
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\necho '{}'")).await.unwrap();
    assert_eq!(guest.result("{}").await, "{}");
}

async fn serial() {
    let world = World::open().await;
    let code = "let running = 0\nasync function main({ n }) { console.log(n); const most = ++running; await new Promise(go => setTimeout(go, 20)); running--; return { n, most } }";
    let Some(guest) = world.start(Draft::new(NODE, code)).await else { return };
    let runs = (0..5).map(|n| {
        let guest = &guest;
        async move {
            let reply = guest.run(&format!(r#"{{"n":{n}}}"#)).await;
            assert_eq!(guest.text_of(&reply), format!(r#"{{"n":{n},"most":1}}"#));
            assert_eq!(texts(&reply), [format!("stdout: {n}")], "each has its own log");
        }
    });
    futures_util::future::join_all(runs).await;
}

async fn door() {
    // The API listens first; sandboxes get its port at the door.
    let api = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = api.local_addr().unwrap().port();
    let run_dir = tempfile::tempdir().unwrap();
    let world = World::open_with(|config| {
        let mut network = NetworkConfig::new(&config.node_id, port);
        network.run_dir = run_dir.path().to_path_buf();
        config.network = Some(network);
    })
    .await;
    let address = world.factory.door_address().unwrap();
    let door = tokio::net::TcpListener::bind(address).await.unwrap();
    let other = tokio::net::TcpListener::bind((*address.ip(), 0)).await.unwrap();
    let code = "import os, socket\ndef main(args):\n  host, port = os.environ['__OW_API_HOST'].removeprefix('http://').split(':')\n  reached = []\n  for port in (int(port), args['other']):\n    try:\n      socket.create_connection((host, port), 10).close()\n      reached.append(port)\n    except OSError: pass\n  return {'reached': reached}";
    if let Some(guest) = world.start(Draft::new(PYTHON, code)).await {
        let arguments = format!(r#"{{"other":{}}}"#, other.local_addr().unwrap().port());
        let result = guest.result(&arguments).await;
        assert_eq!(result, format!(r#"{{"reached":[{port}]}}"#));
        door.accept().await.unwrap();
        guest.container.stop().await;
    }
    world.factory.close().await;
}

async fn plain() {
    let world = World::open_with(|config| config.mode = Mode::InsecureProcess).await;
    assert_eq!(world.factory.door_address(), None);
    for (kind, code) in [
        (NODE, "function main(args) { console.log('hi'); return args }".to_owned()),
        (PYTHON, "def main(args):\n  print('hi')\n  return args".to_owned()),
        (NATIVE, "#!/bin/sh\necho hi\nprintf '%s' \"$1\"".to_owned()),
        (LINES, format!("#!/bin/sh\necho hi\n{LOOP}")),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code)).await else { continue };
        let reply = guest.run(r#"{"a":1}"#).await;
        assert_eq!(guest.text_of(&reply), r#"{"a":1}"#, "{kind}");
        assert!(texts(&reply).contains(&"stdout: hi"), "{kind}: {:?}", reply.logs);
        guest.container.stop().await;
    }
    let guest = world.start(Draft::new(NATIVE, "#!/bin/sh\nsleep 1000").timeout(3000)).await.unwrap();
    assert_eq!(guest.run("{}").await.answer, Answer::TimedOut);
    guest.container.exited().await;
}

async fn open_files() {
    let world = World::open().await;
    let node = "const fs = require('fs');
        function main() {
            const open = [];
            try { for (;;) open.push(fs.openSync('/dev/zero', 'r')) }
            catch ({ code, errno, path, syscall }) {
                open.forEach(file => fs.closeSync(file));
                return { n: open.length, error: { code, errno, path, syscall } };
            }
        }";
    if let Some(guest) = world.start(Draft::new(NODE, node)).await {
        let reply = guest.run("{}").await;
        let Answer::Ok(body) = &reply.answer else { panic!("{reply:?}") };
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        // Three event loops and the launcher's own connection are open already.
        assert!((1000..=1024).contains(&body["n"].as_u64().unwrap()), "{body}");
        let error = serde_json::json!({"code":"EMFILE","errno":-24,"path":"/dev/zero","syscall":"open"});
        assert_eq!(body["error"], error);
        assert_eq!(guest.text_of(&guest.run("{}").await), guest.text_of(&reply), "and again");
    }
    let shell = "#!/bin/sh\nprintf '{\"soft\":%s,\"hard\":%s}' $(ulimit -Sn) $(ulimit -Hn)";
    for (kind, code) in [
        (
            PYTHON,
            "import resource\ndef main(args):\n  return dict(zip(('soft', 'hard'), resource.getrlimit(resource.RLIMIT_NOFILE)))",
        ),
        (NATIVE, shell),
    ] {
        let Some(guest) = world.start(Draft::new(kind, code)).await else { continue };
        let limits: serde_json::Value = serde_json::from_str(&guest.result("{}").await).unwrap();
        assert_eq!(limits, serde_json::json!({"soft": 1024, "hard": 1024}), "{kind}");
    }
}

async fn changing_kinds() {
    let mut runtimes = None;
    let world = World::open_with(|config| runtimes = Some(config.runtimes.clone())).await;
    let runtimes = runtimes.unwrap();
    assert!(world.factory.is_up() && world.factory.serves(NODE, None));
    let all = serde_json::to_string(&**runtimes.manifest()).unwrap();
    let guest = world.start(Draft::new(NODE, "function main(args) { return args }")).await;
    runtimes.replace(Manifest::parse(&all.replace(NODE, "nodejs:20x")).unwrap());
    assert!(!world.factory.serves(NODE, None) && world.factory.serves("nodejs:20x", None));
    if let Some(guest) = guest {
        assert_eq!(guest.result(r#"{"a":1}"#).await, r#"{"a":1}"#, "what runs goes on");
        let renamed = world.start(Draft::new("nodejs:20x", "function main(args) { return args }")).await;
        assert_eq!(renamed.unwrap().result(r#"{"a":2}"#).await, r#"{"a":2}"#);
    }
    let spec = ContainerSpec {
        kind: NODE.to_owned(),
        image: None,
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    };
    assert!(world.factory.create(&spec).await.is_err());
    world.factory.close().await;
    assert!(!world.factory.is_up());
}

async fn not_runnable() {
    let world = World::open_with(|config| {
        let text = serde_json::to_string(&**config.runtimes.manifest())
            .unwrap()
            .replace("\"version\":\"20\"", "\"version\":\"4711\"");
        config.runtimes.replace(Manifest::parse(&text).unwrap());
    })
    .await;
    let begun = Instant::now();
    let spec = ContainerSpec {
        kind: NODE.to_owned(),
        image: None,
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    };
    let error = world.factory.create(&spec).await.err().unwrap().to_string();
    assert!(error.contains("node 4711") && error.contains("install it with: "), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(world.factory.serves(NODE, None), "it is responsible all the same");
    assert!(!world.factory.serves("blackbox", Some("example/other")));
}

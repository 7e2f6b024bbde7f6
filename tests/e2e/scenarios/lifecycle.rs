//! The life of a function in its sandbox: initialised once, called often, renewed, frozen, evicted.

use std::collections::BTreeSet;
use std::time::Duration;

use chasen_testkit::{Client, Node, children, descendants, node};
use serde_json::json;

use crate::functions::{
    Function, Language, annotation, call, call_with_text, eventually, path, record, start,
};
use crate::scenario::Scenario;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("lifecycle::nodejs_functions_initialise_once_and_keep_state", || {
            state(Language::Nodejs)
        })
        .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::python_functions_initialise_once_and_keep_state", || {
            state(Language::Python)
        })
        .needing(Language::Python.need()),
        Scenario::new("lifecycle::functions_find_their_call_in_the_environment", environment)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::the_api_host_can_be_named", api_host),
        Scenario::new("lifecycle::the_api_key_is_given_only_where_wanted", api_key)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::entry_points_go_by_any_name", entry_points)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::results_come_back_as_they_are", results).needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::errors_are_classed_by_kind", errors).needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::arguments_reach_executables_untouched", raw_arguments),
        Scenario::new("lifecycle::parallel_calls_get_their_own_answers", parallel)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::an_updated_action_never_runs_old_code", updates)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::a_full_node_evicts_what_idles", eviction),
        Scenario::new("lifecycle::parallel_updates_end_well_or_in_conflict", conflicts),
        Scenario::new("lifecycle::nested_calls_do_not_starve_each_other", nested)
            .needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::a_deleted_action_ends_what_it_began", deletion),
        Scenario::new("lifecycle::containers_that_go_leave_nothing", traces),
        Scenario::new("lifecycle::nothing_runs_between_calls", freezing).needing(Language::Nodejs.need()),
        Scenario::new("lifecycle::the_second_function_of_a_kind_finds_a_stem_cell", stem_cells)
            .needing(Language::Nodejs.need()),
    ]
}

fn stage() -> (Node, Client) {
    let node = node().start();
    let client = node.client();
    (node, client)
}

async fn state(language: Language) {
    let (_node, client) = stage();
    let code = match language {
        Language::Nodejs => {
            "let calls = 0; console.log('loaded'); function main() { return { calls: ++calls }; }"
        }
        Language::Python | Language::Native => {
            "calls = 0\nprint('loaded')\ndef main(args):\n    global calls\n    calls += 1\n    return {'calls': calls}\n"
        }
    };
    Function::new("counts", language, code).put(&client).await;
    for calls in 1..=5 {
        let called = call(&client, "counts", &json!({})).await;
        assert_eq!(called.result(), &json!({"calls": calls}));
        assert_eq!(called.annotation("initTime").is_u64(), calls == 1, "{}", called.text);
        let logs = record(&client, called.id()).await["logs"].to_string();
        assert_eq!(logs.contains("loaded"), calls == 1, "output of the load is the first call's: {logs}");
    }
}

const ENVIRONMENT: &str = "const loaded = { ...process.env };\n\
    function main(args) {\n  \
        const own = (env) => Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('npm')));\n  \
        return { loaded: own(loaded), run: own(process.env), args };\n}";

async fn environment() {
    let (_node, client) = stage();
    let function = Function::nodejs("looks", ENVIRONMENT)
        .annotation("provide-api-key", json!(true))
        .parameter("given", json!(1))
        .init_parameter("TEXT", json!("snow ❄"))
        .init_parameter("NUMBER", json!(1.5))
        .init_parameter("TREE", json!({"a": [true, null]}))
        .init_parameter("NOTHING", json!(null));
    function.put(&client).await;
    let before = millis();
    let mut seen = Vec::new();
    for n in 0..2 {
        let called = call(&client, "looks", &json!({"n": n})).await;
        let result = called.result();
        assert_eq!(result["args"], json!({"given": 1, "n": n}), "init parameters are no arguments");
        let run = &result["run"];
        for (name, value) in [
            ("__OW_NAMESPACE", "guest"),
            ("__OW_ACTION_NAME", "/guest/looks"),
            ("__OW_ACTION_VERSION", "0.0.1"),
            ("__OW_API_KEY", chasen_testkit::GUEST),
            ("__OW_ACTIVATION_ID", called.id()),
        ] {
            assert_eq!(run[name], value, "{name}: {run}");
        }
        assert!(run["__OW_API_HOST"].as_str().is_some_and(|host| host.starts_with("http://")), "{run}");
        assert!(run["__OW_TRANSACTION_ID"].as_str().is_some_and(|id| !id.is_empty()), "{run}");
        let deadline: u64 = run["__OW_DEADLINE"].as_str().unwrap().parse().unwrap();
        assert!((before + 59_000..millis() + 61_000).contains(&deadline), "{deadline}");
        for (name, value) in
            [("TEXT", "snow ❄"), ("NUMBER", "1.5"), ("TREE", r#"{"a":[true,null]}"#), ("NOTHING", "")]
        {
            assert_eq!(result["loaded"][name], value, "{name}: {}", result["loaded"]);
        }
        for name in
            ["__OW_NAMESPACE", "__OW_ACTION_NAME", "__OW_ACTION_VERSION", "__OW_API_HOST", "__OW_API_KEY"]
        {
            assert_eq!(result["loaded"][name], run[name], "{name} is there when the code loads");
        }
        seen.push((run["__OW_TRANSACTION_ID"].clone(), deadline));
    }
    assert_ne!(seen[0].0, seen[1].0, "each call has its own transaction");
    assert!(seen[0].1 <= seen[1].1, "each call has its own deadline");
}

fn millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

async fn api_host() {
    let node = node().set("server.api-host", "https://api.example:444").start();
    let client = node.client();
    let code = "#!/bin/sh\nprintf '{\"host\":\"%s\"}' \"$__OW_API_HOST\"\n";
    Function::native("asks", code).put(&client).await;
    assert_eq!(call(&client, "asks", &json!({})).await.result(), &json!({"host": "https://api.example:444"}));
}

async fn api_key() {
    let (_node, client) = stage();
    for (name, annotation, given) in [
        ("unsaid", None, false),
        ("false", Some(json!(false)), false),
        ("zero", Some(json!(0)), false),
        ("empty", Some(json!("")), false),
        ("null", Some(json!(null)), false),
        ("true", Some(json!(true)), true),
        ("text", Some(json!("yes")), true),
        ("list", Some(json!([])), true),
    ] {
        let mut function =
            Function::nodejs(name, "function main() { return { key: process.env.__OW_API_KEY }; }");
        if let Some(value) = annotation {
            function = function.annotation("provide-api-key", value);
        }
        function.put(&client).await;
        let called = call(&client, name, &json!({})).await;
        assert_eq!(called.result()["key"].is_string(), given, "{name}: {}", called.text);
    }
    // An action without the annotation at all is one from before it existed: it gets the key.
    let drop = json!({"delAnnotations": ["provide-api-key"]});
    let reply = client.put(&format!("{}?overwrite=true", path("unsaid")), &drop).await.unwrap();
    assert!(annotation(&reply.json(), "provide-api-key").is_null(), "{}", reply.text());
    let called = call(&client, "unsaid", &json!({})).await;
    assert_eq!(called.result(), &json!({"key": chasen_testkit::GUEST}));
}

async fn entry_points() {
    let (_node, client) = stage();
    for (what, function) in [
        ("a name", Function::nodejs("a", "function niam() { return { ok: true }; }").main("niam")),
        ("a path", Function::nodejs("b", "const a = { b: () => ({ ok: true }) };").main("a.b")),
        ("an export", Function::nodejs("c", "exports.main = () => ({ ok: true });")),
        ("a module", Function::nodejs("d", "module.exports = { main: () => ({ ok: true }) };")),
        ("a global", Function::nodejs("e", "global.main = () => ({ ok: true });")),
        (
            "sloppy code",
            Function::nodejs("f", "function main() { undeclared = true; return { ok: undeclared }; }"),
        ),
        ("a Python name", Function::python("g", "def niam(args):\n    return {'ok': True}\n").main("niam")),
        ("an async def", Function::python("h", "async def main(args):\n    return {'ok': True}\n")),
        ("an async function", Function::nodejs("i", "async function main() { return { ok: true }; }")),
        (
            "a promise",
            Function::nodejs(
                "j",
                "const main = () => new Promise((r) => setTimeout(() => r({ ok: true }), 5));",
            ),
        ),
    ] {
        function.put(&client).await;
        let name = function.name();
        assert_eq!(call(&client, name, &json!({})).await.result(), &json!({"ok": true}), "{what}");
    }
}

async fn results() {
    let (_node, client) = stage();
    Function::nodejs("node", "function main({ code }) { return eval(`(${code})`); }").put(&client).await;
    Function::python("python", "def main(args):\n    return eval(args['code'])\n").put(&client).await;
    Function::native("native", "#!/bin/sh\necho '[1,{\"error\":\"not one\"}]'\n").put(&client).await;
    for (name, code, result) in [
        ("node", "undefined", json!({})),
        ("node", "{ a: { b: [1, null] } }", json!({"a": {"b": [1, null]}})),
        ("node", "[1, 'two']", json!([1, "two"])),
        ("node", "Promise.resolve({ ok: true })", json!({"ok": true})),
        ("node", "{ snow: '☃' }", json!({"snow": "☃"})),
        ("node", "{ marks: '&<>' }", json!({"marks": "&<>"})),
        ("python", "['a', 'b']", json!(["a", "b"])),
        ("python", "{'snow': '☃'}", json!({"snow": "☃"})),
        ("native", "", json!([1, {"error": "not one"}])),
    ] {
        let called = call(&client, name, &json!({"code": code})).await;
        let answer = if result.is_array() { &called.record } else { called.result() };
        assert_eq!(
            (called.status, answer),
            (200, &result),
            "{name} {code}: arrays are bare: {}",
            called.text
        );
        let query = "?blocking=true&result=true";
        let bare = client.post(&format!("{}{query}", path(name)), &json!({"code": code})).await.unwrap();
        assert_eq!((bare.status.as_u16(), bare.json()), (200, result), "{name} {code}");
        assert!(!bare.text().contains('\\'), "nothing is escaped without need: {}", bare.text());
    }
    let large = call(&client, "node", &json!({"code": "{ text: 'x'.repeat(1048576 - 11) }"})).await;
    assert_eq!(large.result()["text"].as_str().map(str::len), Some(1_048_576 - 11), "exactly the limit");
    let larger = call(&client, "node", &json!({"code": "{ text: 'x'.repeat(1048576) }"})).await;
    let (status, error) = larger.failure();
    let text = "The action produced a response that exceeded the allowed length: 1048587 > 1048576 bytes. \
                The truncated response was: {\"text\":\"xxx";
    assert!(status == "application error" && error.starts_with(text), "{}", &larger.text[..500]);
}

async fn errors() {
    let (_node, client) = stage();
    Function::nodejs("node", "function main({ code }) { return eval(`(${code})`); }").put(&client).await;
    Function::python("python", "def main(args):\n    return eval(args['code'])\n").put(&client).await;
    Function::native(
        "native",
        "#!/bin/sh\ncode=$(cat | sed 's/.*\"code\":\"\\(.*\\)\".*/\\1/')\neval \"$code\"\n",
    )
    .put(&client)
    .await;
    let application = "application error";
    let developer = "action developer error";
    for (name, code, status, error) in [
        ("node", "{ error: 'sorry', other: 1 }", application, json!("sorry")),
        ("node", "{ error: null }", application, json!(null)),
        ("node", "Promise.reject({ code: 7 })", application, json!({"code": 7})),
        ("node", "Promise.reject('text')", application, json!("text")),
        ("node", "Promise.reject()", application, json!({})),
        (
            "node",
            "missing.name",
            developer,
            json!("An error has occurred: ReferenceError: missing is not defined"),
        ),
        ("node", "(() => { throw 'text' })()", developer, json!("An error has occurred: text")),
        ("node", "7", developer, json!("The action did not return a dictionary.")),
        ("node", "'text'", developer, json!("The action did not return a dictionary.")),
        ("python", "{'error': 'sorry'}", application, json!("sorry")),
        ("python", "1 / 0", application, json!("division by zero")),
        ("python", "7", developer, json!("The action did not return a dictionary or array.")),
        ("python", "exit(1)", developer, json!("command exited")),
        ("python", "None", developer, json!("The action did not return a dictionary or array.")),
        ("native", "exit 7", developer, json!("The action did not return a dictionary or array.")),
        ("native", "echo text", developer, json!("The action did not return a dictionary or array.")),
        ("native", "echo 7", developer, json!("The action did not return a dictionary or array.")),
    ] {
        let called = call(&client, name, &json!({"code": code})).await;
        let response = &called.record["response"];
        let expected = (502, &json!(status), &json!({"error": error}));
        assert_eq!(
            (called.status, &response["status"], &response["result"]),
            expected,
            "{name} {code}: {}",
            called.text
        );
    }
    let rejected = call(&client, "node", &json!({"code": "Promise.reject(new TypeError('no'))"})).await;
    let error = &rejected.record["response"]["result"]["error"];
    assert_eq!((&error["name"], &error["message"]), (&json!("TypeError"), &json!("no")), "{}", rejected.text);
}

async fn raw_arguments() {
    let (_node, client) = stage();
    Function::native("echo", "#!/bin/sh\nprintf '%s' \"$1\"\n").put(&client).await;
    Function::native("cat", "#!/bin/sh\ncat\n").put(&client).await;
    for arguments in [
        r#"{"z":1,"a":2,"m":3}"#,
        r#"{"big":123456789012345678901234567890,"small":0.1000000000000000055511151231257827,"huge":1e400}"#,
        r#"{"escaped":"\u2603\u00e9\/","plain":"☃é/"}"#,
        r#"{"deep":[[[[{"x":[null,true,false,-0.0,1E5]}]]]]}"#,
        "{}",
    ] {
        for name in ["echo", "cat"] {
            let reply = call_with_text(&client, name, arguments).await;
            assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, arguments), "{name}");
        }
    }
    // Default parameters join them without touching them.
    Function::native("echo", "#!/bin/sh\nprintf '%s' \"$1\"\n")
        .parameter("default", json!(1))
        .put(&client)
        .await;
    let reply = call_with_text(&client, "echo", r#"{"huge":1e400,"default":2.50}"#).await;
    assert!(
        reply.text().contains(r#""huge":1e400"#) && reply.text().contains(r#""default":2.50"#),
        "{}",
        reply.text()
    );
    let reply = call_with_text(&client, "echo", r#"{"huge":1e400}"#).await;
    assert!(
        reply.text().contains(r#""huge":1e400"#) && reply.text().contains(r#""default":1"#),
        "{}",
        reply.text()
    );
}

async fn parallel() {
    const CALLS: usize = 120;
    let (_node, client) = stage();
    Function::nodejs("node", "async function main(args) { await new Promise(setImmediate); return args; }")
        .put(&client)
        .await;
    Function::python("python", "def main(args):\n    return args\n").put(&client).await;
    Function::native("native", "#!/bin/sh\nprintf '%s' \"$1\"\n").put(&client).await;
    let arguments: Vec<_> = (0..CALLS).map(|n| json!({"n": n, "text": "x".repeat(n * 100)})).collect();
    let calls = arguments.iter().enumerate().map(async |(n, arguments)| {
        let called = call(&client, ["node", "python", "native"][n % 3], arguments).await;
        assert_eq!(called.result(), arguments);
        called.id().to_owned()
    });
    let ids: BTreeSet<String> = futures_util::future::join_all(calls).await.into_iter().collect();
    assert_eq!(ids.len(), CALLS, "each call is an activation of its own");
}

async fn updates() {
    let (_node, client) = stage();
    let version =
        |n: usize| Function::nodejs("changes", &format!("function main() {{ return {{ version: {n} }}; }}"));
    version(0).put(&client).await;
    let caller = client.clone();
    let calls = tokio::spawn(async move {
        let mut seen = 0;
        let mut count = 0;
        while seen < 10 {
            let called = call(&caller, "changes", &json!({})).await;
            let version = called.result()["version"].as_u64().unwrap();
            assert!(version >= seen, "version {version} ran after {seen}");
            seen = version;
            count += 1;
        }
        count
    });
    for n in 1..=10 {
        version(n).put(&client).await;
        // What is called after the update is answered runs the new code.
        let nothing = json!({});
        let parallel = (0..4).map(|_| call(&client, "changes", &nothing));
        for called in futures_util::future::join_all(parallel).await {
            assert_eq!(called.result(), &json!({"version": n}), "{}", called.text);
        }
    }
    assert!(calls.await.unwrap() >= 10);
}

async fn eviction() {
    let node = node().set("node.memory", "512 MB").start();
    let client = node.client();
    let names: Vec<String> = (0..6).map(|n| format!("f{n}")).collect();
    for name in &names {
        let code = format!("#!/bin/sh\necho '{{\"name\":\"{name}\"}}'\n");
        Function::native(name, &code).limit("memory", 256).put(&client).await;
    }
    for _ in 0..3 {
        for name in &names {
            assert_eq!(call(&client, name, &json!({})).await.result(), &json!({"name": name}));
        }
    }
    // More at once than fits: all of them end well, some later.
    let nothing = json!({});
    let all = names.iter().map(|name| call(&client, name, &nothing));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|called| called.status == 200), "{all:?}");
}

async fn conflicts() {
    let (_node, client) = stage();
    let versions: Vec<Function> =
        (0..20).map(|n| Function::native("changes", &format!("#!/bin/sh\necho '{{\"n\":{n}}}'\n"))).collect();
    let replies = futures_util::future::join_all(versions.iter().map(|version| version.offer(&client))).await;
    let mut updates = 0;
    for reply in &replies {
        let conflict = reply.json()["error"] == "Concurrent modification to resource detected.";
        assert!(
            reply.status.as_u16() == 200 || (reply.status.as_u16() == 409 && conflict),
            "{}",
            reply.text()
        );
        updates += u64::from(reply.status.as_u16() == 200);
    }
    let action = client.get(&path("changes")).await.unwrap().json();
    assert_eq!(action["version"], format!("0.0.{updates}"), "each update that was answered counts: {action}");
    let n = call(&client, "changes", &json!({})).await.result()["n"].clone();
    assert!(action["exec"]["code"].as_str().unwrap().contains(&format!(":{n}}}")), "{n} ran: {action}");
}

/// As many outer calls as fit, each of which waits for an inner one.
async fn nested() {
    let node = node().set("node.memory", "1 GB").start();
    let client = node.client();
    Function::native("inner", "#!/bin/sh\nprintf '%s' \"$1\"\n").put(&client).await;
    let code = "async function main(args) {\n  \
        const { __OW_API_HOST: host, __OW_API_KEY: key } = process.env;\n  \
        const url = `${host}/api/v1/namespaces/_/actions/inner?blocking=true&result=true`;\n  \
        const headers = { authorization: `Basic ${btoa(key)}`, 'content-type': 'application/json' };\n  \
        const reply = await fetch(url, { method: 'POST', headers, body: JSON.stringify(args) });\n  \
        return { status: reply.status, inner: await reply.json() };\n}";
    Function::nodejs("outer", code).annotation("provide-api-key", json!(true)).put(&client).await;
    let arguments: Vec<_> = (0..12).map(|n| json!({"n": n})).collect();
    let calls = arguments.iter().map(|arguments| call(&client, "outer", arguments));
    for (called, arguments) in futures_util::future::join_all(calls).await.iter().zip(&arguments) {
        assert_eq!(called.result(), &json!({"status": 200, "inner": arguments}), "{}", called.text);
    }
}

async fn deletion() {
    let (_node, client) = stage();
    Function::native("brief", "#!/bin/sh\nsleep 1\necho '{\"done\":true}'\n").put(&client).await;
    call(&client, "brief", &json!({})).await;
    let id = start(&client, "brief", &json!({})).await;
    assert_eq!(client.delete_action("brief").await.unwrap().status.as_u16(), 200);
    assert_eq!(call(&client, "brief", &json!({})).await.status, 404);
    Function::native("brief", "#!/bin/sh\necho '{\"other\":true}'\n").put(&client).await;
    assert_eq!(call(&client, "brief", &json!({})).await.result(), &json!({"other": true}));
    assert_eq!(record(&client, &id).await["response"]["result"], json!({"done": true}));
}

async fn traces() {
    let node = node().set("node.memory", "512 MB").start();
    let client = node.client();
    let folder = |name: &str| std::fs::read_dir(format!("/proc/{}/{name}", node.pid())).unwrap().count();
    let mut counts = Vec::new();
    for round in 0..4 {
        for n in 0..15 {
            let name = format!("f{round}-{n}");
            Function::native(&name, "#!/bin/sh\necho '{}'\n").put(&client).await;
            call(&client, &name, &json!({})).await.result();
            assert_eq!(client.delete_action(&name).await.unwrap().status.as_u16(), 200);
        }
        eventually("no more containers than fit", async || {
            (descendants(node.pid()).len() <= 12).then_some(())
        })
        .await;
        counts.push((folder("fd"), folder("task")));
    }
    // Threads that had nothing to do any more are gone after a while.
    let first = counts[0];
    eventually(&format!("no more files and threads than at first: {counts:?}"), async || {
        (folder("fd") <= first.0 + 15 && folder("task") <= first.1 + 4).then_some(())
    })
    .await;
}

async fn freezing() {
    let node = node().set("sandbox.pause-grace", "50 ms").start();
    let client = node.client();
    // The function counts, and a process that it has left behind counts in a file.
    let code = "const fs = require('fs');\n\
        let ticks = 0; setInterval(() => ticks++, 1);\n\
        const script = 'while :; do printf x >> /tmp/count; sleep 0.002; done';\n\
        require('child_process').spawn('sh', ['-c', script], { stdio: 'ignore' });\n\
        async function main({ wait }) {\n  \
            if (wait) await new Promise((r) => setTimeout(r, wait));\n  \
            return { ticks, child: fs.statSync('/tmp/count', { throwIfNoEntry: false })?.size ?? 0 };\n}";
    Function::nodejs("ticks", code).put(&client).await;
    let counts = async |wait: u64| {
        let called = call(&client, "ticks", &json!({"wait": wait})).await;
        ["ticks", "child"].map(|name| called.result()[name].as_u64().unwrap())
    };
    let growth = async |before: [u64; 2]| {
        eventually("they count while the function is called", async || {
            let now = counts(200).await;
            now.iter().zip(before).all(|(now, before)| *now > before).then_some(())
        })
        .await;
    };
    growth([0, 0]).await;
    // They are stopped soon after a call, and on a busy machine now and then later.
    let mut most = Vec::new();
    while most.iter().all(|count| *count >= 300) {
        assert!(most.len() < 5, "counted {most:?} times between calls");
        let before = counts(0).await;
        // The time in which they would count hundreds of times.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = counts(0).await;
        most.extend(before.iter().zip(after).map(|(before, after)| after - before).max());
    }
    growth(counts(0).await).await;
}

async fn stem_cells() {
    let (node, client) = stage();
    let helpers = descendants(node.pid()).into_iter().filter(|(_, name)| name.starts_with("chasen"));
    let cells: Vec<u32> = helpers.flat_map(|(helper, _)| children(helper)).collect();
    assert!(cells.is_empty(), "an idle node keeps none before a kind is used: {cells:?}");
    let code = "function main() { return { pid: process.pid, up: process.uptime() }; }";
    Function::nodejs("first", code).put(&client).await;
    call(&client, "first", &json!({})).await;
    // Stem cells of a kind are made once it was used.
    eventually("a function starts, and soon, in a process that was there before it", async || {
        let name = format!("f{}", millis());
        Function::nodejs(&name, code).put(&client).await;
        let begun = millis();
        let called = call(&client, &name, &json!({})).await;
        let up = called.result()["up"].as_f64().unwrap() * 1000.0;
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of a test")]
        let own = (millis() - begun) as f64;
        (up > own && own < 1000.0).then_some(())
    })
    .await;
}

//! Every language the platform runs: the sample answers, errors are classed, logs are kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_testkit::{GUEST, chasen, everything_is_needed, node, run};
use serde_json::json;

use crate::functions::{Function, Language, call, logs};
use crate::scenario::{Need, Scenario};

const JAVA: Need = Need::command("javac");
const PHP: Need = Need::command("php");
const RUBY: Need = Need::command("ruby");

/// Families of the manifest whose cases are played in sandboxes.
const CASES: [(&str, &str, Need); 8] = [
    ("languages::the_cases_of_nodejs_hold_in_sandboxes", "nodejs", Need::command("node")),
    ("languages::the_cases_of_python_hold_in_sandboxes", "python", Need::command("python3.11")),
    ("languages::the_cases_of_java_hold_in_sandboxes", "java", JAVA),
    ("languages::the_cases_of_php_hold_in_sandboxes", "php", PHP),
    ("languages::the_cases_of_go_hold_in_sandboxes", "go", Need::command("go")),
    ("languages::the_cases_of_executables_hold_in_sandboxes", "native", Need::command("bash")),
    ("languages::the_cases_of_rust_hold_in_sandboxes", "rust", Need::command("rustc")),
    ("languages::the_cases_of_ruby_hold_in_sandboxes", "ruby", RUBY),
];

pub(crate) fn scenarios() -> Vec<Scenario> {
    let cases = CASES.map(|(name, family, need)| {
        Scenario::blocking(name, move || cases(family)).needing(Need::command("python3")).needing(need)
    });
    let own = vec![
        Scenario::new("languages::nodejs_answers_logs_and_fails", nodejs).needing(Language::Nodejs.need()),
        Scenario::new("languages::python_answers_logs_and_fails", python).needing(Language::Python.need()),
        Scenario::new("languages::java_answers_logs_and_fails", java).needing(JAVA),
        Scenario::blocking("languages::java_files_say_their_class", java_file).needing(JAVA),
        Scenario::new("languages::php_answers_logs_and_fails", php).needing(PHP),
        Scenario::new("languages::ruby_answers_logs_and_fails", ruby).needing(RUBY),
        Scenario::new("languages::native_executables_answer", native),
        Scenario::new("languages::every_kind_that_is_offered_knows_unicode", unicode),
    ];
    own.into_iter().chain(cases).collect()
}

async fn nodejs() {
    let node = node().start();
    let client = node.client();
    let code = "function main(args) { console.log('seen', args.n); if (args.n < 0) throw new Error('negative'); \
                return args.n > 9 ? Promise.reject({ code: 7 }) : { twice: args.n * 2 }; }";
    Function::nodejs("twice", code).put(&client).await;
    let called = call(&client, "twice", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"twice": 8}));
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let rejected = call(&client, "twice", &json!({"n": 10})).await;
    assert_eq!((rejected.status, rejected.failure().0), (502, "application error"));
    let thrown = call(&client, "twice", &json!({"n": -1})).await;
    assert_eq!((thrown.status, thrown.failure().0), (502, "action developer error"));
}

async fn python() {
    let node = node().start();
    let client = node.client();
    let code = "import sys\ndef main(args):\n    print('seen', args['n'], file=sys.stderr)\n    \
                return {'inverse': 1 / args['n']}\n";
    Function::python("inverse", code).put(&client).await;
    let called = call(&client, "inverse", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"inverse": 0.25}));
    assert!(logs(&client, called.id()).await.concat().contains("stderr: seen 4"));
    let raised = call(&client, "inverse", &json!({"n": 0})).await;
    assert_eq!((raised.status, raised.failure().0), (502, "application error"));
}

async fn java() {
    let node = node().start();
    let client = node.client();
    let code = "import com.google.gson.JsonObject;\npublic class Inverse {\n  \
                public static JsonObject main(JsonObject args) {\n    int n = args.get(\"n\").getAsInt();\n    \
                System.out.println(\"seen \" + n);\n    args.addProperty(\"inverse\", 12 / n);\n    \
                return args;\n  }\n}\n";
    Function::of_kind("inverse", "java:default", code).main("Inverse").put(&client).await;
    let called = call(&client, "inverse", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"n": 4, "inverse": 3}));
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let thrown = call(&client, "inverse", &json!({"n": 0})).await;
    assert_eq!((thrown.status, thrown.failure().0), (502, "action developer error"));
    assert!(logs(&client, thrown.id()).await.concat().contains("Inverse.java:6"), "the line is named");
    let jar = Function::of_kind("broken", "java:default", "UEsDBBQAAAAIAAAAAAA=").main("Inverse");
    jar.put(&client).await;
    let broken = call(&client, "broken", &json!({})).await;
    let (status, text) = broken.failure();
    assert_eq!(status, "action developer error");
    assert!(
        text.starts_with("An error has occurred (see logs for details): java.util.zip.ZipException: "),
        "{text}"
    );
}

fn java_file() {
    let mut command = chasen();
    command.args(["run", "--param", "name", "tea"]).arg(root().join("samples/Hello.java"));
    let finished = run(command);
    assert_eq!(finished.stdout, "{\"greeting\":\"Hello, tea!\"}\n", "{finished:?}");
}

async fn php() {
    let node = node().start();
    let client = node.client();
    let code = "<?php\nfunction main(array $args): array {\n  echo \"seen {$args['n']}\\n\";\n  \
                return ['inverse' => intdiv(12, $args['n']), 'text' => mb_strtoupper('grün')];\n}\n";
    Function::of_kind("inverse", "php:default", code).put(&client).await;
    let called = call(&client, "inverse", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"inverse": 3, "text": "GRÜN"}));
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let thrown = call(&client, "inverse", &json!({"n": 0})).await;
    assert_eq!((thrown.status, thrown.failure().0), (502, "action developer error"));
    assert!(logs(&client, thrown.id()).await.concat().contains("index.php on line 4"), "the line is named");
}

async fn ruby() {
    let node = node().start();
    let client = node.client();
    let code = "def main(args)\n  puts \"seen #{args['n']}\"\n  { inverse: 12 / args['n'], wrong: Gem::VERSION.nil? }\nend\n";
    Function::of_kind("inverse", "ruby:default", code).put(&client).await;
    let called = call(&client, "inverse", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"inverse": 3, "wrong": false}));
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let raised = call(&client, "inverse", &json!({"n": 0})).await;
    assert_eq!((raised.status, raised.failure().0), (502, "action developer error"));
    assert!(logs(&client, raised.id()).await.concat().contains("main.rb:3:in"), "the line is named");
}

async fn native() {
    let node = node().start();
    let client = node.client();
    Function::native("echo", "#!/bin/sh\necho to the log\nprintf '%s' \"$1\"\n").put(&client).await;
    let called = call(&client, "echo", &json!({"text": "grüß"})).await;
    assert_eq!(called.result(), &json!({"text": "grüß"}));
    assert!(logs(&client, called.id()).await.concat().contains("stdout: to the log"));
}

/// Functions that answer and print a word of the arguments twice, with a snowman in between, by family. Families of one
/// kind show the same in their cases.
const WINTER: [(&str, &str); 5] = [
    (
        "nodejs",
        "function main({ delimiter: d }) { const winter = `${d} ☃ ${d}`; console.log(winter); return { winter }; }",
    ),
    (
        "python",
        "def main(args):\n    winter = ' ☃ '.join([args['delimiter']] * 2)\n    print(winter)\n    \
         return {'winter': winter}\n",
    ),
    (
        "php",
        "<?php\nfunction main($args) { $d = $args['delimiter']; echo \"$d ☃ $d\\n\"; return ['winter' => \"$d ☃ $d\"]; }",
    ),
    (
        "java",
        "import com.google.gson.JsonObject;\npublic class Winter {\n  public static JsonObject main(JsonObject args) {\n    \
         String d = args.remove(\"delimiter\").getAsString();\n    args.addProperty(\"winter\", d + \" ☃ \" + d);\n    \
         System.out.println(d + \" ☃ \" + d);\n    return args;\n  }\n}\n",
    ),
    ("swift", "func main(args: Any) -> Any { print(\"❄ ☃ ❄\"); return [\"winter\": \"❄ ☃ ❄\"] }"),
];

#[expect(clippy::print_stdout, reason = "what is skipped must be seen")]
async fn unicode() {
    let node = node().start();
    let client = node.client();
    let document = node.anonymous().get("/").await.unwrap().json();
    for (family, kinds) in document["runtimes"].as_object().unwrap() {
        let Some((_, code)) = WINTER.iter().find(|(known, _)| known == family) else {
            let several = kinds.as_array().unwrap().len() > 1;
            // One family's functions are no text.
            assert!(!several || family == "dotnet", "{family} has several kinds and no function here");
            continue;
        };
        for kind in kinds.as_array().unwrap() {
            let kind = kind["kind"].as_str().unwrap();
            Function::of_kind("winter", kind, code)
                .main(if family == "java" { "Winter" } else { "main" })
                .put(&client)
                .await;
            let called = call(&client, "winter", &json!({"delimiter": "❄"})).await;
            if called.status != 200 && called.failure().1.contains("is not installed on this node") {
                println!("skipped: {kind}: {}", called.failure().1);
                continue;
            }
            assert_eq!(called.result(), &json!({"winter": "❄ ☃ ❄"}), "{kind}");
            assert!(logs(&client, called.id()).await.concat().contains("stdout: ❄ ☃ ❄"), "{kind}");
        }
    }
}

/// The cases of a language, through a node.
fn cases(family: &str) {
    let node = node().start();
    let mut check = Command::new("python3");
    check.arg(root().join("runtimes/check.py"));
    check.args(["--node", node.base(), "--auth", GUEST, family]);
    check.args(everything_is_needed().then_some("--all"));
    let checked = run(check);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

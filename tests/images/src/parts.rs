//! Static programs that images are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The proxy as it is shipped: `CHASEN_PROXY_BIN`, or what `cargo xtask proxy` built. `None`, and said so, if it is not
/// there or needs an image with libraries.
#[must_use]
pub fn proxy() -> Option<PathBuf> {
    let built = || target().join("proxy/chasen-proxy");
    let path = std::env::var_os("CHASEN_PROXY_BIN").map_or_else(built, PathBuf::from);
    usable(path, "build it with `cargo xtask proxy`")
}

/// A shell and its tools in one file. `None`, and said so, if the machine has none.
#[must_use]
pub fn busybox() -> Option<PathBuf> {
    usable("/bin/busybox".into(), "install busybox-static")
}

/// A server that does as its arguments say: `src/bin/misbehaving.rs`, which says them. It is built by the compiler
/// alone, statically, when it is wanted for the first time.
#[must_use]
pub fn misbehaving() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/misbehaving.rs");
    let folder = target().join("test-images");
    // Another source is another program: nobody replaces one that is in use.
    let program =
        folder.join(format!("misbehaving-{}", &crate::layer::hex(&fs::read(&source).unwrap())[..16]));
    if program.is_file() {
        return program;
    }
    fs::create_dir_all(&folder).unwrap();
    let built = tempfile::Builder::new().tempdir_in(&folder).unwrap();
    let path = built.path().join("misbehaving");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "-C", "opt-level=1", "-C", "strip=symbols"])
        .args(["-C", "target-feature=+crt-static", "-o"])
        .args([&path, &source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(path, &program).unwrap();
    program
}

/// The folder that cargo builds in.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    }
}

/// In continuous integration, where the test command sees to both, a missing one is a failure.
#[expect(clippy::print_stdout, reason = "what is missing is said where the test is")]
fn usable(path: PathBuf, advice: &str) -> Option<PathBuf> {
    let why = match fs::read(&path) {
        Ok(program) if is_static(&program) => return Some(path),
        Ok(_) => "it is linked dynamically".to_owned(),
        Err(error) => error.to_string(),
    };
    let everything_is_needed = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let why = format!("{}: {why}: {advice}", path.display());
    assert!(!everything_is_needed, "{why}, and nothing may be skipped here");
    println!("{why}");
    None
}

/// True unless the program names an interpreter, which is its dynamic linker.
fn is_static(program: &[u8]) -> bool {
    const INTERPRETER: usize = 3;
    let number = |at: usize, size: usize| {
        let bytes = program.get(at..at + size).unwrap_or_default();
        bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    // The table of segments, as ELF's 64-bit header has it.
    let (table, entry, count) = (number(32, 8), number(54, 2), number(56, 2));
    program.starts_with(b"\x7fELF")
        && !(0..count).any(|index| number(table + index * entry, 4) == INTERPRETER)
}

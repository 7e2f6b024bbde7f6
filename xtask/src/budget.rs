//! What a warm call may cost: counted under callgrind, which says the same on every machine, and short forms of a few
//! benchmarks that fail when something is grossly wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::shell::{output, run, run_with, target};
use crate::tools;

/// The budget, then the short benchmarks; both on one optimised build that needs no link-time optimisation.
pub(crate) fn task() -> Result<(), String> {
    let build = ["build", "--profile", "release-fast", "--locked"];
    run("cargo", build.into_iter().chain(["--package", "chasen-server", "--package", "chasen-benches"]))?;
    let [chasen, benches] = ["chasen", "chasen-benches"].map(|name| target().join("release-fast").join(name));
    let benches = benches.to_string_lossy();
    if output("valgrind", &["--version"]).is_some() {
        let (counted, files) =
            counted(&chasen).map_err(|error| format!("the node under callgrind: {error}"))?;
        run_with(&benches, ["budget"], &[("CHASEN_BIN", &counted), ("CHASEN_CALLGRIND", &files)])?;
    } else if tools::everything_is_needed() {
        return Err("the budget of a warm call needs valgrind".to_owned());
    } else {
        println!("skipped: the budget of a warm call needs valgrind");
    }
    run_with(&benches, ["smoke"], &[("CHASEN_BIN", &chasen)])
}

/// A program that is the node under callgrind, and what the names of callgrind's files begin with.
fn counted(chasen: &Path) -> std::io::Result<(PathBuf, PathBuf)> {
    let folder = target().join("budget");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let (program, files) = (folder.join("chasen"), folder.join("callgrind.out"));
    let text = format!(
        "#!/bin/sh\nexec valgrind --quiet --tool=callgrind --trace-children=no --instr-atstart=no --callgrind-out-file='{}' '{}' \"$@\"\n",
        files.display(),
        chasen.display()
    );
    fs::write(&program, text)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok((program, files))
}

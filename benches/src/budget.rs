//! What a warm call costs the node's process, in instructions: the same on a loaded machine as on a quiet one. Held
//! against `benches/budget.toml`.
//!
//! The node runs under callgrind ([`CALLGRIND`] says where that writes), with one worker thread. What is counted for
//! some calls is taken from what is counted for more, so that nothing that happens once is in the figure, and what is
//! done behind the answer is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::http::Client;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::{Failure, kinds};

/// Environment variable with the path that callgrind's files begin with.
const CALLGRIND: &str = "CHASEN_CALLGRIND";
const WARM_UP: usize = 400;
const FEW: usize = 500;
const MANY: usize = 3_000;
/// Until the records of all calls are in their file: they wait half a second for others.
const FILING: Duration = Duration::from_secs(2);
/// Longest time that callgrind takes for a file.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Budget {
    instructions: f64,
    tolerance: f64,
    toolchain: String,
}

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let budget: Budget = toml::from_str(include_str!("../budget.toml"))?;
    let files = std::env::var_os(CALLGRIND).ok_or("run it by `cargo xtask budget`")?;
    let measured = instructions(Path::new(&files))?;
    let what = "instructions of a warm blocking call ÷ its budget";
    let beside = format!("{measured:.0} ÷ {:.0}", budget.instructions);
    let ratio = || Measured::ratio(measured / budget.instructions).with(&beside);
    report.judge(what, &ratio(), Bound::at_most(1.0 + budget.tolerance));
    let lowered = "  the same: below this the budget in benches/budget.toml is to be lowered";
    report.judge(lowered, &ratio(), Bound::at_least(1.0 - budget.tolerance));
    report.beside("the budget was measured with", budget.toolchain);
    Ok(())
}

/// Instructions per call.
fn instructions(files: &Path) -> Result<f64, Failure> {
    let node = Node::single_threaded()?;
    let callgrind = Callgrind { files: files.to_owned(), process: node.pid().to_string() };
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    let mut calls = |count: usize| {
        for _ in 0..count {
            client.invoke("stub")?.expect(200)?;
        }
        thread::sleep(FILING);
        Ok::<_, Failure>(())
    };
    calls(WARM_UP)?;
    callgrind.tell(&["--instr=on"])?;
    let mut counted = [0.0; 2];
    for (counted, calls_made) in counted.iter_mut().zip([FEW, MANY]) {
        callgrind.tell(&["--zero"])?;
        calls(calls_made)?;
        *counted = callgrind.count()?;
    }
    let [few, many] = counted;
    Ok((many - few) / (MANY - FEW) as f64)
}

/// The callgrind that a process runs under.
struct Callgrind {
    files: PathBuf,
    process: String,
}

impl Callgrind {
    fn tell(&self, words: &[&str]) -> Result<(), Failure> {
        let told = Command::new("callgrind_control").args(words).arg(&self.process).output()?;
        let said =
            [told.stdout, told.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        // It is not always told by the exit code.
        if !told.status.success() || said.contains("Error") {
            return Err(format!("callgrind_control {}: {said}", words.join(" ")).into());
        }
        Ok(())
    }

    /// Instructions since the last telling.
    fn count(&self) -> Result<f64, Failure> {
        let before = self.parts()?;
        self.tell(&["--dump"])?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let fresh = self.parts()?.into_iter().find(|part| !before.contains(part));
            if let Some(total) = fresh.and_then(|part| total(&part)) {
                return Ok(total);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err("callgrind wrote no file".into())
    }

    /// The files that it has written.
    fn parts(&self) -> Result<Vec<PathBuf>, Failure> {
        let folder = self.files.parent().ok_or("callgrind writes nowhere")?;
        let begin = format!("{}.", self.files.file_name().unwrap_or_default().to_string_lossy());
        let is_part =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin));
        Ok(fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_part).collect())
    }
}

/// What a file of callgrind's says at its end; `None` while it is being written.
fn total(part: &Path) -> Option<f64> {
    let text = fs::read_to_string(part).ok()?;
    text.lines().rev().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

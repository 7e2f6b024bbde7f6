//! Drives cells through their public door, on the real kernel.
//!
//! This binary plays five parts: the test runner; with `sandbox-helper` the helper process; with `payload` the
//! program inside a cell; with `doomed-node` a node that is going to be killed;
//! with `rootless-node` a node of an ordinary user. Tests that need root say that they
//! are skipped when it is missing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends at the first surprise"
)]

mod builds;
mod code;
mod conformance;
mod containers;
mod forks;
mod hostile;
mod hostile_images;
mod house;
mod images;
mod isolation;
mod life;
mod limits;
mod overlap;
mod payload;
mod plain;
mod prepared;
mod resources;
mod rootless;
mod world;

use std::path::Path;
use std::process::ExitCode;

use chasen_sandbox::helper::Mode;
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sandbox-helper"] => chasen_sandbox::helper::main(),
        ["native-launcher", ..] => chasen_native_launcher::main(),
        ["payload", ..] => payload::main(arguments.get(1..).unwrap_or_default()),
        ["rootless-node", data, group] => {
            rootless::node(Path::new(data), Path::new(group));
            ExitCode::SUCCESS
        }
        ["doomed-node", data, node_id, mode] => {
            let mode = if *mode == "isolated" { Mode::Isolated } else { Mode::InsecureProcess };
            life::doomed_node(Path::new(data), node_id, mode);
            ExitCode::SUCCESS
        }
        _ => {
            let tests: Vec<Trial> = [
                isolation::tests(),
                limits::tests(),
                life::tests(),
                code::tests(),
                overlap::tests(),
                plain::tests(),
                prepared::tests(),
                builds::tests(),
                conformance::tests(),
                containers::tests(),
                forks::tests(),
                hostile::tests(),
                hostile_images::tests(),
                images::tests(),
                resources::tests(),
                rootless::tests(),
            ]
            .into_iter()
            .flatten()
            .collect();
            libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
        }
    }
}

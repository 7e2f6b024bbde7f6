//! Drives cells through their public door, on the real kernel.
//!
//! This binary plays three parts: the test runner; with `sandbox-helper` the helper process; with `payload` the
//! program inside a cell. Tests that need root say that they are skipped when it is missing.

mod house;
mod payload;
mod smoke;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("sandbox-helper") => chasen_sandbox::helper::main(),
        Some("payload") => payload::main(&arguments.collect::<Vec<_>>()),
        _ => {
            let tests: Vec<Trial> = [smoke::tests()].into_iter().flatten().collect();
            libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
        }
    }
}

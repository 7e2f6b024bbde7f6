//! Drives the factory through its socket, on a real engine of the tests' own.
//!
//! Where no engine can run, its tests are reported as ignored, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

mod conformance;
mod life;
mod lost;
mod made;
mod pulls;
mod registry;
mod world;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let tests = [conformance::tests(), made::tests(), life::tests(), lost::tests(), pulls::tests()];
    let tests = tests.into_iter().flatten().collect();
    let conclusion = libtest_mimic::run(&Arguments::from_args(), tests);
    chasen_testkit::docker::close();
    conclusion.exit_code()
}

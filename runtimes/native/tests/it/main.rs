//! The launcher as a process: this binary starts itself as one and speaks frames with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod cases;
mod launcher;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("native-launcher") {
        return chasen_native_launcher::main();
    }
    let trials = cases::ALL.iter().map(|(name, case)| {
        Trial::test(*name, move || {
            case();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

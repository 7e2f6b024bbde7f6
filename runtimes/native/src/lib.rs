//! The launcher of native executables: the `chasen` binary itself, started inside a sandbox.
//!
//! It has one thread, no async runtime, and two modes:
//! - without an argument it serves frames on its standard input, which is one end of a Unix stream socket pair, and
//!   starts the executable anew for every run ([`serve`]);
//! - with the argument `exec` it waits for one line that says where the code is, then becomes the executable, which
//!   speaks the one-line protocol itself ([`starter`]).
//!
//! Standard output and standard error are the function's log.

mod channel;
mod environment;
mod last_line;
mod program;
mod run;
mod serve;
mod starter;

use std::io::{self, Write};
use std::process::ExitCode;

pub use run::children;
pub use starter::{READY, STARTING};

/// Argument that selects the second mode.
pub const EXEC_MODE: &str = "exec";

/// Runs the launcher in the mode that the process's second argument says; the first is the subcommand that led here.
#[must_use]
pub fn main() -> ExitCode {
    let argument = std::env::args().nth(2);
    let result = match argument.as_deref() {
        None => serve::serve(),
        Some(EXEC_MODE) => starter::start(),
        Some(other) => Err(io::Error::other(format!("'{other}' is no mode; there is only '{EXEC_MODE}'"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(io::stderr(), "launcher: {error}");
            ExitCode::from(70)
        }
    }
}

//! The launcher of native executables: the `chasen` binary itself, started inside a sandbox.
//!
//! It has one thread, no async runtime, and two modes, told by its argument:
//! - a number, the payload bound in bytes: serves frames on its standard input, which is one end of a Unix stream
//!   socket pair, and starts the executable anew for every run ([`serve`]);
//! - `exec`: waits for one line that says where the code is, then becomes the executable, which speaks the one-line
//!   protocol itself ([`starter`]).
//!
//! Standard output and standard error are the function's log.

mod channel;
mod environment;
mod last_line;
mod run;
mod serve;
mod starter;

use std::io::{self, Write};
use std::process::ExitCode;

pub use starter::{READY, STARTING};

/// Argument that selects the second mode.
pub const EXEC_MODE: &str = "exec";

/// Runs the launcher with the process's arguments from the third on; the first two are the program and the
/// subcommand that led here.
#[must_use]
pub fn main() -> ExitCode {
    let argument = std::env::args().nth(2).unwrap_or_default();
    let result = if argument == EXEC_MODE {
        starter::start()
    } else {
        argument
            .parse()
            .map_err(|_| {
                io::Error::other(format!("'{argument}' is neither '{EXEC_MODE}' nor a number of bytes"))
            })
            .and_then(serve::serve)
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

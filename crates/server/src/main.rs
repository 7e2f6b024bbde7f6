//! The `chasen` binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The node starts its own binary again for two small programs, which are not for people to type and must not
    // be burdened with what the command line sets up.
    match std::env::args_os().nth(1).as_ref().and_then(|command| command.to_str()) {
        Some("sandbox-helper") => chasen_sandbox::helper::main(),
        Some("native-launcher") => chasen_native_launcher::main(),
        _ => chasen_server::cli::main(),
    }
}

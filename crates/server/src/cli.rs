//! The command line: what can be typed, and which code the process ends with.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 usage or settings. `run` has its own; see its help.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::console;
use crate::settings::{self, Layers, Row, Settings, SettingsError};

/// Run functions in reply to events and HTTP requests: Apache OpenWhisk's platform in one binary.
#[derive(Debug, Parser)]
#[command(name = "chasen", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the effective settings, and where each came from
    Config(ConfigArgs),
}

/// Where settings come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingsArgs {
    /// Read settings from this TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one setting; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Folder of everything the node keeps
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Run functions as plain processes, without any isolation
    #[arg(long)]
    insecure_process: bool,
}

/// Settings of a node that listens.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Where the API listens; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// How long a stopping node waits for running activations
    #[arg(long, value_name = "DURATION")]
    drain_timeout: Option<String>,
    /// Let the well-known guest exist although the API listens beyond loopback
    #[arg(long)]
    allow_guest: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Describe every setting, as Markdown
    #[arg(long)]
    reference: bool,
}

impl SettingsArgs {
    /// Every layer of settings, with these flags on top.
    #[must_use]
    pub fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers.add_file(path);
        }
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        layers.add_environment(std::env::vars_os().map(|(name, value)| (text(name), text(value))));
        for assignment in &self.assignments {
            layers.add_assignment(assignment);
        }
        if let Some(data) = &self.data {
            layers.add_flag("--data", "server.data", data.clone());
        }
        if self.insecure_process {
            layers.add_flag("--insecure-process", "sandbox.insecure-process", true.to_string());
        }
        layers
    }
}

impl NodeArgs {
    /// Every layer of settings, with these flags on top.
    #[must_use]
    pub fn layers(&self) -> Layers {
        let mut layers = self.settings.layers();
        if let Some(listen) = &self.listen {
            layers.add_flag("--listen", "server.listen", listen.clone());
        }
        if let Some(timeout) = &self.drain_timeout {
            layers.add_flag("--drain-timeout", "server.drain-timeout", timeout.clone());
        }
        if self.allow_guest {
            layers.add_flag("--allow-guest", "server.allow-guest", true.to_string());
        }
        layers
    }

    /// The settings, or everything that is wrong with them.
    pub fn settings(&self) -> Result<(Settings, Vec<Row>), SettingsError> {
        Settings::read(self.layers())
    }
}

/// How a command ended: what went wrong, told apart by its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Usage or settings: code 2.
    #[error("{0}")]
    Usage(String),
    /// The thing asked for failed: code 1.
    #[error("{0}")]
    Failed(String),
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Config(args) => config(&args),
    };
    done.unwrap_or_else(|failure| {
        console::note(&format!("chasen: {failure}"));
        ExitCode::from(match failure {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
        })
    })
}

fn config(args: &ConfigArgs) -> Result<ExitCode, Failure> {
    let (_, rows) = args.node.settings()?;
    console::out(&if args.reference { settings::reference(&rows) } else { settings::effective(&rows) });
    Ok(ExitCode::SUCCESS)
}

//! The grammar of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::admin_grammar::AdminCommand;
use super::doctor::DoctorArgs;
use super::durable::{ActivationCommand, DeadLetterCommand};
use super::image::ImageCommand;
use super::load::LoadArgs;
use crate::settings::{Layers, Row, Settings, SettingsError};

/// What every command but `run` ends with.
const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 what was asked for failed, 2 usage or settings; `run` has its own.";

/// What `--version` says.
const VERSION: &str = if cfg!(any(feature = "faults", feature = "open-walls")) {
    concat!(env!("CARGO_PKG_VERSION"), " with faults on purpose: for tests, never for work")
} else {
    env!("CARGO_PKG_VERSION")
};

/// Run functions in reply to events and HTTP requests: Apache OpenWhisk's platform in one binary.
#[derive(Debug, Parser)]
#[command(name = "chasen", version = VERSION, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the platform until a signal stops it
    ///
    /// Prints one line on stdout when it can take work; the log goes to stderr. SIGTERM and SIGINT drain and end with
    /// 0; a second signal ends at once.
    Serve(NodeArgs),
    /// Run the platform and a function in every language that the machine can run
    Quickstart(QuickstartArgs),
    /// Run one file once, through the whole platform, and print its result
    ///
    /// Exit codes: 0 success, 1 the function answered with an error, 2 the code cannot be run or broke a rule,
    /// 3 the platform failed.
    Run(RunArgs),
    /// Print the effective settings, and where each came from
    Config(ConfigArgs),
    /// Tell what this machine can run, with what, and what to type for the rest
    ///
    /// Changes nothing and may be asked beside a running node. Exit codes: 0 a node can work here, 1 it cannot.
    Doctor(DoctorArgs),
    /// Root file systems with interpreters that the machine does not have
    #[command(subcommand)]
    Runtimes(RuntimesCommand),
    /// Container images that run without a container engine
    #[command(subcommand)]
    Image(ImageCommand),
    /// Ask a server as often as it can answer, or as often as you say, and tell how it did
    ///
    /// Ctrl-C ends the run early and tells what was measured; a second one ends at once. Exit codes: 0 fine, 1 errors,
    /// missing records, or a bound that did not hold, 2 usage.
    Load(Box<LoadArgs>),
    /// Activations: list them, end them, run them again
    #[command(subcommand)]
    Activation(ActivationCommand),
    /// Work that was lost as often as it may be: look at it, run it again, drop it
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// Administer users, limits and kinds, backups: of the running node, or of the data folder where none runs
    #[command(subcommand)]
    Admin(AdminCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum RuntimesCommand {
    /// Build a root file system in the data folder; goes on where an interrupted build stopped
    Build {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Recipe, such as debian-13; `chasen runtimes list` shows them all
        name: String,
        /// Fetch packages from this mirror of Debian instead of those of the machine's apt
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Show what can be built and what is
    List {
        #[command(flatten)]
        settings: SettingsArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a root file system, or what is left of an interrupted build; no node may be running
    Remove {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which
        name: String,
    },
}

/// Where settings come from.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SettingsArgs {
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
pub(super) struct NodeArgs {
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
pub(super) struct QuickstartArgs {
    #[command(flatten)]
    pub(super) node: NodeArgs,
    /// Stop after the table; exit code 1 if a sample failed
    #[arg(long)]
    pub(super) exit: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Source file, executable or archive
    pub(super) file: PathBuf,
    /// Kind such as nodejs:20, or `native`; otherwise told by the file's name
    #[arg(long)]
    pub(super) kind: Option<String>,
    /// Entry point, if it is not the kind's default
    #[arg(long)]
    pub(super) main: Option<String>,
    /// An argument: JSON, or else text; may be repeated
    #[arg(long = "param", num_args = 2, value_names = ["KEY", "VALUE"], allow_hyphen_values = true)]
    pub(super) parameters: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    pub(super) node: NodeArgs,
    /// Describe every setting, as Markdown
    #[arg(long)]
    pub(super) reference: bool,
}

impl SettingsArgs {
    /// Every layer of settings, with these flags on top.
    #[must_use]
    pub(super) fn layers(&self) -> Layers {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers.add_file(path);
        }
        let text = |value: OsString| value.to_string_lossy().into_owned();
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
    pub(super) fn layers(&self) -> Layers {
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
    pub(super) fn settings(&self) -> Result<(Settings, Vec<Row>), SettingsError> {
        Settings::read(self.layers())
    }
}

/// The arguments, with the `-ns` of administrators' scripts spelt out: two letters behind one dash are otherwise
/// two flags.
pub(super) fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut given: Vec<OsString> = given.collect();
    if given.get(1).is_some_and(|command| command == "admin") {
        for argument in given.iter_mut().filter(|argument| *argument == "-ns") {
            *argument = OsString::from("--namespace");
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn namespaces_may_be_spelt_as_scripts_do() {
        let given = ["chasen", "admin", "user", "get", "whisker", "-ns", "other"].map(OsString::from);
        use super::super::admin_grammar::{StoresCommand, UserCommand};
        let Command::Admin(AdminCommand::Stores(StoresCommand::User(UserCommand::Get { target, .. }))) =
            Cli::parse_from(arguments(given.into_iter())).command
        else {
            panic!("another command");
        };
        assert_eq!(target.namespace.as_deref(), Some("other"));
    }
}

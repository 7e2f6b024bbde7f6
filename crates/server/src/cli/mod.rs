//! The command line: what can be typed, and which code the process ends with.
//!
//! Exit codes: 0 done, 1 the thing asked for failed, 2 usage or settings. `run` has its own; see its help.

mod admin;
mod admin_grammar;
mod api;
mod backup;
mod doctor;
mod durable;
mod grammar;
mod image;
mod load;
mod properties;
mod runtimes;

use std::process::ExitCode;

use chasen_telemetry::log;
use clap::Parser;

use self::grammar::{Cli, Command, ConfigArgs, NodeArgs, QuickstartArgs, RunArgs, arguments};
use crate::bind::{bind, bind_next_free};
use crate::life::{self, Ended};
use crate::run::{self, Job};
use crate::settings::{self, Auto, Listen, Origin, Row, Settings, SettingsError, Tls};
use crate::{console, quickstart};

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

/// How a command ends.
type Done = Result<ExitCode, Failure>;

/// Prints a line, and that was all.
fn say(text: &str) -> Done {
    console::out(&format!("{text}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse_from(arguments(std::env::args_os())).command {
        Command::Serve(args) => serve(&args),
        Command::Quickstart(args) => quickstart(&args),
        Command::Run(args) => run(&args),
        Command::Config(args) => config(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Runtimes(command) => runtimes::run(&command),
        Command::Image(command) => image::run(&command),
        Command::Load(args) => load::run(&args),
        Command::Activation(command) => durable::activation(&command),
        Command::DeadLetter(command) => durable::dead_letter(&command),
        Command::Admin(command) => admin::run(&command),
    };
    done.unwrap_or_else(|failure| {
        console::note(&format!("chasen: {failure}"));
        ExitCode::from(match failure {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
        })
    })
}

fn serve(args: &NodeArgs) -> Done {
    let (settings, _) = args.settings()?;
    log::init(&settings.log.filter, settings.log.format).map_err(usage)?;
    let listen = settings.server.listen.clone();
    let ended = life::with_node(&settings, async move { bind(&listen).await }, async |node| {
        console::out(&format!("chasen ready on {}://{}\n", node.scheme(), node.address()));
        std::future::pending::<()>().await;
    })?;
    Ok(ended.exit_code(|()| ExitCode::SUCCESS, ExitCode::SUCCESS))
}

fn quickstart(args: &QuickstartArgs) -> Done {
    let (mut settings, rows) = args.node.settings()?;
    quiet_log(&settings, &rows)?;
    // What is shown can be typed as it is, on this machine.
    settings.server.tls = Tls::off();
    let listen = settings.server.listen.clone();
    let given = is_given(&rows, "server.listen");
    let listener = async move { if given { bind(&listen).await } else { bind_next_free(&listen).await } };
    let exit = args.exit;
    let ended = life::with_node(&settings, listener, async |node| {
        let good = quickstart::show(node).await;
        if !exit {
            std::future::pending::<()>().await;
        }
        good
    })?;
    let code = |good| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(ended.exit_code(code, ExitCode::SUCCESS))
}

fn run(args: &RunArgs) -> Done {
    let verdict = try_run(args)?;
    Ok(verdict.unwrap_or_else(|why| {
        console::note(&format!("chasen: {why}"));
        run::Verdict::PlatformError.into()
    }))
}

/// The outer error is one of usage, the inner one of the platform.
fn try_run(args: &RunArgs) -> Result<Result<ExitCode, String>, Failure> {
    let (mut settings, rows) = Settings::read(args.settings.layers())?;
    quiet_log(&settings, &rows)?;
    let job = match Job::read(&args.file, args.kind.as_deref(), args.main.as_deref(), &args.parameters) {
        Ok(job) => job,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut folder = None;
    if !is_given(&rows, "server.data") {
        let fresh = tempfile::tempdir().map_err(|error| Failure::Failed(error.to_string()))?;
        settings.server.data = Auto(Some(fresh.path().to_owned()));
        folder = Some(fresh);
    }
    // Nobody else needs to reach this node.
    settings.server.listen = Listen { host: "127.0.0.1".to_owned(), port: 0 };
    settings.server.tls = Tls::off();
    let listen = settings.server.listen.clone();
    let ended = life::with_node(&settings, async move { bind(&listen).await }, async |node| {
        console::with_progress("preinstalled modules are fetched", node.sandboxes().modules_settled()).await;
        job.run(&node.client()).await.map(ExitCode::from).map_err(|error| error.to_string())
    });
    drop(folder);
    Ok(match ended {
        Ok(Ended::Done(outcome)) => outcome,
        Ok(Ended::Stopped(signal) | Ended::Forced(signal)) => Ok(ExitCode::from(signal.exit_code())),
        Err(failure) => Err(failure.to_string()),
    })
}

fn config(args: &ConfigArgs) -> Done {
    let (_, rows) = args.node.settings()?;
    console::out(&if args.reference { settings::reference(&rows) } else { settings::effective(&rows) });
    Ok(ExitCode::SUCCESS)
}

/// The log of commands that people watch: warnings only, unless somebody says otherwise.
fn quiet_log(settings: &Settings, rows: &[Row]) -> Result<(), Failure> {
    let filter = if is_given(rows, "log.filter") { settings.log.filter.as_str() } else { "warn" };
    log::init(filter, settings.log.format).map_err(usage)
}

fn is_given(rows: &[Row], key: &str) -> bool {
    rows.iter().any(|row| row.key == key && row.origin != Origin::Default)
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

//! The proxy: one static binary that stands in front of an action inside a container image.
//!
//! It answers a platform's `/init` and `/run` (or Knative's one route), speaks frames with launchers and lines with
//! executables, and is the container's first process: it reaps, passes on signals, drains and ends.

mod action;
mod answer;
mod arguments;
mod children;
mod code;
mod compile;
mod compiler;
mod environment;
mod instance;
mod kind;
mod knative;
mod manners;
mod output;
mod server;
mod settings;
mod signals;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use crate::action::Action;
use crate::arguments::Task;
use crate::children::Children;
use crate::output::Output;
use crate::server::End;
use crate::settings::{BadSettings, Settings, variables};
use crate::signals::Signals;

/// Subcommand of this program that is the native launcher.
const NATIVE_LAUNCHER: &str = "native-launcher";
/// How long the action's processes may take to end by themselves.
const LAST_MOMENT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == NATIVE_LAUNCHER) {
        return chasen_native_launcher::main();
    }
    let done = Task::parse(std::env::args_os().skip(1)).map_err(BadSettings::from).and_then(perform);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(BadSettings { why, exit }) => {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(io::stderr(), "{why}");
            ExitCode::from(exit)
        }
    }
}

fn perform(task: Task) -> Result<u8, BadSettings> {
    let failed = |error: io::Error| BadSettings { why: format!("chasen-proxy: {error}"), exit: 1 };
    let (options, compile) = match task {
        Task::Say(text) => {
            return writeln!(io::stdout(), "{text}").map(|()| 0).map_err(failed);
        }
        Task::Serve(options) => (options, None),
        Task::Compile { main, env, options } => (options, Some((main, env))),
    };
    let children = Children::new().map_err(failed)?;
    let settings = Settings::read(options, &variables())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let done = match compile {
        Some((main, env)) => runtime
            .block_on(compile::compile(&main, &env, &settings, &children))
            .map(|()| 0)
            .map_err(|why| BadSettings { why, exit: 1 }),
        None => runtime.block_on(serve(settings, children)),
    };
    kind::clean_up();
    done
}

/// Serves to the end; the exit status is the launcher's where that stands for the server.
async fn serve(settings: Settings, children: Arc<Children>) -> Result<u8, BadSettings> {
    let failed = |what: &str, error: io::Error| BadSettings { why: format!("{what}: {error}"), exit: 1 };
    let mut signals =
        Signals::handle(&children).map_err(|error| failed("signals cannot be handled", error))?;
    let output = Output::new().map_err(|error| failed("the log cannot be opened", error))?;
    let listener = server::listen(&settings.listen)
        .await
        .map_err(|error| failed(&format!("{:?} cannot be listened on", settings.listen), error))?;
    let pump = Arc::clone(&output);
    tokio::spawn(async move { pump.pump().await });
    let action = Action::new(settings, Arc::clone(&children), Arc::clone(&output));
    let starting = Arc::clone(&action);
    let mut warming = tokio::spawn(async move { starting.warm_up().await });
    let end = tokio::select! {
        end = server::serve(listener, action, &mut signals) => end,
        // A launcher that does not start has no use for requests.
        Err(why) = async {
            match (&mut warming).await {
                Ok(Err(why)) => Err(why),
                _ => std::future::pending::<Result<(), String>>().await,
            }
        } => {
            output.finish(false).await;
            children.sweep().await;
            return Err(BadSettings { why, exit: 1 });
        }
    };
    let code = match end {
        End::Launcher(code) => code,
        End::Asked => {
            children.signal(Signal::TERM);
            let _ = timeout(LAST_MOMENT, children.all_ended()).await;
            0
        }
    };
    children.sweep().await;
    output.finish(false).await;
    Ok(code)
}

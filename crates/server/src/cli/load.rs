//! `chasen load`: asks a server as often as was typed and says how it answered.

mod grammar;
mod plan;
mod progress;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use chasen_client::refused_certificate;
use chasen_loadgen::{Comparison, Halt, Report, check_records};

pub(super) use self::grammar::LoadArgs;
use self::grammar::LoadCommand;
use self::plan::Job;
use self::progress::Progress;
use super::properties::Properties;
use super::{Done, Failure, failed, usage};
use crate::console;
use crate::life::raise_open_files;
use crate::signals::{Signals, StopSignal};

/// Does it. Exit codes: 0 fine, 1 errors, missing records or a bound that did not hold, 2 usage.
pub(super) fn run(args: &LoadArgs) -> Done {
    match &args.command {
        Some(LoadCommand::Compare { before, after, html }) => compare(before, after, html.as_deref()),
        None => load(args),
    }
}

fn compare(before: &Path, after: &Path, html: Option<&Path>) -> Done {
    let read = |path| Report::read(path).map_err(usage);
    let comparison = Comparison::new(read(before)?, read(after)?);
    if let Some(path) = html {
        write(path, &comparison.to_html())?;
    }
    console::out(&comparison.to_text());
    Ok(ExitCode::SUCCESS)
}

fn load(args: &LoadArgs) -> Done {
    let job = Arc::new(Job::new(args, &Properties::read()?)?);
    raise_open_files();
    for path in [&args.html, &args.json].into_iter().flatten() {
        // Told now, not after an hour of measuring.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(Failure::Usage(format!(
                "{} cannot be written: it is, or lacks, a folder",
                path.display()
            )));
        }
    }
    let mut report = match interruptible(job.clone(), Progress::new(args.quiet))? {
        Ok(report) => report?,
        Err(signal) => return Ok(ExitCode::from(signal.exit_code())),
    };
    if let Some(limit) = job.max_error_rate {
        report.limit_errors(limit);
    }
    if let Some(limit) = job.max_p99 {
        report.limit_p99(limit);
    }
    console::out(&report.to_text());
    if let Some(path) = &args.html {
        write(path, &report.to_html())?;
    }
    if let Some(path) = &args.json {
        write(path, &report.to_json())?;
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of a run, or the second signal, which ended everything.
type Interrupted = Result<Result<Report, Failure>, StopSignal>;

/// Measures in a thread of its own while this one waits for signals: the first ends the run early.
fn interruptible(job: Arc<Job>, progress: Progress) -> Result<Interrupted, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let halt = Halt::default();
    let (sender, mut report) = tokio::sync::oneshot::channel();
    runtime.block_on(async {
        let mut signals = Signals::watch().map_err(failed)?;
        let stop = halt.clone();
        std::thread::spawn(move || {
            // Nobody waits any more only when a second signal has ended everything.
            let _ = sender.send(measure(&job, &stop, &progress));
        });
        tokio::select! {
            report = &mut report => return report.map(Ok).map_err(failed),
            _ = signals.next() => halt.stop(),
        }
        tokio::select! {
            report = &mut report => report.map(Ok).map_err(failed),
            signal = signals.next() => Ok(Err(signal)),
        }
    })
}

/// The run, and the look for records, as a report.
fn measure(job: &Job, halt: &Halt, progress: &Progress) -> Result<Report, Failure> {
    let measured = chasen_loadgen::run(&job.plan, halt, |tick| progress.at(tick)).map_err(not_asked)?;
    progress.end();
    let mut report = Report::new(&job.title, &job.plan, &measured);
    let Some(check) = &job.check else { return Ok(report) };
    if measured.ids.is_empty() {
        console::note("chasen: no reply names an activation, so there are no records to look for");
    }
    if !halt.is_stopped() {
        let checked =
            check_records(check, &measured.ids, halt, |found| progress.found(found, measured.ids.len()));
        progress.end();
        let checked = checked.map_err(not_asked)?;
        if !halt.is_stopped() {
            report.add_records(&checked);
        }
    }
    if halt.is_stopped() {
        console::note("chasen: stopped, so not every record was looked for");
    }
    if measured.ids_dropped > 0 {
        console::note(&format!("chasen: {} ids were too many to be looked for", measured.ids_dropped));
    }
    Ok(report)
}

/// Why nobody was asked.
fn not_asked(error: impl std::error::Error + 'static) -> Failure {
    match refused_certificate(&error) {
        Some(why) => Failure::Failed(format!("the server cannot be asked over TLS: {why}")),
        None => failed(error),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))
}

//! `chasen doctor`: prints what was found, for people or as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;

use super::grammar::SettingsArgs;
use super::{Done, failed};
use crate::console;
use crate::doctor::{self, Diagnosis, Machine, Means, Report};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Looks and tells. Exit code 1 if a node could not work here.
pub(super) fn run(args: &DoctorArgs) -> Done {
    let (settings, _) = Settings::read(args.settings.layers())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let examined =
        console::with_progress("every interpreter is asked what it is", doctor::examine(&settings));
    let report = runtime.block_on(examined).map_err(failed)?;
    if args.json {
        let text = serde_json::to_string_pretty(&report).map_err(failed)?;
        console::out(&format!("{text}\n"));
    } else {
        console::out(&shown(&report));
    }
    Ok(if report.works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(report: &Report) -> String {
    let mut text = machine(&report.machine);
    let width = report.kinds.iter().map(|kind| kind.kind.len()).max().unwrap_or_default();
    text.push('\n');
    for kind in &report.kinds {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{:<width$}  {}", kind.kind, line(kind));
        if let Some(command) = &kind.command {
            let _ = writeln!(text, "{:<width$}       get it with: {command}", "");
        }
    }
    let verdict = if report.works { "a node works here" } else { "a node cannot work here yet" };
    let runnable = report.kinds.iter().filter(|kind| kind.runnable).count();
    let _ = writeln!(text, "\n{verdict}; {runnable} of {} kinds can be run", report.kinds.len());
    text
}

fn machine(machine: &Machine) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<18}{value}");
    };
    row("kernel", &machine.kernel);
    row("control groups", &machine.control_groups);
    row("functions run", machine.functions_run_as);
    row("network", if machine.network { "as the settings of sandboxes allow" } else { "none" });
    let socket = &machine.engine.socket;
    row(
        "container engine",
        &match (&machine.engine.api, &machine.engine.why) {
            (Some(api), _) => format!("API {api} at {socket}"),
            (None, why) => format!("none at {socket} ({})", why.as_deref().unwrap_or("it does not answer")),
        },
    );
    row(
        "imported images",
        &match machine.images.as_slice() {
            [] => "none".to_owned(),
            images => images.join(", "),
        },
    );
    row("node", if machine.node_runs { "runs on this data folder" } else { "does not run" });
    for lack in &machine.lacking {
        let _ = writeln!(text, "\nlacking: {}: {}\n     get it with: {}", lack.what, lack.why, lack.how);
    }
    text
}

fn line(kind: &Diagnosis) -> String {
    let mut line = match (&kind.with, &kind.why) {
        (Some(Means::Interpreter { program, version, root }), _) => match root {
            Some(root) => format!("yes  {version}, {program} of the built root '{root}'"),
            None => format!("yes  {version}, {program}"),
        },
        (Some(Means::Image { image, by }), _) => format!("yes  image {image}, by the {by}"),
        (None, why) => format!("no   {}", why.as_deref().unwrap_or_default()),
    };
    if !kind.offered {
        line.push_str(" (not offered)");
    }
    if let Some(modules) = kind.modules.as_ref().filter(|modules| kind.runnable && !modules.installed) {
        let _ = write!(line, "; its modules '{}' are installed by the next node", modules.name);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Engine, Lack, ModulesState};

    #[test]
    fn every_kind_has_a_line_and_what_is_missing_a_command() {
        let kind = |name: &str, with, why: Option<&str>| Diagnosis {
            kind: name.to_owned(),
            runnable: why.is_none(),
            offered: why.is_none(),
            with,
            modules: Some(ModulesState { name: "m".to_owned(), installed: false }),
            why: why.map(str::to_owned),
            command: why.map(|_| "chasen runtimes build r".to_owned()),
        };
        let found = Means::Interpreter {
            program: "/usr/bin/k".to_owned(),
            version: "1.2".to_owned(),
            root: Some("r".to_owned()),
        };
        let image = Means::Image { image: "p/n:t".to_owned(), by: "container engine" };
        let report = Report {
            works: false,
            machine: Machine {
                kernel: "6.1".to_owned(),
                control_groups: "version 2".to_owned(),
                functions_run_as: "isolated",
                network: true,
                lacking: vec![Lack {
                    what: "seccomp".to_owned(),
                    why: "safety".to_owned(),
                    how: "reboot".to_owned(),
                }],
                engine: Engine { socket: "/s".to_owned(), api: None, why: Some("refused".to_owned()) },
                images: Vec::new(),
                node_runs: false,
            },
            kinds: vec![
                kind("k:1", Some(found), None),
                kind("long:10", Some(image), None),
                kind("o:1", None, Some("no o")),
            ],
        };
        let text = shown(&report);
        for part in [
            "lacking: seccomp: safety\n     get it with: reboot\n",
            "none at /s (refused)\n",
            "k:1      yes  1.2, /usr/bin/k of the built root 'r'; its modules 'm' are installed by the next node\n",
            "long:10  yes  image p/n:t, by the container engine",
            "o:1      no   no o (not offered)\n              get it with: chasen runtimes build r\n",
            "a node cannot work here yet; 2 of 3 kinds can be run\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

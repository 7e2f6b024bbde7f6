//! What the command line asks for, and the text that answers it.

use std::ops::Range;
use std::path::PathBuf;

use chasen_entity::{ByteSize, EntityName, SchedulingPolicy};
use chasen_scheduler::{Policies, Policy};
use clap::Parser;
use clap::builder::RangedU64ValueParser;

use crate::azure::{Azure, AzureError, MINUTES, Selection, Synthetic};
use crate::number::micros;
use crate::report::{Report, table};
use crate::trace::shapes::{Generated, Parameters, Shape};
use crate::trace::{SECOND, Trace};
use crate::{Fault, NodeSetup, Setup, SimulationError, simulate};

/// Cores of a node where nothing is said.
const CORES: u32 = 4;
/// Most nodes: every start looks at all of them.
const MOST_NODES: usize = 1000;
/// Most actions of a trace, namespaces, and applications that are made up.
const MOST_ACTIONS: u64 = 1_000_000;
/// Most calls per second.
const MOST_RATE: f64 = 1_000_000.0;
/// Longest generated trace, in seconds: a month.
const LONGEST: u64 = 31 * 24 * 3600;

/// Runs traces under scheduling policies in virtual time, and compares them.
#[derive(Debug, Clone, Parser)]
#[command(name = "chasen-simulator")]
pub struct Arguments {
    /// Generated traces, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "steady")]
    pub trace: Vec<Shape>,
    /// Policies, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "event-driven,sharding")]
    pub policy: Vec<String>,
    /// Nodes: COUNTxMEMORY[/CORES][@NAMESPACE], separated by commas; a namespace has the node for itself.
    #[arg(long, value_delimiter = ',', default_value = "4x8GB", value_parser = nodes)]
    pub nodes: Vec<Nodes>,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Actions of a generated trace.
    #[arg(long, value_parser = count())]
    pub actions: Option<usize>,
    /// Namespaces that they belong to.
    #[arg(long, value_parser = count())]
    pub namespaces: Option<usize>,
    /// Calls per second, bursts aside.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Length of a generated trace, in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    pub seconds: Option<u64>,
    /// Median time of a run, in milliseconds.
    #[arg(long, value_parser = service)]
    pub service: Option<f64>,
    /// Activations that share a container.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: Option<u32>,
    /// Folder with the public trace of Azure Functions of 2019, or one of the same form, instead of a generated trace.
    #[arg(long, value_name = "DIR", conflicts_with = "trace")]
    pub azure: Option<PathBuf>,
    /// Day of it.
    #[arg(long, default_value_t = 1)]
    pub day: u32,
    /// Minutes of the day, FROM..UNTIL.
    #[arg(long, default_value = "0..1440", value_parser = minutes)]
    pub minutes: Range<usize>,
    /// Share of its applications that are taken.
    #[arg(long, default_value_t = 1.0, value_parser = share)]
    pub share: f64,
    /// Make up a day of that form in this folder, and end.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["trace", "azure"])]
    pub write_azure: Option<PathBuf>,
    /// Applications that are made up.
    #[arg(long, default_value_t = 100, value_parser = count())]
    pub applications: usize,
    /// A node dies and comes back empty: NODE@SECONDS+SECONDS, nodes from 0.
    #[arg(long, value_parser = fault)]
    pub fault: Vec<Fault>,
    /// Check the invariants after every so many events; 0 is never.
    #[arg(long, default_value_t = if cfg!(debug_assertions) { 1 } else { 10_000 })]
    pub check_every: u64,
    /// Reports as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Nodes that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    count: usize,
    memory: ByteSize,
    cores: u32,
    dedicated: Option<EntityName>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not fit.
    #[error("{0}")]
    Usage(String),
    /// The trace cannot be read or written.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// A rule was broken.
    #[error(transparent)]
    Simulation(#[from] SimulationError),
    /// The reports cannot be written as JSON.
    #[error("the reports cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Does what the arguments ask for. `progress` is told what is simulated, how many calls have come, and how many are
/// expected.
///
/// # Errors
/// See [`CliError`].
pub fn run(arguments: &Arguments, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<String, CliError> {
    if let Some(folder) = &arguments.write_azure {
        let day = Synthetic {
            applications: arguments.applications,
            day: arguments.day,
            calls: 20.0,
            seed: arguments.seed,
        };
        day.write(folder)?;
        return Ok(format!(
            "wrote day {} of {} applications to {}\n",
            day.day,
            day.applications,
            folder.display()
        ));
    }
    let setup = setup(arguments)?;
    let policies = policies(&arguments.policy)?;
    let mut reports: Vec<Vec<Report>> = Vec::new();
    for trace in traces(arguments, &setup)? {
        let mut compared = Vec::new();
        for policy in &policies {
            let what = format!("{}, {}", trace.name(), policy.name);
            let expected = trace.expected();
            compared.push(simulate(trace.as_ref(), policy, &setup, &mut |far| {
                progress(&what, far.calls, expected)
            })?);
        }
        reports.push(compared);
    }
    if arguments.json {
        return Ok(serde_json::to_string_pretty(&reports.concat())? + "\n");
    }
    let tables: Vec<String> = reports.iter().map(|compared| table(compared)).collect();
    Ok(tables.join("\n"))
}

fn traces(arguments: &Arguments, setup: &Setup) -> Result<Vec<Box<dyn Trace>>, CliError> {
    if let Some(folder) = &arguments.azure {
        let most_memory = setup.nodes.iter().map(|node| node.memory).min().unwrap_or_default();
        let selection = Selection {
            day: arguments.day,
            minutes: arguments.minutes.clone(),
            share: arguments.share,
            most_memory,
            seed: arguments.seed,
        };
        return Ok(vec![Box::new(Azure::read(folder, &selection)?)]);
    }
    let parameters = Parameters {
        actions: arguments.actions,
        namespaces: arguments.namespaces,
        rate: arguments.rate,
        length: arguments.seconds.map(|seconds| seconds.saturating_mul(SECOND)),
        service: arguments.service.map(|millis| micros(millis * 1000.0)),
        concurrency: arguments.concurrency,
    };
    let generated = arguments.trace.iter().map(|shape| Generated::new(*shape, &parameters, arguments.seed));
    Ok(generated.map(|trace| Box::new(trace) as Box<dyn Trace>).collect())
}

fn setup(arguments: &Arguments) -> Result<Setup, CliError> {
    let count: usize = arguments.nodes.iter().map(|nodes| nodes.count).fold(0, usize::saturating_add);
    if !(1..=MOST_NODES).contains(&count) {
        return Err(CliError::Usage(format!("--nodes: {count} nodes; 1 to {MOST_NODES} can be simulated")));
    }
    let nodes = arguments.nodes.iter().flat_map(|nodes| {
        let node = NodeSetup {
            memory: nodes.memory,
            cores: nodes.cores,
            dedicated: nodes.dedicated.iter().cloned().collect(),
        };
        std::iter::repeat_n(node, nodes.count)
    });
    let setup = Setup::new(nodes.collect(), arguments.seed);
    if let Some(fault) = arguments.fault.iter().find(|fault| fault.node >= count) {
        return Err(CliError::Usage(format!(
            "--fault: there is no node {}; the last one is {}",
            fault.node,
            count - 1
        )));
    }
    Ok(Setup { faults: arguments.fault.clone(), check_every: arguments.check_every, ..setup })
}

fn policies(names: &[String]) -> Result<Vec<Policy>, CliError> {
    let all = Policies::default();
    let find = |name: &String| {
        SchedulingPolicy::parse(name).map(|policy| all.get(policy).clone()).ok_or_else(|| {
            let known = SchedulingPolicy::ALL.map(SchedulingPolicy::as_str);
            CliError::Usage(format!("--policy: there is no policy '{name}'; there are {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

fn nodes(text: &str) -> Result<Nodes, String> {
    const FORM: &str = "nodes are written COUNTxMEMORY[/CORES][@NAMESPACE], as 4x8GB or 1x16GB/8@guest";
    let (rest, namespace) = match text.split_once('@') {
        Some((rest, namespace)) => (rest, Some(EntityName::new(namespace).ok_or(FORM)?)),
        None => (text, None),
    };
    let (rest, cores) = match rest.split_once('/') {
        Some((rest, cores)) => (rest, cores.parse().map_err(|_| FORM)?),
        None => (rest, CORES),
    };
    let (count, memory) = rest.split_once('x').ok_or(FORM)?;
    let memory = ByteSize::parse(memory).map_err(|_| FORM)?;
    let count: usize = count.parse().map_err(|_| FORM)?;
    if memory < ByteSize::mb(128) || cores == 0 {
        return Err(format!("a node has at least 128 MB and one core; {FORM}"));
    }
    Ok(Nodes { count, memory, cores, dedicated: namespace })
}

fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=MOST_ACTIONS)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= MOST_RATE);
    rate.ok_or_else(|| format!("calls per second, more than 0 and at most {MOST_RATE}"))
}

fn service(text: &str) -> Result<f64, String> {
    // As long as a function may be allowed to run.
    let longest = 300_000.0;
    let service = text.parse::<f64>().ok().filter(|service| *service > 0.0 && *service <= longest);
    service.ok_or_else(|| format!("milliseconds, more than 0 and at most {longest}"))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "a share, more than 0 and at most 1".to_owned())
}

fn minutes(text: &str) -> Result<Range<usize>, String> {
    let wrong = || format!("minutes of a day are written FROM..UNTIL, from 0 to {MINUTES}");
    let (from, until) = text.split_once("..").ok_or_else(wrong)?;
    let range = from.parse().map_err(|_| wrong())?..until.parse().map_err(|_| wrong())?;
    if range.is_empty() || range.end > MINUTES { Err(wrong()) } else { Ok(range) }
}

fn fault(text: &str) -> Result<Fault, String> {
    let wrong =
        |_| "a fault is written NODE@SECONDS+SECONDS: which node dies, when, and for how long".to_owned();
    let missing = || wrong(());
    let (node, times) = text.split_once('@').ok_or_else(missing)?;
    let (at, length) = times.split_once('+').ok_or_else(missing)?;
    let seconds = |text: &str| text.parse::<f64>().map(|seconds| micros(seconds * 1_000_000.0));
    Ok(Fault {
        node: node.parse().map_err(|_| missing())?,
        at: seconds(at).map_err(|_| missing())?,
        length: seconds(length).map_err(|_| missing())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(words: &[&str]) -> Result<String, String> {
        let words = ["chasen-simulator"].iter().chain(words);
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        run(&arguments, &mut |_, _, _| {}).map_err(|error| error.to_string())
    }

    #[test]
    fn nodes_are_read() {
        let node = |count, memory, cores, namespace: Option<&str>| Nodes {
            count,
            memory: ByteSize::mb(memory),
            cores,
            dedicated: namespace.and_then(EntityName::new),
        };
        assert_eq!(nodes("4x8GB"), Ok(node(4, 8192, 4, None)));
        assert_eq!(nodes("1x512MB/2@quiet"), Ok(node(1, 512, 2, Some("quiet"))));
        for wrong in ["", "4", "x8GB", "4x", "4x8XB", "4x8GB/", "4x8GB/0", "1x64MB", "1x8GB@", "-1x8GB"] {
            assert!(nodes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        for (words, part) in [
            (["--policy", "roulette"], "there is no policy 'roulette'; there are event-driven, sharding"),
            (["--nodes", "2000x1GB"], "2000 nodes; 1 to 1000 can be simulated"),
            (["--rate", "0"], "more than 0"),
            (["--rate", "NaN"], "more than 0"),
            (["--rate", "1e12"], "at most 1000000"),
            (["--service", "0"], "milliseconds, more than 0"),
            (["--share", "1.5"], "a share, more than 0 and at most 1"),
            (["--actions", "0"], "1..=1000000"),
            (["--seconds", "99999999999"], "1..=2678400"),
            (["--concurrency", "0"], "1..=10000"),
            (["--fault", "9@1+1"], "there is no node 9; the last one is 3"),
            (["--fault", "1@x+1"], "NODE@SECONDS+SECONDS"),
            (["--minutes", "5..5"], "FROM..UNTIL"),
            (
                ["--azure", "/does/not/exist"],
                "/does/not/exist/function_durations_percentiles.anon.d01.csv: No such file",
            ),
        ] {
            let error = answer(&words).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}

//! The grammar of `chasen load`.

use std::path::PathBuf;
use std::time::Duration;

use chasen_loadgen::duration;
use clap::{ArgGroup, Args, Subcommand};

use super::super::api::ClientArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(group(ArgGroup::new("what").required(true).args(["file", "target", "action", "web", "trigger"])))]
pub(in crate::cli) struct LoadArgs {
    #[command(subcommand)]
    pub(super) command: Option<LoadCommand>,
    /// Load file: targets with weights, and optionally the pace, as JSON
    pub(super) file: Option<PathBuf>,
    /// Ask this URL
    #[arg(long, value_name = "URL")]
    pub(super) target: Option<String>,
    /// Invoke this action
    #[arg(long, value_name = "NAME")]
    pub(super) action: Option<String>,
    /// Call this web action, such as guest/default/hello.json
    #[arg(long, value_name = "PATH")]
    pub(super) web: Option<String>,
    /// Fire this trigger
    #[arg(long, value_name = "NAME")]
    pub(super) trigger: Option<String>,
    /// Do not wait for the action's result
    #[arg(long, requires = "action")]
    pub(super) non_blocking: bool,
    /// Method for --target and --web; POST where there is a body, else GET
    #[arg(long, conflicts_with_all = ["file", "action", "trigger"])]
    pub(super) method: Option<String>,
    /// Send this header too; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", conflicts_with = "file")]
    pub(super) headers: Vec<String>,
    /// Send this body
    #[arg(long, value_name = "TEXT", conflicts_with = "file")]
    pub(super) body: Option<String>,
    /// Send the bytes of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "body"])]
    pub(super) body_file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) pace: PaceArgs,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Look for the record of every activation afterwards
    #[arg(long)]
    pub(super) check: bool,
    /// How long records are waited for
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "check")]
    pub(super) check_wait: Option<Duration>,
    /// Exit with 1 if more than this share of the requests fail, such as 0.01; by default if any does
    #[arg(long, value_name = "SHARE")]
    pub(super) max_error_rate: Option<f64>,
    /// Exit with 1 if 99 of 100 successes take longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) max_p99: Option<Duration>,
    /// Write a page with charts, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// Write every figure, for programs and for `chasen load compare`
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum LoadCommand {
    /// Hold two runs against each other
    Compare {
        /// What `--json` of the first run wrote
        before: PathBuf,
        /// What `--json` of the second run wrote
        after: PathBuf,
        /// Write a page with charts
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

/// When requests are sent; what is not given here stands in the load file or has a default.
#[derive(Debug, Args)]
pub(super) struct PaceArgs {
    /// Open loop: so many requests per second, whether answers come or not; latencies count from when each was due
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    pub(super) rate: Option<f64>,
    /// Closed loop: so many clients, each asking again when it is answered (8); in an open loop, connections at most (256)
    #[arg(long, value_name = "N")]
    pub(super) clients: Option<u32>,
    /// How long (10s)
    #[arg(long, value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
    /// A stage, such as 30s:500/s (rate) or 30s:64 (clients): the value goes there in a straight line; 0s jumps; may be repeated
    #[arg(long = "stage", value_name = "DURATION:VALUE", value_parser = parse_stage, conflicts_with_all = ["duration", "rate"])]
    pub(super) stages: Vec<StageArg>,
    /// Time before, that is not counted
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) warm_up: Option<Duration>,
    /// End after so many requests
    #[arg(long, value_name = "N")]
    pub(super) requests: Option<u64>,
    /// How long a reply may take (65s)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
    /// Threads that send; by default one per processor
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// A connection per request
    #[arg(long)]
    pub(super) no_keep_alive: bool,
    /// Decides which target is asked when
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

/// A stage as it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StageArg {
    pub(super) duration: Duration,
    pub(super) to: f64,
    pub(super) is_rate: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write a number and ms, s, m or h, such as 30s".to_owned())
}

fn parse_stage(text: &str) -> Result<StageArg, String> {
    let shape = || "write DURATION:VALUE, such as 30s:500/s for a rate or 30s:64 for clients".to_owned();
    let (duration, value) = text.split_once(':').ok_or_else(shape)?;
    let duration = parse_duration(duration)?;
    let (value, is_rate) = value.strip_suffix("/s").map_or((value, false), |rate| (rate, true));
    let to: f64 = value.parse().map_err(|_| shape())?;
    if !is_rate && to.fract() != 0.0 {
        return Err("clients come as whole ones".to_owned());
    }
    Ok(StageArg { duration, to, is_rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_rates_or_clients() {
        let stage = |text| parse_stage(text).map(|stage| (stage.duration.as_secs(), stage.to, stage.is_rate));
        assert_eq!(stage("30s:500/s"), Ok((30, 500.0, true)));
        assert_eq!(stage("1m:64"), Ok((60, 64.0, false)));
        for wrong in ["30s", "30:5", "30s:", "30s:x/s", "30s:1.5"] {
            assert!(parse_stage(wrong).is_err(), "{wrong}");
        }
    }
}

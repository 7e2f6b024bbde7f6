//! `chasen activation` and `chasen dead-letter`: work that waits, runs, was given up, or is to run again.

use std::process::ExitCode;

use chasen_client::{Client, ClientError, Page, Reply};
use chasen_entity::{ActivationId, Version};
use clap::{Args, Subcommand};
use http::StatusCode;
use serde_json::{Value, json};

use super::api::ClientArgs;
use super::{Done, Failure, failed, say};
use crate::console;

#[derive(Debug, Subcommand)]
pub(super) enum ActivationCommand {
    /// Show the records of activations, the newest first, or what waits until it is due
    List {
        #[command(flatten)]
        page: PageArgs,
        /// What waits until it is due, the first to be due first
        #[arg(long)]
        pending: bool,
    },
    /// End an activation: one that waits does not run, one that runs is killed; its record says so
    Cancel(Target),
    /// Run a recorded activation again with the arguments that it had
    ///
    /// Needs a namespace that keeps the parameters of its activations (limit `keepParameters`). The new activation has the
    /// annotation `replayOf`.
    Replay {
        #[command(flatten)]
        target: Target,
        /// Run the action as it was in this version; the namespace must keep versions (limit `keptVersions`)
        #[arg(long, value_name = "VERSION")]
        code_version: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLetterCommand {
    /// Show what was given up, the newest first
    List(PageArgs),
    /// Show a dead letter with its arguments
    Show(Target),
    /// Run it again as a new activation; the letter goes when that is accepted
    Retry(Target),
    /// Remove it for good
    Drop(Target),
}

/// Which part of a list.
#[derive(Debug, Args)]
pub(super) struct PageArgs {
    #[command(flatten)]
    api: ClientArgs,
    /// Only those of this action
    #[arg(long, value_name = "[PACKAGE/]NAME")]
    name: Option<String>,
    /// Leave out this many
    #[arg(long, value_name = "N", default_value_t = 0)]
    skip: u64,
    /// Show no more than this many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(super) struct Target {
    #[command(flatten)]
    api: ClientArgs,
    /// Id of the activation
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: ActivationId,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn parse_id(text: &str) -> Result<ActivationId, String> {
    ActivationId::parse(text).map_err(|_| "an id of an activation is 32 digits of 0-9 and a-f".to_owned())
}

/// Does it.
pub(super) fn activation(command: &ActivationCommand) -> Done {
    match command {
        ActivationCommand::List { page, pending: true } => {
            list(page, true, &[("due", "due"), ("accepted", "accepted")])
        }
        ActivationCommand::List { page, pending: false } => list(page, false, &[("start", "start")]),
        ActivationCommand::Cancel(target) => {
            let client = target.api.client()?;
            let reply = ask(client.cancel(&target.id.to_string()))?;
            tell(target, &reply, || format!("{} has ended: {}", target.id, outcome(&reply)))
        }
        ActivationCommand::Replay { target, code_version } => {
            if let Some(version) = code_version.as_deref().filter(|version| Version::parse(version).is_err())
            {
                return Err(Failure::Usage(format!("'{version}' is no version; write one as in 0.0.3")));
            }
            let client = target.api.client()?;
            let reply = ask(client.replay(&target.id.to_string(), code_version.as_deref()))?;
            tell(target, &reply, || format!("{} runs again as {}", target.id, new_id(&reply)))
        }
    }
}

/// Does it.
pub(super) fn dead_letter(command: &DeadLetterCommand) -> Done {
    match command {
        DeadLetterCommand::List(page) => letters(page),
        DeadLetterCommand::Show(target) => {
            let reply = ask(target.api.client()?.dead_letter(&target.id.to_string()))?;
            say(&pretty(&reply)?)
        }
        DeadLetterCommand::Retry(target) => {
            let reply = ask(target.api.client()?.retry_dead_letter(&target.id.to_string()))?;
            tell(target, &reply, || format!("{} runs again as {}", target.id, new_id(&reply)))
        }
        DeadLetterCommand::Drop(target) => {
            let reply = ask(target.api.client()?.drop_dead_letter(&target.id.to_string()))?;
            tell(target, &reply, || format!("{} is dropped", target.id))
        }
    }
}

fn page(args: &PageArgs) -> Page<'_> {
    Page { name: args.name.as_deref(), skip: args.skip, limit: args.limit }
}

fn list(args: &PageArgs, pending: bool, times: &[(&str, &str)]) -> Done {
    let client: Client = args.api.client()?;
    let reply = ask(client.activations(&page(args), pending))?;
    let empty = if pending { "nothing waits until it is due" } else { "there are no activations" };
    table(args, &reply, empty, times, |row| field(row, "name"))
}

fn letters(args: &PageArgs) -> Done {
    let reply = ask(args.api.client()?.dead_letters(&page(args)))?;
    table(args, &reply, "there are no dead letters", &[("died", "diedAt")], |row| {
        format!("{:>8}  {}", field(row, "attempts"), field(row, "name"))
    })
}

/// Prints a line for every element: id, times, and the rest.
fn table(
    args: &PageArgs,
    reply: &Reply,
    empty: &str,
    times: &[(&str, &str)],
    rest: impl Fn(&Value) -> String,
) -> Done {
    let rows = reply.json();
    let Some(rows) = rows.as_array() else { return Err(not_understood(reply)) };
    if args.json {
        return say(&pretty(reply)?);
    }
    if rows.is_empty() {
        console::note(empty);
    }
    for row in rows {
        let times: Vec<_> = times.iter().map(|(_, key)| time(row.get(key))).collect();
        console::out(&format!("{}  {}  {}\n", field(row, "activationId"), times.join("  "), rest(row)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The reply, if it is a good one.
fn ask(request: impl Future<Output = Result<Reply, ClientError>>) -> Result<Reply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let reply = runtime.block_on(request).map_err(failed)?;
    match reply.status {
        status if status.is_success() => Ok(reply),
        StatusCode::UNAUTHORIZED => {
            Err(Failure::Failed("the key is not known there; check --auth".to_owned()))
        }
        _ => Err(Failure::Failed(reply.error_text())),
    }
}

fn tell(target: &Target, reply: &Reply, text: impl FnOnce() -> String) -> Done {
    if !target.json {
        return say(&text());
    }
    match reply.body.is_empty() {
        true => say(&format!("{:#}", json!({"activationId": target.id}))),
        false => say(&pretty(reply)?),
    }
}

/// How a record says that it ended.
fn outcome(reply: &Reply) -> String {
    let record = reply.json();
    let error = record.pointer("/response/result/error").and_then(Value::as_str);
    error
        .or_else(|| record.pointer("/response/status").and_then(Value::as_str))
        .unwrap_or("without a record")
        .to_owned()
}

fn new_id(reply: &Reply) -> String {
    reply.activation_id().unwrap_or_default()
}

fn pretty(reply: &Reply) -> Result<String, Failure> {
    let value: Value = serde_json::from_slice(&reply.body).map_err(|_| not_understood(reply))?;
    Ok(format!("{value:#}"))
}

fn not_understood(reply: &Reply) -> Failure {
    Failure::Failed(format!(
        "the answer is none of the API's (status {}); is the server of another version than this program?",
        reply.status.as_u16()
    ))
}

fn field(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    }
}

/// Epoch milliseconds as people write them.
fn time(value: Option<&Value>) -> String {
    let moment =
        value.and_then(Value::as_i64).and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map_or_else(|| "-".to_owned(), |moment| format!("{moment:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_seconds() {
        assert_eq!(time(Some(&json!(1_700_000_000_123_u64))), "2023-11-14T22:13:20Z");
        assert_eq!(time(Some(&json!("soon"))), "-");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn ids_are_checked_before_anybody_is_asked() {
        assert!(parse_id("0123456789abcdef0123456789abcdef").is_ok());
        for wrong in ["", "0123456789ABCDEF0123456789abcdef", "../../../admin"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }
}

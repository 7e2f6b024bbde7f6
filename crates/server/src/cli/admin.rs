//! `chasen admin`: does what was typed, in the words that scripts know.

use std::io::{self, BufRead as _, Read};
use std::path::Path;
use std::process::ExitCode;

use chasen_controller::admin::dump::Row;
use chasen_controller::admin::{limits, subjects};
use chasen_entity::{Manifest, UserLimits};
use serde_json::Value;

use super::admin_grammar::{
    AdminCommand, DbCommand, LimitFlags, LimitsCommand, RuntimesCommand, StoresCommand, UserCommand,
};
use super::{Done, Failure, backup, failed, say, usage};
use crate::admin::Administration;
use crate::runtimes::KeptRuntimes;
use crate::settings::Settings;
use crate::{console, data};

/// Longest file that is read, in bytes: what the operator's door takes.
const MAX_FILE: u64 = 1 << 20;
/// Longer than any key.
const LONGEST_LINE: u64 = 1024;
/// Where text comes from that is not in the arguments.
const STDIN: &str = "-";

/// Does it.
pub(super) fn run(command: &AdminCommand) -> Done {
    match command {
        AdminCommand::Stores(command) => stores(command),
        AdminCommand::Folder(command) => backup::run(command),
    }
}

fn stores(command: &StoresCommand) -> Done {
    let (settings, _) = Settings::read(command.settings().layers())?;
    let folder = settings.server.data.0.clone().unwrap_or_else(data::default_folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        if let StoresCommand::User(UserCommand::Create { credentials, dry: true, .. }) = command {
            let given = credentials.as_deref().map(given_or_from_stdin).transpose()?;
            return say(&subjects::generate(given.as_deref()).map_err(failed)?);
        }
        let kept = KeptRuntimes::new(&folder, settings.runtimes.manifest.0.clone());
        let admin = Administration::open(&folder, kept).await.map_err(failed)?;
        match command {
            StoresCommand::User(command) => user(&admin, command).await,
            StoresCommand::Limits(command) => limits_of(&admin, command).await,
            StoresCommand::Db(DbCommand::Get { database, docs, .. }) => dump(&admin, database, *docs).await,
            StoresCommand::Runtimes(command) => runtimes(&admin, command).await,
        }
    })
}

async fn user(admin: &Administration, command: &UserCommand) -> Done {
    match command {
        UserCommand::Create { target, credentials, renew, silent, .. } => {
            let auth = credentials.as_deref().map(given_or_from_stdin).transpose()?;
            let wish = subjects::KeyWish { auth, revoke: *renew };
            let made = admin.create(&target.subject, target.namespace.as_deref(), &wish).await;
            let made = made.map_err(failed)?;
            if *silent { Ok(ExitCode::SUCCESS) } else { say(&made.auth) }
        }
        UserCommand::Get { target, all: true } => {
            let subject = admin.subject(&target.subject).await.map_err(failed)?;
            let line = |own: &subjects::NamespaceKey| format!("{}\t{}", own.namespace, own.auth);
            say(&subject.namespaces.iter().map(line).collect::<Vec<_>>().join("\n"))
        }
        UserCommand::Get { target, all: false } => {
            let key = admin.key(&target.subject, target.namespace.as_deref()).await;
            say(&key.map_err(failed)?.auth)
        }
        UserCommand::Delete { target } => match &target.namespace {
            None => {
                admin.delete(&target.subject).await.map_err(failed)?;
                say("Subject deleted")
            }
            Some(namespace) => {
                admin.delete_namespace(&target.subject, namespace).await.map_err(failed)?;
                say("Namespace deleted")
            }
        },
        UserCommand::Whois { credentials, .. } => {
            let auth = given_or_from_stdin(credentials)?;
            let owner = admin.whois(&auth).await.map_err(failed)?;
            say(&format!("subject: {}\nnamespace: {}", owner.subject, owner.namespace))
        }
        UserCommand::List { namespace, pick, all, keys, .. } => {
            let holders = admin.holders(namespace).await.map_err(failed)?;
            if holders.is_empty() {
                return say(&format!("no identities found for namespace \"{namespace}\""));
            }
            let most = if *all { holders.len() } else { *pick };
            let line = |holder: &subjects::Holder| match keys {
                true => holder.auth.clone(),
                false => format!("{}\t{}", holder.auth, holder.subject),
            };
            say(&holders.iter().take(most).map(line).collect::<Vec<_>>().join("\n"))
        }
        UserCommand::Block(wanted) => set_blocked(admin, &wanted.subjects, true).await,
        UserCommand::Unblock(wanted) => set_blocked(admin, &wanted.subjects, false).await,
    }
}

async fn set_blocked(admin: &Administration, subjects: &[String], blocked: bool) -> Done {
    let done = if blocked { "blocked" } else { "unblocked" };
    let mut failures = 0u8;
    for subject in subjects {
        match admin.set_blocked(subject, blocked).await {
            Ok(()) => console::out(&format!("\"{subject}\" {done} successfully\n")),
            Err(error) => {
                console::note(&format!("chasen: {error}"));
                failures = failures.saturating_add(1);
            }
        }
    }
    Ok(ExitCode::from(failures))
}

async fn limits_of(admin: &Administration, command: &LimitsCommand) -> Done {
    match command {
        LimitsCommand::Set { namespace, limits, .. } => {
            admin.merge_limits(namespace, &document(limits)?).await.map_err(failed)?;
            say(&format!("Limits successfully set for \"{namespace}\""))
        }
        LimitsCommand::Get { namespace, .. } => match admin.limits(namespace).await.map_err(failed)? {
            None => say("No limits found, default system limits apply"),
            Some(limits) => say(&lines(&limits)?),
        },
        LimitsCommand::Delete { namespace, .. } => {
            admin.delete_limits(namespace).await.map_err(failed)?;
            say("Limits deleted")
        }
    }
}

/// The limits document of the flags.
fn document(flags: &LimitFlags) -> Result<Value, Failure> {
    let document = serde_json::to_value(flags).map_err(failed)?;
    if document.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(Failure::Usage("name at least one limit, such as --invocationsPerMinute 60".to_owned()));
    }
    limits::read(&document).map_err(usage)?;
    Ok(document)
}

/// `field = value`, a line each.
fn lines(limits: &UserLimits) -> Result<String, Failure> {
    let document = serde_json::to_value(limits).map_err(failed)?;
    let line = |field: &&str| Some(format!("{field} = {}", literal(document.get(*field)?)));
    Ok(UserLimits::FIELDS.iter().filter_map(line).collect::<Vec<_>>().join("\n"))
}

/// A value as the classic tool prints it: in the notation of the language that it is written in.
fn literal(value: &Value) -> String {
    match value {
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let item = |item: &Value| format!("'{}'", item.as_str().unwrap_or_default());
            format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Prints as it walks: a database may be larger than the memory.
async fn dump(admin: &Administration, database: &str, docs: bool) -> Done {
    let mut next: Option<String> = None;
    let mut total = 0usize;
    loop {
        let page = admin.dump(database, next.as_deref(), docs).await.map_err(failed)?;
        if next.is_none() {
            console::out("{\"offset\":0,\"rows\":[");
        }
        for row in &page.rows {
            let gap = if total == 0 { "\n" } else { ",\n" };
            console::out(&format!("{gap}{}", text(row)?));
            total += 1;
        }
        match page.next {
            // A walk that does not get on would not end.
            Some(place) if next.as_deref() != Some(&place) => next = Some(place),
            _ => break,
        }
    }
    say(&format!("\n],\"total_rows\":{total}}}"))
}

fn text(row: &Row) -> Result<String, Failure> {
    serde_json::to_string(row).map_err(failed)
}

async fn runtimes(admin: &Administration, command: &RuntimesCommand) -> Done {
    let manifest = match command {
        RuntimesCommand::Get { kind, .. } => {
            let manifest = admin.runtimes().await.map_err(failed)?;
            return match kind {
                None => say(&serde_json::to_string_pretty(&manifest).map_err(failed)?),
                Some(name) => match manifest.resolve(name) {
                    None => Err(Failure::Failed(format!("there is no kind '{name}'"))),
                    Some(kind) => say(&serde_json::to_string_pretty(kind).map_err(failed)?),
                },
            };
        }
        RuntimesCommand::Set { file, .. } => admin.set_runtimes(&read_file(file)?).await,
        RuntimesCommand::Reset { .. } => admin.reset_runtimes().await,
        RuntimesCommand::Add { kind, file, .. } => admin.put_kind(kind, &read_file(file)?).await,
        RuntimesCommand::Remove { kind, .. } => admin.delete_kind(kind).await,
    };
    say(&kinds(&manifest.map_err(failed)?))
}

/// The kinds in one line.
fn kinds(manifest: &Manifest) -> String {
    let kind = |kind: &chasen_entity::manifest::RuntimeKind| match (kind.default, kind.deprecated) {
        (_, true) => format!("{} (deprecated)", kind.kind),
        (true, false) => format!("{} (default)", kind.kind),
        (false, false) => kind.kind.clone(),
    };
    format!("kinds: {}", manifest.kinds().map(kind).collect::<Vec<_>>().join(", "))
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some(STDIN) => io::stdin().take(MAX_FILE + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))?;
    if text.len() as u64 > MAX_FILE {
        return Err(Failure::Failed(format!("{} has more than {MAX_FILE} bytes", path.display())));
    }
    Ok(text)
}

/// The text itself, or the first line of stdin for `-`: arguments stand in the process list.
pub(super) fn given_or_from_stdin(text: &str) -> Result<String, Failure> {
    if text != STDIN {
        return Ok(text.to_owned());
    }
    let mut line = String::new();
    io::BufReader::new(io::stdin().take(LONGEST_LINE)).read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_printed_a_line_each_in_their_order() {
        let limits = json!({"maxPayloadSize": "1 KB", "storeActivations": false, "allowedKinds": ["nodejs:20", "blackbox"],
            "invocationsPerMinute": 1});
        let limits: UserLimits = serde_json::from_value(limits).unwrap();
        assert_eq!(
            lines(&limits).unwrap(),
            "invocationsPerMinute = 1\nallowedKinds = ['nodejs:20', 'blackbox']\nstoreActivations = False\nmaxPayloadSize = 1 KB"
        );
    }
}

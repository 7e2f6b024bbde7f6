//! The grammar of `chasen admin`, as administrators' scripts know it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::grammar::SettingsArgs;

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    #[command(flatten)]
    Stores(StoresCommand),
    #[command(flatten)]
    Folder(FolderCommand),
}

/// What concerns single things that are stored.
#[derive(Debug, Subcommand)]
pub(super) enum StoresCommand {
    /// Subjects and their keys
    #[command(subcommand)]
    User(UserCommand),
    /// What a namespace may do
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Everything that is stored
    #[command(subcommand)]
    Db(DbCommand),
    /// Kinds of actions, changed while the node runs
    #[command(subcommand)]
    Runtimes(RuntimesCommand),
}

/// What concerns the data folder as a whole.
#[derive(Debug, Subcommand)]
pub(super) enum FolderCommand {
    /// Copy everything the node keeps, of one moment, while it runs or not
    ///
    /// Takes entities, subjects, code, the event log, records, dead letters, and the keys of the node. Imported images and
    /// root file systems are not among it. Ctrl-C leaves nothing behind.
    Backup {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Folder to make, or archive if it ends in .tar or .tar.gz; `-` writes an archive to stdout
        #[arg(value_name = "DIR|FILE.tar[.gz]|-")]
        to: PathBuf,
        /// Leave out the keys, without which no secret in it can be read
        #[arg(long)]
        without_keys: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a data folder of a backup; the folder must be empty or not there
    Restore {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Folder or archive that `backup` has made; `-` reads an archive from stdin
        #[arg(value_name = "DIR|FILE|-")]
        from: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for damage in the data folder, and say what to do about it; changes nothing
    ///
    /// Exit codes: 0 sound, 1 damage was found, 2 usage.
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Create a subject, or add a namespace to one; prints the key
    Create {
        #[command(flatten)]
        target: UserTarget,
        /// Use this key (uuid:key); `-` reads it from stdin, where other users of the machine cannot see it
        #[arg(short = 'u', long = "auth", value_name = "UUID:KEY", allow_hyphen_values = true)]
        credentials: Option<String>,
        /// Replace the key of a namespace that is there already (also -f)
        #[arg(short = 'r', long = "revoke", visible_short_alias = 'f', visible_alias = "force")]
        renew: bool,
        /// Only make a key up, store nothing
        #[arg(short = 'g', long = "generate")]
        dry: bool,
        /// Do not print the key
        #[arg(short = 's', long = "silent")]
        silent: bool,
    },
    /// Print the key of a subject
    Get {
        #[command(flatten)]
        target: UserTarget,
        /// Print every namespace and its key
        #[arg(short = 'a', long)]
        all: bool,
    },
    /// Remove a subject, or one namespace of it
    Delete {
        #[command(flatten)]
        target: UserTarget,
    },
    /// Say whose key this is
    Whois {
        #[command(flatten)]
        settings: SettingsArgs,
        /// The key; `-` reads it from stdin, where other users of the machine cannot see it
        #[arg(value_name = "UUID:KEY", allow_hyphen_values = true)]
        credentials: String,
    },
    /// Print the keys of a namespace
    List {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which namespace
        namespace: String,
        /// Print this many keys
        #[arg(short = 'p', long = "pick", value_name = "N", default_value_t = 1)]
        pick: usize,
        /// Print all keys
        #[arg(short = 'a', long)]
        all: bool,
        /// Print keys only, not whose they are
        #[arg(short = 'k', long = "key")]
        keys: bool,
    },
    /// Refuse the keys of subjects
    Block(Subjects),
    /// Take the keys of subjects again
    Unblock(Subjects),
}

#[derive(Debug, Args)]
pub(super) struct UserTarget {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Who
    pub(super) subject: String,
    /// Which namespace; by default the one of the subject's name (also -ns)
    #[arg(long)]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Subjects {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    /// Who; the exit code is the number of those with whom it failed
    #[arg(required = true)]
    pub(super) subjects: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum LimitsCommand {
    /// Set limits of a namespace; those that are not named stay as they are
    Set {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which namespace
        namespace: String,
        #[command(flatten)]
        limits: Box<LimitFlags>,
    },
    /// Print the limits that are set for a namespace
    Get {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which namespace
        namespace: String,
    },
    /// Remove the limits of a namespace, so that the platform's apply
    Delete {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which namespace
        namespace: String,
    },
}

/// The fields of a limits document, as flags of their names.
#[derive(Debug, Args, Serialize)]
#[command(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub(super) struct LimitFlags {
    /// Invocations in a calendar minute
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    invocations_per_minute: Option<u32>,
    /// Invocations in flight
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrent_invocations: Option<u32>,
    /// Fires of triggers in a calendar minute
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    fires_per_minute: Option<u32>,
    /// Kinds that actions may have
    #[arg(long, value_name = "KIND", num_args = 1..)]
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_kinds: Option<Vec<String>>,
    /// Whether activations leave records
    #[arg(long, value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    store_activations: Option<bool>,
    /// MB
    #[arg(long, value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_action_memory: Option<u32>,
    /// MB
    #[arg(long, value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_action_memory: Option<u32>,
    /// MB
    #[arg(long, value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_action_logs: Option<u32>,
    /// MB
    #[arg(long, value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_action_logs: Option<u32>,
    /// Milliseconds
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_action_timeout: Option<u32>,
    /// Milliseconds
    #[arg(long, value_name = "MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_action_timeout: Option<u32>,
    /// Activations that share a container
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_action_concurrency: Option<u32>,
    /// Activations that share a container
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_action_concurrency: Option<u32>,
    /// Longest parameters of an entity
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_parameter_size: Option<String>,
    /// Longest arguments and results
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_payload_size: Option<String>,
    /// How much is kept of a result that is too long
    #[arg(long, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    truncation_size: Option<String>,
    /// Idle containers of an action that are kept
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmed_container_keeping_count: Option<u32>,
    /// How long they are kept
    #[arg(long, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    warmed_container_keeping_timeout: Option<String>,
    /// Containers that an action may ask for
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_action_instances: Option<u32>,
    /// When its containers are started, and where
    #[arg(long, value_name = "event-driven|sharding")]
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduling_policy: Option<String>,
    /// Status of blocking calls that do not end in time
    #[arg(long, value_name = "202|504")]
    #[serde(skip_serializing_if = "Option::is_none")]
    blocking_timeout_status: Option<u16>,
    /// What accepted activations outlive: the process, or a power cut too
    #[arg(long, value_name = "memory|synced")]
    #[serde(skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    /// Keep arguments with records, so that activations can be replayed
    #[arg(long, value_name = "true|false")]
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_parameters: Option<bool>,
    /// Earlier versions of each action that are kept, 100 at most
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_versions: Option<u32>,
    /// Where its functions may connect to
    #[arg(long, value_name = "none|internet|allow:LIST")]
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Print a database as JSON
    Get {
        #[command(flatten)]
        settings: SettingsArgs,
        /// subjects, whisks (packages, actions, triggers, rules) or activations
        database: String,
        /// Print the documents, too; those of subjects hold their keys
        #[arg(long)]
        docs: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RuntimesCommand {
    /// Print the manifest of kinds, or one kind
    Get {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which kind
        kind: Option<String>,
    },
    /// Put a manifest in place of the one in force
    Set {
        #[command(flatten)]
        settings: SettingsArgs,
        /// JSON file; `-` reads stdin
        file: PathBuf,
    },
    /// Go back to the manifest that the settings name
    Reset {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Add a kind, or change the one of this name
    Add {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which kind, as in nodejs:20
        kind: String,
        /// JSON file with what the manifest says of the kind; `-` reads stdin
        file: PathBuf,
    },
    /// Remove a kind: its actions can still be read and deleted
    Remove {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Which kind
        kind: String,
    },
}

impl StoresCommand {
    /// Where its settings come from.
    pub(super) fn settings(&self) -> &SettingsArgs {
        match self {
            Self::User(command) => match command {
                UserCommand::Create { target, .. }
                | UserCommand::Get { target, .. }
                | UserCommand::Delete { target } => &target.settings,
                UserCommand::Whois { settings, .. } | UserCommand::List { settings, .. } => settings,
                UserCommand::Block(subjects) | UserCommand::Unblock(subjects) => &subjects.settings,
            },
            Self::Limits(
                LimitsCommand::Set { settings, .. }
                | LimitsCommand::Get { settings, .. }
                | LimitsCommand::Delete { settings, .. },
            )
            | Self::Db(DbCommand::Get { settings, .. })
            | Self::Runtimes(
                RuntimesCommand::Get { settings, .. }
                | RuntimesCommand::Set { settings, .. }
                | RuntimesCommand::Reset { settings }
                | RuntimesCommand::Add { settings, .. }
                | RuntimesCommand::Remove { settings, .. },
            ) => settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::UserLimits;
    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn every_limit_has_a_flag_of_its_name() {
        let command = LimitFlags::augment_args(Command::new("set"));
        let flags: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
        assert_eq!(flags, UserLimits::FIELDS);
    }
}

//! Administration, whether a node runs on the data folder or not: through the operator's door of the node, or on the
//! stores themselves. What is done is the same, and written once, in the controller's room.

pub mod door;
mod folder;
mod node;

use std::path::Path;

use chasen_client::ClientError;
use chasen_controller::admin::AdminError;
use chasen_controller::admin::dump::Page;
use chasen_controller::admin::subjects::{Holder, KeyWish, NamespaceKey, Owner, SubjectView};
use chasen_embedded::OpenError;
use chasen_entity::{Manifest, UserLimits};
use serde_json::Value;

use self::door::DoorFile;
use self::folder::Folder;
use self::node::NodeDoor;
use crate::runtimes::{KeptRuntimes, RuntimesError};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for cannot be.
    #[error(transparent)]
    Refused(#[from] AdminError),
    /// The same, in the words of the running node.
    #[error("{0}")]
    Answered(String),
    /// The running node does not answer.
    #[error(transparent)]
    NoAnswer(#[from] ClientError),
    /// The running node answered with something else.
    #[error("the running node gave an answer that is none: {0}; is it of another version than this program?")]
    NotUnderstood(String),
    /// The data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The kinds cannot be read.
    #[error(transparent)]
    Runtimes(#[from] RuntimesError),
}

type Done<T> = Result<T, Failure>;

/// The way to what is administered.
pub enum Administration {
    /// A node runs on the folder.
    Node(NodeDoor),
    /// None does.
    Folder(Folder),
}

/// Does the same either way.
macro_rules! either {
    ($self:expr, $way:ident => $work:expr) => {
        match $self {
            Self::Node($way) => $work,
            Self::Folder($way) => $work,
        }
    };
}

impl Administration {
    /// Looks for the node of a data folder; opens the folder where there is none. `kept` are its kinds.
    pub async fn open(folder: &Path, kept: KeptRuntimes) -> Done<Self> {
        if let Some(door) = DoorFile::find(folder) {
            let node = NodeDoor::new(&door);
            // A node that has just ended may have left its file behind.
            if node.is_there().await {
                return Ok(Self::Node(node));
            }
        }
        Ok(Self::Folder(Folder::open(folder, kept)?))
    }

    /// Creates a subject, adds a namespace to it, or renews a key.
    pub async fn create(&self, subject: &str, namespace: Option<&str>, wish: &KeyWish) -> Done<NamespaceKey> {
        either!(self, way => way.create(subject, namespace, wish).await)
    }

    /// A subject with all it has.
    pub async fn subject(&self, subject: &str) -> Done<SubjectView> {
        either!(self, way => way.subject(subject).await)
    }

    /// The key of one namespace of a subject.
    pub async fn key(&self, subject: &str, namespace: Option<&str>) -> Done<NamespaceKey> {
        either!(self, way => way.key(subject, namespace).await)
    }

    /// Removes a subject.
    pub async fn delete(&self, subject: &str) -> Done<()> {
        either!(self, way => way.delete(subject).await)
    }

    /// Removes one namespace of a subject.
    pub async fn delete_namespace(&self, subject: &str, namespace: &str) -> Done<()> {
        either!(self, way => way.delete_namespace(subject, namespace).await)
    }

    /// Refuses the keys of a subject, or takes them again.
    pub async fn set_blocked(&self, subject: &str, blocked: bool) -> Done<()> {
        either!(self, way => way.set_blocked(subject, blocked).await)
    }

    /// Whose credentials these are.
    pub async fn whois(&self, auth: &str) -> Done<Owner> {
        either!(self, way => way.whois(auth).await)
    }

    /// Who may enter a namespace.
    pub async fn holders(&self, namespace: &str) -> Done<Vec<Holder>> {
        either!(self, way => way.holders(namespace).await)
    }

    /// The limits set for a namespace.
    pub async fn limits(&self, namespace: &str) -> Done<Option<UserLimits>> {
        either!(self, way => way.limits(namespace).await)
    }

    /// Sets limits of a namespace beside those that are set already.
    pub async fn merge_limits(&self, namespace: &str, document: &Value) -> Done<UserLimits> {
        either!(self, way => way.merge_limits(namespace, document).await)
    }

    /// Removes the limits of a namespace.
    pub async fn delete_limits(&self, namespace: &str) -> Done<()> {
        either!(self, way => way.delete_limits(namespace).await)
    }

    /// A page of everything that is stored.
    pub async fn dump(&self, database: &str, next: Option<&str>, docs: bool) -> Done<Page> {
        either!(self, way => way.dump(database, next, docs).await)
    }

    /// The kinds in force, or those that the node will start with.
    pub async fn runtimes(&self) -> Done<Manifest> {
        either!(self, way => way.runtimes().await)
    }

    /// Puts a whole manifest in force.
    pub async fn set_runtimes(&self, text: &str) -> Done<Manifest> {
        either!(self, way => way.set_runtimes(text).await)
    }

    /// Goes back to the kinds of the settings.
    pub async fn reset_runtimes(&self) -> Done<Manifest> {
        either!(self, way => way.reset_runtimes().await)
    }

    /// Adds a kind, or puts it in place of what there was.
    pub async fn put_kind(&self, kind: &str, text: &str) -> Done<Manifest> {
        either!(self, way => way.put_kind(kind, text).await)
    }

    /// Removes a kind.
    pub async fn delete_kind(&self, kind: &str) -> Done<Manifest> {
        either!(self, way => way.delete_kind(kind).await)
    }
}

//! Why the operator's wish was not done. The texts are those that scripts know.

use chasen_entity::identity::KEY_LENGTH;
use chasen_spi::StoreError;
use http::StatusCode;

use crate::wire::error::ApiError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The subject's name is too short.
    #[error("{0}")]
    Subject(&'static str),
    /// The namespace's name cannot be one.
    #[error("namespace '{0}' contains characters that names cannot have")]
    Namespace(String),
    /// Credentials without a colon, or whose first part is no UUID.
    #[error("authorization id is not a valid UUID")]
    Uuid,
    /// Credentials whose second part is too short.
    #[error("authorization key must be at least {KEY_LENGTH} characters long")]
    KeyTooShort,
    /// Credentials whose second part is too long to log in with.
    #[error("authorization key must be at most {KEY_LENGTH} characters long")]
    KeyTooLong,
    /// Credentials that somebody else has.
    #[error("authorization key is in use for another namespace")]
    KeyTaken,
    /// The namespace is there already.
    #[error("Namespace already exists")]
    Exists,
    /// The subject is blocked.
    #[error("The subject you want to edit is blocked")]
    Blocked,
    /// No such subject.
    #[error("there is no subject '{0}'")]
    NoSubject(String),
    /// No such namespace.
    #[error("subject '{subject}' has no namespace '{namespace}'")]
    NoNamespace {
        /// Whose.
        subject: String,
        /// Which.
        namespace: String,
    },
    /// Nobody has these credentials.
    #[error("Subject id is not recognized")]
    NotRecognized,
    /// A limits document that is none.
    #[error("{0}")]
    Limits(String),
    /// A manifest or a kind that is none.
    #[error("{0}")]
    Runtimes(String),
    /// No such kind.
    #[error("there is no kind '{0}'")]
    NoKind(String),
    /// A place to go on from that was not given out.
    #[error("'{0}' is no place in this list; begin it anew")]
    Cursor(String),
    /// No random numbers.
    #[error("a key could not be made: {0}")]
    Random(getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AdminError> for ApiError {
    fn from(error: AdminError) -> Self {
        use AdminError::{
            Blocked, Cursor, Exists, KeyTaken, KeyTooLong, KeyTooShort, Limits, Namespace, NoKind,
            NoNamespace, NoSubject, NotRecognized, Random, Runtimes, Store, Subject, Uuid,
        };
        let status = match error {
            Store(error) => return error.into(),
            Limits(reason) | Runtimes(reason) => return Self::malformed(reason),
            Subject(_) | Namespace(_) | Uuid | KeyTooShort | KeyTooLong | Cursor(_) => {
                StatusCode::BAD_REQUEST
            }
            KeyTaken | Exists | Blocked => StatusCode::CONFLICT,
            NoSubject(_) | NoNamespace { .. } | NoKind(_) | NotRecognized => StatusCode::NOT_FOUND,
            Random(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::refusal(status, error.to_string())
    }
}

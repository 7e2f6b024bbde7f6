//! What differs between kinds when the platform answers in their stead: the texts about unusable code and about an end without an answer.

use chasen_entity::RawJson;
use chasen_entity::response::Answer;

use crate::layer::Shape;

/// A process of the one-line protocol that ended without an answer.
pub(super) const EXITED: &str = "command exited";
const NOT_STARTED: &str = "Cannot start action. Check logs for details.";
const UNSUPPORTED: &str = "The file type is unsupported";
const NO_EXECUTABLE: &str = "The action failed to generate or locate a binary. See logs for details.";
const NO_ZIP: &str = "Invalid Binary: failed to open zip file. Please make sure you have finished $bundle package successfully.";

/// Which family of runtimes an answer must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// The nodejs kinds.
    Node,
    /// Kinds that speak the one-line protocol elsewhere, and executables that speak it here.
    ActionLoop,
    /// Kinds that speak the one-line protocol elsewhere and say why they do not start in the answer, not in the log.
    TerseActionLoop,
    /// The ruby kinds.
    Ruby,
    /// The java kinds.
    Java,
    /// Executables started anew for every run.
    Skeleton,
}

impl Personality {
    /// That of a kind with an interpreter.
    pub(crate) fn of_kind(kind: &str) -> Self {
        match kind.split(':').next() {
            Some("nodejs") => Self::Node,
            Some("ruby") => Self::Ruby,
            Some("java") => Self::Java,
            Some("php") => Self::TerseActionLoop,
            _ => Self::ActionLoop,
        }
    }

    /// The answer about code that cannot be unpacked, and what the log says.
    pub(crate) fn bad_code(self, why: &str) -> (String, Option<String>) {
        match self {
            Self::Node => {
                let text = format!("There was an error uncompressing the action archive. {why}");
                let log = format!("Error during initialization: {text}");
                (format!("Initialization has failed due to: {text}"), Some(log))
            }
            Self::ActionLoop | Self::TerseActionLoop => (format!("cannot decode the request: {why}"), None),
            Self::Ruby => (NO_ZIP.to_owned(), Some(format!("{NO_ZIP}\n{why}"))),
            Self::Java => {
                let exception = format!("java.util.zip.ZipException: {why}");
                (format!("An error has occurred (see logs for details): {exception}"), Some(exception))
            }
            Self::Skeleton => (NO_EXECUTABLE.to_owned(), Some(why.to_owned())),
        }
    }

    /// The answer when the runtime ends while it initialises.
    pub(super) fn ended_in_init(self) -> Answer {
        match self {
            Self::Node | Self::Ruby | Self::Java | Self::Skeleton => Answer::Gone,
            Self::ActionLoop => Answer::Refused(error_body(NOT_STARTED)),
            Self::TerseActionLoop => Answer::Refused(error_body(&format!("cannot start action: {EXITED}"))),
        }
    }

    /// The answer when the runtime ends while it runs the action.
    pub(super) fn ended_in_run(self) -> Answer {
        match self {
            Self::Node | Self::Ruby | Self::Java | Self::Skeleton => Answer::Gone,
            Self::ActionLoop | Self::TerseActionLoop => Answer::Refused(error_body(EXITED)),
        }
    }

    /// Refuses what the kind cannot load; the error is why.
    pub(crate) fn check_shape(self, shape: Shape) -> Result<(), String> {
        match (self, shape) {
            (Self::Node | Self::Ruby, Shape::Executable) => Err(UNSUPPORTED.to_owned()),
            (Self::Java, Shape::Executable) => Err("the code is no jar".to_owned()),
            _ => Ok(()),
        }
    }
}

/// `{"error": text}`.
pub(crate) fn error_body(text: &str) -> Vec<u8> {
    RawJson::error(text).as_str().as_bytes().to_vec()
}

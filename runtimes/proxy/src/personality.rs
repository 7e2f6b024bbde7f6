//! Which runtime the proxy must be taken for: texts and statuses differ between the images that platforms know.
//!
//! Launchers bring their own texts; here are those that are due when no launcher can answer, and the status that
//! belongs to each text.

use chasen_entity::RawJson;
use chasen_runtime::code::Shape;

/// Nothing was given to run.
pub(crate) const MISSING_CODE: &str = "Missing main/no code to execute.";
/// The second initialisation.
pub(crate) const ALREADY_INITIALIZED: &str = "Cannot initialize the action more than once.";
/// A process that ended without an answer.
pub(crate) const EXITED: &str = "command exited";
/// A run without an action.
pub(crate) const NOT_DEFINED: &str = "no action defined yet";
/// The code is no program and cannot become one.
pub(crate) const NO_BINARY: &str = "The action failed to generate or locate a binary. See logs for details.";
/// The program does not start, and the log says why.
pub(crate) const NOT_STARTED: &str = "Cannot start action. Check logs for details.";
/// The answer is neither object nor array.
pub(crate) const BAD_RESULT: &str = "The action did not return a dictionary or array.";
/// Arguments that are neither object nor array.
const BAD_ARGUMENT: &str = "The action did not receive a dictionary or array as an argument.";
const BAD_REQUEST: &str = "Bad request.";
const UNSUPPORTED: &str = "The file type is unsupported";
const NO_ZIP: &str =
    "Invalid Binary: failed to open zip file. Please make sure you have finished $bundle package successfully.";

/// A family of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Personality {
    /// A proxy in front of a process that speaks lines: most languages.
    ActionLoop,
    /// The nodejs images.
    Node,
    /// The ruby images.
    Ruby,
    /// The java images with a server of their own.
    Java,
    /// The dotnet images.
    DotNet,
    /// The image for executables that are started anew for every run.
    Skeleton,
}

/// What is due when there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This status and error.
    Answer(u16, String),
    /// The connection closes: the image's server is the process that ended.
    Silence,
}

impl Personality {
    /// That of a family of kinds.
    pub(crate) fn of_family(family: &str) -> Self {
        match family {
            "nodejs" => Self::Node,
            "ruby" => Self::Ruby,
            "java" => Self::Java,
            "dotnet" => Self::DotNet,
            "blackbox" | "native" => Self::Skeleton,
            _ => Self::ActionLoop,
        }
    }

    /// Body of the answer to a successful initialisation.
    pub(crate) fn initialized(self) -> &'static str {
        match self {
            Self::ActionLoop => "{\"ok\":true}\n",
            Self::Node | Self::Ruby => "{\"OK\":true}",
            Self::Java | Self::DotNet | Self::Skeleton => "OK",
        }
    }

    /// `{"error": text}` as this family writes it.
    pub(crate) fn error_body(self, text: &str) -> Vec<u8> {
        let mut body = RawJson::error(text).as_str().as_bytes().to_vec();
        self.end_body(&mut body);
        body
    }

    /// Ends a body as this family does.
    pub(crate) fn end_body(self, body: &mut Vec<u8>) {
        if self == Self::ActionLoop {
            body.push(b'\n');
        }
    }

    /// The status that belongs to an error.
    pub(crate) fn status(self, text: &str) -> u16 {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        match self {
            Self::ActionLoop if begins(&[MISSING_CODE, ALREADY_INITIALIZED]) => 403,
            Self::ActionLoop if begins(&["Error unmarshaling request", "cannot decode the request", EXITED]) => {
                400
            }
            Self::ActionLoop if text == NOT_DEFINED => 500,
            Self::Node
                if begins(&[MISSING_CODE, ALREADY_INITIALIZED, "System not ", "Internal system error: "]) =>
            {
                403
            }
            Self::Node if text == BAD_REQUEST => 500,
            Self::Ruby | Self::Skeleton if text == ALREADY_INITIALIZED => 403,
            Self::Ruby if begins(&["Invalid Action: the execution was not successful"]) => 502,
            Self::Ruby if begins(&[MISSING_CODE, "Invalid "]) => 500,
            Self::Skeleton if text == BAD_ARGUMENT => 404,
            _ => 502,
        }
    }

    /// True if sentinels follow the refusal of an initialisation with this status and text.
    pub(crate) fn marks_refused_init(self, status: u16, text: &str) -> bool {
        status >= 500 && text != ALREADY_INITIALIZED && text != BAD_REQUEST
    }

    /// True if sentinels follow the refusal of a run: where it reached the function, or should have.
    pub(crate) fn marks_refused_run(self, status: u16, text: &str) -> bool {
        match self {
            Self::ActionLoop => status == 502 || status == 400 && text == EXITED,
            Self::Node => status == 502,
            Self::Ruby | Self::Java | Self::DotNet | Self::Skeleton => true,
        }
    }

    /// Status, answer and log about code that cannot be unpacked.
    pub(crate) fn bad_code(self, why: &str) -> (u16, String, Option<String>) {
        match self {
            Self::ActionLoop => (400, format!("cannot decode the request: {why}"), None),
            Self::Node => {
                let text = format!("There was an error uncompressing the action archive. {why}");
                let log = format!("Error during initialization: {text}");
                (502, format!("Initialization has failed due to: {text}"), Some(log))
            }
            Self::Ruby => (500, NO_ZIP.to_owned(), Some(format!("{NO_ZIP}\n{why}"))),
            Self::Java => {
                let text = format!("An error has occurred (see logs for details): {why}");
                (502, text, Some(why.to_owned()))
            }
            Self::DotNet => (502, "Unable to decompress package.".to_owned(), Some(why.to_owned())),
            Self::Skeleton => (502, NO_BINARY.to_owned(), Some(why.to_owned())),
        }
    }

    /// Refuses what the family cannot load; the error is why.
    pub(crate) fn check_shape(self, shape: Shape) -> Result<(), &'static str> {
        match (self, shape) {
            (Self::Node | Self::Ruby, Shape::Executable) => Err(UNSUPPORTED),
            _ => Ok(()),
        }
    }

    /// A run where there is no launcher that could refuse it.
    pub(crate) fn not_initialized(self) -> Ended {
        match self {
            Self::ActionLoop => Ended::Answer(500, NOT_DEFINED.to_owned()),
            _ => Ended::Silence,
        }
    }

    /// The launcher ended while it initialised.
    pub(crate) fn ended_in_init(self) -> Ended {
        match self {
            Self::ActionLoop => Ended::Answer(502, NOT_STARTED.to_owned()),
            _ => Ended::Silence,
        }
    }

    /// The launcher ended while it ran the action.
    pub(crate) fn ended_in_run(self) -> Ended {
        match self {
            Self::ActionLoop => Ended::Answer(400, EXITED.to_owned()),
            _ => Ended::Silence,
        }
    }

    /// True if the launcher stands for the image's own server: when it ends, so does the container.
    pub(crate) fn ends_with_launcher(self) -> bool {
        self != Self::ActionLoop
    }

    /// True if runs are sent while others are under way, for the launcher to accept or refuse.
    pub(crate) fn sends_at_once(self) -> bool {
        self == Self::Node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_the_status_that_its_image_gives_it() {
        for (personality, text, status) in [
            (Personality::ActionLoop, MISSING_CODE, 403),
            (Personality::ActionLoop, "Error unmarshaling request: not one JSON value", 400),
            (Personality::ActionLoop, EXITED, 400),
            (Personality::ActionLoop, NOT_DEFINED, 500),
            (Personality::ActionLoop, BAD_RESULT, 502),
            (Personality::Node, ALREADY_INITIALIZED, 403),
            (Personality::Node, "System not ready, status is running.", 403),
            (Personality::Node, BAD_REQUEST, 500),
            (Personality::Node, "An error has occurred: nooooo", 502),
            (Personality::Ruby, "Invalid Ruby Code: failed to parse the input code", 500),
            (Personality::Ruby, "Invalid Action: the execution was not successful. / x", 502),
            (Personality::Java, ALREADY_INITIALIZED, 502),
            (Personality::Skeleton, BAD_ARGUMENT, 404),
            (Personality::Skeleton, NO_BINARY, 502),
        ] {
            assert_eq!(personality.status(text), status, "{personality:?}: {text}");
        }
    }

    #[test]
    fn sentinels_follow_what_reached_the_function() {
        assert!(!Personality::Java.marks_refused_init(502, ALREADY_INITIALIZED));
        assert!(Personality::Node.marks_refused_init(502, "Initialization has failed due to: x"));
        assert!(!Personality::Node.marks_refused_run(403, "System not initialized."));
        assert!(Personality::ActionLoop.marks_refused_run(400, EXITED));
        assert!(!Personality::ActionLoop.marks_refused_run(500, NOT_DEFINED));
        assert!(Personality::Skeleton.marks_refused_run(404, BAD_ARGUMENT));
    }
}

//! A personality over HTTP: statuses, sentinels and the ends of bodies differ between the images that platforms know.
//!
//! Launchers bring their own texts; the status that belongs to each is found here.

use chasen_entity::RawJson;
use chasen_entity::error_text::runtime as text;
use chasen_runtime::personality::Personality;

/// nodejs: refusals for which the container goes on.
const NODE_REFUSALS: [&str; 4] =
    [text::MISSING_CODE, text::ALREADY_INITIALIZED, "System not ", "Internal system error: "];
/// ruby: what was tried and failed, not what was asked wrongly.
const RUBY_FAILED: &str = "Invalid Action: the execution was not successful";

/// How a family of images behaves over HTTP.
pub(crate) trait Manners: Copy {
    /// Body of the answer to a successful initialisation.
    fn initialized(self) -> &'static str;
    /// `{"error": text}` as this family writes it.
    fn error_body(self, text: &str) -> Vec<u8>;
    /// Ends a body as this family does.
    fn end_body(self, body: &mut Vec<u8>);
    /// The status that belongs to an error.
    fn status(self, text: &str) -> u16;
    /// True if sentinels follow the refusal of an initialisation.
    fn marks_refused_init(self, status: u16, text: &str) -> bool;
    /// True if sentinels follow the refusal of a run: where it reached the function, or should have.
    fn marks_refused_run(self, status: u16, text: &str) -> bool;
    /// True if the launcher stands for the image's own server: when it ends, so does the container.
    fn ends_with_launcher(self) -> bool;
    /// True if runs are sent while others are under way, for the launcher to accept or refuse.
    fn sends_at_once(self) -> bool;
}

impl Manners for Personality {
    fn initialized(self) -> &'static str {
        match self {
            Self::ActionLoop | Self::TerseActionLoop => "{\"ok\":true}\n",
            Self::Node | Self::Ruby => "{\"OK\":true}",
            Self::Java | Self::DotNet | Self::Skeleton => "OK",
        }
    }

    fn error_body(self, text: &str) -> Vec<u8> {
        let mut body = RawJson::error(text).as_str().as_bytes().to_vec();
        self.end_body(&mut body);
        body
    }

    fn end_body(self, body: &mut Vec<u8>) {
        if self.is_action_loop() {
            body.push(b'\n');
        }
    }

    fn status(self, error: &str) -> u16 {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| error.starts_with(prefix));
        match self {
            Self::ActionLoop | Self::TerseActionLoop => match error {
                text::MISSING_CODE | text::ALREADY_INITIALIZED => 403,
                text::EXITED => 400,
                text::NOT_DEFINED => 500,
                _ if begins(&[text::UNREADABLE, text::UNDECODABLE]) => 400,
                _ => 502,
            },
            Self::Node if begins(&NODE_REFUSALS) => 403,
            Self::Node if error == text::NODE_BAD_REQUEST => 500,
            Self::Ruby | Self::Skeleton if error == text::ALREADY_INITIALIZED => 403,
            Self::Ruby if begins(&[RUBY_FAILED]) => 502,
            Self::Ruby if begins(&[text::MISSING_CODE, "Invalid "]) => 500,
            Self::Skeleton if error == text::BAD_ARGUMENT => 404,
            Self::Node | Self::Ruby | Self::Java | Self::DotNet | Self::Skeleton => 502,
        }
    }

    fn marks_refused_init(self, status: u16, error: &str) -> bool {
        // An image that says it in the answer has nothing in the log to mark the end of.
        status >= 500
            && self != Self::TerseActionLoop
            && error != text::ALREADY_INITIALIZED
            && error != text::NODE_BAD_REQUEST
    }

    fn marks_refused_run(self, status: u16, error: &str) -> bool {
        match self {
            Self::ActionLoop | Self::TerseActionLoop => status == 502 || error == text::EXITED,
            Self::Node => status == 502,
            Self::Ruby | Self::Java | Self::DotNet | Self::Skeleton => true,
        }
    }

    fn ends_with_launcher(self) -> bool {
        !self.is_action_loop()
    }

    fn sends_at_once(self) -> bool {
        self == Self::Node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_has_the_status_that_its_image_gives_it() {
        for (personality, error, status) in [
            (Personality::ActionLoop, text::MISSING_CODE, 403),
            (Personality::ActionLoop, "Error unmarshaling request: not one JSON value", 400),
            (Personality::TerseActionLoop, text::EXITED, 400),
            (Personality::ActionLoop, text::NOT_DEFINED, 500),
            (Personality::ActionLoop, text::BAD_RESULT, 502),
            (Personality::Node, text::ALREADY_INITIALIZED, 403),
            (Personality::Node, "System not ready, status is running.", 403),
            (Personality::Node, text::NODE_BAD_REQUEST, 500),
            (Personality::Node, "An error has occurred: nooooo", 502),
            (Personality::Ruby, "Invalid Ruby Code: failed to parse the input code", 500),
            (Personality::Ruby, "Invalid Action: the execution was not successful. / x", 502),
            (Personality::Java, text::ALREADY_INITIALIZED, 502),
            (Personality::Skeleton, text::BAD_ARGUMENT, 404),
            (Personality::Skeleton, text::NO_BINARY, 502),
        ] {
            assert_eq!(personality.status(error), status, "{personality:?}: {error}");
        }
    }

    #[test]
    fn sentinels_follow_what_reached_the_function() {
        assert!(!Personality::Java.marks_refused_init(502, text::ALREADY_INITIALIZED));
        assert!(Personality::Node.marks_refused_init(502, "Initialization has failed due to: x"));
        assert!(!Personality::Node.marks_refused_run(403, "System not initialized."));
        assert!(Personality::ActionLoop.marks_refused_run(400, text::EXITED));
        assert!(!Personality::ActionLoop.marks_refused_run(500, text::NOT_DEFINED));
        assert!(Personality::Skeleton.marks_refused_run(404, text::BAD_ARGUMENT));
    }
}

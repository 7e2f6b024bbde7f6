//! Activation responses: how an answer of a runtime becomes a status and a result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error_text;
use crate::json::JsonType;
use crate::{PayloadLimits, RawJson};

/// The four ends of an activation; stored as `statusCode` 0 to 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Outcome {
    /// The function answered.
    Success,
    /// The function answered with an `error`.
    ApplicationError,
    /// The code could not be started, crashed, or broke a rule.
    DeveloperError,
    /// The platform failed.
    WhiskError,
}

impl Outcome {
    /// `statusCode` of stored records and lists.
    #[must_use]
    pub fn code(self) -> u8 {
        self.into()
    }

    /// `status` of records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::ApplicationError => "application error",
            Self::DeveloperError => "action developer error",
            Self::WhiskError => "whisk internal error",
        }
    }
}

impl From<Outcome> for u8 {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => 0,
            Outcome::ApplicationError => 1,
            Outcome::DeveloperError => 2,
            Outcome::WhiskError => 3,
        }
    }
}

impl TryFrom<u8> for Outcome {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, Self::Error> {
        Ok(match code {
            0 => Self::Success,
            1 => Self::ApplicationError,
            2 => Self::DeveloperError,
            3 => Self::WhiskError,
            other => return Err(format!("status code {other} is not one of 0 to 3")),
        })
    }
}

/// Status, result and size of an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// How it ended.
    pub outcome: Outcome,
    /// The result, untouched.
    pub result: Option<RawJson>,
    /// Length of the runtime's answer in UTF-16 code units; absent when there was none.
    pub size: Option<u64>,
}

/// What a runtime said to `/run` or `/init`, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A 200: the body.
    Ok(Vec<u8>),
    /// A non-200: the body.
    Refused(Vec<u8>),
    /// A body over the bound: its whole length, and what was kept of it.
    TooLong {
        /// Length of the whole body in bytes.
        length: u64,
        /// First bytes of it.
        kept: Vec<u8>,
    },
    /// The sandbox died or broke the connection.
    Gone,
    /// The runtime is shutting down: it said so instead of running anything, and another one may.
    Declined,
    /// The sandbox ran out of memory.
    OutOfMemory,
    /// The time limit ran out.
    TimedOut,
    /// The platform lost the sandbox, and what ran in it with it.
    Lost,
    /// The platform could not do its part; the reason is in the operator's log.
    NotProvided,
}

impl Answer {
    /// The answer with a body over the bound told as such, whoever read it.
    fn bounded(self, payload: &PayloadLimits) -> Self {
        match self {
            Self::Ok(body) | Self::Refused(body) if body.len() as u64 > payload.max.as_bytes() => {
                Self::TooLong { length: body.len() as u64, kept: body }
            }
            other => other,
        }
    }
}

impl Response {
    /// An error made by the platform: no answer, so no size.
    #[must_use]
    pub fn error(outcome: Outcome, text: &str) -> Self {
        Self { outcome, result: Some(RawJson::error(text)), size: None }
    }

    /// Response to a run.
    #[must_use]
    pub fn of_run(answer: Answer, time_limit: Duration, payload: &PayloadLimits) -> Self {
        match answer.bounded(payload) {
            Answer::Ok(body) => Self::of_body(body),
            Answer::Refused(body) => Self::of_refusal(&body, error_text::invalid_run_response),
            Answer::TooLong { length, kept } => {
                Self::of_truncated(Outcome::ApplicationError, length, &kept, payload)
            }
            Answer::Gone | Answer::Declined => Self::error(Outcome::DeveloperError, error_text::RUN_EXITED),
            Answer::OutOfMemory => Self::error(Outcome::DeveloperError, error_text::OUT_OF_MEMORY),
            Answer::TimedOut => {
                Self::error(Outcome::DeveloperError, &error_text::run_timed_out(millis(time_limit)))
            }
            Answer::Lost => Self::error(Outcome::WhiskError, error_text::INTERRUPTED),
            Answer::NotProvided => Self::error(Outcome::WhiskError, error_text::NOT_PROVISIONED),
        }
    }

    /// Response to a failed initialisation.
    #[must_use]
    pub fn of_failed_init(answer: Answer, time_limit: Duration, payload: &PayloadLimits) -> Self {
        match answer.bounded(payload) {
            Answer::Ok(body) | Answer::Refused(body) => {
                Self::of_refusal(&body, error_text::invalid_init_response)
            }
            Answer::TooLong { length, kept } => {
                Self::of_truncated(Outcome::DeveloperError, length, &kept, payload)
            }
            Answer::Gone | Answer::Declined => Self::error(Outcome::DeveloperError, error_text::INIT_EXITED),
            Answer::OutOfMemory => Self::error(Outcome::DeveloperError, error_text::OUT_OF_MEMORY),
            Answer::TimedOut => {
                Self::error(Outcome::DeveloperError, &error_text::init_timed_out(millis(time_limit)))
            }
            Answer::Lost | Answer::NotProvided => {
                Self::error(Outcome::WhiskError, error_text::NOT_PROVISIONED)
            }
        }
    }

    fn of_body(body: Vec<u8>) -> Self {
        let size = Some(utf16_length(&body));
        let Ok(result) = RawJson::parse(&body) else {
            return Self::of_refusal(&body, error_text::invalid_run_response);
        };
        match result.json_type() {
            JsonType::Array => Self { outcome: Outcome::Success, result: Some(result), size },
            JsonType::Object => match result.get("error") {
                None => Self { outcome: Outcome::Success, result: Some(result), size },
                Some(error) => {
                    Self { outcome: Outcome::ApplicationError, result: Some(RawJson::error(&error)), size }
                }
            },
            _ => Self::of_refusal(&body, error_text::invalid_run_response),
        }
    }

    /// A non-200 with an `error` keeps it; anything else is wrapped into a text.
    fn of_refusal(body: &[u8], text: impl Fn(&str) -> String) -> Self {
        let error = RawJson::parse(body).ok().and_then(|value| value.get("error"));
        let result = error.map_or_else(
            || RawJson::error(&text(String::from_utf8_lossy(body).trim_end_matches('\n'))),
            |error| RawJson::error(&error),
        );
        Self { outcome: Outcome::DeveloperError, result: Some(result), size: Some(utf16_length(body)) }
    }

    fn of_truncated(outcome: Outcome, length: u64, kept: &[u8], payload: &PayloadLimits) -> Self {
        let most = usize::try_from(payload.truncation.as_bytes()).unwrap_or(usize::MAX);
        let kept = String::from_utf8_lossy(whole_characters(kept.get(..most).unwrap_or(kept)));
        let text = error_text::result_truncated(length, payload.max.as_bytes(), &kept);
        Self { outcome, result: Some(RawJson::error(&text)), size: Some(length) }
    }
}

/// The bytes without the beginning of a character that goes on beyond them.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let last = bytes.utf8_chunks().last().map(|chunk| chunk.invalid()).unwrap_or_default();
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => {
            bytes.get(..bytes.len() - last.len()).unwrap_or_default()
        }
        _ => bytes,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn utf16_length(body: &[u8]) -> u64 {
    if body.is_ascii() {
        body.len() as u64
    } else {
        String::from_utf8_lossy(body).encode_utf16().count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ByteSize;

    const LIMIT: Duration = Duration::from_millis(100);

    fn run_within(answer: Answer, max: u64, truncation: u64) -> (Outcome, String, Option<u64>) {
        let payload = PayloadLimits { max: ByteSize::bytes(max), truncation: ByteSize::bytes(truncation) };
        let response = Response::of_run(answer, LIMIT, &payload);
        (response.outcome, response.result.unwrap().read::<ErrorText>().unwrap().error, response.size)
    }

    #[derive(Deserialize)]
    struct ErrorText {
        error: String,
    }

    fn run(answer: Answer) -> (Outcome, String, Option<u64>) {
        let response = Response::of_run(answer, LIMIT, &PayloadLimits::default());
        (response.outcome, response.result.unwrap().as_str().to_owned(), response.size)
    }

    #[test]
    fn answers_to_run_are_classed() {
        use Outcome::{ApplicationError, DeveloperError, Success};
        let ok = |text: &str| Answer::Ok(text.as_bytes().to_vec());
        let refused = |text: &str| Answer::Refused(text.as_bytes().to_vec());
        let invalid = "The action did not produce a valid JSON or JSON Array response";
        for (answer, outcome, result, size) in [
            (ok(r#"{"a":1.0}"#), Success, r#"{"a":1.0}"#.to_owned(), Some(9)),
            (ok(r#"[{"error":1}]"#), Success, r#"[{"error":1}]"#.to_owned(), Some(13)),
            (ok(r#"{"a":1,"error":null}"#), ApplicationError, r#"{"error":null}"#.to_owned(), Some(20)),
            (ok("\"é𝄞\""), DeveloperError, format!(r#"{{"error":"{invalid}: \"é𝄞\""}}"#), Some(5)),
            (ok(""), DeveloperError, format!(r#"{{"error":"{invalid}."}}"#), Some(0)),
            (refused(r#"{"error":[1]}"#), DeveloperError, r#"{"error":[1]}"#.to_owned(), Some(13)),
            (refused("no"), DeveloperError, format!(r#"{{"error":"{invalid}: no"}}"#), Some(2)),
            (
                Answer::TooLong { length: 2_000_000, kept: b"abc".to_vec() },
                ApplicationError,
                r#"{"error":"The action produced a response that exceeded the allowed length: 2000000 > 1048576 bytes. The truncated response was: abc"}"#.to_owned(),
                Some(2_000_000),
            ),
            (Answer::Gone, DeveloperError, format!(r#"{{"error":"{}"}}"#, error_text::RUN_EXITED), None),
            (Answer::OutOfMemory, DeveloperError, format!(r#"{{"error":"{}"}}"#, error_text::OUT_OF_MEMORY), None),
            (Answer::TimedOut, DeveloperError, r#"{"error":"The action exceeded its time limits of 100 milliseconds."}"#.to_owned(), None),
            (Answer::Lost, Outcome::WhiskError, format!(r#"{{"error":"{}"}}"#, error_text::INTERRUPTED), None),
            (Answer::NotProvided, Outcome::WhiskError, r#"{"error":"Failed to provision resources to run the action."}"#.to_owned(), None),
        ] {
            assert_eq!(run(answer), (outcome, result, size));
        }
    }

    #[test]
    fn answers_over_the_bound_show_their_beginning_in_whole_characters() {
        let body = r#"{"a":"é𝄞é"}"#;
        let text = |max: u64, kept: &str| {
            format!(
                "The action produced a response that exceeded the allowed length: 16 > {max} bytes. The truncated response was: {kept}"
            )
        };
        for (max, truncation, kept) in [
            (15, 100, body),
            (15, 16, body),
            (1, 15, r#"{"a":"é𝄞é""#),
            (15, 14, r#"{"a":"é𝄞é"#),
            (15, 13, r#"{"a":"é𝄞"#),
            (15, 11, r#"{"a":"é"#),
            (15, 8, r#"{"a":"é"#),
            (15, 7, r#"{"a":""#),
            (15, 0, ""),
        ] {
            for answer in [Answer::Ok(body.into()), Answer::Refused(body.into())] {
                let expected = (Outcome::ApplicationError, text(max, kept), Some(16));
                assert_eq!(run_within(answer, max, truncation), expected, "{truncation}");
            }
        }
        let (outcome, .., size) = run_within(Answer::Ok(br#"{"error":"x"}"#.into()), 13, 0);
        assert_eq!((outcome, size), (Outcome::ApplicationError, Some(13)), "just within");
        let cut = Answer::TooLong { length: 9_000, kept: b"ab\xff\xe2\x82".to_vec() };
        assert!(run_within(cut, 5, 5).1.ends_with(": ab\u{fffd}"), "what was no character is marked");
    }

    #[test]
    fn failed_initialisations_are_developer_errors() {
        for (answer, text) in [
            (Answer::Refused(br#"{"error":"boom"}"#.to_vec()), "boom"),
            (Answer::Refused(b"x".to_vec()), "The action failed during initialization: x"),
            (Answer::Refused(Vec::new()), "The action failed during initialization."),
            (Answer::Gone, error_text::INIT_EXITED),
            (
                Answer::TimedOut,
                "The action exceeded its time limits of 100 milliseconds during initialization.",
            ),
        ] {
            let response = Response::of_failed_init(answer, LIMIT, &PayloadLimits::default());
            assert_eq!(response.outcome, Outcome::DeveloperError);
            assert_eq!(response.result, Some(RawJson::error(text)));
        }
    }
}

//! Results as answers: what each extension makes of them.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use chasen_entity::json::JsonType;
use chasen_entity::{Outcome, RawJson, Response, error_text};
use http::StatusCode;

use super::address::Extension;
use super::answer::{Answer, Content};
use super::media_type::{JSON, MediaType};
use super::message;
use crate::wire::error::ApiError;
use crate::wire::pretty::pretty;

const HTML: &str = "text/html";
const PLAIN: &str = "text/plain";
const SVG: &str = "image/svg+xml";

/// Reads base64 of every padding.
pub(super) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The answer that an activation ends in.
pub(crate) fn answer(response: &Response, extension: Extension) -> Result<Answer, ApiError> {
    let result = response.result.as_ref();
    match response.outcome {
        Outcome::Success => match result {
            Some(result) => transcode(result, extension),
            None => transcode(&RawJson::empty_object(), extension),
        },
        Outcome::ApplicationError => {
            let error = result.and_then(|result| result.get("error")).ok_or_else(missing)?;
            transcode(&error, extension)
        }
        Outcome::DeveloperError | Outcome::WhiskError => {
            Err(ApiError::bad_request(error_text::ACTION_FAILED))
        }
    }
}

fn transcode(result: &RawJson, extension: Extension) -> Result<Answer, ApiError> {
    match extension {
        Extension::Http => message::answer(result),
        Extension::Json => match result.json_type() {
            JsonType::Object | JsonType::Array => Ok(Answer::of(json(&MediaType::plain(JSON), result))),
            JsonType::String | JsonType::Other => Err(not_valid(JSON)),
        },
        Extension::Html => document(result, "html", HTML),
        Extension::Svg => document(result, "svg", SVG),
        Extension::Text => text(result),
    }
}

/// A result that is a text, or has one.
fn document(result: &RawJson, field: &str, essence: &str) -> Result<Answer, ApiError> {
    let text = projected(result, field).and_then(|value| value.text());
    let media_type = MediaType::plain(essence);
    let text = text.ok_or_else(|| not_valid(essence))?;
    Ok(Answer::of(if media_type.is_text() {
        Content::text(&media_type, text)
    } else {
        Content::bytes(&media_type, text)
    }))
}

/// Whatever it is, as text.
fn text(result: &RawJson) -> Result<Answer, ApiError> {
    let value = projected(result, "text").ok_or_else(missing)?;
    let text = match value.json_type() {
        JsonType::Object | JsonType::Array => pretty(value.as_str()),
        JsonType::String => value.text().unwrap_or_default().into_bytes(),
        JsonType::Other => value.as_str().as_bytes().to_vec(),
    };
    Ok(Answer::of(Content::text(&MediaType::plain(PLAIN), text).in_any_charset()))
}

/// The part of a result that is meant: `body`, else the field of this name; of what is no object, all.
fn projected(result: &RawJson, field: &str) -> Option<RawJson> {
    match result.json_type() {
        JsonType::Object => result.get("body").or_else(|| result.get(field)),
        _ => Some(result.clone()),
    }
}

/// JSON, printed for people.
pub(super) fn json(media_type: &MediaType, value: &RawJson) -> Content {
    Content::text(media_type, pretty(value.as_str()))
}

/// 400: the result is not what the extension stands for.
pub(super) fn not_valid(essence: &str) -> ApiError {
    ApiError::bad_request(error_text::response_not_valid(essence))
}

fn missing() -> ApiError {
    ApiError::refusal(StatusCode::NOT_FOUND, error_text::PROPERTY_MISSING)
}

/// The bytes behind base64.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    LENIENT.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Results that look like answers, with anything in them.
    fn result() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            Just(r#""""#.to_owned()),
            Just(r#""aGk=""#.to_owned()),
            Just(r#""image/png""#.to_owned()),
            Just(r#""application/json; charset=x""#.to_owned()),
            Just(r#""\ud800\u0000\n""#.to_owned()),
            "\"[a-z/+;= ]{0,12}\"",
        ];
        let number =
            prop_oneof![Just("1e400".to_owned()), (-1000i32..1000).prop_map(|number| number.to_string())];
        let leaf = prop_oneof![text, number, Just("null".to_owned()), Just("true".to_owned())];
        let key = prop_oneof![
            Just("body"),
            Just("headers"),
            Just("statusCode"),
            Just("error"),
            Just("html"),
            Just("text"),
            Just("Content-Type"),
            Just("content-length"),
            Just("a b"),
            Just("\\ud800"),
            Just(""),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
                vec((key.clone(), inner), 0..5).prop_map(|fields| {
                    let fields: Vec<_> =
                        fields.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                    format!("{{ {} }}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_result_has_an_answer(result in result(), outcome in 0u8..4) {
            let result = RawJson::parse(result.as_bytes()).unwrap();
            let said = result.get("statusCode").is_some() || result.get("error").is_some();
            let outcome = Outcome::try_from(outcome).unwrap();
            let response = Response { outcome, result: Some(result), size: None };
            for extension in [Extension::Http, Extension::Json, Extension::Html, Extension::Svg, Extension::Text] {
                match answer(&response, extension) {
                    Ok(answer) => prop_assert!(said || answer.status.is_success()),
                    Err(error) => prop_assert!(!error.is_server_error(), "{}", error.text()),
                }
            }
        }

        #[test]
        fn printing_changes_white_space_only(result in result()) {
            let printed = RawJson::parse(&pretty(&result)).unwrap();
            prop_assert_eq!(printed.compact(), RawJson::parse(result.as_bytes()).unwrap().compact());
        }
    }
}

//! Results as answers: what each extension makes of them.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use chasen_entity::json::JsonType;
use chasen_entity::{Outcome, RawJson, Response, error_text};
use http::StatusCode;

use super::address::Extension;
use super::answer::{Answer, Content};
use super::json_text;
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
    let text = projected(result, field).and_then(|value| json_text::of(&value));
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
        JsonType::String => json_text::of(&value).unwrap_or_default().into_bytes(),
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

//! `.http`: a result that says status, headers and body itself.

use bytes::Bytes;
use chasen_entity::json::JsonType;
use chasen_entity::{RawJson, error_text};
use http::StatusCode;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, SERVER,
    TRANSFER_ENCODING,
};

use super::answer::{Answer, Content};
use super::media_type::{JSON, MediaType};
use super::transcode::{decoded, json, not_valid};
use crate::wire::error::ApiError;
use crate::wire::pretty::string_length;

/// Type of the answer that a result describes.
const MESSAGE: &str = "message/http";
/// Headers that are the server's to say.
const DROPPED: [HeaderName; 5] = [CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION, DATE, SERVER];
/// Most header lines of one answer.
const MAX_HEADERS: usize = 1000;

/// The answer that a result describes.
pub(super) fn answer(result: &RawJson) -> Result<Answer, ApiError> {
    let fields = result.entries().ok_or_else(|| not_valid(MESSAGE))?;
    let field =
        |key: &str| fields.iter().rfind(|(name, _)| name == key).map(|(_, value)| RawJson::from(*value));
    let (headers, media_type) = match field("headers") {
        Some(headers) => read_headers(&headers).ok_or_else(|| not_valid(MESSAGE))?,
        None => (HeaderMap::new(), None),
    };
    let code = match field("statusCode") {
        Some(code) => Some(read_status(&code).ok_or_else(|| not_valid(MESSAGE))?),
        None => None,
    };
    let content = match field("body") {
        Some(body) => content(&body, media_type.as_deref())?,
        None => None,
    };
    let usual = if content.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT };
    let status = code.unwrap_or(usual);
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(Answer { status, headers, content: content.filter(|_| !bodiless) })
}

/// The headers of a result and, taken out of them, the first type; `None` if they are not headers.
fn read_headers(headers: &RawJson) -> Option<(HeaderMap, Option<String>)> {
    let (mut read, mut media_type) = (HeaderMap::new(), None);
    for (name, value) in headers.entries()? {
        let is_type = name.eq_ignore_ascii_case(CONTENT_TYPE.as_str());
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        for value in scalars(value.get()) {
            let value = value?;
            if is_type {
                media_type.get_or_insert(value);
                continue;
            }
            // What HTTP cannot carry is left out, as is what would contradict the answer itself.
            let Some(name) = name.as_ref().filter(|name| !DROPPED.contains(name)) else { continue };
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else { continue };
            if read.len() >= MAX_HEADERS {
                return None;
            }
            read.try_append(name.clone(), value).ok()?;
        }
    }
    Some((read, media_type))
}

/// The strings, numbers and truths in a value and in the arrays in it, in order; `None` for anything else. Not
/// recursive: functions choose how deep their arrays are.
fn scalars(text: &str) -> impl Iterator<Item = Option<String>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '[', ']']);
        let length = match rest.bytes().next()? {
            b'"' => string_length(rest.as_bytes()),
            b'{' | b'n' => rest.len(),
            _ => rest.find([' ', '\t', '\n', '\r', ',', ']']).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(match token.bytes().next()? {
            b'"' => RawJson::parse(token.as_bytes()).ok().and_then(|value| value.text()),
            b'{' | b'n' => None,
            _ => Some(token.to_owned()),
        })
    })
}

/// A status that can end a request: a whole number, or a text of one.
fn read_status(value: &RawJson) -> Option<StatusCode> {
    let code = match value.json_type() {
        JsonType::String => value.text()?.parse().ok()?,
        _ => {
            let number = value.as_str().parse::<f64>().ok()?;
            let whole = number.fract() == 0.0 && (0.0..=1000.0).contains(&number);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number up to 1000"
            )]
            whole.then_some(number as u16)?
        }
    };
    let code = StatusCode::from_u16(code).ok()?;
    (200..600).contains(&code.as_u16()).then_some(code)
}

/// The content that a body stands for under the type that the headers name; `None` for an empty one.
fn content(body: &RawJson, media_type: Option<&str>) -> Result<Option<Content>, ApiError> {
    if matches!(body.as_str(), "null" | "\"\"") {
        return Ok(None);
    }
    let media_type = match media_type {
        Some(value) => Some(
            MediaType::parse(value).ok_or_else(|| ApiError::bad_request(error_text::UNKNOWN_CONTENT_TYPE))?,
        ),
        None => None,
    };
    let Some(text) = body.text() else {
        let media_type = media_type.unwrap_or_else(|| MediaType::plain(JSON));
        return if media_type.is_json() { Ok(Some(json(&media_type, body))) } else { Err(mismatch()) };
    };
    let media_type = media_type.unwrap_or_else(|| MediaType::plain("text/html"));
    if media_type.is_known_json() {
        return Ok(Some(Content::text(&media_type, json_body(text))));
    }
    if media_type.is_text() {
        return Ok(Some(Content::text(&media_type, text)));
    }
    let bytes = decoded(text.trim()).ok_or_else(mismatch)?;
    Ok(Some(Content::bytes(&media_type, bytes)))
}

/// A string under a type of JSON: base64 of the text, or the text. What is JSON already is never taken for base64.
fn json_body(text: String) -> Bytes {
    let trimmed = text.trim();
    if is_base64(trimmed)
        && serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_err()
        && let Some(bytes) = decoded(trimmed)
    {
        return bytes.into();
    }
    text.into()
}

/// True for whole groups of four, the last one padded where it is short.
fn is_base64(text: &str) -> bool {
    let letters = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    !text.is_empty()
        && text.len().is_multiple_of(4)
        && letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

fn mismatch() -> ApiError {
    ApiError::bad_request(error_text::CONTENT_TYPE_MISMATCH)
}

#[cfg(test)]
mod tests;

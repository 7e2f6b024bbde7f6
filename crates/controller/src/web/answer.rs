//! What a web action answers, and whether its client takes that.

use std::cmp::Ordering;

use bytes::Bytes;
use chasen_entity::error_text;
use http::StatusCode;
use http::header::{ACCEPT_CHARSET, HeaderMap, HeaderValue};

use super::media_type::MediaType;
use crate::wire::error::ApiError;
use crate::wire::media;

/// The charset that a client may have instead of UTF-8.
const LATIN_1: &str = "iso-8859-1";

/// An answer to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The action's own headers.
    pub(crate) headers: HeaderMap,
    pub(crate) content: Option<Content>,
}

/// A body and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) body: Bytes,
    /// Value of `Content-Type`.
    pub(crate) label: HeaderValue,
    /// `main/sub` of it.
    essence: String,
    /// True for text whose charset is the client's choice.
    open: bool,
}

impl Answer {
    /// 200 with this content.
    pub(crate) fn of(content: Content) -> Self {
        Self { status: StatusCode::OK, headers: HeaderMap::new(), content: Some(content) }
    }

    /// The answer in a form that the client takes, or 406.
    pub(crate) fn negotiated(mut self, request: &HeaderMap) -> Result<Self, ApiError> {
        let Some(content) = self.content.as_mut().filter(|content| !content.body.is_empty()) else {
            return Ok(self);
        };
        if !media::accepts(request, &content.essence) {
            let label = content.label.to_str().unwrap_or_default();
            let text = error_text::not_acceptable(if content.open { &content.essence } else { label });
            return Err(ApiError::rejection(StatusCode::NOT_ACCEPTABLE, text));
        }
        if content.open && prefers_latin_1(request) {
            content.label = label(format!("{}; charset=ISO-8859-1", content.essence));
            content.body = latin_1(&content.body);
        }
        Ok(self)
    }
}

impl Content {
    /// UTF-8 text.
    pub(crate) fn text(media_type: &MediaType, text: impl Into<Bytes>) -> Self {
        Self::new(media_type, media_type.of_text(), text.into())
    }

    /// Bytes.
    pub(crate) fn bytes(media_type: &MediaType, bytes: impl Into<Bytes>) -> Self {
        Self::new(media_type, media_type.of_bytes(), bytes.into())
    }

    /// The same in whatever charset the client likes best.
    pub(crate) fn in_any_charset(self) -> Self {
        Self { open: true, ..self }
    }

    fn new(media_type: &MediaType, label_text: String, body: Bytes) -> Self {
        Self { body, label: label(label_text), essence: media_type.essence().to_owned(), open: false }
    }
}

/// A type in the form of a header; it is made of what headers may hold.
fn label(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

/// True if the client likes the other charset better than UTF-8.
fn prefers_latin_1(request: &HeaderMap) -> bool {
    let value = request.get(ACCEPT_CHARSET).map(HeaderValue::to_str);
    let Some(Ok(value)) = value else { return false };
    let quality = |charset: &str| {
        let mut any = 0.0;
        for range in value.split(',') {
            let (name, rest) = range.split_once(';').unwrap_or((range, ""));
            let quality = rest.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>).unwrap_or(0.0);
            match name.trim() {
                name if name.eq_ignore_ascii_case(charset) => return quality,
                "*" => any = quality,
                _ => {}
            }
        }
        any
    };
    quality(LATIN_1).partial_cmp(&quality("utf-8")) == Some(Ordering::Greater)
}

/// UTF-8 text in ISO-8859-1; what that does not have becomes `?`.
fn latin_1(text: &[u8]) -> Bytes {
    let letters = String::from_utf8_lossy(text);
    letters.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;

    use super::*;

    fn plain(text: &'static str) -> Answer {
        Answer::of(Content::text(&MediaType::plain("text/plain"), text).in_any_charset())
    }

    #[test]
    fn charsets_are_the_clients_choice() {
        for (accept, latin) in [
            ("iso-8859-1", true),
            ("ISO-8859-1;q=0.9, utf-8;q=0.5", true),
            ("utf-8, iso-8859-1", false),
            ("iso-8859-1, *;q=0.5", true),
            ("*", false),
            ("klingon", false),
        ] {
            let request = HeaderMap::from_iter([(ACCEPT_CHARSET, HeaderValue::from_static(accept))]);
            let content = plain("h\u{e9}\u{2603}").negotiated(&request).unwrap().content.unwrap();
            let expected = if latin {
                (&b"h\xe9?"[..], "text/plain; charset=ISO-8859-1")
            } else {
                ("h\u{e9}\u{2603}".as_bytes(), "text/plain; charset=UTF-8")
            };
            assert_eq!((&content.body[..], content.label.to_str().unwrap()), expected, "{accept}");
        }
    }

    #[test]
    fn what_a_client_does_not_take_is_406() {
        let request = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("image/png"))]);
        let error = plain("x").negotiated(&request).unwrap_err();
        assert_eq!(error.text(), "Resource representation is only available with these types:\ntext/plain");
        let html = Answer::of(Content::text(&MediaType::plain("text/html"), "x"));
        assert!(html.negotiated(&request).unwrap_err().text().ends_with("text/html; charset=UTF-8"));
        assert!(plain("").negotiated(&request).is_ok(), "nothing suits everybody");
    }
}

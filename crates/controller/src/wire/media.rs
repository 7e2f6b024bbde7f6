//! Media types: what a body claims to be, and what a client takes.

use chasen_entity::error_text;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, TRANSFER_ENCODING};

use crate::wire::error::ApiError;

/// What a body of no or of an unreadable type is reported as.
const UNKNOWN: &str = "application/octet-stream";
/// Longest part of a refused type that is repeated.
const ECHO: usize = 128;

/// Refuses a body that is not JSON. An empty body needs no type.
pub(crate) fn require_json(headers: &HeaderMap, empty: bool) -> Result<(), ApiError> {
    let refuse = |is: &str| {
        let is: String = is.chars().take(ECHO).collect();
        Err(ApiError::rejection(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error_text::unsupported_content_type(&is),
        ))
    };
    let Some(value) = headers.get(CONTENT_TYPE) else {
        let absent = empty && !headers.contains_key(TRANSFER_ENCODING);
        return if absent { Ok(()) } else { refuse(UNKNOWN) };
    };
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let readable = essence.split_once('/').is_some_and(|(main, sub)| is_token(main) && is_token(sub));
    refuse(if readable { value } else { UNKNOWN })
}

/// True for what names and types in headers are made of.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Refuses a client that does not take JSON.
pub(crate) fn require_acceptance(headers: &HeaderMap) -> Result<(), ApiError> {
    if accepts(headers, "application/json") {
        return Ok(());
    }
    Err(ApiError::rejection(StatusCode::NOT_ACCEPTABLE, error_text::not_acceptable("application/json")))
}

/// True if a client takes content of this type, `main/sub` in lower case. The most specific range that covers it
/// decides; without any range everything is taken.
pub(crate) fn accepts(headers: &HeaderMap, essence: &str) -> bool {
    let main = essence.split('/').next().unwrap_or_default();
    let mut present = false;
    let mut best: Option<(u8, bool)> = None;
    for range in values(headers, ACCEPT) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let specificity = match name.split_once('/') {
            _ if name == "*" => 1,
            Some(("*", "*")) => 1,
            Some((range, "*")) if range == main => 2,
            Some(_) if name == essence => 3,
            Some(_) => 0,
            None => continue,
        };
        present = true;
        if specificity == 0 {
            continue;
        }
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let wanted =
            quality.is_none_or(|quality| quality.trim().parse::<f32>().is_ok_and(|quality| quality > 0.0));
        if best.is_none_or(|(known, _)| specificity > known) {
            best = Some((specificity, wanted));
        }
    }
    best.map_or(!present, |(_, wanted)| wanted)
}

fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn bodies_must_be_json_or_absent() {
        for (pairs, empty, refused) in [
            (vec![], true, None),
            (vec![], false, Some(UNKNOWN)),
            (vec![(TRANSFER_ENCODING, "chunked")], true, Some(UNKNOWN)),
            (vec![(CONTENT_TYPE, "application/json")], true, None),
            (vec![(CONTENT_TYPE, "Application/JSON; charset=utf-8")], false, None),
            (vec![(CONTENT_TYPE, "application/vnd.x+json")], false, Some("application/vnd.x+json")),
            (vec![(CONTENT_TYPE, "text/plain")], true, Some("text/plain")),
            (vec![(CONTENT_TYPE, "nonsense")], false, Some(UNKNOWN)),
        ] {
            let result = require_json(&headers(&pairs), empty).map_err(|error| error.text().to_owned());
            assert_eq!(
                result,
                refused.map_or(Ok(()), |is| Err(error_text::unsupported_content_type(is))),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn the_most_specific_range_decides() {
        for (accept, taken) in [
            ("*/*", true),
            ("text/html, application/json;q=0.5", true),
            ("application/*", true),
            ("text/plain", false),
            ("application/json;q=0, */*", false),
            ("", true),
            ("nonsense", true),
            ("text/html, *; q=.2", true),
            ("applications/*", false),
        ] {
            assert_eq!(accepts(&headers(&[(ACCEPT, accept)]), "application/json"), taken, "{accept}");
        }
        assert!(accepts(&HeaderMap::new(), "application/json"));
    }
}

//! Request paths: cut at slashes without a copy, names decoded and checked where a route asks for them.

use chasen_entity::name::MAX_NAME_LENGTH;
use chasen_entity::{EntityName, error_text};
use http::StatusCode;

use crate::wire::error::ApiError;
use crate::wire::percent;

/// No route has more segments.
const MAX_SEGMENTS: usize = 8;

/// A path cut into segments, still encoded. A trailing slash is an empty last segment.
pub(crate) struct Segments<'a> {
    segments: [&'a str; MAX_SEGMENTS],
    length: usize,
}

impl<'a> Segments<'a> {
    /// Cuts a path; what is longer than any route comes out with its first segments only, and as
    /// [`overlong`](Self::is_overlong). Clients whose host setting ends with a slash send two at the start.
    pub(crate) fn of(path: &'a str) -> Self {
        let mut segments = [""; MAX_SEGMENTS];
        let mut length = 0;
        for segment in path.trim_start_matches('/').split('/') {
            if let Some(slot) = segments.get_mut(length) {
                *slot = segment;
            }
            length += 1;
        }
        Self { segments, length }
    }

    /// True if no route can match.
    pub(crate) fn is_overlong(&self) -> bool {
        self.length > MAX_SEGMENTS
    }

    /// The segments, for matching.
    pub(crate) fn as_slice(&self) -> &[&'a str] {
        self.segments.get(..self.length).unwrap_or(&self.segments)
    }
}

/// Reads a namespace segment; `_` is the caller's own.
pub(crate) fn namespace(segment: &str, own: &EntityName) -> Result<EntityName, ApiError> {
    if segment == "_" || segment == own.as_str() {
        return Ok(own.clone());
    }
    let name = name(segment, error_text::namespace_too_long, error_text::NAMESPACE_ILLEGAL)?;
    // What is encoded means the same.
    Ok(if name.as_str() == "_" { own.clone() } else { name })
}

/// Reads the segment of an entity or package.
pub(crate) fn entity(segment: &str) -> Result<EntityName, ApiError> {
    name(segment, error_text::segment_too_long, error_text::NAME_ILLEGAL)
}

fn name(
    segment: &str,
    too_long: fn(usize, usize) -> String,
    illegal: &'static str,
) -> Result<EntityName, ApiError> {
    let decoded = percent::decode(segment);
    EntityName::new(&decoded).ok_or_else(|| {
        let length = decoded.chars().count();
        if length > MAX_NAME_LENGTH {
            ApiError::rejection(StatusCode::BAD_REQUEST, too_long(length, MAX_NAME_LENGTH))
        } else {
            ApiError::rejection(StatusCode::BAD_REQUEST, illegal)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_at_slashes() {
        for (path, segments) in [
            ("/", &[""][..]),
            ("", &[""]),
            ("/a", &["a"]),
            ("/a/", &["a", ""]),
            ("/a//b", &["a", "", "b"]),
            ("//a/b", &["a", "b"]),
            ("/1/2/3/4/5/6/7/8/9", &["1", "2", "3", "4", "5", "6", "7", "8"]),
        ] {
            assert_eq!(Segments::of(path).as_slice(), segments, "{path}");
            assert_eq!(Segments::of(path).is_overlong(), path.ends_with('9'));
        }
    }

    #[test]
    fn segments_are_names() {
        let own = EntityName::new("guest").unwrap();
        for same in ["_", "%5F", "guest", "gue%73t"] {
            assert_eq!(namespace(same, &own).unwrap(), own);
        }
        assert_eq!(namespace("a%20b", &own).unwrap().as_str(), "a b");
        let text = |result: Result<EntityName, ApiError>| result.unwrap_err().text().to_owned();
        assert_eq!(text(namespace("a%2Fb", &own)), "The namespace contains illegal characters.");
        assert_eq!(text(entity("")), "The name of the entity contains illegal characters.");
        assert_eq!(text(entity("x%")), "The name of the entity contains illegal characters.");
        assert_eq!(text(entity(&"a".repeat(257))), "Name segement longer than allowed: 257 > 256.");
        assert_eq!(text(namespace(&"a".repeat(257), &own)), "Namespace longer than allowed: 257 > 256.");
    }
}

//! Query strings: looked up in place, unknown parameters ignored, of repeated ones the first counts.

use std::borrow::Cow;
use std::str::FromStr;

use chasen_entity::{Millis, error_text};

use crate::wire::error::ApiError;
use crate::wire::percent;

/// The query of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query<'a>(pub(crate) &'a str);

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) skip: u64,
    pub(crate) limit: u64,
    /// Only the number is asked for.
    pub(crate) count: bool,
}

impl<'a> Query<'a> {
    /// The value of a parameter; `""` where it has none.
    pub(crate) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        // Byte by byte: each request asks for several, and a search that is set up for longer texts costs more.
        let mut pairs = self.0;
        loop {
            let end = pairs.bytes().position(|byte| byte == b'&');
            let pair = end.and_then(|end| pairs.get(..end)).unwrap_or(pairs);
            let equals = pair.bytes().position(|byte| byte == b'=');
            let key = equals.and_then(|equals| pair.get(..equals)).unwrap_or(pair);
            // Names are plain nearly always, and none of ours needs encoding.
            if key == name || (percent::is_encoded(key) && percent::decode_query(key) == name) {
                let value = equals.and_then(|equals| pair.get(equals + 1..)).unwrap_or_default();
                return Some(percent::decode_query(value));
            }
            pairs = pairs.get(end? + 1..).unwrap_or_default();
        }
    }

    /// A boolean parameter; absent or empty is `default`.
    pub(crate) fn flag(self, name: &str, default: bool) -> Result<bool, ApiError> {
        let value = match self.get(name) {
            None => return Ok(default),
            Some(value) => value,
        };
        let is_any = |words: [&str; 4]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        if value.is_empty() {
            Ok(default)
        } else if is_any(["true", "yes", "on", "1"]) {
            Ok(true)
        } else if is_any(["false", "no", "off", "0"]) {
            Ok(false)
        } else {
            Err(ApiError::query(name, &error_text::not_boolean(&value)))
        }
    }

    /// A parameter of another type; the error text is made from the value.
    pub(crate) fn parse<T: FromStr>(
        self,
        name: &str,
        error: impl Fn(&str) -> String,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| ApiError::query(name, &error(&value)))
    }

    /// `since` and `upto`: when what is asked for started, both inclusive.
    pub(crate) fn times(self) -> Result<(Option<Millis>, Option<Millis>), ApiError> {
        // What lies before the first millisecond there is lies at it.
        let time = |name: &str| self.parse::<i64>(name, error_text::bad_epoch);
        let millis = |time: Option<i64>| time.map(|time| u64::try_from(time).unwrap_or(0));
        Ok((millis(time("since")?), millis(time("upto")?)))
    }

    /// `skip`, `limit` and `count` of a list.
    pub(crate) fn page(self, collection: &str, default_limit: u64, max_limit: u64) -> Result<Page, ApiError> {
        let (skip, limit) = self.skip_and_limit(collection, default_limit, max_limit)?;
        Ok(Page { skip, limit, count: self.flag("count", false)? })
    }

    /// `skip` and `limit` of what is shown in pages.
    pub(crate) fn skip_and_limit(
        self,
        collection: &str,
        default_limit: u64,
        max_limit: u64,
    ) -> Result<(u64, u64), ApiError> {
        let integer =
            |name: &str| self.parse::<i32>(name, |value| error_text::list_not_integer(value, collection));
        let skip = integer("skip")?.unwrap_or(0);
        let skip = u64::try_from(skip).map_err(|_| {
            ApiError::query("skip", &error_text::list_skip_range(&skip.to_string(), collection))
        })?;
        let limit = match integer("limit")? {
            None => default_limit,
            Some(0) => max_limit,
            Some(limit) => {
                u64::try_from(limit).ok().filter(|limit| *limit <= max_limit).ok_or_else(|| {
                    ApiError::query(
                        "limit",
                        &error_text::list_limit_range(&limit.to_string(), max_limit, collection),
                    )
                })?
            }
        };
        Ok((skip, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_every_spelling() {
        for (query, value) in [
            ("", Some(false)),
            ("b", Some(false)),
            ("b=", Some(false)),
            ("x=1&b=YES", Some(true)),
            ("b=on&b=off", Some(true)),
            ("%62=%31", Some(true)),
            ("b=2", None),
        ] {
            assert_eq!(Query(query).flag("b", false).ok(), value, "{query}");
        }
    }

    #[test]
    fn pages_have_defaults_and_bounds() {
        let page = |query: &'static str| {
            Query(query).page("actions", 30, 200).map_err(|error| error.text().to_owned())
        };
        assert_eq!(page(""), Ok(Page { skip: 0, limit: 30, count: false }));
        assert_eq!(page("limit=0&skip=5&count=true"), Ok(Page { skip: 5, limit: 200, count: true }));
        for (query, name, text) in [
            ("limit=201", "limit", "The value '201' is not in the range of 0 to 200 for actions."),
            ("limit=-1", "limit", "The value '-1' is not in the range of 0 to 200 for actions."),
            ("skip=-1&limit=x", "skip", "The value '-1' is not greater than or equal to 0 for actions."),
            ("skip=1.5", "skip", "The value '1.5' is not an integer for actions."),
            ("limit=", "limit", "The value '' is not an integer for actions."),
            ("limit=4294967296&count=true", "limit", "The value '4294967296' is not an integer for actions."),
        ] {
            assert_eq!(
                page(query),
                Err(format!("The query parameter '{name}' was malformed:\n{text}")),
                "{query}"
            );
        }
    }
}

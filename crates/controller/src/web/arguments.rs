//! A request as the arguments of a web action.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chasen_entity::json::{self, ObjectSplice};
use chasen_entity::{RawJson, error_text};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, TRANSFER_ENCODING};
use serde_json::value::RawValue;

use super::form;
use super::media_type::{Class, MediaType};
use crate::call::EXTRA_LOGGING;
use crate::wire::error::ApiError;
use crate::wire::headers;

const METHOD: &str = "__ow_method";
const HEADERS: &str = "__ow_headers";
const PATH: &str = "__ow_path";
const USER: &str = "__ow_user";
const QUERY: &str = "__ow_query";
const BODY: &str = "__ow_body";
/// Arguments that requests cannot set.
const RESERVED: [&str; 6] = [METHOD, HEADERS, PATH, USER, QUERY, BODY];

/// Headers that say how a request travelled, not what it says.
const HIDDEN: [HeaderName; 4] =
    [CONTENT_LENGTH, TRANSFER_ENCODING, EXTRA_LOGGING, HeaderName::from_static("timeout-access")];

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    /// What follows the action in the path.
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    /// Namespace of the caller, where it is known.
    pub(crate) user: Option<&'a str>,
}

impl WebRequest<'_> {
    /// The arguments: what is known of the request, then the query, then the fields of the body; the later one wins.
    /// None of them may be reserved or one of the action's `finals`.
    pub(crate) fn arguments(&self, finals: &HashSet<String>) -> Result<RawJson, ApiError> {
        let body = Body::read(self.body, MediaType::of_body(self.headers))?;
        let mut known = self.metadata();
        let mut given: Vec<(Cow<'_, str>, Cow<'_, RawValue>)> = Vec::new();
        given.extend(form::pairs(self.query).map(text_field));
        match body {
            Body::None => {}
            Body::Value(value) => known.push((BODY, value)),
            Body::Form(text) => {
                given.extend(
                    form::pairs(&text).map(|(key, value)| text_field((key.into_owned().into(), value))),
                );
            }
            Body::Object(fields) => {
                given.extend(fields.into_iter().map(|(key, value)| (key, Cow::Borrowed(value))));
            }
        }
        if given.iter().any(|(key, _)| RESERVED.contains(&&**key) || finals.contains(&**key)) {
            return Err(ApiError::bad_request(error_text::FINAL_PARAMETERS));
        }
        let mut splice = ObjectSplice::default();
        for (key, value) in &known {
            splice.set(Cow::Borrowed(key), value.raw());
        }
        for (key, value) in &given {
            splice.set(Cow::Borrowed(key), value);
        }
        Ok(splice.finish())
    }

    /// The arguments of an action that reads requests itself.
    pub(crate) fn raw_arguments(&self) -> RawJson {
        let class = MediaType::of_body(self.headers).map_or(Class::Binary, |given| given.class());
        let body = match class {
            Class::Form | Class::Text => text(self.body),
            Class::Json | Class::Binary => encoded(self.body),
        };
        let mut known = self.metadata();
        known.push((QUERY, RawJson::from_value(&form::rendered(self.query))));
        known.push((BODY, body));
        let mut splice = ObjectSplice::default();
        for (key, value) in &known {
            splice.set(Cow::Borrowed(key), value.raw());
        }
        splice.finish()
    }

    fn metadata(&self) -> Vec<(&'static str, RawJson)> {
        let method = self.method.as_str().to_ascii_lowercase();
        let mut known = vec![
            (METHOD, RawJson::from_value(&method)),
            (HEADERS, headers::object(self.headers, &HIDDEN)),
            (PATH, RawJson::from_value(self.path)),
        ];
        known.extend(self.user.map(|user| (USER, RawJson::from_value(user))));
        known
    }
}

/// What a body brings.
enum Body<'a> {
    None,
    Object(Vec<(Cow<'a, str>, &'a RawValue)>),
    Form(Cow<'a, str>),
    /// Anything else, in one argument.
    Value(RawJson),
}

impl<'a> Body<'a> {
    fn read(bytes: &'a [u8], media_type: Option<MediaType>) -> Result<Self, ApiError> {
        let class = media_type.as_ref().map_or(Class::Binary, MediaType::class);
        if bytes.is_empty() {
            let unsaid = media_type.is_none() || matches!(class, Class::Json | Class::Form);
            return Ok(if unsaid { Self::None } else { Self::Value(RawJson::from_value("")) });
        }
        match class {
            Class::Json => Self::read_json(bytes).map_err(|error| ApiError::malformed(error.to_string())),
            Class::Form => Ok(Self::Form(String::from_utf8_lossy(bytes))),
            Class::Text => Ok(Self::Value(text(bytes))),
            Class::Binary => Ok(Self::Value(encoded(bytes))),
        }
    }

    fn read_json(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        let value: &RawValue = serde_json::from_slice(bytes)?;
        if value.get().starts_with('{') {
            json::entries(value.get()).map(Self::Object)
        } else {
            Ok(Self::Value(value.into()))
        }
    }
}

fn text_field<'a>((key, value): (Cow<'a, str>, Cow<'_, str>)) -> (Cow<'a, str>, Cow<'a, RawValue>) {
    (key, Cow::Owned(RawJson::from_value(&value).raw().to_owned()))
}

fn text(bytes: &[u8]) -> RawJson {
    RawJson::from_value(&String::from_utf8_lossy(bytes))
}

fn encoded(bytes: &[u8]) -> RawJson {
    RawJson::from_value(&STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests;

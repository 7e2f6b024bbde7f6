//! Media types: which of them are text, which are JSON, and how they are written.
//!
//! What is text to an OpenWhisk platform is a closed list; functions count on getting everything else in base64.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::wire::media::is_token;

/// `application/json`.
pub(crate) const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Types that are UTF-8 by definition and are written without a charset.
const FIXED: &str = "application/json application/json-patch+json application/merge-patch+json \
    application/problem+json application/vnd.api+json application/x-www-form-urlencoded text/event-stream";
/// Other text types that do not begin with `text/`.
const TEXTS: &str = "application/atom+xml application/base64 application/javascript application/problem+xml \
    application/rss+xml application/soap+xml application/vnd.google-earth.kml+xml application/x-latex \
    application/x-vrml application/xhtml+xml application/xml application/xml-dtd";
/// What follows `text/` in those that do.
const TEXT_SUBTYPES: &str = "asp cache-manifest calendar css csv html markdown mcf plain richtext \
    tab-separated-values uri-list vnd.wap.wml vnd.wap.wmlscript x-asm x-c x-component x-h x-java-source x-pascal \
    x-script x-scriptcsh x-scriptelisp x-scriptksh x-scriptlisp x-scriptperl x-scriptperl-module x-scriptphyton \
    x-scriptrexx x-scriptscheme x-scriptsh x-scripttcl x-scripttcsh x-scriptzsh x-server-parsed-html x-setext \
    x-sgml x-speech x-uuencode x-vcalendar x-vcard xml";
/// Main types, and types, that a charset does not make text.
const BINARY_MAINS: &str = "audio font image message multipart video";
const BINARIES: &str = "application/cbor application/octet-stream application/pdf application/zip";

/// A media type as a header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// `main/sub` in lower case.
    essence: String,
    /// Parameters as they were written, without the charset.
    parameters: Vec<String>,
    /// True if a charset was named.
    charset: bool,
}

/// How the content of a type is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Json,
    Form,
    Text,
    Binary,
}

impl MediaType {
    /// A type without parameters.
    pub(crate) fn plain(essence: &str) -> Self {
        Self { essence: essence.to_owned(), parameters: Vec::new(), charset: false }
    }

    /// Reads the value of a header; `None` if it is not of the form `main/sub; name=value`.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut parts = split_unquoted(value).map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        if !is_token(main) || !is_token(sub) {
            return None;
        }
        let mut media_type = Self::plain(&format!("{main}/{sub}").to_ascii_lowercase());
        for parameter in parts.filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            if !is_token(name) || !(is_token(value) || is_quoted(value)) {
                return None;
            }
            if name.eq_ignore_ascii_case("charset") {
                media_type.charset = true;
            } else {
                media_type.parameters.push(parameter.to_owned());
            }
        }
        Some(media_type)
    }

    /// The type that a request gives its body; `None` if it gives none. What cannot be read is bytes.
    pub(crate) fn of_body(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?;
        let read = value.to_str().ok().and_then(Self::parse);
        Some(read.unwrap_or_else(|| Self::plain("application/octet-stream")))
    }

    /// `main/sub`.
    pub(crate) fn essence(&self) -> &str {
        &self.essence
    }

    /// How content that arrives in it is handled.
    pub(crate) fn class(&self) -> Class {
        match self.essence.as_str() {
            FORM => Class::Form,
            _ if self.is_json() => Class::Json,
            _ if self.is_text() => Class::Text,
            _ => Class::Binary,
        }
    }

    /// True for JSON and everything that builds on it.
    pub(crate) fn is_json(&self) -> bool {
        self.essence == JSON || self.essence.ends_with("+json")
    }

    /// True for the types of JSON that every platform knows.
    pub(crate) fn is_known_json(&self) -> bool {
        self.is_json() && self.is_fixed()
    }

    /// True if content of it is text and not bytes.
    pub(crate) fn is_text(&self) -> bool {
        let (main, sub) = self.essence.split_once('/').unwrap_or_default();
        let known = match main {
            "text" => contains(TEXT_SUBTYPES, sub),
            _ => contains(TEXTS, &self.essence),
        };
        let open = !contains(BINARY_MAINS, main) && !contains(BINARIES, &self.essence);
        known || self.is_fixed() || (open && self.charset)
    }

    /// The value of a header for text of this type, which is UTF-8.
    pub(crate) fn of_text(&self) -> String {
        let written = self.of_bytes();
        if self.is_fixed() { written } else { written + "; charset=UTF-8" }
    }

    /// The value of a header for bytes of this type.
    pub(crate) fn of_bytes(&self) -> String {
        let parameters = self.parameters.iter().flat_map(|parameter| ["; ", parameter]);
        [self.essence.as_str()].into_iter().chain(parameters).collect()
    }

    fn is_fixed(&self) -> bool {
        contains(FIXED, &self.essence)
    }
}

fn contains(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|listed| listed == word)
}

/// True for `"…"` of what a header may hold, with quotes inside escaped.
fn is_quoted(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else { return false };
    let mut escaped = false;
    let clean = inner.bytes().all(|byte| {
        let good = (b' '..=b'~').contains(&byte) && (byte != b'"' || escaped);
        escaped = byte == b'\\' && !escaped;
        good
    });
    clean && !escaped
}

/// Cuts at semicolons that are not in quotes.
fn split_unquoted(value: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |letter| {
        let cut = letter == ';' && !quoted;
        if letter == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && letter == '\\' && !escaped;
        cut
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_the_list() {
        for (value, class) in [
            ("application/json", Class::Json),
            ("Application/JSON; charset=utf-8", Class::Json),
            ("application/vnd.x+json", Class::Json),
            ("application/x-www-form-urlencoded", Class::Form),
            ("text/plain", Class::Text),
            ("TEXT/html;charset=iso-8859-1", Class::Text),
            ("text/markdown", Class::Text),
            ("application/xml", Class::Text),
            ("application/rss+xml", Class::Text),
            ("application/base64", Class::Text),
            ("text/x-unheard-of", Class::Binary),
            ("text/x-unheard-of; charset=utf-8", Class::Text),
            ("application/yaml; charset=utf-8", Class::Text),
            ("application/yaml", Class::Binary),
            ("application/x-ndjson", Class::Binary),
            ("image/svg+xml", Class::Binary),
            ("image/png; charset=utf-8", Class::Binary),
            ("application/octet-stream; charset=utf-8", Class::Binary),
            ("multipart/form-data; boundary=x", Class::Binary),
        ] {
            assert_eq!(MediaType::parse(value).unwrap().class(), class, "{value}");
        }
    }

    #[test]
    fn headers_are_written_as_they_are_sent() {
        for (value, text, bytes) in [
            ("Text/HTML; Charset=latin1", "text/html; charset=UTF-8", "text/html"),
            ("application/json; charset=utf-8", "application/json", "application/json"),
            ("text/event-stream", "text/event-stream", "text/event-stream"),
            (
                r#"multipart/mixed;boundary="a;b\"c" ; charset=x"#,
                r#"multipart/mixed; boundary="a;b\"c"; charset=UTF-8"#,
                r#"multipart/mixed; boundary="a;b\"c""#,
            ),
        ] {
            let media_type = MediaType::parse(value).unwrap();
            assert_eq!((media_type.of_text().as_str(), media_type.of_bytes().as_str()), (text, bytes));
        }
    }

    #[test]
    fn what_is_no_type_is_none() {
        for value in [
            "",
            "json",
            "a/",
            "/b",
            "a/b/c",
            "a b/c",
            "a/b; c",
            "a/b; c=",
            "a/b; c=\"d",
            "a/b; c=\u{e9}",
            "a/b\nc: d",
        ] {
            assert_eq!(MediaType::parse(value), None, "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(MediaType::of_body(&headers), None);
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("nonsense"));
        assert_eq!(MediaType::of_body(&headers).unwrap().class(), Class::Binary);
    }
}

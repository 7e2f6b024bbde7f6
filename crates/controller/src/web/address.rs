//! Where a web action lies: `/api/v1/web/{namespace}/{package or "default"}/{action}[.extension][/rest]`.

use chasen_entity::EntityName;
use http::Method;

use crate::entities::ActionAddress;
use crate::wire::percent;

/// Name that stands for no package.
const DEFAULT_PACKAGE: &str = "default";

/// What the end of the action's segment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extension {
    Http,
    Json,
    Html,
    Svg,
    Text,
}

/// Every extension with its spelling.
const EXTENSIONS: [(&str, Extension); 5] = [
    (".http", Extension::Http),
    (".json", Extension::Json),
    (".html", Extension::Html),
    (".svg", Extension::Svg),
    (".text", Extension::Text),
];

/// A path that has the form of a web action's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WebAddress<'a> {
    pub(crate) namespace: EntityName,
    /// `None` where no action can have this name: what is left without the extension is no name.
    pub(crate) action: Option<ActionAddress>,
    pub(crate) extension: Extension,
    /// What follows the action's segment, as it was sent: empty or beginning with a slash.
    pub(crate) rest: &'a str,
}

impl<'a> WebAddress<'a> {
    /// The address that a request's path is; `None` if it is none or if the method does not go with one.
    pub(crate) fn of(method: &Method, path: &'a str) -> Option<Self> {
        let below = path.trim_start_matches('/').strip_prefix("api/v1/web/")?;
        if !takes(method) {
            return None;
        }
        let (namespace, below) = below.split_once('/')?;
        let (package, below) = below.split_once('/')?;
        let (action, rest) = below.split_at(below.find('/').unwrap_or(below.len()));
        let name = |segment: &str| EntityName::new(&percent::decode(segment));
        let (namespace, package, segment) = (name(namespace)?, name(package)?, name(action)?);
        let (name, extension) = Extension::cut(segment.as_str());
        let action = EntityName::new(name).map(|name| ActionAddress {
            namespace: namespace.clone(),
            package: (package.as_str() != DEFAULT_PACKAGE).then_some(package),
            name,
        });
        Some(Self { namespace, action, extension, rest })
    }
}

impl Extension {
    /// Cuts the extension off a name; a name without one asks for [`Http`](Self::Http).
    fn cut(segment: &str) -> (&str, Self) {
        EXTENSIONS
            .into_iter()
            .find_map(|(text, extension)| Some((segment.strip_suffix(text)?, extension)))
            .unwrap_or((segment, Self::Http))
    }
}

fn takes(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::DELETE
            | Method::POST
            | Method::PUT
            | Method::HEAD
            | Method::OPTIONS
            | Method::PATCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(String, Extension, String)> {
        let address = WebAddress::of(&Method::GET, path)?;
        let name = address.action.map_or_else(|| "-".to_owned(), |action| action.qualified().to_string());
        Some((name, address.extension, address.rest.to_owned()))
    }

    #[test]
    fn extensions_and_rests_are_cut() {
        for (path, name, extension, rest) in [
            ("ns/default/a", "ns/a", Extension::Http, ""),
            ("ns/default/a.json", "ns/a", Extension::Json, ""),
            ("ns/p/t.wxyz.json", "ns/p/t.wxyz", Extension::Json, ""),
            ("ns/p/t.wxyz", "ns/p/t.wxyz", Extension::Http, ""),
            ("ns/p/a.JSON", "ns/p/a.JSON", Extension::Http, ""),
            ("ns/p/a.http.text", "ns/p/a.http", Extension::Text, ""),
            ("ns/p/a.svg/", "ns/p/a", Extension::Svg, "/"),
            ("ns/p/a/a%20b/%2Fc//d", "ns/p/a", Extension::Http, "/a%20b/%2Fc//d"),
            ("ns/defaults/a.html/x.json", "ns/defaults/a", Extension::Html, "/x.json"),
            ("a%20b/p/c%26d", "a b/p/c&d", Extension::Http, ""),
            ("ns/p/a%20.json", "-", Extension::Json, ""),
        ] {
            let expected = (name.to_owned(), extension, rest.to_owned());
            assert_eq!(of(&format!("/api/v1/web/{path}")), Some(expected), "{path}");
        }
        assert!(of("//api/v1/web/ns/p/a").is_some());
    }

    #[test]
    fn other_paths_and_methods_are_none() {
        for path in [
            "",
            "ns",
            "ns/",
            "ns/p",
            "ns/p/",
            "ns//a",
            "/p/a",
            "ns/p/.json",
            "ns/p/%20a",
            "ns/p%2Fq/a",
            "ns/p/\u{e9}",
        ] {
            assert_eq!(of(&format!("/api/v1/web/{path}")), None, "{path}");
        }
        assert_eq!(of("/api/v1/webs/ns/p/a"), None);
        assert_eq!(WebAddress::of(&Method::TRACE, "/api/v1/web/ns/p/a"), None);
    }
}

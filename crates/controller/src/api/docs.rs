//! The API's own description: Swagger documents, and the page that shows them.
//!
//! `docs/*.json` are written by hand from what the API promises; a test exercises every operation and every status
//! in them against a running node and checks each answer against its schema.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};

use crate::wire::reply::Reply;

/// The page runs nothing and loads nothing but what lies beside it.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=UTF-8");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=UTF-8");
const STYLE: HeaderValue = HeaderValue::from_static("text/css; charset=UTF-8");

/// What a document describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Described {
    /// What lies beside the API: `/`.
    Server,
    /// The API: `/api/v1`.
    Api,
}

/// `GET …/api-docs`: the Swagger 2.0 document.
pub(crate) fn document(described: Described) -> Reply {
    let text = match described {
        Described::Server => include_str!("docs/infoswagger.json"),
        Described::Api => include_str!("docs/apiv1swagger.json"),
    };
    Reply::prepared_json(Bytes::from_static(text.as_bytes()))
}

/// `GET …/docs`: to the page, which is told where the document lies.
pub(crate) fn redirect(described: Described) -> Reply {
    let page = HeaderValue::from_static(match described {
        Described::Server => "docs/index.html?url=/api-docs",
        Described::Api => "docs/index.html?url=/api/v1/api-docs",
    });
    Reply::empty(StatusCode::PERMANENT_REDIRECT).with(LOCATION, page)
}

/// `GET …/docs/{file}`: the page and what it is made of; nothing if there is no such file.
pub(crate) fn page(file: &str) -> Option<Reply> {
    let (content_type, text) = match file {
        "index.html" => (HTML, include_str!("docs/index.html")),
        "page.js" => (SCRIPT, include_str!("docs/page.js")),
        "page.css" => (STYLE, include_str!("docs/page.css")),
        _ => return None,
    };
    let reply = Reply::whole(StatusCode::OK, content_type, Bytes::from_static(text.as_bytes()));
    let reply = reply.with(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(reply.with(CONTENT_SECURITY_POLICY, PAGE_POLICY))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    const DOCUMENTS: [&str; 2] =
        [include_str!("docs/apiv1swagger.json"), include_str!("docs/infoswagger.json")];

    fn documents() -> impl Iterator<Item = Value> {
        DOCUMENTS.iter().map(|text| serde_json::from_str(text).unwrap())
    }

    /// Calls `visit` with every object of a document.
    fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
        match value {
            Value::Object(fields) => {
                visit(fields);
                fields.values().for_each(|value| walk(value, visit));
            }
            Value::Array(elements) => elements.iter().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_everything_named_is_referred_to() {
        for document in documents() {
            let mut used = HashSet::new();
            walk(&document, &mut |fields| {
                if let Some(reference) = fields.get("$ref") {
                    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{pointer}");
                    used.insert(pointer.to_owned());
                }
            });
            for shelf in ["definitions", "parameters", "responses"] {
                for name in document[shelf].as_object().into_iter().flat_map(|shelf| shelf.keys()) {
                    assert!(used.contains(&format!("/{shelf}/{name}")), "{shelf}/{name} is of no use");
                }
            }
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_declare_what_their_paths_hold() {
        for document in documents() {
            let mut names = HashSet::new();
            for (path, methods) in document["paths"].as_object().unwrap() {
                for (method, operation) in methods.as_object().unwrap() {
                    let name = operation["operationId"].as_str().unwrap();
                    assert!(names.insert(name), "{name} twice");
                    let declared: HashSet<&str> = operation["parameters"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|parameter| match parameter["$ref"].as_str() {
                            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
                            None => parameter,
                        })
                        .filter(|parameter| parameter["in"] == "path")
                        .map(|parameter| parameter["name"].as_str().unwrap())
                        .collect();
                    let held = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
                    assert_eq!(declared, held, "{method} {path}");
                    let tag = &operation["tags"][0];
                    let known =
                        document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag);
                    assert!(known, "{tag}");
                }
            }
        }
    }

    #[test]
    fn clients_find_the_definitions_that_they_look_for() {
        let document = documents().next().unwrap();
        for name in ["ActionMeta", "ActionExecMeta", "RuleMeta", "TriggerMeta", "ErrorMessage", "UserLimits"]
        {
            assert!(document["definitions"][name].is_object(), "{name}");
        }
        assert_eq!(document["definitions"]["ErrorMessage"]["properties"]["code"]["type"], "string");
    }

    #[test]
    fn the_page_consists_of_what_is_served_and_of_nothing_else() {
        let html = include_str!("docs/index.html");
        for file in ["page.css", "page.js"] {
            assert!(html.contains(file));
            assert!(page(file).is_some());
        }
        for text in [html, include_str!("docs/page.js"), include_str!("docs/page.css")] {
            assert!(!text.contains("//cdn") && !text.contains("https://") && !text.contains("http://"));
        }
        assert!(page("../docs.rs").is_none() && page("").is_none());
    }

    #[test]
    fn redirects_are_relative() {
        for (described, location) in [
            (Described::Server, "docs/index.html?url=/api-docs"),
            (Described::Api, "docs/index.html?url=/api/v1/api-docs"),
        ] {
            let response = redirect(described).into_response();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["location"]),
                (308, &HeaderValue::from_static(location))
            );
        }
    }
}

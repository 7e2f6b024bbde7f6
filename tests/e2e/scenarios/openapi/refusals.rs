//! Refusals that every operation has, from its document alone: no credentials, foreign namespaces, illegal names,
//! missing things, bodies that are too large or of another type.

use chasen_testkit::Client;
use http::Request;
use http::header::CONTENT_TYPE;

use super::document::{Document, Operation};
use super::script;

/// More than any part of a request may have.
const TOO_LARGE: usize = (1 << 20) + 1000;

/// One way to be refused.
struct Refusal {
    status: &'static str,
    /// Names for path parameters.
    names: &'static [(&'static str, &'static str)],
    query: &'static str,
    body: Body,
    anonymous: bool,
    /// Whom it concerns.
    concerns: fn(&Operation<'_>) -> bool,
}

enum Body {
    Example,
    Text,
    Large,
}

const REFUSALS: &[Refusal] = &[
    Refusal { status: "401", anonymous: true, concerns: is_rest, ..REFUSAL },
    Refusal { status: "403", names: &[("namespace", "somebody-else")], concerns: is_rest, ..REFUSAL },
    Refusal { status: "400", names: &[("namespace", "a=b")], concerns: is_rest, ..REFUSAL },
    Refusal {
        status: "404",
        names: &[
            ("actionName", "nothing"),
            ("packageName", "no-package"),
            ("triggerName", "nothing"),
            ("ruleName", "nothing"),
        ],
        concerns: is_about_one,
        ..REFUSAL
    },
    Refusal { status: "404", names: &[("actionName", "nothing")], concerns: is_web, ..REFUSAL },
    Refusal { status: "415", body: Body::Text, concerns: is_rest, ..REFUSAL },
    Refusal { status: "413", body: Body::Large, concerns: |_| true, ..REFUSAL },
    // Mistakes in a query have a form of their own.
    Refusal { status: "400", query: "?limit=201", concerns: is_list, ..REFUSAL },
];

const REFUSAL: Refusal =
    Refusal { status: "", names: &[], query: "", body: Body::Example, anonymous: false, concerns: |_| true };

fn is_web(operation: &Operation<'_>) -> bool {
    operation.template.starts_with("/web/")
}

fn is_rest(operation: &Operation<'_>) -> bool {
    !is_web(operation)
}

/// Reads, deletes or sets off something that must exist.
fn is_about_one(operation: &Operation<'_>) -> bool {
    let in_package = operation.template.contains("{packageName}/{actionName}");
    is_rest(operation) && (operation.method != "put" || in_package)
}

fn is_list(operation: &Operation<'_>) -> bool {
    operation.id().starts_with("list") && operation.template.contains("{namespace}")
}

/// Is refused in every way that the document knows.
pub(super) async fn provoke(document: &mut Document, client: &Client, anonymous: &Client) {
    for refusal in REFUSALS {
        let concerned = document.operations().into_iter();
        let concerned =
            concerned.filter(|operation| operation.answers(refusal.status) && (refusal.concerns)(operation));
        let refused: Vec<(String, String, Option<String>)> = concerned
            .map(|operation| {
                let path = document.example(operation, refusal.names);
                (operation.method.to_uppercase(), path, document.example_body(operation))
            })
            .collect();
        assert!(!refused.is_empty(), "{} concerns nobody", refusal.status);
        for (method, path, example) in refused {
            let path = format!("{path}{}", refusal.query);
            let request = Request::builder().method(method.as_str()).uri(format!("{}{path}", client.base()));
            let request = match refusal.body {
                Body::Text => request.header(CONTENT_TYPE, "text/plain").body(b"text".to_vec()).unwrap(),
                Body::Large => script::json(request, &large()),
                Body::Example => script::json(request, &example.unwrap_or_default()),
            };
            let asker = if refusal.anonymous { anonymous } else { client };
            let reply = document.ask(asker, request).await;
            assert_eq!(reply.status.as_str(), refusal.status, "{method} {path}: {}", reply.text());
        }
    }
}

/// A document with an annotation that is too large, which makes the whole too large as an argument.
fn large() -> String {
    format!(r#"{{"annotations":[{{"key":"large","value":"{}"}}]}}"#, "x".repeat(TOO_LARGE))
}

//! The API's own documents, held against the node that serves them: every operation with every status and every
//! parameter, each answer against its schema; and a stranger's tool that tries what nobody thought of.

mod document;
mod durable;
mod refusals;
mod schemathesis;
mod script;

use chasen_testkit::{Client, node};
use http::Request;

use crate::scenario::{Need, Scenario};
use document::{Document, Operation};

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("openapi::the_api_is_what_its_document_says", api),
        Scenario::new("openapi::the_server_is_what_its_document_says", server),
        Scenario::new("openapi::the_page_of_the_documents_is_served_whole", page),
        Scenario::new("openapi::schemathesis_finds_nothing", schemathesis::run)
            .needing(Need::command("node"))
            .needing(Need::command("python3")),
    ]
}

/// Where the document of the API lies.
const API: &str = "/api/v1/api-docs";

async fn api() {
    let mut node = node().start();
    let client = node.client();
    let mut document = Document::fetch(&client, API).await;
    script::play(&mut document, &client, &node.anonymous()).await;
    script::populate(&client).await;
    script::be_late(&mut document, &client).await;
    refusals::provoke(&mut document, &client, &node.anonymous()).await;
    script::populate(&client).await;
    durable::play(&mut document, &mut node).await;
    throttled(&mut document).await;
    // Failures of the server itself cannot be asked for, nor a letter that another request has in hand at that moment.
    let exempt = |operation: Operation<'_>, status: &str| {
        matches!(status, "500" | "503")
            || (status == "409" && matches!(operation.id(), "retryDeadLetter" | "dropDeadLetter"))
    };
    let unseen = document.unseen(exempt);
    assert!(unseen.is_empty(), "documented and not seen: {unseen:#?}");
}

/// On a node that allows nothing.
async fn throttled(document: &mut Document) {
    let node = node().set("limits.invocations-per-minute", "0").set("limits.fires-per-minute", "0").start();
    let client = node.client();
    script::populate(&client).await;
    for (method, path) in examples(document, |operation| operation.answers("429")) {
        let request = Request::builder().method(method.as_str()).uri(format!("{}{path}", client.base()));
        let reply = document.ask(&client, request.body(Vec::new()).unwrap()).await;
        assert_eq!(reply.status.as_u16(), 429, "{method} {path}: {}", reply.text());
    }
}

/// Method and example path of the operations that are wanted.
fn examples(document: &Document, wanted: impl Fn(Operation<'_>) -> bool) -> Vec<(String, String)> {
    let operations = document.operations().into_iter().filter(|operation| wanted(*operation));
    operations.map(|operation| (operation.method.to_uppercase(), document.example(operation, &[]))).collect()
}

async fn server() {
    let node = node().start();
    let client = node.anonymous();
    let mut document = Document::fetch(&client, "/api-docs/").await;
    for (method, path) in examples(&document, |_| true) {
        let path = if path.ends_with("index.html") { format!("{path}?url=/api-docs") } else { path };
        let request = Request::builder().method(method.as_str()).uri(format!("{}{path}", client.base()));
        document.ask(&client, request.body(Vec::new()).unwrap()).await;
    }
    let unseen = document.unseen(|_, _| false);
    assert!(unseen.is_empty(), "documented and not seen: {unseen:#?}");
}

async fn page() {
    let node = node().start();
    let client: Client = node.anonymous();
    for base in ["", "/api/v1"] {
        let redirect = client.get(&format!("{base}/docs")).await.unwrap();
        let location = format!("docs/index.html?url={base}/api-docs");
        assert_eq!(
            (redirect.status.as_u16(), redirect.headers["location"].to_str().unwrap()),
            (308, location.as_str())
        );
        let page = client.get(&format!("{base}/{location}")).await.unwrap();
        assert_eq!(
            (page.status.as_u16(), &page.headers["content-type"]),
            (200, &"text/html; charset=UTF-8".parse().unwrap())
        );
        assert!(page.headers.contains_key("content-security-policy"));
        let html = page.text();
        let attributes = html.split(['"']).skip(1).step_by(2);
        let files: Vec<&str> = attributes.filter(|value| value.starts_with("page.")).collect();
        assert_eq!(files.len(), 2, "{html}");
        for file in files {
            let reply = client.get(&format!("{base}/docs/{file}")).await.unwrap();
            assert_eq!(reply.status.as_u16(), 200, "{file}");
        }
    }
    // Nothing else lies there.
    for (path, status) in [("/docs/", 405), ("/docs/x", 405), ("/docs/../ping", 405), ("/api/v1/docs/x", 401)]
    {
        assert_eq!(client.get(path).await.unwrap().status.as_u16(), status, "{path}");
    }
}

//! A served Swagger document: which operation a request is, whether an answer is one that the document promises,
//! and what of all that was promised has been seen.

use std::collections::BTreeSet;

use chasen_testkit::{Client, Reply};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Request};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// A document and what was seen of it.
pub(super) struct Document {
    text: Value,
    /// Its schemas, each closed: a field that the document does not name is an error.
    definitions: Value,
    seen: BTreeSet<String>,
}

/// An operation of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation<'a> {
    /// Path below the base, with names in braces.
    pub(super) template: &'a str,
    /// Lower-case.
    pub(super) method: &'a str,
    described: &'a Value,
}

impl Operation<'_> {
    pub(super) fn id(&self) -> &str {
        self.described["operationId"].as_str().expect("operations have ids")
    }

    /// Statuses that it is documented to answer with; `default` too.
    pub(super) fn statuses(&self) -> impl Iterator<Item = &str> {
        self.described["responses"].as_object().expect("operations answer").keys().map(String::as_str)
    }

    pub(super) fn answers(&self, status: &str) -> bool {
        self.statuses().any(|known| known == status)
    }
}

impl Document {
    /// The document at this path of the server.
    pub(super) async fn fetch(client: &Client, path: &str) -> Self {
        let reply = client.get(path).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{path}: {}", reply.text());
        let text = reply.json();
        let mut definitions = text["definitions"].clone();
        for schema in definitions.as_object_mut().expect("a document has definitions").values_mut() {
            close(schema);
        }
        Self { text, definitions, seen: BTreeSet::new() }
    }

    /// Path below which its operations lie.
    pub(super) fn base(&self) -> &str {
        self.text["basePath"].as_str().expect("a document has a base").trim_end_matches('/')
    }

    pub(super) fn operations(&self) -> Vec<Operation<'_>> {
        let paths = self.text["paths"].as_object().expect("a document has paths");
        paths
            .iter()
            .flat_map(|(template, methods)| {
                let methods = methods.as_object().expect("a path has methods");
                methods.iter().map(move |(method, described)| Operation { template, method, described })
            })
            .collect()
    }

    /// Parameters of an operation, references followed.
    pub(super) fn parameters<'a>(&'a self, operation: Operation<'a>) -> Vec<&'a Value> {
        let listed = operation.described["parameters"].as_array();
        listed.into_iter().flatten().map(|parameter| self.resolve(parameter)).collect()
    }

    /// The operation's path with the document's examples, or with `names` where they name a parameter.
    pub(super) fn example(&self, operation: Operation<'_>, names: &[(&str, &str)]) -> String {
        let mut path = operation.template.to_owned();
        for parameter in self.parameters(operation).into_iter().filter(|parameter| parameter["in"] == "path")
        {
            let name = parameter["name"].as_str().expect("parameters have names");
            let own = names.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
            let value =
                own.or_else(|| parameter["x-example"].as_str()).expect("path parameters have examples");
            path = path.replace(&format!("{{{name}}}"), value);
        }
        format!("{}{path}", self.base())
    }

    /// The body that the document gives as an example, where the operation takes one.
    pub(super) fn example_body(&self, operation: Operation<'_>) -> Option<String> {
        let parameters = self.parameters(operation);
        let body = parameters.into_iter().find(|parameter| parameter["in"] == "body")?;
        let example = self.resolve(&body["schema"]).get("example")?;
        Some(example.to_string())
    }

    /// Sends a request and holds the answer against the document.
    pub(super) async fn ask(&mut self, client: &Client, request: Request<Vec<u8>>) -> Reply {
        let (head, body) = request.into_parts();
        let has_body = !body.is_empty();
        let reply = client.send(Request::from_parts(head.clone(), body.into())).await.unwrap();
        let asked = format!("{} {}", head.method, head.uri);
        let path = head.uri.path().strip_prefix(self.base());
        let path = path.unwrap_or_else(|| panic!("{asked} is beside the base"));
        let found = self.find(&head.method, path).unwrap_or_else(|| panic!("{asked} is not in the document"));
        let status = reply.status.as_str();
        let status = if found.answers(status) { status } else { "default" };
        let answer = &found.described["responses"][status];
        assert!(!answer.is_null(), "{asked}: {} is not documented: {}", reply.status, reply.text());
        if head.method != Method::HEAD {
            self.check(&asked, found, self.resolve(answer), &reply);
        }
        let sent =
            self.parameters(found).into_iter().filter(|parameter| was_sent(parameter, &head, has_body));
        let mut seen: Vec<String> = sent.map(|parameter| promise(found, parameter)).collect();
        seen.push(format!("{}: {status}", found.id()));
        self.seen.extend(seen);
        reply
    }

    /// What was promised and not seen.
    pub(super) fn unseen(&self, exempt: impl Fn(Operation<'_>, &str) -> bool) -> Vec<String> {
        let mut unseen = Vec::new();
        for operation in self.operations() {
            let statuses = operation.statuses().filter(|status| !exempt(operation, status));
            unseen.extend(statuses.map(|status| format!("{}: {status}", operation.id())));
            let parameters = self.parameters(operation).into_iter();
            unseen.extend(parameters.map(|parameter| promise(operation, parameter)));
        }
        unseen.retain(|promise| !self.seen.contains(promise));
        unseen
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                self.text.pointer(reference.trim_start_matches('#')).expect("references lead somewhere")
            }
            None => value,
        }
    }

    fn find(&self, method: &Method, path: &str) -> Option<Operation<'_>> {
        let method = method.as_str().to_lowercase();
        let path = if path.is_empty() { "/" } else { path };
        let mut found: Vec<_> = self
            .operations()
            .into_iter()
            .filter(|operation| operation.method == method && matches(operation.template, path))
            .collect();
        // A name that is written out comes before one in braces.
        found.sort_by_key(|operation| operation.template.matches('{').count());
        found.first().copied()
    }

    fn check(&self, asked: &str, operation: Operation<'_>, answer: &Value, reply: &Reply) {
        let Some(schema) = answer.get("schema") else {
            let is_web = operation.described["produces"]
                .as_array()
                .is_some_and(|types| types.iter().any(|t| t == "*/*"));
            assert!(
                is_web || reply.body.is_empty(),
                "{asked}: a body that is not documented: {}",
                reply.text()
            );
            return;
        };
        let content_type =
            reply.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let types = operation.described.get("produces").unwrap_or(&self.text["produces"]);
        let is_refusal = schema["$ref"] == "#/definitions/ErrorMessage" && content_type == "application/json";
        let is_listed = types.as_array().expect("a list of types").iter().any(|known| known == content_type);
        assert!(is_refusal || is_listed, "{asked}: {content_type} is not documented: {}", reply.text());
        let body = if schema["type"] == "string" {
            Value::String(reply.text())
        } else {
            serde_json::from_slice(&reply.body)
                .unwrap_or_else(|why| panic!("{asked}: {why}: {}", reply.text()))
        };
        let mut closed = schema.clone();
        close(&mut closed);
        let problems: Vec<String> = self
            .validator(&closed)
            .iter_errors(&body)
            .map(|error| format!("{} at '{}'", error, error.instance_path()))
            .collect();
        assert!(problems.is_empty(), "{asked}: {problems:#?}\n{body:#}");
    }

    /// Holds a value against one of the definitions.
    pub(super) fn is_a(&self, definition: &str, body: &Value) {
        let validator = self.validator(&json!({"$ref": format!("#/definitions/{definition}")}));
        let problem = validator.validate(body).err().map(|error| error.to_string());
        assert_eq!(problem, None, "{definition}: {body:#}");
    }

    fn validator(&self, schema: &Value) -> Validator {
        let whole = json!({"definitions": self.definitions, "allOf": [schema]});
        jsonschema::options()
            .with_draft(Draft::Draft4)
            .build(&whole)
            .expect("the document's schemas are schemas")
    }
}

/// How it is noted that an operation takes a parameter.
fn promise(operation: Operation<'_>, parameter: &Value) -> String {
    format!("{}: parameter {}", operation.id(), parameter["name"].as_str().expect("parameters have names"))
}

/// True if a request has the parameter.
fn was_sent(parameter: &Value, head: &Parts, has_body: bool) -> bool {
    let name = parameter["name"].as_str().expect("parameters have names");
    match parameter["in"].as_str() {
        Some("query") => {
            let pairs = head.uri.query().into_iter().flat_map(|query| query.split('&'));
            pairs.filter_map(|pair| pair.split('=').next()).any(|key| key == name)
        }
        Some("header") => head.headers.contains_key(name),
        Some("body") => has_body,
        _ => true,
    }
}

/// True if a path is one of the template.
fn matches(template: &str, path: &str) -> bool {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    let segment =
        |(template, actual): (&&str, &&str)| match (template.starts_with('{'), template.split_once("}.")) {
            (true, Some(_)) => actual
                .rsplit_once('.')
                .is_some_and(|(name, extension)| !name.is_empty() && !extension.is_empty()),
            (true, None) => !actual.is_empty(),
            (false, _) => template == actual,
        };
    template.len() == path.len() && template.iter().zip(&path).all(segment)
}

/// Forbids fields that a schema does not name, wherever it names some.
fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(close);
        fields.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(schema) = fields.get_mut(inner) {
            close(schema);
        }
    }
}

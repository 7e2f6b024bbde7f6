//! Functions of scenarios: described, put, called, and what their calls have left.

use std::time::{Duration, Instant};

use chasen_testkit::{Client, PATIENCE, Reply};
use serde_json::{Map, Value, json};

use crate::scenario::Need;

/// Time between two looks at something that is about to happen.
const LOOK: Duration = Duration::from_millis(20);

/// An executable that says hello.
pub(crate) const HELLO: &str = "#!/bin/sh\necho '{\"hello\":true}'\n";

/// What a function is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Nodejs,
    Python,
    Native,
}

impl Language {
    /// What the machine must offer.
    pub(crate) fn need(self) -> Need {
        match self {
            Self::Nodejs => Need::command("node"),
            Self::Python => Need::command("python3.11"),
            Self::Native => Need::command("sh"),
        }
    }
}

/// An action to be.
#[derive(Debug, Clone)]
pub(crate) struct Function {
    name: String,
    exec: Map<String, Value>,
    limits: Map<String, Value>,
    parameters: Vec<Value>,
    annotations: Vec<Value>,
}

impl Function {
    pub(crate) fn new(name: &str, language: Language, code: &str) -> Self {
        let exec = match language {
            Language::Nodejs => json!({"kind": "nodejs:default", "code": code}),
            Language::Python => json!({"kind": "python:default", "code": code}),
            Language::Native => {
                json!({"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": code})
            }
        };
        let Value::Object(exec) = exec else { unreachable!("objects are written above") };
        Self::with_exec(name, exec)
    }

    /// One of a kind that few scenarios need.
    pub(crate) fn of_kind(name: &str, kind: &str, code: &str) -> Self {
        let exec = [("kind", kind), ("code", code)].map(|(key, value)| (key.to_owned(), value.into()));
        Self::with_exec(name, exec.into_iter().collect())
    }

    /// One that is an image, with code for it or without.
    pub(crate) fn of_image(name: &str, image: &str, code: Option<&str>) -> Self {
        let words = [("kind", Some("blackbox")), ("image", Some(image)), ("code", code)];
        let given = words.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into())));
        Self::with_exec(name, given.collect())
    }

    fn with_exec(name: &str, exec: Map<String, Value>) -> Self {
        Self {
            name: name.to_owned(),
            exec,
            limits: Map::new(),
            parameters: Vec::new(),
            annotations: Vec::new(),
        }
    }

    pub(crate) fn nodejs(name: &str, code: &str) -> Self {
        Self::new(name, Language::Nodejs, code)
    }

    pub(crate) fn python(name: &str, code: &str) -> Self {
        Self::new(name, Language::Python, code)
    }

    pub(crate) fn native(name: &str, code: &str) -> Self {
        Self::new(name, Language::Native, code)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn main(mut self, main: &str) -> Self {
        self.exec.insert("main".to_owned(), main.into());
        self
    }

    /// Sets a limit: `timeout` in milliseconds, `memory` and `logs` in MB.
    pub(crate) fn limit(mut self, name: &str, value: u64) -> Self {
        self.limits.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn parameter(mut self, key: &str, value: Value) -> Self {
        self.parameters.push(json!({"key": key, "value": value}));
        self
    }

    /// A parameter that goes to the environment at initialisation.
    pub(crate) fn init_parameter(mut self, key: &str, value: Value) -> Self {
        self.parameters.push(json!({"key": key, "value": value, "init": true}));
        self
    }

    pub(crate) fn annotation(mut self, key: &str, value: Value) -> Self {
        self.annotations.push(json!({"key": key, "value": value}));
        self
    }

    /// Asks the node to create or replace it.
    pub(crate) async fn offer(&self, client: &Client) -> Reply {
        let mut document = json!({"exec": self.exec, "limits": self.limits, "annotations": self.annotations});
        if !self.parameters.is_empty() {
            document["parameters"] = self.parameters.clone().into();
        }
        client.put(&format!("{}?overwrite=true", path(&self.name)), &document).await.unwrap()
    }

    /// Creates or replaces it.
    pub(crate) async fn put(&self, client: &Client) {
        let reply = self.offer(client).await;
        assert_eq!(reply.status.as_u16(), 200, "{}: {}", self.name, reply.text());
    }
}

/// Path of an action of the caller's namespace.
pub(crate) fn path(name: &str) -> String {
    format!("/api/v1/namespaces/_/actions/{name}")
}

/// What a blocking call gave.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// HTTP status.
    pub(crate) status: u16,
    /// The record; `null` where the answer is none.
    pub(crate) record: Value,
    /// The answer as text.
    pub(crate) text: String,
}

impl Called {
    fn new(reply: &Reply) -> Self {
        Self { status: reply.status.as_u16(), record: reply.json(), text: reply.text() }
    }

    pub(crate) fn id(&self) -> &str {
        self.record["activationId"].as_str().unwrap_or_else(|| panic!("no activation id: {}", self.text))
    }

    /// The result of a success.
    pub(crate) fn result(&self) -> &Value {
        assert_eq!(self.status, 200, "{}", self.text);
        &self.record["response"]["result"]
    }

    /// Status text and error of a failure; the error as text.
    pub(crate) fn failure(&self) -> (&str, String) {
        assert_ne!(self.status, 200, "{}", self.text);
        let response = &self.record["response"];
        let error = &response["result"]["error"];
        let error = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        (response["status"].as_str().unwrap_or_default(), error)
    }

    /// Value of an annotation; `null` if it is not there.
    pub(crate) fn annotation(&self, key: &str) -> &Value {
        annotation(&self.record, key)
    }
}

/// Value of an annotation of a document; `null` if it is not there.
pub(crate) fn annotation<'a>(document: &'a Value, key: &str) -> &'a Value {
    let annotations = document["annotations"].as_array().expect("documents have annotations");
    annotations
        .iter()
        .find(|annotation| annotation["key"] == key)
        .map_or(&Value::Null, |found| &found["value"])
}

/// Calls and waits for the record.
pub(crate) async fn call(client: &Client, name: &str, arguments: &Value) -> Called {
    Called::new(&client.invoke(name, arguments, true).await.unwrap())
}

/// Calls with this very text as arguments; gives the bare result.
pub(crate) async fn call_with_text(client: &Client, name: &str, arguments: &str) -> Reply {
    let uri = format!("{}{}?blocking=true&result=true", client.base(), path(name));
    let request = http::Request::post(uri).header("content-type", "application/json");
    client.send(request.body(arguments.to_owned().into()).unwrap()).await.unwrap()
}

/// Calls without waiting; the activation's id.
pub(crate) async fn start(client: &Client, name: &str, arguments: &Value) -> String {
    let reply = client.invoke(name, arguments, false).await.unwrap();
    assert_eq!(reply.status.as_u16(), 202, "{}", reply.text());
    reply.json()["activationId"].as_str().expect("an activation id").to_owned()
}

/// The stored record of an activation, once it is there.
pub(crate) async fn record(client: &Client, id: &str) -> Value {
    let found = async || {
        let reply = client.activation(id).await.unwrap();
        reply.status.is_success().then(|| reply.json())
    };
    eventually("every accepted activation ends in a record", found).await
}

/// The log lines of an activation.
pub(crate) async fn logs(client: &Client, id: &str) -> Vec<String> {
    let record = record(client, id).await;
    let lines = record["logs"].as_array().expect("records have logs");
    lines.iter().map(|line| line.as_str().expect("log lines are texts").to_owned()).collect()
}

/// Asks until there is an answer; fails when that takes too long.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

//! `chasen quickstart`: a function in every language that the machine can run, and what to type next.

mod assembly;

use std::time::{Duration, Instant};

use chasen_client::{ActionCode, Client, ClientError, Reply, Target};
use serde_json::{Value, json};

use crate::console;
use crate::guest;
use crate::node::Node;
use crate::run::{NATIVE, NATIVE_IMAGE};
use crate::sandboxes::Sandboxes;

/// Warm calls per sample; their median is shown.
const WARM_CALLS: usize = 9;

/// A sample: what it is called, what it runs on, its text.
pub struct Sample {
    /// Name of the action.
    pub name: &'static str,
    /// Kind, or `native`.
    pub kind: &'static str,
    /// Entry point, where the kind wants one.
    main: Option<&'static str>,
    /// True if it needs the preinstalled modules of its kind.
    with_modules: bool,
    /// True if its source is compiled into an assembly before it is sent.
    is_assembly: bool,
    code: &'static str,
}

impl Sample {
    const fn new(name: &'static str, kind: &'static str, code: &'static str) -> Self {
        Self { name, kind, main: None, with_modules: false, is_assembly: false, code }
    }

    /// Why this machine cannot run it.
    async fn missing(&self, sandboxes: &Sandboxes) -> Option<String> {
        match sandboxes.missing(self.kind).await {
            None if self.with_modules => sandboxes.missing_modules(self.kind).await,
            missing => missing,
        }
    }
}

/// One sample per language.
pub const SAMPLES: [Sample; 12] = [
    Sample::new("hello-nodejs", "nodejs:default", include_str!("../../../samples/hello.js")),
    Sample {
        with_modules: true,
        ..Sample::new("hello-typescript", "nodejs:default", include_str!("../../../samples/hello.ts"))
    },
    Sample::new("hello-python", "python:default", include_str!("../../../samples/hello.py")),
    Sample {
        main: Some("Hello"),
        ..Sample::new("hello-java", "java:default", include_str!("../../../samples/Hello.java"))
    },
    Sample {
        main: Some("Hello::Hello::Main"),
        with_modules: true,
        is_assembly: true,
        ..Sample::new("hello-dotnet", "dotnet:default", include_str!("../../../samples/Hello.cs"))
    },
    Sample::new("hello-php", "php:default", include_str!("../../../samples/hello.php")),
    Sample::new("hello-go", "go:default", include_str!("../../../samples/hello.go")),
    Sample::new("hello-rust", "rust:default", include_str!("../../../samples/hello.rs")),
    Sample::new("hello-ruby", "ruby:default", include_str!("../../../samples/hello.rb")),
    Sample::new("hello-deno", "deno:default", include_str!("../../../samples/hello-deno.ts")),
    Sample::new("hello-swift", "swift:default", include_str!("../../../samples/hello.swift")),
    Sample::new("hello-native", NATIVE, include_str!("../../../samples/hello-native.sh")),
];

/// What came of a sample.
enum Outcome {
    /// It answered.
    Answered { cold: Duration, warm: Duration, result: String },
    /// It did not.
    Failed(String),
    /// The machine cannot run it.
    NotHere(String),
}

/// Deploys and invokes every sample, prints the table and what to type next. False if a sample failed.
pub async fn show(node: &Node) -> bool {
    node.sandboxes().prepare_compilers();
    console::with_progress("preinstalled modules are fetched", node.sandboxes().modules_settled()).await;
    let client = node.client();
    console::out(&row("function", "kind", "cold ms", "warm ms", "result"));
    let mut working = None;
    let mut good = true;
    for sample in &SAMPLES {
        let outcome = match sample.missing(node.sandboxes()).await {
            Some(reason) => Outcome::NotHere(reason),
            None => {
                let what = format!("{} is invoked for the first time", sample.name);
                console::with_progress(&what, try_out(&client, node.sandboxes(), sample))
                    .await
                    .unwrap_or_else(|error| Outcome::Failed(error.to_string()))
            }
        };
        good &= !matches!(outcome, Outcome::Failed(_));
        if matches!(outcome, Outcome::Answered { .. }) {
            working = working.or(Some(sample.name));
        }
        console::out(&outcome.row(sample));
    }
    match working {
        Some(name) => console::out(&next_steps(client.base(), name)),
        None => console::note("no sample could be run here"),
    }
    good && working.is_some()
}

async fn try_out(client: &Client, sandboxes: &Sandboxes, sample: &Sample) -> Result<Outcome, ClientError> {
    let target = if sample.kind == NATIVE { Target::Image(NATIVE_IMAGE) } else { Target::Kind(sample.kind) };
    let code = match sample.is_assembly {
        true => match assembly::compile(sandboxes, sample.kind, sample.code).await {
            Ok(code) => code,
            Err(why) => return Ok(Outcome::Failed(why)),
        },
        false => sample.code.to_owned(),
    };
    let action = ActionCode { target, code, main: sample.main };
    let created = client.put_action(sample.name, &action).await?;
    if !created.status.is_success() {
        return Ok(Outcome::Failed(created.error_text()));
    }
    let arguments = json!({"name": "Chasen"});
    let (cold, first) = timed(client, sample.name, &arguments).await?;
    if !first.status.is_success() {
        let result = first.record().map(|record| record.response.result.as_str().to_owned());
        return Ok(Outcome::Failed(result.unwrap_or_else(|| first.error_text())));
    }
    let mut warm = Vec::with_capacity(WARM_CALLS);
    let mut last = first;
    for _ in 0..WARM_CALLS {
        let (time, reply) = timed(client, sample.name, &arguments).await?;
        warm.push(time);
        last = reply;
    }
    warm.sort_unstable();
    let warm = warm.get(WARM_CALLS / 2).copied().unwrap_or_default();
    Ok(match last.record() {
        Some(record) => Outcome::Answered { cold, warm, result: record.response.result.as_str().to_owned() },
        None => Outcome::Failed(last.error_text()),
    })
}

/// One blocking call over HTTP: how long it took, and its answer.
async fn timed(client: &Client, name: &str, arguments: &Value) -> Result<(Duration, Reply), ClientError> {
    let begun = Instant::now();
    let reply = client.invoke(name, arguments, true).await?;
    Ok((begun.elapsed(), reply))
}

impl Outcome {
    fn row(&self, sample: &Sample) -> String {
        let millis = |time: &Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
        match self {
            Self::Answered { cold, warm, result } => {
                row(sample.name, sample.kind, &millis(cold), &millis(warm), result)
            }
            Self::Failed(why) => row(sample.name, sample.kind, "-", "-", &format!("failed: {why}")),
            Self::NotHere(why) => row(sample.name, sample.kind, "-", "-", &format!("not here: {why}")),
        }
    }
}

fn row(function: &str, kind: &str, cold: &str, warm: &str, result: &str) -> String {
    format!("{function:<16} {kind:<14} {cold:>8} {warm:>8}  {result}\n")
}

fn next_steps(base: &str, name: &str) -> String {
    format!(
        "\nNext, from another terminal:\n\n  \
         curl -u {credentials} -X POST -H 'Content-Type: application/json' -d '{{\"name\":\"you\"}}' \\\n    \
         '{base}/api/v1/namespaces/_/actions/{name}?blocking=true&result=true'\n\n  \
         wsk property set --apihost {base} --auth {credentials}\n  \
         wsk action invoke {name} --result --param name you\n",
        credentials = guest::CREDENTIALS,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_type_next_can_be_pasted() {
        let text = next_steps("http://127.0.0.1:3233", "hello-nodejs");
        let curl: String = text.split("\n\n").find(|part| part.contains("curl")).unwrap().replace("\\\n", "");
        assert!(curl.contains(&format!("-u {}", guest::CREDENTIALS)), "{curl}");
        assert!(curl.contains(
            "'http://127.0.0.1:3233/api/v1/namespaces/_/actions/hello-nodejs?blocking=true&result=true'"
        ));
        assert_eq!(curl.matches('\'').count() % 2, 0, "quotes are closed: {curl}");
    }
}

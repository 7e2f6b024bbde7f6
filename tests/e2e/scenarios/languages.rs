//! Every language the platform runs: the sample answers, errors are classed, logs are kept.

use chasen_testkit::{ActionCode, Client, Target, node};
use serde_json::{Value, json};

use crate::scenario::{Need, Scenario};

/// A native executable that greets nobody in particular.
pub(crate) const HELLO: &str = "#!/bin/sh\necho '{\"greeting\":\"Hello\"}'\n";
/// Image that stands for native executables.
const NATIVE: &str = "openwhisk/dockerskeleton";

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("languages::nodejs_answers_logs_and_fails", nodejs).needing(Need::Command("node")),
        Scenario::new("languages::python_answers_logs_and_fails", python)
            .needing(Need::Command("python3.11")),
        Scenario::new("languages::native_executables_answer", native),
    ]
}

/// Creates a native action.
pub(crate) async fn put_native(client: &Client, name: &str, code: &str) {
    put(client, name, Target::Image(NATIVE), code).await;
}

pub(crate) async fn put(client: &Client, name: &str, target: Target<'_>, code: &str) {
    let action = ActionCode { target, code: code.to_owned(), main: None };
    let reply = client.put_action(name, &action).await.unwrap();
    assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
}

/// Invokes and gives status and record.
async fn invoke(client: &Client, name: &str, arguments: &Value) -> (u16, Value) {
    let reply = client.invoke(name, arguments, true).await.unwrap();
    (reply.status.as_u16(), reply.json())
}

/// The logs of a record, once they are there.
async fn logs(client: &Client, record: &Value) -> String {
    let id = record["activationId"].as_str().unwrap();
    client.activation(id).await.unwrap().json()["logs"].to_string()
}

async fn nodejs() {
    let node = node().start();
    let client = node.client();
    let code = "function main(args) { console.log('seen', args.n); if (args.n < 0) throw new Error('negative'); \
                return args.n > 9 ? Promise.reject({ code: 7 }) : { twice: args.n * 2 }; }";
    put(&client, "twice", Target::Kind("nodejs:default"), code).await;
    let (status, record) = invoke(&client, "twice", &json!({"n": 4})).await;
    assert_eq!((status, &record["response"]["result"]), (200, &json!({"twice": 8})), "{record}");
    assert!(logs(&client, &record).await.contains("stdout: seen 4"));
    let (status, record) = invoke(&client, "twice", &json!({"n": 10})).await;
    assert_eq!((status, &record["response"]["status"]), (502, &json!("application error")), "{record}");
    let (status, record) = invoke(&client, "twice", &json!({"n": -1})).await;
    assert_eq!((status, &record["response"]["status"]), (502, &json!("action developer error")), "{record}");
}

async fn python() {
    let node = node().start();
    let client = node.client();
    let code = "import sys\ndef main(args):\n    print('seen', args['n'], file=sys.stderr)\n    \
                return {'inverse': 1 / args['n']}\n";
    put(&client, "inverse", Target::Kind("python:default"), code).await;
    let (status, record) = invoke(&client, "inverse", &json!({"n": 4})).await;
    assert_eq!((status, &record["response"]["result"]), (200, &json!({"inverse": 0.25})), "{record}");
    assert!(logs(&client, &record).await.contains("stderr: seen 4"));
    let (status, record) = invoke(&client, "inverse", &json!({"n": 0})).await;
    assert_eq!((status, &record["response"]["status"]), (502, &json!("application error")), "{record}");
}

async fn native() {
    let node = node().start();
    let client = node.client();
    put_native(&client, "echo", "#!/bin/sh\necho to the log\nprintf '%s' \"$1\"\n").await;
    let (status, record) = invoke(&client, "echo", &json!({"text": "grüß"})).await;
    assert_eq!((status, &record["response"]["result"]), (200, &json!({"text": "grüß"})), "{record}");
    assert!(logs(&client, &record).await.contains("stdout: to the log"));
}

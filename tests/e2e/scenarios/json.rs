//! Any JSON comes out of a function as it went in, token for token.

use chasen_testkit::node;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::functions::{Function, call_with_text};
use crate::scenario::Scenario;

/// Answers its arguments as they came.
const ECHO: &str = "#!/bin/sh\nprintf '%s' \"$1\"\n";
const CASES: u32 = 60;

pub(crate) fn scenarios() -> Vec<Scenario> {
    vec![Scenario::blocking("json::any_value_comes_out_token_for_token", any_value)]
}

/// Texts of JSON values: long numbers, every escape, lone surrogates, doubled keys.
fn any_json() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?";
    let text = "\"([^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"";
    let word = prop::sample::select(vec!["null", "true", "false"]).prop_map(str::to_owned);
    prop_oneof![number, text, word].prop_recursive(4, 32, 5, move |inner| {
        let array = prop::collection::vec(inner.clone(), 0..5);
        let object = prop::collection::vec((text, inner), 0..5);
        prop_oneof![
            array.prop_map(|items| format!("[{}]", items.join(","))),
            object.prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

fn any_value() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = node().start();
    let client = node.client();
    runtime.block_on(async {
        let parameters = json!({"parameters": [{"key": "beneath", "value": [1]}]});
        let package = client.put("/api/v1/namespaces/_/packages/p", &parameters).await.unwrap();
        assert_eq!(package.status.as_u16(), 200, "{}", package.text());
        Function::native("echo", ECHO).put(&client).await;
        Function::native("p/echo", ECHO).put(&client).await;
    });
    let send = |name: &str, arguments: &str| {
        let reply = runtime.block_on(call_with_text(&client, name, arguments));
        (reply.status.as_u16(), reply.text())
    };
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    runner
        .run(&any_json(), |value| {
            let arguments = format!(r#"{{"value":{value},"more":{value}}}"#);
            prop_assert_eq!(send("echo", &arguments), (200, arguments.clone()));
            let merged = format!(r#"{{"beneath":[1],"value":{value},"more":{value}}}"#);
            prop_assert_eq!(send("p/echo", &arguments), (200, merged));
            Ok(())
        })
        .unwrap();
}

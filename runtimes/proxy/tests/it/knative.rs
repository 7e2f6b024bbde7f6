//! One route for everything.

use serde_json::{Value, json};

use crate::harness::{Answer, Proxy, answer, error};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("initialisation_and_run_in_one_request_or_two", initialisation_and_run_in_one_request_or_two),
    (
        "a_dedicated_action_is_initialised_by_the_first_request",
        a_dedicated_action_is_initialised_by_the_first_request,
    ),
    ("methods_and_paths_are_as_set", methods_and_paths_are_as_set),
    ("executables_started_anew_are_served_too", executables_started_anew_are_served_too),
    ("raw_actions_and_images", raw_actions_and_images),
    ("every_language_is_served", every_language_is_served),
];

const ON: (&str, &str) = ("__OW_RUNTIME_PLATFORM", "knative");
const ECHO: &str = "#!/bin/bash\nwhile read -r line; do echo \"$line\" >&3; done\n";

fn request(proxy: &Proxy, method: &str, body: &Value) -> Answer {
    answer(proxy.send(method, "/", "", body.to_string().as_bytes())).unwrap()
}

fn init(code: &str) -> Value {
    json!({ "name": "tea", "main": "main", "code": code, "binary": false })
}

fn initialisation_and_run_in_one_request_or_two() {
    let proxy = Proxy::start("actionloop", &[ON]);
    assert_eq!(request(&proxy, "POST", &json!({})).status, 500, "no action yet");
    let answer = request(&proxy, "POST", &json!({ "init": {} }));
    assert_eq!((answer.status, answer.body), (403, error("Missing main/no code to execute.")));
    let whole =
        json!({ "init": init(ECHO), "activation": { "namespace": "ns" }, "value": { "name": "Joe" } });
    let answer = request(&proxy, "POST", &whole);
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&body["namespace"], &body["action_name"]), (&json!("ns"), &json!("tea")));
    assert_eq!((&body["value"]["name"], &body["value"]["__ow_user"]), (&json!("Joe"), &json!("ns")));
    let answer = request(&proxy, "POST", &json!({ "value": { "name": "Ann" } }));
    assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap(), json!({ "value": { "name": "Ann" } }));
    assert_eq!(request(&proxy, "POST", &json!({ "init": init(ECHO) })).status, 403, "once");

    let proxy = Proxy::start("actionloop", &[ON]);
    let answer = request(&proxy, "POST", &json!({ "init": init(ECHO) }));
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"ok\":true}\n"));
}

fn a_dedicated_action_is_initialised_by_the_first_request() {
    let env = [ON, ("__OW_ACTION_CODE", ECHO), ("__OW_ACTION_NAME", "tea")];
    let proxy = Proxy::start("actionloop", &env);
    let answer = request(&proxy, "POST", &json!({ "init": init(ECHO) }));
    let text = error("Cannot initialize a runtime with a dedicated function.");
    assert_eq!((answer.status, answer.body), (404, text));
    let sent: Vec<_> =
        (0..10).map(|n| proxy.send("POST", "/", "", format!("{{\"value\":[{n}]}}").as_bytes())).collect();
    for (n, stream) in sent.into_iter().enumerate() {
        assert_eq!(answer_body(stream), json!({ "value": [n] }));
    }
    assert!(proxy.stop().stderr.is_empty());
}

fn answer_body(stream: std::net::TcpStream) -> Value {
    serde_json::from_str(&answer(stream).unwrap().body).unwrap()
}

fn methods_and_paths_are_as_set() {
    let env = [ON, ("__OW_ACTION_CODE", ECHO), ("__OW_HTTP_METHODS", "[get,put]")];
    let proxy = Proxy::start("actionloop", &env);
    assert_eq!(answer(proxy.send("GET", "/", "", b"")).unwrap().status, 200);
    assert_eq!(request(&proxy, "PUT", &json!({})).status, 200);
    let refused = request(&proxy, "POST", &json!({}));
    assert!(refused.status == 405 && refused.head.contains("allow: get, put"), "{refused:?}");
    assert_eq!(answer(proxy.send("GET", "/run", "", b"")).unwrap().status, 404);
    let bad = answer(proxy.send("PUT", "/", "", br#"{"init":{"binary":1}}"#)).unwrap();
    assert!(bad.body.contains("Invalid Init. data; expected boolean for key 'binary'."), "{bad:?}");
}

fn executables_started_anew_are_served_too() {
    let proxy = Proxy::start("blackbox", &[ON]);
    let code = "#!/bin/sh\necho '{\"statusCode\":302,\"headers\":{\"location\":\"/there\",\"set-cookie\":[\"a=1\",\"b=2\"]}}'\n";
    let answer = request(&proxy, "POST", &json!({ "init": init(code), "value": {} }));
    assert_eq!(answer.status, 302, "{answer:?}");
    for header in ["location: /there", "set-cookie: a=1", "set-cookie: b=2"] {
        assert!(answer.head.contains(header), "{}", answer.head);
    }
    let proxy = Proxy::start("blackbox", &[ON]);
    let code = "#!/bin/sh\necho '{\"body\":\"<h1>tea</h1>\"}'\n";
    let answer = request(&proxy, "POST", &json!({ "init": init(code), "value": {} }));
    assert_eq!((answer.status, answer.body.as_str()), (200, "<h1>tea</h1>"));
    assert!(answer.head.contains("content-type: text/html"));
}

fn raw_actions_and_images() {
    let proxy = Proxy::start("actionloop", &[ON]);
    let mut raw = init(ECHO);
    raw["raw"] = true.into();
    let body = json!({ "init": raw, "activation": {}, "value": { "name": "Joe" } });
    let body: Value = serde_json::from_str(&request(&proxy, "POST", &body).body).unwrap();
    assert_eq!(body["value"]["__ow_body"], "eyJuYW1lIjoiSm9lIn0=");
    assert_eq!(body["value"]["__ow_method"], "POST");

    let proxy = Proxy::start("blackbox", &[ON]);
    let code = "#!/bin/sh\necho '{\"headers\":{\"Content-Type\":\"image/png\"},\"body\":\"iVBORw==\"}'\n";
    let image = request(&proxy, "POST", &json!({ "init": init(code), "value": {} }));
    assert!(
        image.head.contains("content-type: image/png") && image.head.contains("content-length: 4"),
        "{image:?}"
    );
}

fn every_language_is_served() {
    for (kind, command, code) in [
        ("nodejs", "node", "function main(a) { return { payload: `Hello ${a.name} from ${a.place}!` } }"),
        (
            "python",
            "python3",
            "def main(a):\n    return {'payload': f\"Hello {a['name']} from {a['place']}!\"}",
        ),
        ("ruby", "ruby", "def main(a)\n  { payload: \"Hello #{a['name']} from #{a['place']}!\" }\nend"),
        (
            "php",
            "php",
            "<?php\nfunction main(array $a): array { return ['payload' => \"Hello $a[name] from $a[place]!\"]; }",
        ),
    ] {
        if std::process::Command::new(command).arg("--version").output().is_err() {
            println!("skipped: every_language_is_served: no {command}");
            continue;
        }
        let proxy = Proxy::start(kind, &[ON]);
        let body = json!({ "init": init(code), "activation": { "namespace": "n" },
            "value": { "name": "Joe", "place": "TX" } });
        let answer = request(&proxy, "POST", &body);
        assert_eq!(
            (answer.status, answer.body.trim()),
            (200, r#"{"payload":"Hello Joe from TX!"}"#),
            "{kind}"
        );
        proxy.stop();
    }
}

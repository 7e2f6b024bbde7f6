//! Network policies: what namespaces and actions may connect to, on a machine with an internet of its own.

use std::net::Ipv4Addr;

use chasen_test_images::of_shell;
use chasen_testkit::internet::{self, FORBIDDEN, PUBLIC, RESOLVER};
use chasen_testkit::{Client, Node, node};
use serde_json::json;

use crate::admin::said;
use crate::functions::{Function, Language, call};
use crate::images::import;
use crate::scenario::{Need, Scenario, wait_for};

const SURROUNDINGS: &str = include_str!("../functions/surroundings.js");
/// A private host that the operator lends, and one that is not lent.
const LENT: Ipv4Addr = FORBIDDEN[0];
const PRIVATE: Ipv4Addr = FORBIDDEN[1];
const METADATA: Ipv4Addr = FORBIDDEN[3];
const NAME: &str = "some.example";
/// Network policy of an action, whom it reaches, and whom it does not.
type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

pub(crate) fn scenarios() -> Vec<Scenario> {
    let on_a_machine = |name: &'static str, body: fn()| {
        Scenario::blocking(name, move || internet::on_a_machine(body)).needing(Need::command("ip"))
    };
    let scenarios = vec![
        on_a_machine("network_policy::actions_reach_what_their_policy_says", || wait_for(actions())),
        on_a_machine("network_policy::actions_narrow_what_their_namespace_allows", || wait_for(namespaces())),
        on_a_machine("network_policy::a_new_policy_counts_from_the_next_call_on", || wait_for(changes())),
        Scenario::new("network_policy::what_is_no_policy_or_wider_is_refused", refusals),
        Scenario::new("network_policy::plain_processes_run_nothing_that_is_to_be_kept_in", plain),
    ];
    let mut scenarios: Vec<Scenario> =
        scenarios.into_iter().map(|scenario| scenario.needing(Language::Nodejs.need())).collect();
    let images = Scenario::new("network_policy::imported_images_are_kept_in_as_well", images);
    scenarios.push(images.needing(Need::StaticProxy));
    scenarios
}

fn machine() -> Node {
    node()
        .set("sandbox.dns", &RESOLVER.to_string())
        .set("sandbox.network-allow-private", &format!("{LENT}/32"))
        .start()
}

/// Whether the action connects to port 80 of each host.
async fn reaches(client: &Client, action: &str, hosts: &[&str]) -> Vec<bool> {
    let targets: Vec<_> = hosts.iter().map(|host| json!({"host": host, "port": 80})).collect();
    let called = call(client, action, &json!({"ask": "connect", "targets": targets})).await;
    let answers = called.result()["answer"].as_array().unwrap_or_else(|| panic!("{}", called.text));
    answers.iter().map(|target| target["answers"] == true).collect()
}

async fn assert_reaches(client: &Client, action: &str, (policy, reached, hidden): Case<'_>) {
    assert_eq!(reaches(client, action, reached).await, vec![true; reached.len()], "{policy}: {reached:?}");
    assert_eq!(reaches(client, action, hidden).await, vec![false; hidden.len()], "{policy}: {hidden:?}");
}

/// The status of the API's door, seen from inside; 0 if it does not answer.
const DOOR: &str = "const main = () => fetch(`${process.env.__OW_API_HOST}/ping`)\n\
    .then((reply) => ({ status: reply.status }), () => ({ status: 0 }));";

async fn actions() {
    let node = machine();
    let client = node.client();
    let [public, lent, private, metadata] = [PUBLIC, LENT, PRIVATE, METADATA].map(|host| host.to_string());
    let (public, lent, private, metadata) = (&*public, &*lent, &*private, &*metadata);
    let allow_address = format!("allow:{PUBLIC}:80");
    let allow_other = format!("allow:203.0.113.0/24,{PUBLIC}:81");
    let allow_both = format!("allow:{NAME}:80,0.0.0.0/0:81");
    let cases: [Case<'_>; 6] = [
        ("internet", &[public, NAME], &[lent, private, metadata]),
        ("none", &[], &[public, NAME, lent, private, metadata]),
        (&allow_address, &[public], &[NAME, lent, private, metadata]),
        (&allow_other, &[], &[public, NAME]),
        (&allow_both, &[NAME], &["other.example", lent, metadata]),
        ("allow:", &[], &[public, NAME]),
    ];
    // Twice, and one after the other: prepared cells and networks go from hand to hand.
    for round in 0..2 {
        for (number, case) in cases.iter().enumerate() {
            let name = format!("look-{round}-{number}");
            Function::nodejs(&name, SURROUNDINGS).annotation("network", json!(case.0)).put(&client).await;
            assert_reaches(&client, &name, *case).await;
        }
    }
    for (policy, status) in [("none", 0), ("allow:", 200), ("internet", 200)] {
        Function::nodejs("door", DOOR).annotation("network", json!(policy)).put(&client).await;
        assert_eq!(call(&client, "door", &json!({})).await.result()["status"], status, "{policy}");
    }
}

async fn namespaces() {
    let node = machine();
    let client = node.client();
    let [public, lent, private, metadata] = [PUBLIC, LENT, PRIVATE, METADATA].map(|host| host.to_string());
    let (public, lent, private, metadata) = (&*public, &*lent, &*private, &*metadata);
    let list = format!("allow:{LENT},{PRIVATE},{METADATA},{NAME}");
    said(node.data(), &["limits", "set", "guest", "--network", &list]);
    Function::nodejs("plain", SURROUNDINGS).put(&client).await;
    // Lent, and named by the namespace; private, and not lent; never lent.
    assert_reaches(&client, "plain", (&list, &[lent, NAME], &[private, metadata])).await;
    let narrower = format!("allow:{LENT}:80");
    Function::nodejs("narrower", SURROUNDINGS).annotation("network", json!(narrower)).put(&client).await;
    assert_reaches(&client, "narrower", (&narrower, &[lent], &[public, NAME])).await;
    Function::nodejs("closed", SURROUNDINGS).annotation("network", json!("none")).put(&client).await;
    assert_reaches(&client, "closed", ("none", &[], &[lent, NAME])).await;
    for wider in ["internet", "allow:elsewhere.example", "allow:10.0.0.0/8"] {
        let wide = Function::nodejs("wider", SURROUNDINGS).annotation("network", json!(wider));
        let refused = wide.offer(&client).await;
        assert_eq!(refused.status.as_u16(), 400, "{wider}: {}", refused.text());
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains("may only narrow it"), "{error}");
    }
    // What an action was allowed before its namespace was narrowed counts no more.
    said(node.data(), &["limits", "set", "guest", "--network", &format!("allow:{NAME}")]);
    assert_reaches(&client, "narrower", (&narrower, &[], &[lent, public, NAME])).await;
    assert_reaches(&client, "plain", ("its name", &[NAME], &[lent])).await;
}

async fn changes() {
    let node = machine();
    let client = node.client();
    let public = PUBLIC.to_string();
    Function::nodejs("look", SURROUNDINGS).put(&client).await;
    let only_the_door = "allow:";
    for (policy, is_reached) in
        [("internet", true), ("none", false), ("internet", true), (only_the_door, false)]
    {
        said(node.data(), &["limits", "set", "guest", "--network", policy]);
        for _ in 0..2 {
            assert_eq!(reaches(&client, "look", &[&public]).await, [is_reached], "{policy}");
        }
    }
}

async fn refusals() {
    let node = node().start();
    let client = node.client();
    let long = "x".repeat(100_000);
    let many = format!("allow:{}", (0..65).map(|n| format!("h{n}.example")).collect::<Vec<_>>().join(","));
    for (policy, text) in [
        (json!("some"), "\"some\" is not a network policy; there are none, internet, allow:DESTINATION,…."),
        (json!(7), "7 is not a network policy; "),
        (json!(["none"]), "[\"none\"] is not a network policy; "),
        (json!(null), "null is not a network policy; "),
        (json!("allow:a b"), "\"a b\" is not a destination: "),
        (
            json!("allow:a.example:0"),
            "\"a.example:0\" is not a destination: a port is a number from 1 to 65535. ",
        ),
        (json!("allow:[::1]:80"), "\"[::1]:80\" is not a destination: functions speak IPv4 only. "),
        (json!(format!("allow:{long}")), "\"xxxx"),
        (json!(many), "A network policy allows at most 64 destinations."),
        (json!("allow:192.168.0.0/24"), "The annotation 'network' asks for '192.168.0.0/24', which the "),
    ] {
        let refused =
            Function::nodejs("bad", SURROUNDINGS).annotation("network", policy.clone()).offer(&client).await;
        assert_eq!(refused.status.as_u16(), 400, "{policy}: {}", refused.text());
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(text) && error.len() < 600, "{error}");
    }
    // Of a namespace, and what is refused changes nothing.
    Function::nodejs("good", SURROUNDINGS)
        .annotation("network", json!("allow:[a.example, 203.0.113.9:443]"))
        .put(&client)
        .await;
}

async fn images() {
    const SHELL: &str = "chasen-test/shell:1";
    let node = node().start();
    let client = node.client();
    import(&node, &of_shell(SHELL).expect("its parts are there"));
    // Two lines are the table's head.
    let script = "#!/bin/sh\nprintf '{\"links\":%d}' \"$(($(wc -l < /proc/net/dev) - 2))\"";
    for (policy, links) in [("internet", 2), ("none", 1), ("allow:", 2)] {
        let name = policy.trim_end_matches(':');
        let function = Function::of_image(name, SHELL, Some(script)).annotation("network", json!(policy));
        function.put(&client).await;
        let called = call(&client, name, &json!({})).await;
        assert_eq!(called.result()["links"], links, "{policy}: {}", called.text);
    }
}

async fn plain() {
    let node = node().argument("--insecure-process").start();
    let client = node.client();
    Function::nodejs("open", DOOR).put(&client).await;
    assert_eq!(call(&client, "open", &json!({})).await.result()["status"], 200);
    for policy in ["none", "allow:a.example"] {
        Function::nodejs("kept", DOOR).annotation("network", json!(policy)).put(&client).await;
        let called = call(&client, "kept", &json!({})).await;
        let (status, error) = called.failure();
        assert_eq!(status, "action developer error", "{}", called.text);
        assert!(
            error.contains(&format!("The network policy {policy} of this action cannot be kept by")),
            "{error}"
        );
    }
}

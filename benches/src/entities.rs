//! Creating, reading, changing and deleting entities of a large namespace, and firing a trigger with many rules.

use std::time::Instant;

use crate::http::Client;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};
use crate::{Failure, kinds, load};

const ACTIONS: u64 = 10_000;
const PACKAGES: u64 = 1_000;
const RULES: u64 = 10_000;
/// The rules hang on this many triggers.
const TRIGGERS: u64 = 10;
const REPETITIONS: usize = 5;
const SAMPLES: u64 = 100;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    eprintln!("entities: {ACTIONS} actions, {PACKAGES} packages, {RULES} rules");
    let action = br#"{"exec":{"kind":"nodejs:default","code":"function main() { return {}; }"},"parameters":[{"key":"a","value":"b"}]}"#;
    let rule = |number: u64| format!(r#"{{"trigger":"/_/t{}","action":"/_/a{number}"}}"#, number % TRIGGERS);
    let put = |path: String, body: Vec<u8>| {
        move |client: &mut Client| client.send("PUT", &path, &body)?.expect(200)
    };
    load::times(&node.host, 4, ACTIONS, &|client, n| put(format!("/actions/a{n}"), action.to_vec())(client))?;
    load::times(&node.host, 4, PACKAGES, &|client, n| {
        put(format!("/packages/p{n}"), b"{}".to_vec())(client)
    })?;
    load::times(&node.host, 4, TRIGGERS, &|client, n| {
        put(format!("/triggers/t{n}"), b"{}".to_vec())(client)
    })?;
    load::times(&node.host, 4, RULES, &|client, n| {
        put(format!("/rules/r{n}"), rule(n).into_bytes())(client)
    })?;

    let pressure = Pressure::begin();
    let packaged = |n: u64| format!("p{}/x{n}", n % PACKAGES);
    for (collection, name, body) in [
        (
            "actions",
            &(|n: u64| format!("x{n}")) as &dyn Fn(u64) -> String,
            &(|_: u64| action.to_vec()) as &dyn Fn(u64) -> Vec<u8>,
        ),
        ("actions", &packaged, &|_| action.to_vec()),
        ("packages", &|n| format!("x{n}"), &|_| b"{}".to_vec()),
        ("triggers", &|n| format!("y{n}"), &|_| b"{}".to_vec()),
        ("rules", &|n| format!("z{n}"), &|n| rule(n).into_bytes()),
    ] {
        let what =
            name(0).split('/').next().filter(|first| first.starts_with('p')).map_or("", |_| "packaged ");
        let mut crud = |verb: &str, query: &str, content: bool| -> Result<(), Failure> {
            let mut client = Client::connect(&node.host)?;
            let mut tails = Vec::new();
            for repetition in 0..REPETITIONS as u64 {
                let mut samples = Samples::new()?;
                for number in repetition * SAMPLES..(repetition + 1) * SAMPLES {
                    let path = format!("/{collection}/{}{query}", name(number));
                    let body = if content { body(number) } else { Vec::new() };
                    let begun = Instant::now();
                    client.send(verb, &path, &body)?.expect(200)?;
                    samples.record(begun.elapsed());
                }
                tails.push(millis(samples.at(0.99)));
            }
            let verb = if query.is_empty() { verb.to_owned() } else { format!("{verb} (update)") };
            let what = format!("{verb} {what}{collection}, p99");
            report.judge(&what, &Measured::millis(best(&tails)), Bound::at_most(20.0));
            Ok(())
        };
        crud("PUT", "", true)?;
        crud("GET", "", false)?;
        crud("PUT", "?overwrite=true", true)?;
        crud("DELETE", "", false)?;
    }
    for collection in ["actions", "packages", "triggers", "rules"] {
        let mut samples = Samples::new()?;
        for _ in 0..SAMPLES {
            let begun = Instant::now();
            client.send("GET", &format!("/{collection}?limit=200"), b"")?.expect(200)?;
            samples.record(begun.elapsed());
        }
        report.judge(
            &format!("list of 200 {collection}, p99"),
            &Measured::millis(millis(samples.at(0.99))),
            Bound::at_most(20.0),
        );
    }
    report.beside("meanwhile", pressure.share());
    Ok(())
}

/// Rules of the trigger that is fired.
const FIRED: u64 = 1_000;

pub(crate) fn fire(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("stub", &kinds::native_stub()?, 128)?;
    client.invoke("stub")?.expect(200)?;
    client.send("PUT", "/triggers/t", b"{}")?.expect(200)?;
    for number in 0..FIRED {
        let rule = br#"{"trigger":"/_/t","action":"/_/stub"}"#;
        client.send("PUT", &format!("/rules/r{number}"), rule)?.expect(200)?;
    }
    let mut answers = Vec::new();
    let mut started = Vec::new();
    for _ in 0..REPETITIONS {
        let begun = Instant::now();
        let reply = client.send("POST", "/triggers/t", b"{}")?;
        answers.push(millis(begun.elapsed()));
        reply.expect(202)?;
        let id = reply.activation_id.ok_or("no activation id")?;
        let record = loop {
            let reply = client.send("GET", &format!("/activations/{id}"), b"")?;
            if reply.status == 200 {
                break reply.body;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        started.push(millis(begun.elapsed()));
        let record: serde_json::Value = serde_json::from_slice(&record)?;
        let logs = record.pointer("/logs").and_then(|logs| logs.as_array()).ok_or("no logs")?;
        let good = logs.iter().filter(|line| line.as_str().is_some_and(|line| line.contains("activationId")));
        if good.count() as u64 != FIRED {
            return Err(format!("not every rule started its action: {logs:?}").into());
        }
    }
    report.judge(
        &format!("firing a trigger with {FIRED} rules, answer"),
        &Measured::millis(best(&answers)),
        Bound::at_most(50.0),
    );
    let what = "until its record says that every rule has started its action";
    report.beside(what, Measured::millis(best(&started)));
    Ok(())
}

//! What a soaked node works at: calls of every sort, changes of what is called, failures, time limits, cancellations.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chasen_client::{Client, Reply};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::random::Random;

/// Clients at a time.
const CLIENTS: u64 = 6;
/// Actions, sequences and triggers, of each so many.
const NAMES: u64 = 12;
/// Versions of each program.
const VERSIONS: u64 = 6;
/// Longest that an answer takes.
const TIMEOUT: Duration = Duration::from_secs(90);

const NAMESPACE: &str = "/api/v1/namespaces/_";

/// Programs: what they do to the node that runs them.
const PROGRAMS: [&str; 7] = [
    "echo '{\"ok\":true}'",
    "sleep 0.05; echo '{\"slept\":true}'",
    "i=0; while [ $i -lt 200 ]; do echo line $i of a log; i=$((i+1)); done; echo '{\"logged\":true}'",
    "exit 3",
    "echo '{\"error\":\"it is meant to\"}'",
    "sleep 30",
    "head -c 3000000 /dev/zero > /tmp/file; (sleep 20 &) ; echo '{\"left\":\"files and a process\"}'",
];

/// What was done, and what was answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By what was asked and the status that was answered; 0 where nothing was.
    answers: Mutex<BTreeMap<(&'static str, u16), u64>>,
    wrong: Mutex<Vec<String>>,
    keys: AtomicU64,
}

impl Work {
    /// Works for this time.
    pub(super) async fn go_on(&self, client: &Client, random: &mut Random, time: Duration) {
        let until = Instant::now() + time;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (shared, client) = (self.shared.clone(), client.clone().with_timeout(TIMEOUT));
                let mut random = Random::new(random.below(u64::MAX), 0);
                tokio::spawn(async move {
                    while Instant::now() < until {
                        shared.step(&client, &mut random).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.expect("a client ends");
        }
    }

    /// Deletes everything.
    pub(super) async fn remove_all(&self, client: &Client) {
        for collection in ["rules", "triggers", "actions"] {
            let list =
                client.get(&format!("{NAMESPACE}/{collection}?limit=200")).await.expect("the node answers");
            for entity in list.json().as_array().into_iter().flatten() {
                let name = entity["name"].as_str().unwrap_or_default();
                let reply = client.delete(&format!("{NAMESPACE}/{collection}/{name}")).await;
                assert!(reply.is_ok_and(|reply| reply.status.is_success()), "{name} cannot be deleted");
            }
        }
    }

    /// Answers that may not be.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.shared.wrong.lock().clone()
    }

    /// In a word.
    pub(super) fn summary(&self) -> String {
        let answers = self.shared.answers.lock();
        format!("{} requests, {} wrong", answers.values().sum::<u64>(), self.shared.wrong.lock().len())
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((what, status), count) in self.shared.answers.lock().iter() {
            writeln!(f, "{what}: {status} × {count}")?;
        }
        Ok(())
    }
}

impl Shared {
    async fn step(&self, client: &Client, random: &mut Random) {
        let name = format!("a{}", random.below(NAMES));
        let trigger = format!("t{}", random.below(NAMES));
        match random.below(20) {
            0..2 => self.put_action(client, random, &name).await,
            2 => self.note("delete", client.delete(&format!("{NAMESPACE}/actions/{name}")).await.ok()),
            3 => self.put_sequence(client, random).await,
            4 => self.put_rule(client, &trigger, &name).await,
            5 => self.note("delete", client.delete(&format!("{NAMESPACE}/rules/r-{trigger}")).await.ok()),
            6..8 => self.post("fire", client, &format!("triggers/{trigger}")).await,
            8 => {
                self.post("sequence", client, &format!("actions/s{}?blocking=true", random.below(NAMES)))
                    .await
            }
            9 => self.put_off_and_cancel(client, &name).await,
            10 => self.start_and_cancel(client, &name).await,
            11 => self.ask_twice(client, &name).await,
            12..16 => self.post("non-blocking", client, &format!("actions/{name}")).await,
            16 => self.list(client).await,
            _ => self.post("blocking", client, &format!("actions/{name}?blocking=true")).await,
        }
    }

    /// Another program, or the same once more. There are so few that each was there in the warm-up: what is unpacked and
    /// not used any more is kept for an hour.
    async fn put_action(&self, client: &Client, random: &mut Random, name: &str) {
        let program = PROGRAMS[usize::try_from(random.below(PROGRAMS.len() as u64)).unwrap_or_default()];
        let code = format!("#!/bin/sh\n# {}\n{program}\n", random.below(VERSIONS));
        let exec = json!({"kind": "blackbox", "image": "openwhisk/dockerskeleton", "code": code});
        let delivery = if random.one_in(2) { "at-most-once" } else { "at-least-once" };
        let document = json!({
            "exec": exec,
            "limits": {"timeout": 500, "memory": 128, "logs": 1},
            "annotations": [{"key": "delivery", "value": delivery}],
        });
        self.put(client, &format!("actions/{name}"), &document).await;
    }

    async fn put_sequence(&self, client: &Client, random: &mut Random) {
        let components: Vec<String> = (0..3).map(|_| format!("/_/a{}", random.below(NAMES))).collect();
        let document = json!({"exec": {"kind": "sequence", "components": components}});
        self.put(client, &format!("actions/s{}", random.below(NAMES)), &document).await;
    }

    async fn put_rule(&self, client: &Client, trigger: &str, action: &str) {
        self.put(client, &format!("triggers/{trigger}"), &json!({})).await;
        let rule = json!({"trigger": format!("/_/{trigger}"), "action": format!("/_/{action}")});
        self.put(client, &format!("rules/r-{trigger}"), &rule).await;
    }

    async fn put(&self, client: &Client, path: &str, document: &Value) {
        let reply = client.put(&format!("{NAMESPACE}/{path}?overwrite=true"), document).await;
        self.note("put", reply.ok());
    }

    async fn post(&self, what: &'static str, client: &Client, path: &str) {
        let reply = client.post(&format!("{NAMESPACE}/{path}"), &json!({"from": what})).await;
        self.note(what, reply.ok());
    }

    async fn put_off_and_cancel(&self, client: &Client, name: &str) {
        let path = format!("{NAMESPACE}/actions/{name}?delay=3600");
        let reply = client.post(&path, &json!({})).await.ok();
        self.cancel(client, reply, "put off").await;
    }

    async fn start_and_cancel(&self, client: &Client, name: &str) {
        let reply = client.post(&format!("{NAMESPACE}/actions/{name}"), &json!({})).await.ok();
        self.cancel(client, reply, "started").await;
    }

    async fn cancel(&self, client: &Client, reply: Option<Reply>, what: &'static str) {
        let id = reply.as_ref().and_then(|reply| reply.json()["activationId"].as_str().map(str::to_owned));
        self.note(what, reply);
        if let Some(id) = id {
            self.note("cancel", client.delete(&format!("{NAMESPACE}/activations/{id}")).await.ok());
        }
    }

    async fn ask_twice(&self, client: &Client, name: &str) {
        let key = format!("{}-{}", crate::now(), self.keys.fetch_add(1, Ordering::Relaxed));
        let uri = format!("{}{NAMESPACE}/actions/{name}?blocking=true", client.base());
        let request = || {
            let request = http::Request::post(&uri).header("idempotency-key", &key);
            request.header("content-type", "application/json").body("{}".into()).expect("a request")
        };
        let (one, other) = tokio::join!(client.send(request()), client.send(request()));
        for reply in [one, other] {
            self.note("keyed", reply.ok());
        }
    }

    async fn list(&self, client: &Client) {
        self.note("list", client.get(&format!("{NAMESPACE}/activations?limit=50&docs=true")).await.ok());
        self.note("list", client.get(&format!("{NAMESPACE}/actions?limit=50")).await.ok());
    }

    /// Counts an answer. 500 is said of errors of the platform, and of activations that were cancelled or cut off, which
    /// say their id.
    fn note(&self, what: &'static str, reply: Option<Reply>) {
        let status = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
        *self.answers.lock().entry((what, status)).or_default() += 1;
        let Some(reply) = reply else {
            return self.complain(format!("{what}: no answer"));
        };
        let is_record = reply.headers.contains_key("x-openwhisk-activation-id");
        let is_known = matches!(status, 200 | 202 | 204 | 404 | 405 | 409 | 429 | 502 | 503 | 504);
        // Sequences and rules name actions that are deleted meanwhile.
        let names_nothing = what == "put" && status == 400 && reply.text().contains("does not exist");
        if !is_known && !is_record && !names_nothing {
            self.complain(format!("{what}: {status} {}", reply.text()));
        }
    }

    fn complain(&self, what: String) {
        const MOST: usize = 20;
        let mut wrong = self.wrong.lock();
        if wrong.len() < MOST {
            wrong.push(what);
        }
    }
}

//! The load under which a node dies: everything that is accepted without being waited for, and a little that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chasen_client::{Client, ClientError, Reply};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::now;
use crate::oracle::{Request, Sort};
use crate::random::Random;
use crate::witness::Witness;

/// Clients at a time.
const CLIENTS: u64 = 6;
/// Longest that a function takes, in milliseconds.
const LONGEST: u64 = 60;
/// Longest that delayed work waits, in milliseconds.
const LATEST: u64 = 1500;

/// What one node is asked for over its lives.
#[derive(Debug, Clone)]
pub struct Load {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    sorts: Vec<Sort>,
    random: Mutex<Random>,
    /// Requests that are not settled.
    requests: Mutex<Vec<Request>>,
    /// Number of the next request.
    next: AtomicU64,
    /// Requests that may still be sent in this life.
    left: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Load {
    /// Requests of these sorts, numbered from here.
    #[must_use]
    pub fn new(sorts: Vec<Sort>, random: Random, first: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                sorts,
                random: Mutex::new(random),
                requests: Mutex::default(),
                next: AtomicU64::new(first),
                left: AtomicU64::new(0),
                acknowledged: AtomicU64::new(0),
                refused: AtomicU64::new(0),
                wrong: Mutex::default(),
            }),
        }
    }

    /// Clients that send so many requests to this life of the node, or stop when it does not answer any more.
    #[must_use]
    pub fn begin(&self, client: &Client, requests: u64) -> Vec<tokio::task::JoinHandle<()>> {
        self.shared.left.store(requests, Ordering::Relaxed);
        self.shared.acknowledged.store(0, Ordering::Relaxed);
        (0..CLIENTS).map(|_| tokio::spawn(self.shared.clone().send(client.clone()))).collect()
    }

    /// Asks again for what has a key and had no answer.
    pub async fn ask_again(&self, client: &Client) {
        let open = |request: &&Request| request.sort == Sort::Keyed && request.ids.is_empty();
        let open: Vec<Request> = self.shared.requests.lock().iter().filter(open).cloned().collect();
        for mut request in open {
            let Ok(reply) = post(client, &request).await else { return };
            self.shared.note(&mut request, &reply);
            let mut requests = self.shared.requests.lock();
            requests
                .iter_mut()
                .filter(|own| own.token == request.token)
                .for_each(|own| *own = request.clone());
        }
    }

    /// Answers in this life so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// True if everything was sent that this life gets.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.shared.left.load(Ordering::Relaxed) == 0
    }

    /// How many were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// What is not settled.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().clone()
    }

    /// Takes what is settled: everything but these.
    pub fn keep(&self, open: &[u64]) {
        self.shared.requests.lock().retain(|request| open.contains(&request.token));
    }

    /// Answers that nobody may get.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.wrong.lock())
    }
}

impl Shared {
    async fn send(self: Arc<Self>, client: Client) {
        while self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let mut request = self.draw();
            // Known before it is sent: whatever comes of it is this request's.
            self.requests.lock().push(request.clone());
            let answered = match request.sort {
                Sort::Keyed => {
                    let (one, other) = tokio::join!(post(&client, &request), post(&client, &request));
                    [one, other].into_iter().flatten().map(|reply| self.note(&mut request, &reply)).count()
                        == 2
                }
                _ => post(&client, &request).await.map(|reply| self.note(&mut request, &reply)).is_ok(),
            };
            let mut requests = self.requests.lock();
            requests
                .iter_mut()
                .filter(|own| own.token == request.token)
                .for_each(|own| *own = request.clone());
            drop(requests);
            if !answered {
                return;
            }
        }
    }

    fn draw(&self) -> Request {
        let mut random = self.random.lock();
        let sort = self.sorts[usize::try_from(random.below(self.sorts.len() as u64)).unwrap_or_default()];
        let due = (sort == Sort::Delayed).then(|| now() + random.below(LATEST));
        let token = self.next.fetch_add(1, Ordering::Relaxed);
        Request { token, sort, due, ids: Vec::new(), acknowledged: None }
    }

    fn note(&self, request: &mut Request, reply: &Reply) {
        let status = reply.status.as_u16();
        match reply.json()["activationId"].as_str() {
            Some(id) if matches!(status, 200 | 202 | 500 | 502) => {
                request.ids.push(id.to_owned());
                request.acknowledged.get_or_insert_with(now);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            _ if status == 503 || status == 429 => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.wrong.lock().push(format!(
                "{} was answered {status} {}",
                request.sort.name(),
                reply.text()
            )),
        }
    }
}

async fn post(client: &Client, request: &Request) -> Result<Reply, ClientError> {
    let (collection, query) = match request.sort {
        Sort::Fire => ("triggers", String::new()),
        Sort::Blocking => ("actions", "?blocking=true".to_owned()),
        // As a time, so that a request that is repeated says the same.
        Sort::Delayed => ("actions", format!("?delay={}", seconds_until(request.due.unwrap_or_default()))),
        _ => ("actions", String::new()),
    };
    let uri = format!("{}/api/v1/namespaces/_/{collection}/{}{query}", client.base(), request.sort.target());
    let mut message = http::Request::post(uri).header("content-type", "application/json");
    if request.sort == Sort::Keyed {
        message = message.header("idempotency-key", format!("key-{}", request.token));
    }
    let body = body(request).to_string();
    client.send(message.body(body.into()).expect("a request")).await
}

/// What goes through all steps; how long a function takes follows from the token.
fn body(request: &Request) -> Value {
    let ms = Random::new(request.token, 0).below(LONGEST);
    json!({"token": request.token, "witness": Witness::address(), "ms": ms})
}

/// Seconds with three digits.
fn seconds_until(due: u64) -> String {
    let left = due.saturating_sub(now());
    format!("{}.{:03}", left / 1000, left % 1000)
}

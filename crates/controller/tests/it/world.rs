//! A controller with two tenants, a small manifest, and executions that follow the name of the action.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chasen_controller::{Controller, ControllerConfig, Parts};
use chasen_entity::{
    Activation, AuthKey, EntityName, Event, Invocation, Manifest, Outcome, Parameters, RawJson,
    Response as ActivationResponse, Subject,
};
use chasen_spi::memory::{MemoryAttachmentStore, MemoryEntitlement, MemoryEventLog, MemorySubjectStore};
use chasen_spi::{
    ArtifactStore, Collection, Document, DocumentId, DocumentQuery, EventLog, Invoke, NoLock, OpenSession,
    Rejection, Runtimes, Session, SubjectDocument, SubjectNamespace, SubjectStore, Ticket,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};

use crate::client::{Connection, Request, Response, SOON};
use crate::gated_store::GatedStore;

const MANIFEST: &str = r#"{"runtimes":{
    "nodejs":[
        {"kind":"nodejs:20","image":{"prefix":"openwhisk","name":"action-nodejs-v20","tag":"nightly"},"default":true,"attached":{}},
        {"kind":"nodejs:6","image":{"prefix":"openwhisk","name":"action-nodejs-v6"},"deprecated":true,"attached":{}}],
    "python":[{"kind":"python:3.11","image":{"name":"p"},"attached":{}}]}}"#;

/// Credentials of the tenant `guest`.
pub(crate) fn guest() -> String {
    format!("guest-id:{}", "g".repeat(64))
}

/// Credentials of the tenant `alice`.
pub(crate) fn alice() -> String {
    format!("alice-id:{}", "a".repeat(64))
}

/// Everything a test holds.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) controller: Arc<Controller>,
    pub(crate) subjects: Arc<MemorySubjectStore>,
    pub(crate) artifacts: Arc<GatedStore>,
    pub(crate) grants: Arc<MemoryEntitlement>,
    pub(crate) log: Arc<MemoryEventLog>,
    pub(crate) invoker: Arc<FakeInvoke>,
    shutdown: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

/// Runs actions by name: `array`, `failing`, `broken`, `whisk`, `silent`, `slow`, `overloaded`, `panics`; `returns` and
/// `fails` with the argument `result`; `conductor` follows its argument `plan`, and fails if it is told of an error;
/// every other one echoes its arguments.
pub(crate) struct FakeInvoke {
    log: Arc<MemoryEventLog>,
    pub(crate) taken: Mutex<Vec<Invocation>>,
    /// Lets every `slow` one that waits finish.
    pub(crate) release: Arc<Notify>,
}

impl Invoke for FakeInvoke {
    #[allow(clippy::panic_in_result_fn, reason = "the panic is the case")]
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        let name = invocation.action.name.name.to_string();
        match name.as_str() {
            "overloaded" => return Err(Rejection::Overloaded),
            "draining" => return Err(Rejection::Draining),
            "panics" => panic!("a defect"),
            _ => {}
        }
        self.taken.lock().push(invocation.clone());
        let (log, release) = (self.log.clone(), self.release.clone());
        Ok(Ticket::new(Box::pin(async move {
            if name == "slow" {
                release.notified().await;
            }
            let record = Arc::new(record(&invocation, &name));
            log.append(&Event::Finished(record.clone())).unwrap();
            record
        })))
    }

    fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        self.log.append(&Event::Accepted(invocation.clone())).unwrap();
        self.reopen(invocation)
    }

    fn reopen(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        Ok(Box::new(FakeSession { log: self.log.clone(), invocation }))
    }
}

/// Work that the controller does itself; a session that is dropped writes nothing.
struct FakeSession {
    log: Arc<MemoryEventLog>,
    invocation: Arc<Invocation>,
}

impl OpenSession for FakeSession {
    fn started(&self) {
        let activation_id = self.invocation.activation_id;
        self.log.append(&Event::Started { activation_id, attempt: self.invocation.attempt, at: 1 }).unwrap();
    }

    fn finish(self: Box<Self>, record: Activation) -> Arc<Activation> {
        let record = Arc::new(record);
        let kept = self.invocation.store.keeps(record.response.outcome);
        let event = if kept { Event::Finished(record.clone()) } else { Event::Ended(record.activation_id) };
        self.log.append(&event).unwrap();
        record
    }
}

fn record(invocation: &Invocation, name: &str) -> Activation {
    let (outcome, result) = match name {
        "array" => (Outcome::Success, Some(RawJson::parse(b"[1,2]").unwrap())),
        "failing" => (Outcome::ApplicationError, Some(RawJson::error("no"))),
        "broken" => (Outcome::DeveloperError, Some(RawJson::error("died"))),
        "whisk" => (Outcome::WhiskError, Some(RawJson::error("lost"))),
        "silent" => (Outcome::Success, None),
        "returns" => (Outcome::Success, invocation.arguments.get("result")),
        "fails" => (
            Outcome::ApplicationError,
            invocation.arguments.get("result").map(|result| RawJson::error(&result)),
        ),
        "conductor" => conducted(&invocation.arguments),
        _ => (Outcome::Success, Some(invocation.arguments.clone())),
    };
    let mut annotations = Parameters::new();
    annotations.set("path", &invocation.action.name.to_string());
    annotations.set("limits", &invocation.action.limits);
    Activation {
        start: invocation.accepted_at,
        end: invocation.accepted_at + 2,
        logs: vec!["2026-01-01T00:00:00Z           stdout: hi".to_owned()],
        annotations,
        ..Activation::of(invocation, ActivationResponse { outcome, result, size: Some(2) })
    }
}

/// The first entry of `plan`; the others come back with the state.
fn conducted(arguments: &RawJson) -> (Outcome, Option<RawJson>) {
    let mut arguments: Value = arguments.read().unwrap();
    if let Some(error) = arguments.get("error") {
        return (Outcome::ApplicationError, Some(RawJson::error(error)));
    }
    let plan = match arguments["plan"].take() {
        Value::Array(plan) => plan,
        _ => Vec::new(),
    };
    let result = match plan.split_first() {
        Some((step, rest)) => {
            let mut step = step.clone();
            if step.get("state").is_none() {
                step["state"] = json!({ "plan": rest });
            }
            step
        }
        None => {
            arguments.as_object_mut().unwrap().remove("plan");
            arguments
        }
    };
    (Outcome::Success, Some(RawJson::from_value(&result)))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ControllerConfig)) -> Self {
        Self::of(|parts| change(&mut parts.config)).await
    }

    /// One whose parts are changed before they are put together.
    pub(crate) async fn of(change: impl FnOnce(&mut Parts)) -> Self {
        let subjects = Arc::new(MemorySubjectStore::default());
        for (name, credentials) in [("guest", guest()), ("alice", alice())] {
            let auth_key = AuthKey::parse(&credentials).unwrap();
            let namespaces = vec![SubjectNamespace { name: EntityName::new(name).unwrap(), auth_key }];
            let subject =
                SubjectDocument { subject: Subject::new(name).unwrap(), blocked: false, namespaces };
            subjects.put(&subject).await.unwrap();
        }
        let log = Arc::new(MemoryEventLog::default());
        let invoker =
            Arc::new(FakeInvoke { log: log.clone(), taken: Mutex::default(), release: Arc::default() });
        let artifacts = Arc::new(GatedStore::default());
        let grants = Arc::new(MemoryEntitlement::default());
        let mut parts = Parts {
            artifacts: artifacts.clone(),
            attachments: Arc::new(MemoryAttachmentStore::default()),
            subjects: subjects.clone(),
            activations: log.clone(),
            invoke: invoker.clone(),
            entitlement: grants.clone(),
            parameter_lock: Arc::new(NoLock),
            runtimes: Runtimes::new(Manifest::parse(MANIFEST).unwrap()),
            config: ControllerConfig::default(),
        };
        change(&mut parts);
        let controller = Controller::new(parts);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, mut stop) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let serving = controller.clone();
        tokio::spawn(async move {
            let stopped = async {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            serving.serve(listener, stopped).await;
            let _ = end.send(());
        });
        Self { address, controller, subjects, artifacts, grants, log, invoker, shutdown, ended }
    }

    /// Every entity there is, as stored: what a refused request leaves as it was.
    pub(crate) async fn entities(&self) -> Vec<Document> {
        let mut all = Vec::new();
        for path in ["guest", "alice", "whisk.system"] {
            for collection in
                [Collection::Actions, Collection::Packages, Collection::Rules, Collection::Triggers]
            {
                let query = DocumentQuery {
                    collection,
                    path: path.to_owned(),
                    path_exact: false,
                    public_only: false,
                    skip: 0,
                    limit: u64::MAX,
                };
                all.extend(self.artifacts.list(&query).await.unwrap());
            }
        }
        all
    }

    /// Sends a request that is refused with this status and text, and that changes and starts nothing.
    pub(crate) async fn refused(&self, request: Request, status: u16, text: &str) -> Response {
        let shown = String::from_utf8_lossy(&request.bytes()).chars().take(400).collect::<String>();
        let before = (self.entities().await, self.taken());
        let response = self.send(request).await;
        assert_eq!((response.status, response.error().as_str()), (status, text), "{shown}");
        assert!(response.json()["code"].is_string(), "{shown}");
        assert_eq!((self.entities().await, self.taken()), before, "{shown}");
        response
    }

    /// How much work was taken in.
    fn taken(&self) -> usize {
        self.log.events().iter().filter(|event| matches!(event, Event::Accepted(_))).count()
            + self.invoker.taken.lock().len()
    }

    /// Puts a document into the store past the controller.
    pub(crate) async fn store(&self, collection: Collection, path: &str, name: &str, body: &str) {
        let document = Document {
            id: DocumentId { path: path.to_owned(), name: name.to_owned() },
            collection,
            revision: 0,
            updated: 1,
            public: false,
            attachment: None,
            body: body.to_owned(),
        };
        self.artifacts.put(document).await.unwrap();
    }

    /// The text of a document in the store.
    pub(crate) async fn stored(&self, path: &str, name: &str) -> String {
        let id = DocumentId { path: path.to_owned(), name: name.to_owned() };
        self.artifacts.get(&id).await.unwrap().unwrap().body
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request) -> Response {
        Connection::open(self.address).await.send(&request).await
    }

    /// Sends a request of the tenant `guest`.
    pub(crate) async fn guest(&self, line: &str) -> Response {
        self.send(Request::new(line).auth(&guest())).await
    }

    /// Sends a request of the tenant `guest` with a JSON body.
    pub(crate) async fn guest_json(&self, line: &str, body: impl ToString) -> Response {
        self.send(Request::new(line).auth(&guest()).json(body)).await
    }

    /// Creates an action of the tenant `guest`.
    pub(crate) async fn create(&self, name: &str, extra: &str) {
        let body = format!(r#"{{"exec":{{"kind":"nodejs:20","code":"function main() {{}}"}}{extra}}}"#);
        let response = self.guest_json(&format!("PUT /api/v1/namespaces/_/actions/{name}"), body).await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Begins the end.
    pub(crate) fn stop(&self) {
        self.shutdown.send_replace(true);
    }

    /// Waits until serving has ended.
    pub(crate) async fn wait_for_end(self) {
        tokio::time::timeout(SOON, self.ended).await.expect("drained in time").unwrap();
    }
}

/// Waits for something that is about to happen.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Lets the clock of documents, which counts milliseconds, move on.
pub(crate) fn later() {
    let before = std::time::SystemTime::now();
    while before.elapsed().is_ok_and(|elapsed| elapsed < Duration::from_millis(2)) {
        std::thread::yield_now();
    }
}

//! A controller with two tenants, a small manifest, and executions that follow the name of the action.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chasen_controller::{Controller, ControllerConfig, Parts};
use chasen_entity::{AuthKey, EntityName, Event, Manifest, Role, Subject};
use chasen_spi::event_log::Unfinished;
use chasen_spi::memory::{
    MemoryAttachmentStore, MemoryDeadLetterStore, MemoryEntitlement, MemoryEventLog, MemoryIdempotencyStore,
    MemorySubjectStore,
};
use chasen_spi::{
    ArtifactStore, Collection, Document, DocumentId, DocumentQuery, EventLog, Invoke, NoLock, Resumed,
    Runtimes, Sessions, SubjectDocument, SubjectNamespace, SubjectStore,
};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::client::{Connection, Request, Response, SOON};
use crate::fake_invoke::FakeInvoke;
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
    pub(crate) letters: Arc<MemoryDeadLetterStore>,
    keys: Arc<MemoryIdempotencyStore>,
    pub(crate) invoker: Arc<FakeInvoke>,
    shutdown: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
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
        let kept = Kept {
            subjects,
            artifacts: Arc::default(),
            grants: Arc::default(),
            log: Arc::default(),
            letters: Arc::default(),
            keys: Arc::default(),
        };
        Self::on(kept, change).await
    }

    /// One on the stores of this one after a crash, its work not yet taken up.
    pub(crate) async fn next_life(&self, change: impl FnOnce(&mut Parts)) -> Self {
        let kept = Kept {
            subjects: self.subjects.clone(),
            artifacts: self.artifacts.clone(),
            grants: self.grants.clone(),
            log: Arc::new(self.log.next_life(false)),
            letters: self.letters.clone(),
            keys: self.keys.clone(),
        };
        Self::on(kept, change).await
    }

    /// Takes up what an earlier life left: steps belong to what they are steps of.
    pub(crate) fn recover(&self) {
        for id in self.log.inherited() {
            let Some(work) = self.log.accepted(&id).unwrap() else { continue };
            let is_step = work.cause.is_some_and(|cause| self.log.accepted(&cause).unwrap().is_some());
            if is_step {
                continue;
            }
            match self.invoker.take_up(&id).unwrap() {
                Resumed::Action(ticket) => ticket.detach(),
                Resumed::Session(session, work) => self.controller.take_up(session, work),
                _ => assert_ne!(work.role, Role::Action, "nobody else takes it up"),
            }
        }
    }

    /// Hands work to the controller as the scheduler does.
    pub(crate) fn take_up(&self, work: Unfinished) {
        let session = self.invoker.session(work.invocation.clone());
        self.controller.take_up(session, work);
    }

    /// Lets everything be due that waits for its time.
    pub(crate) fn let_due(&self) {
        for work in self.invoker.let_due() {
            self.take_up(work);
        }
    }

    /// How many activations have ended.
    pub(crate) fn ended(&self) -> usize {
        let is_end = |event: &&Event| matches!(event, Event::Finished(_) | Event::Ended(_));
        self.log.events().iter().filter(is_end).count()
    }

    /// True if everything that was accepted has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.log.inherited().is_empty()
    }

    async fn on(kept: Kept, change: impl FnOnce(&mut Parts)) -> Self {
        let Kept { subjects, artifacts, grants, log, letters, keys } = kept;
        let invoker = Arc::new(FakeInvoke::new(log.clone()));
        let mut parts = Parts {
            artifacts: artifacts.clone(),
            attachments: Arc::new(MemoryAttachmentStore::default()),
            subjects: subjects.clone(),
            activations: log.clone(),
            dead_letters: letters.clone(),
            idempotency: keys.clone(),
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
        Self {
            address,
            controller,
            subjects,
            artifacts,
            grants,
            log,
            letters,
            keys,
            invoker,
            shutdown,
            ended,
        }
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

/// What outlives a node.
struct Kept {
    subjects: Arc<MemorySubjectStore>,
    artifacts: Arc<GatedStore>,
    grants: Arc<MemoryEntitlement>,
    log: Arc<MemoryEventLog>,
    letters: Arc<MemoryDeadLetterStore>,
    keys: Arc<MemoryIdempotencyStore>,
}

/// Waits for something that is about to happen.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits for a calendar minute that lasts: rates are counted by them.
pub(crate) async fn early_in_a_minute() {
    let millis = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    while millis() % 60_000 > 40_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Lets the clock of documents, which counts milliseconds, move on.
pub(crate) fn later() {
    let before = std::time::SystemTime::now();
    while before.elapsed().is_ok_and(|elapsed| elapsed < Duration::from_millis(2)) {
        std::thread::yield_now();
    }
}

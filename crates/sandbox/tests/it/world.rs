//! What tests of containers need: a factory of their own, actions, and calls in one line.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chasen_entity::exec::{BLACKBOX, Code};
use chasen_entity::manifest::Manifest;
use chasen_entity::response::Answer;
use chasen_entity::{
    ActionLimits, ByteSize, EntityName, EntityPath, Exec, ExecutableAction, FullyQualifiedName, Invocation,
    NetworkPolicy, Parameters, PayloadLimits, Response, TransactionId, Version,
};
use chasen_sandbox::factory::{SandboxConfig, SandboxFactory};
use chasen_spi::container_factory::{
    Container, ContainerFactory, ContainerSpec, CreateError, InitCode, RunReply,
};

use chasen_spi::Runtimes;
use chasen_spi::memory::invocation;

use crate::house::{PATIENCE, own_exe};

pub(crate) const NODE: &str = "nodejs:20";
pub(crate) const PYTHON: &str = "python:3.11";
pub(crate) const PHP: &str = "php:8.1";
pub(crate) const RUBY: &str = "ruby:2.5";
/// Executables started anew for every run.
pub(crate) const NATIVE: &str = "openwhisk/dockerskeleton";
/// Executables that speak lines.
pub(crate) const LINES: &str = "openwhisk/actionloop-base";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A factory with a data folder of its own.
pub(crate) struct World {
    pub(crate) factory: SandboxFactory,
    pub(crate) node_id: String,
    pub(crate) data: tempfile::TempDir,
}

/// A container and the action that it is for.
pub(crate) struct Guest {
    pub(crate) container: Arc<dyn Container>,
    pub(crate) action: Arc<ExecutableAction>,
    text: String,
}

/// An action to be.
pub(crate) struct Draft {
    /// A kind, or an image.
    kind: &'static str,
    text: String,
    binary: bool,
    pub(crate) main: Option<String>,
    pub(crate) limits: ActionLimits,
    namespace: &'static str,
}

impl Draft {
    pub(crate) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        let limits = ActionLimits::default();
        Self { kind, text: text.into(), binary: false, main: None, limits, namespace: "guest" }
    }

    pub(crate) fn archive(kind: &'static str, bytes: &[u8]) -> Self {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(bytes);
        Self { binary: true, ..Self::new(kind, text) }
    }

    /// Of another namespace than `guest`.
    pub(crate) fn of(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    pub(crate) fn timeout(mut self, millis: u32) -> Self {
        self.limits.timeout = millis;
        self
    }

    pub(crate) fn concurrency(mut self, runs: u32) -> Self {
        self.limits.concurrency = runs;
        self
    }

    pub(crate) fn memory(mut self, mb: u32) -> Self {
        self.limits.memory = mb;
        self
    }

    fn is_image(&self) -> bool {
        self.kind.contains('/')
    }
}

impl World {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), change).await
    }

    /// With a data folder that may have seen another factory.
    pub(crate) async fn open_in(data: tempfile::TempDir, change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let node_id = format!("w{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let runtimes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes").canonicalize().unwrap();
        let manifest = std::fs::read_to_string(runtimes.join("runtimes.json")).unwrap();
        let runtimes_now = Runtimes::new(Manifest::parse(&manifest).unwrap());
        let mut config = SandboxConfig::new(own_exe(), data.path(), &node_id, runtimes_now);
        config.runtimes_dir = runtimes;
        config.start_deadline = PATIENCE;
        change(&mut config);
        Self { factory: SandboxFactory::open(config).await.unwrap(), node_id, data }
    }

    /// A container that waits for its action; `None`, and said so, if the machine lacks the interpreter.
    pub(crate) async fn create(&self, draft: Draft) -> Option<Guest> {
        match self.try_create(draft).await {
            Ok(guest) => Some(guest),
            Err(CreateError::NotRunnable(why)) => {
                println!("skipped: {why}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The same, for tests that expect failures.
    pub(crate) async fn try_create(&self, draft: Draft) -> Result<Guest, CreateError> {
        let spec = ContainerSpec {
            kind: if draft.is_image() { BLACKBOX.to_owned() } else { draft.kind.to_owned() },
            image: draft.is_image().then(|| draft.kind.to_owned()),
            memory: ByteSize::mb(u64::from(draft.limits.memory)),
            network: NetworkPolicy::Internet,
        };
        assert!(self.factory.serves(&spec.kind, spec.image.as_deref()));
        let container = self.factory.create(&spec).await?;
        let namespace = EntityName::new(draft.namespace).unwrap();
        let action = ExecutableAction {
            name: FullyQualifiedName::new(EntityPath::root(&namespace), EntityName::new("hello").unwrap()),
            version: Version::default(),
            revision: 1,
            exec: Exec {
                kind: spec.kind,
                code: Some(Code { digest: draft.text.clone(), length: draft.text.len() as u64 }),
                binary: draft.binary,
                main: draft.main,
                image: spec.image,
                ..Exec::default()
            },
            limits: draft.limits,
            annotations: Parameters::new(),
            superseded: false,
            texts: chasen_entity::action::Texts::default(),
        };
        Ok(Guest { container, action: Arc::new(action), text: draft.text })
    }

    /// A container that is initialised.
    pub(crate) async fn start(&self, draft: Draft) -> Option<Guest> {
        let guest = self.create(draft).await?;
        let reply = guest.init().await;
        assert_eq!(reply.answer, Answer::Ok(Vec::new()), "{:?}", reply.logs);
        Some(guest)
    }
}

impl Guest {
    pub(crate) async fn init(&self) -> RunReply {
        let code = InitCode { action: Arc::clone(&self.action), text: Some(self.text.clone().into()) };
        self.container.init(&self.invocation("{}"), code).await
    }

    pub(crate) async fn run(&self, arguments: &str) -> RunReply {
        self.run_telling(arguments, &|| {}).await
    }

    pub(crate) async fn run_telling(&self, arguments: &str, sent: &(dyn Fn() + Sync)) -> RunReply {
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + self.limit();
        let deadline = u64::try_from(deadline.as_millis()).unwrap();
        self.container.run(&self.invocation(arguments), deadline, sent).await
    }

    /// The result's text after a run, as the record will have it.
    pub(crate) async fn result(&self, arguments: &str) -> String {
        self.text_of(&self.run(arguments).await)
    }

    pub(crate) fn text_of(&self, reply: &RunReply) -> String {
        let response = Response::of_run(reply.answer.clone(), self.limit(), &PayloadLimits::default());
        response.result.unwrap().as_str().to_owned()
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(u64::from(self.action.limits.timeout))
    }

    pub(crate) fn invocation(&self, arguments: &str) -> Invocation {
        Invocation {
            transaction_id: TransactionId::from_client(Some("tid")),
            action: Arc::clone(&self.action),
            ..invocation("guest", "hello", "any", arguments)
        }
    }
}

/// The lines without their times.
pub(crate) fn texts(reply: &RunReply) -> Vec<&str> {
    reply.logs.iter().map(|line| line.get(31..).unwrap_or(line)).collect()
}

/// A zip archive of these files, each a program.
pub(crate) fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

//! What every test needs: the engine, images, a factory of its own, containers in one line.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chasen_docker::{DockerConfig, DockerFactory, PullPolicy};
use chasen_entity::exec::BLACKBOX;
use chasen_entity::manifest::Manifest;
use chasen_entity::{ByteSize, ExecutableAction, Invocation, NetworkPolicy, PayloadLimits};
use chasen_spi::container_factory::InitCode;
use chasen_spi::memory::invocation;
use chasen_spi::{Container, ContainerFactory, ContainerSpec, CreateError, RunReply, Runtimes};
use chasen_test_images::{Image, of_shell};
use chasen_testkit::docker::{self, Daemon};
use libtest_mimic::{Completion, Trial};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// An image whose entry point runs executables, each anew for every run.
pub(crate) const SHELL: &str = "chasen-test/shell:1";
/// Kind whose image that is.
pub(crate) const SHELL_KIND: &str = "shell:1";
/// Kind whose image marks no log's end, as the manifest says, and one of which it says nothing.
pub(crate) const UNMARKED_KIND: &str = "silent:1";
pub(crate) const FORGETFUL_KIND: &str = "silent:2";
/// Their image.
const UNMARKED: &str = r#"{"prefix":"chasen-test","name":"unmarked","tag":"1"}"#;
/// What the platform would run itself.
pub(crate) const OWN: &str = "openwhisk/dockerskeleton";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The engine of all tests, with its images.
pub(crate) fn engine() -> Result<Arc<Daemon>, String> {
    static LOADED: OnceLock<()> = OnceLock::new();
    let image = shell_image(SHELL)?;
    let daemon = docker::engine()?;
    LOADED.get_or_init(|| daemon.load(&image.docker_archive()));
    Ok(daemon)
}

/// An image whose entry point runs executables, each anew for every run.
pub(crate) fn shell_image(reference: &str) -> Result<Image, String> {
    of_shell(reference).ok_or_else(|| "the parts of its image are missing".to_owned())
}

/// A test with the engine of all.
pub(crate) fn test<F>(name: &'static str, body: fn(Arc<Daemon>) -> F) -> Trial
where
    F: Future<Output = ()> + 'static,
{
    Trial::ignorable_test(name, move || {
        match engine() {
            Ok(daemon) => wait_for(body(daemon)),
            Err(reason) => return Ok(Completion::ignored_with(reason)),
        }
        Ok(Completion::Completed)
    })
}

/// Runs what waits for things.
pub(crate) fn wait_for(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(body);
}

/// A name that no other node has.
pub(crate) fn node_id() -> String {
    format!("{:x}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The settings of most tests.
pub(crate) fn config(daemon: &Daemon) -> DockerConfig {
    let manifest = format!(
        r#"{{"runtimes":{{"shell":[{{"kind":"{SHELL_KIND}","image":{{"prefix":"chasen-test","name":"shell","tag":"1"}}}}],
            "silent":[{{"kind":"{UNMARKED_KIND}","image":{UNMARKED},"default":true,"sentinelledLogs":false}},
                      {{"kind":"{FORGETFUL_KIND}","image":{UNMARKED}}}],
            "far":[{{"kind":"far:1","image":{{"registry":"127.0.0.1:1","name":"far","tag":"1"}}}}]}},
            "blackboxes":[{{"prefix":"openwhisk","name":"dockerskeleton","tag":"nightly"}}]}}"#
    );
    DockerConfig {
        socket: daemon.socket(),
        node_id: node_id(),
        runtimes: Runtimes::new(Manifest::parse(&manifest).unwrap()),
        kinds: false,
        network: docker::NETWORK.to_owned(),
        pull: PullPolicy::Missing,
        credentials: None,
        runtime: None,
        dns: Vec::new(),
        env: Vec::new(),
        api_host: None,
        node_memory: ByteSize::mb(1024),
        payload: PayloadLimits::default(),
    }
}

/// A factory with the settings of most tests.
pub(crate) fn factory(daemon: &Daemon) -> DockerFactory {
    DockerFactory::open(config(daemon))
}

/// A container of an image.
pub(crate) fn of_image(image: &str) -> ContainerSpec {
    ContainerSpec {
        kind: BLACKBOX.to_owned(),
        image: Some(image.to_owned()),
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    }
}

/// A container of a kind.
pub(crate) fn of_kind(kind: &str) -> ContainerSpec {
    ContainerSpec {
        kind: kind.to_owned(),
        image: None,
        memory: ByteSize::mb(128),
        network: NetworkPolicy::Internet,
    }
}

/// A container with an action.
pub(crate) struct Guest {
    pub(crate) container: Arc<dyn Container>,
    action: Arc<ExecutableAction>,
}

impl Guest {
    /// A container of the shell image, initialised with a script.
    pub(crate) async fn shell(factory: &DockerFactory, script: &str) -> Self {
        let guest = Self::of(factory.create(&of_image(SHELL)).await.unwrap());
        let reply = guest.init(script).await;
        assert!(matches!(reply.answer, chasen_entity::response::Answer::Ok(_)), "{reply:?}");
        guest
    }

    pub(crate) fn of(container: Arc<dyn Container>) -> Self {
        Self { container, action: invocation("guest", "hello", BLACKBOX, "{}").action }
    }

    fn invocation(&self, arguments: &str) -> Invocation {
        Invocation { action: Arc::clone(&self.action), ..invocation("guest", "hello", BLACKBOX, arguments) }
    }

    pub(crate) async fn init(&self, script: &str) -> RunReply {
        let code = InitCode { action: Arc::clone(&self.action), text: Some(script.to_owned().into()) };
        self.container.init(&self.invocation("{}"), code).await
    }

    pub(crate) async fn run(&self, arguments: &str) -> RunReply {
        self.container.run(&self.invocation(arguments), 0, &|| {}).await
    }

    /// What a run answers.
    pub(crate) async fn result(&self, arguments: &str) -> String {
        match self.run(arguments).await.answer {
            chasen_entity::response::Answer::Ok(body) => String::from_utf8(body).unwrap().trim().to_owned(),
            other => panic!("{other:?}"),
        }
    }
}

/// The error of a container that must not come to be.
pub(crate) async fn refusal(factory: &DockerFactory, spec: &ContainerSpec) -> CreateError {
    factory.create(spec).await.err().unwrap_or_else(|| panic!("{spec:?} was made"))
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("it took longer than {PATIENCE:?}"))
}

//! What every test needs: the engine, images, a factory of its own, containers in one line.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use chasen_docker::{DockerConfig, DockerFactory, PullPolicy};
use chasen_entity::exec::BLACKBOX;
use chasen_entity::manifest::Manifest;
use chasen_entity::{ByteSize, ExecutableAction, Invocation, PayloadLimits};
use chasen_spi::container_factory::InitCode;
use chasen_spi::memory::invocation;
use chasen_spi::{Container, ContainerFactory, ContainerSpec, CreateError, RunReply, Runtimes};
use chasen_testkit::docker::{self, Daemon};
use libtest_mimic::{Completion, Trial};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// An image whose entry point runs executables, each anew for every run.
pub(crate) const SHELL: &str = "chasen-test/shell:1";
/// Kind whose image that is.
pub(crate) const SHELL_KIND: &str = "shell:1";
/// The lines of a Dockerfile that make it.
pub(crate) const SHELL_CHANGES: [&str; 2] =
    [r#"ENTRYPOINT ["/chasen-proxy","--kind","blackbox"]"#, "ENV PATH=/bin"];
/// What the platform would run itself.
pub(crate) const OWN: &str = "openwhisk/dockerskeleton";

/// Commands of the image.
const COMMANDS: [&str; 9] = ["sh", "cat", "echo", "head", "mv", "printf", "sleep", "wc", "yes"];

static NEXT: AtomicU32 = AtomicU32::new(0);
static IMAGES: OnceLock<Result<Images, String>> = OnceLock::new();

/// Archives that images are made of.
pub(crate) struct Images {
    folder: TempDir,
}

impl Images {
    /// Files of an image with a shell and the proxy.
    pub(crate) fn shell(&self) -> PathBuf {
        self.folder.path().join("shell.tar")
    }

    /// The archives; why there are none.
    pub(crate) fn get() -> Result<&'static Self, String> {
        IMAGES.get_or_init(Self::make).as_ref().map_err(Clone::clone)
    }

    fn make() -> Result<Self, String> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.ok_or("'busybox' is not installed (busybox-static)")?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/proxy/chasen-proxy");
        let proxy = std::env::var_os("CHASEN_PROXY_BIN").map_or(built, PathBuf::from);
        let folder = tempfile::tempdir().unwrap();
        let mut archive = tar::Builder::new(File::create(folder.path().join("shell.tar")).unwrap());
        archive
            .append_path_with_name(proxy, "chasen-proxy")
            .map_err(|_| "there is no static proxy: build it with 'cargo xtask proxy'")?;
        archive.append_path_with_name(busybox, "bin/busybox").unwrap();
        for command in COMMANDS {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, format!("bin/{command}"), "busybox").unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o1777);
        header.set_size(0);
        archive.append_data(&mut header, "tmp/", std::io::empty()).unwrap();
        archive.finish().unwrap();
        Ok(Self { folder })
    }
}

/// The engine of all tests, with its images.
pub(crate) fn engine() -> Result<Arc<Daemon>, String> {
    static LOADED: OnceLock<()> = OnceLock::new();
    let images = Images::get()?;
    let daemon = docker::engine()?;
    LOADED.get_or_init(|| daemon.import(&images.shell(), "chasen-test/shell", "1", &SHELL_CHANGES));
    Ok(daemon)
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
    ContainerSpec { kind: BLACKBOX.to_owned(), image: Some(image.to_owned()), memory: ByteSize::mb(128) }
}

/// A container of a kind.
pub(crate) fn of_kind(kind: &str) -> ContainerSpec {
    ContainerSpec { kind: kind.to_owned(), image: None, memory: ByteSize::mb(128) }
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

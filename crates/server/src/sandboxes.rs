//! The sandboxes of a node: the factory, and the preinstalled modules that its kinds wait for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::Manifest;
use chasen_entity::manifest::Launch;
use chasen_sandbox::factory::{OpenError, SandboxConfig, SandboxFactory};
use chasen_sandbox::image::ImageFactory;
use chasen_spi::container_factory::{Container, ContainerFactory, ContainerSpec, CreateError};
use chasen_spi::{ImageStore, Runtimes};

use crate::runtimes::{ModuleSet, Modules, Tool, Wanted};

/// Makes sandboxes. The first ones of a kind wait while its modules are installed on a new machine.
pub struct Sandboxes {
    factory: Arc<SandboxFactory>,
    images: Arc<ImageFactory>,
    modules: Modules,
    modules_dir: PathBuf,
    runtimes: Arc<Runtimes>,
}

impl Sandboxes {
    /// Opens the factory and begins to provide modules from the cache; those of compiled kinds at their first use.
    pub async fn open(
        config: SandboxConfig,
        images: Arc<dyn ImageStore>,
        cache: &Path,
    ) -> Result<Self, OpenError> {
        let (runtimes, folder) = (config.runtimes.clone(), config.modules_dir.clone());
        let factory = Arc::new(SandboxFactory::open(config).await?);
        let images = Arc::new(factory.images(images));
        let at_once = wanted(&factory, &runtimes.manifest(), |launch| !is_compiled(launch));
        let modules = Modules::provide(cache, &folder, at_once);
        Ok(Self { factory, images, modules, modules_dir: folder, runtimes })
    }

    /// The factory.
    #[must_use]
    pub fn factory(&self) -> &SandboxFactory {
        &self.factory
    }

    /// The factory of imported images, which run in cells of the same helper.
    #[must_use]
    pub fn images(&self) -> Arc<ImageFactory> {
        Arc::clone(&self.images)
    }

    /// Begins to provide the modules of compiled kinds too.
    pub fn prepare_compilers(&self) {
        for wanted in wanted(&self.factory, &self.runtimes.manifest(), is_compiled) {
            self.modules.add(wanted);
        }
    }

    /// Waits until no modules are being installed any more.
    pub async fn modules_settled(&self) {
        self.modules.all_settled().await;
    }

    /// Why this machine cannot run a kind; `None` if it can.
    pub async fn missing(&self, kind: &str) -> Option<String> {
        let launch = self.launch(kind)?;
        self.factory.interpreters().find(&launch.interpreter).await.err().map(|missing| missing.to_string())
    }

    /// Why a kind runs without the modules that it could have; `None` if it has them. Waits until that is known.
    pub async fn missing_modules(&self, kind: &str) -> Option<String> {
        let name = self.launch(kind)?.modules?;
        let there = self.modules.settled(&name).await;
        (!there).then(|| format!("the modules '{name}' could not be installed; the node's log says why"))
    }

    /// Folder with the modules of a kind, its compiler among them, and the program that the machine starts the kind's
    /// interpreter with.
    pub async fn compiler(&self, kind: &str) -> Option<(PathBuf, PathBuf)> {
        let launch = self.launch(kind)?;
        let folder = self.modules_dir.join(launch.modules.as_deref()?);
        let found = self.factory.interpreters().find(&launch.interpreter).await.ok()?;
        Some((folder, found.on_host()?))
    }

    /// The optional kinds whose interpreter is here at the moment. Launchers that are built for them are begun.
    pub async fn optional_kinds(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for kind in self.runtimes.whole().kinds().filter(|kind| kind.is_optional()) {
            if let Some(launch) = &kind.launch
                && self.factory.interpreters().find(&launch.interpreter).await.is_ok()
            {
                let launcher = launch.built().and_then(|_| wanted_by(&self.factory, launch));
                launcher.into_iter().for_each(|launcher| self.modules.add(launcher));
                found.insert(kind.kind.clone());
            }
        }
        found
    }

    /// How sandboxes run a kind, whether it is offered or not.
    fn launch(&self, kind: &str) -> Option<Launch> {
        self.runtimes.whole().resolve(kind)?.launch.clone()
    }

    async fn await_modules(&self, kind: &str) -> Result<(), CreateError> {
        let Some(launch) = self.launch(kind) else { return Ok(()) };
        let Some(wanted) = wanted_by(&self.factory, &launch) else { return Ok(()) };
        let set = wanted.0;
        // Those of a kind that came while the node runs are not known yet.
        self.modules.add(wanted);
        self.modules.await_patiently(set).await.map_err(CreateError::NotRunnable)
    }
}

/// The sets of modules that the kinds of the manifest need which are launched like this.
fn wanted(
    factory: &Arc<SandboxFactory>,
    manifest: &Manifest,
    which: impl Fn(&Launch) -> bool,
) -> Vec<Wanted> {
    let launches = manifest.kinds().filter_map(|kind| kind.launch.as_ref());
    launches.filter(|launch| which(launch)).filter_map(|launch| wanted_by(factory, launch)).collect()
}

/// True for kinds whose modules take minutes of the processor, and are for compilers only.
fn is_compiled(launch: &Launch) -> bool {
    launch.launcher.is_none()
}

/// The set of modules of a kind that is launched like this.
fn wanted_by(factory: &Arc<SandboxFactory>, launch: &Launch) -> Option<Wanted> {
    let set = ModuleSet::named(launch.modules.as_deref()?)?;
    let (factory, interpreter) = (factory.clone(), launch.interpreter.clone());
    let program = async move {
        let found = factory.interpreters().find(&interpreter).await.ok();
        found.map(|interpreter| match interpreter.on_host() {
            Some(program) => Tool { program, system: None },
            None => Tool {
                program: interpreter.program.clone(),
                system: interpreter.system().map(Path::to_owned),
            },
        })
    };
    Some((set, Box::pin(program)))
}

#[async_trait]
impl ContainerFactory for Sandboxes {
    fn is_up(&self) -> bool {
        self.factory.is_up()
    }

    fn serves(&self, kind: &str, image: Option<&str>) -> bool {
        self.factory.serves(kind, image)
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        self.await_modules(&spec.kind).await?;
        self.factory.create(spec).await
    }

    async fn begin(&self, spec: &ContainerSpec) -> Result<Arc<dyn Container>, CreateError> {
        self.await_modules(&spec.kind).await?;
        self.factory.begin(spec).await
    }

    async fn close(&self) {
        self.factory.close().await;
    }
}

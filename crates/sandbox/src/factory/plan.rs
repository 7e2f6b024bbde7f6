//! What is started for a kind: program, arguments, environment, and what it must see of the host.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chasen_entity::exec::BLACKBOX;
use chasen_entity::manifest::{Compiler, Image, Launch};
use chasen_runtime::personality::Personality;
use chasen_spi::container_factory::{ContainerSpec, CreateError};
use parking_lot::Mutex;

use super::SandboxConfig;
use crate::build::folder_digest;
use crate::helper::Mode;
use crate::interpreter::{Interpreter, Interpreters};
use crate::root::RootSpec;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Subcommand of the executable that is the native launcher, and its argument for executables that speak lines.
const NATIVE_LAUNCHER: &str = "native-launcher";
const EXEC_MODE: &str = "exec";
/// The image whose executables speak lines; all other own images start theirs anew for every run.
const LINES_IMAGE: &str = "actionloop-base";

/// Variable with the name of the image that code is built for.
const EXECUTION_ENV: &str = "__OW_EXECUTION_ENV";

/// What stands for the sandbox's memory in the manifest.
const MEMORY: &str = "{memory}";
/// What stands there for the part of it that a managed heap may take, five eighths, as .NET reads sizes: the rest is for
/// the runtime itself.
const HEAP: &str = "{heap}";
/// What stands there for the folder of the kind's modules.
const MODULES: &str = "{modules}";

/// Where cells find what the platform gives them: the same everywhere, whatever the host's folders are called.
const PLATFORM: &str = "/opt/chasen";

/// How the node speaks with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// Frames on descriptor 3.
    Frames,
    /// Frames on standard input.
    FramesOnInput,
    /// Lines: in on standard input, out on descriptor 3.
    Lines,
}

/// A program for a kind.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) argv: Vec<String>,
    /// Command of the fork server that may bear it.
    pub(super) fork_server: Option<Vec<String>>,
    /// Where it is started: among its modules, if it has any. It may go elsewhere with the action.
    pub(super) cwd: String,
    pub(super) env: Vec<(String, String)>,
    pub(super) root: Arc<RootSpec>,
    pub(super) speech: Speech,
    pub(super) personality: Personality,
    /// The kind, if its code is compiled.
    pub(super) compiled: Option<Compiled>,
}

/// A kind whose code is compiled.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub(super) kind: String,
    pub(super) launch: Arc<Launch>,
    /// The image that its executables are built for.
    pub(super) environment: String,
}

/// How a kind's compiler is called.
#[derive(Debug)]
pub(crate) struct BuildPlan {
    /// The program, as the cell names it.
    pub(crate) program: String,
    /// What program and toolchain this is, exactly.
    pub(crate) tools: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) root: Arc<RootSpec>,
    pub(crate) network: bool,
}

/// Makes plans.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(super) interpreters: Interpreters,
    resolvers: Vec<IpAddr>,
    api_host: Option<String>,
    /// Roots by their system and what they bind besides: the helper prepares each different one once.
    roots: Mutex<Roots>,
    /// Digests of the folders of compilers, which stay as they are while the node runs.
    compilers: Mutex<HashMap<PathBuf, String>>,
}

type Roots = HashMap<(PathBuf, Vec<Bind>), Arc<RootSpec>>;

/// What a kind's programs are started with: an interpreter and its modules.
struct Tools {
    interpreter: Arc<Interpreter>,
    modules: Option<Bind>,
    binds: Vec<Bind>,
    env: Vec<(String, String)>,
}

/// Something of the host that a cell sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bind {
    source: PathBuf,
    target: PathBuf,
}

impl Bind {
    /// Under the same path.
    fn same(path: PathBuf) -> Self {
        Self { target: path.clone(), source: path }
    }

    /// Of the platform; plain processes see it where it is.
    fn platform(mode: Mode, source: PathBuf, name: &str) -> Self {
        match mode {
            Mode::Isolated => Self { source, target: Path::new(PLATFORM).join(name) },
            Mode::InsecureProcess => Self::same(source),
        }
    }
}

impl Planner {
    pub(super) fn new(interpreters: Interpreters, resolvers: Vec<IpAddr>, api_host: Option<String>) -> Self {
        Self { interpreters, resolvers, api_host, roots: Mutex::default(), compilers: Mutex::default() }
    }

    /// The name servers of cells, and where they find the API.
    pub(super) fn surroundings(&self) -> (Vec<IpAddr>, Option<String>) {
        (self.resolvers.clone(), self.api_host.clone())
    }

    /// The plan for a new container.
    pub(super) async fn plan(
        &self,
        config: &SandboxConfig,
        spec: &ContainerSpec,
    ) -> Result<Plan, CreateError> {
        if spec.kind == BLACKBOX {
            return self.own_image(config, spec.image.as_deref().unwrap_or_default());
        }
        let manifest = config.runtimes.manifest();
        let kind = manifest.resolve(&spec.kind);
        let Some((kind, launch)) = kind.and_then(|kind| Some((kind, kind.launch.clone()?))) else {
            let text = format!("the runtimes manifest does not say how sandboxes run '{}'", spec.kind);
            return Err(CreateError::NotRunnable(text));
        };
        let mut plan = match launch.launcher {
            Some(_) => self.interpreted(config, spec, &launch).await?,
            None => self.speaking(config, spec, &launch).await?,
        };
        if launch.compiler.is_some() {
            let environment = Image { tag: None, registry: None, ..kind.image.clone() }.to_string();
            if launch.launcher.is_none() {
                plan.env.push((EXECUTION_ENV.to_owned(), environment.clone()));
            }
            if launch.acknowledged {
                plan.env.push(("__OW_WAIT_FOR_ACK".to_owned(), "true".to_owned()));
            }
            plan.compiled = Some(Compiled { kind: kind.kind.clone(), launch: Arc::new(launch), environment });
        }
        Ok(plan)
    }

    async fn interpreted(
        &self,
        config: &SandboxConfig,
        spec: &ContainerSpec,
        launch: &Launch,
    ) -> Result<Plan, CreateError> {
        let Tools { interpreter, modules, mut binds, mut env } = self.tools(config, launch).await?;
        let cwd = match &modules {
            Some(modules) => text(&modules.target)?,
            None => "/".to_owned(),
        };
        env.extend(launch.environment.iter().map(|(name, value)| {
            let heap = format!("{:x}", spec.memory.as_bytes() / 8 * 5);
            (name.clone(), value.replace(HEAP, &heap).replace(MODULES, &cwd))
        }));
        let launcher = match launch.built() {
            Some(name) => modules
                .filter(|modules| modules.source.join(name).is_file())
                .map(|modules| modules.target.join(name))
                .ok_or_else(|| CreateError::NotRunnable(not_built(&spec.kind)))?,
            None => {
                let name = launch.launcher.as_deref().unwrap_or_default();
                self.carried(config, name, &mut binds)?
            }
        };
        let mut argv = vec![text(&interpreter.program)?];
        let memory = spec.memory.as_bytes().to_string();
        argv.extend(launch.args.iter().map(|argument| argument.replace(MEMORY, &memory)));
        let fork_server = launch.fork_server.as_ref().filter(|_| config.fork_server);
        let fork_server = match fork_server.and_then(|path| Path::new(path).file_name()) {
            Some(beside) => {
                let server = text(&launcher.with_file_name(beside))?;
                Some(argv.iter().cloned().chain([server, text(&launcher)?]).collect())
            }
            None => None,
        };
        argv.push(text(&launcher)?);
        let personality = Personality::of_kind(&spec.kind);
        Ok(Plan {
            argv,
            fork_server,
            cwd,
            env,
            root: self.root(interpreter.system(), binds),
            speech: Speech::Frames,
            personality,
            compiled: None,
        })
    }

    /// For executables that speak for themselves. What is compiled lives in the toolchain's system; what was compiled
    /// elsewhere needs no toolchain.
    async fn speaking(
        &self,
        config: &SandboxConfig,
        spec: &ContainerSpec,
        launch: &Launch,
    ) -> Result<Plan, CreateError> {
        let built = self.interpreters.find(&launch.interpreter).await.ok();
        let built = built.filter(|interpreter| interpreter.built.is_some());
        let mounts = built.iter().flat_map(|interpreter| interpreter.mounts());
        let binds = mounts.map(|(source, target)| Bind { source, target }).collect();
        let system = built.as_ref().and_then(|interpreter| interpreter.system());
        let personality = Personality::of_kind(&spec.kind);
        self.native(config, system, binds, Speech::Lines, personality)
    }

    /// How a kind's compiler is called.
    pub(crate) async fn build_plan(
        &self,
        config: &SandboxConfig,
        kind: &str,
        launch: &Launch,
        compiler: &Compiler,
        environment: &str,
    ) -> Result<BuildPlan, CreateError> {
        let Tools { interpreter, mut binds, mut env, .. } =
            self.tools(config, launch).await.map_err(|error| match error {
                CreateError::NotRunnable(why) => {
                    CreateError::NotRunnable(format!("code of the kind '{kind}' cannot be compiled: {why}"))
                }
                other => other,
            })?;
        let program = self.carried(config, &compiler.program, &mut binds)?;
        let folder = config.runtimes_dir.join(Path::new(&compiler.program).parent().unwrap_or(Path::new("")));
        let known = self.compilers.lock().get(&folder).cloned();
        let digest = match known {
            Some(digest) => digest,
            None => {
                let digest = folder_digest(&folder).map_err(super::failed)?;
                self.compilers.lock().insert(folder, digest.clone());
                digest
            }
        };
        env.push(("CHASEN_INTERPRETER".to_owned(), text(&interpreter.program)?));
        env.push((EXECUTION_ENV.to_owned(), environment.to_owned()));
        Ok(BuildPlan {
            program: text(&program)?,
            tools: format!("{} {} {digest}", interpreter.program.display(), interpreter.version),
            env,
            root: self.root(interpreter.system(), binds),
            network: compiler.network,
        })
    }

    /// What a kind's interpreter needs around it.
    async fn tools(&self, config: &SandboxConfig, launch: &Launch) -> Result<Tools, CreateError> {
        let found = self.interpreters.find(&launch.interpreter).await;
        let interpreter = found.map_err(|missing| CreateError::NotRunnable(missing.to_string()))?;
        let mounts = interpreter.mounts().map(|(source, target)| Bind { source, target });
        let mut binds: Vec<Bind> = mounts.collect();
        let mut env = self.environment(config, interpreter.program.parent());
        let modules = launch.modules.as_ref().map(|name| config.modules_dir.join(name));
        // They may be missing while they are installed: the kind runs without them, unless it is launched by them.
        let modules = modules.and_then(|folder| folder.canonicalize().ok());
        let modules = modules.map(|folder| Bind::platform(config.mode, folder, "modules"));
        if let Some(modules) = &modules {
            env.push(("CHASEN_MODULES".to_owned(), text(&modules.target)?));
            binds.push(modules.clone());
        }
        Ok(Tools { interpreter, modules, binds, env })
    }

    /// The path, as the cell names it, of a program that the platform carries.
    fn carried(
        &self,
        config: &SandboxConfig,
        name: &str,
        binds: &mut Vec<Bind>,
    ) -> Result<PathBuf, CreateError> {
        let program = config.runtimes_dir.join(name);
        if !program.is_file() {
            return Err(CreateError::Failed(format!("{} is not there", program.display())));
        }
        // Its whole folder: what it may need later lies beside it.
        let (Some(folder), Some(file)) = (program.parent(), program.file_name()) else {
            return Err(CreateError::Failed(format!("{} is no program", program.display())));
        };
        let within = Path::new(name).parent().and_then(Path::to_str).unwrap_or_default();
        let folder = Bind::platform(config.mode, folder.to_owned(), within);
        let path = folder.target.join(file);
        binds.push(folder);
        Ok(path)
    }

    fn own_image(&self, config: &SandboxConfig, image: &str) -> Result<Plan, CreateError> {
        let name = image.rsplit('/').next().and_then(|name| name.split(['@', ':']).next());
        let (speech, personality) = if name == Some(LINES_IMAGE) {
            // That image says why an executable does not start in its answer.
            (Speech::Lines, Personality::TerseActionLoop)
        } else {
            (Speech::FramesOnInput, Personality::Skeleton)
        };
        self.native(config, None, Vec::new(), speech, personality)
    }

    fn native(
        &self,
        config: &SandboxConfig,
        system: Option<&Path>,
        mut binds: Vec<Bind>,
        speech: Speech,
        personality: Personality,
    ) -> Result<Plan, CreateError> {
        let executable = Bind::platform(config.mode, config.executable.clone(), "chasen");
        let mut argv = vec![text(&executable.target)?, NATIVE_LAUNCHER.to_owned()];
        if speech == Speech::Lines {
            argv.push(EXEC_MODE.to_owned());
        }
        binds.push(executable);
        let root = self.root(system, binds);
        let env = self.environment(config, None);
        Ok(Plan {
            argv,
            fork_server: None,
            cwd: "/".to_owned(),
            env,
            root,
            speech,
            personality,
            compiled: None,
        })
    }

    fn environment(&self, config: &SandboxConfig, programs: Option<&Path>) -> Vec<(String, String)> {
        let own =
            programs.and_then(Path::to_str).filter(|folder| !PATH.split(':').any(|known| known == *folder));
        let path = own.map_or_else(|| PATH.to_owned(), |folder| format!("{folder}:{PATH}"));
        let mut env = vec![
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), "/tmp".to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ];
        env.extend(self.api_host.as_ref().map(|host| ("__OW_API_HOST".to_owned(), host.clone())));
        env.extend(config.extra_env.iter().cloned());
        env
    }

    /// The root of a system, the machine's own without one, with what is bound besides.
    fn root(&self, system: Option<&Path>, binds: Vec<Bind>) -> Arc<RootSpec> {
        let mut roots = self.roots.lock();
        let key = (system.unwrap_or(Path::new("/")).to_owned(), binds);
        let root = roots.entry(key).or_insert_with_key(|(system, binds)| {
            let system = RootSpec::system(system, &self.resolvers);
            Arc::new(binds.iter().fold(system, |root, bind| root.with_bind(&bind.source, &bind.target)))
        });
        Arc::clone(root)
    }
}

fn not_built(kind: &str) -> String {
    format!("the launcher of '{kind}' could not be built; the node's log says why")
}

fn text(path: &Path) -> Result<String, CreateError> {
    let known = path.to_str().map(str::to_owned);
    known.ok_or_else(|| CreateError::Failed(format!("the path {} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use chasen_entity::manifest::Manifest;
    use chasen_entity::{ByteSize, NetworkPolicy};
    use chasen_spi::Runtimes;

    use super::*;

    fn blackbox(image: &str) -> ContainerSpec {
        ContainerSpec {
            kind: BLACKBOX.to_owned(),
            image: Some(image.to_owned()),
            memory: ByteSize::mb(256),
            network: NetworkPolicy::Internet,
        }
    }

    fn config() -> SandboxConfig {
        let mut config = SandboxConfig::new("/bin/chasen", "/data", "n", Runtimes::new(Manifest::default()));
        config.extra_env.push(("X".to_owned(), "1".to_owned()));
        config
    }

    #[tokio::test]
    async fn own_images_run_the_native_launcher() {
        let planner = Planner::new(Interpreters::default(), Vec::new(), Some("http://door".to_owned()));
        let plan = planner.plan(&config(), &blackbox("openwhisk/dockerskeleton:nightly")).await.unwrap();
        assert_eq!(
            (plan.argv.as_slice(), plan.speech),
            (["/opt/chasen/chasen", "native-launcher"].map(str::to_owned).as_slice(), Speech::FramesOnInput)
        );
        assert!(plan.env.contains(&("__OW_API_HOST".to_owned(), "http://door".to_owned())));
        assert!(plan.env.contains(&("X".to_owned(), "1".to_owned())));
        let lines = planner.plan(&config(), &blackbox("openwhisk/actionloop-base:1.0")).await.unwrap();
        assert_eq!(
            (lines.argv.len(), lines.speech, lines.personality),
            (3, Speech::Lines, Personality::TerseActionLoop)
        );
        assert!(Arc::ptr_eq(&plan.root, &lines.root), "equal roots are one");
    }

    #[tokio::test]
    async fn kinds_without_a_launcher_are_not_runnable() {
        let planner = Planner::new(Interpreters::default(), Vec::new(), None);
        let spec = ContainerSpec {
            kind: "swift:5".to_owned(),
            image: None,
            memory: ByteSize::mb(256),
            network: NetworkPolicy::Internet,
        };
        let error = planner.plan(&config(), &spec).await.unwrap_err();
        assert!(matches!(&error, CreateError::NotRunnable(text) if text.contains("'swift:5'")), "{error}");
    }
}

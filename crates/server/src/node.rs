//! A running node: started step by step, stopped in the reverse order.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chasen_client::Client;
use chasen_controller::admin::{Admin, AdminCredentials};
use chasen_embedded::{Embedded, EmbeddedConfig, OpenError, ParameterKeyError};
use chasen_sandbox::factory::OpenError as SandboxError;
use chasen_sandbox::interpreter::FORGET_MISSING;
use chasen_spi::{Invoker, Runtimes, Sessions, StoreError};
use chasen_telemetry::task;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::admin::door::{Announced, DoorFile, made_up_credentials};
use crate::bind::BindError;
use crate::runtimes::{self, KeptRuntimes, RuntimesError};
use crate::sandboxes::Sandboxes;
use crate::settings::Settings;
use crate::status::Status;
use crate::tls::{Tls, TlsError};
use crate::wiring::{self, Parts};
use crate::{bind, data, docker, guest};

/// Time that requests in hand have beyond the drain to get their answers out.
const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// Why a node does not start. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be made.
    #[error("the data folder {path} cannot be used: {source}; choose another one with --data DIR")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The data folder cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A store failed.
    #[error("the data folder cannot be read: {0}")]
    Store(#[from] StoreError),
    /// No runtimes.
    #[error(transparent)]
    Runtimes(#[from] RuntimesError),
    /// A key that parameters are locked with is not one.
    #[error(transparent)]
    ParameterKey(#[from] ParameterKeyError),
    /// Nothing listens for administrators.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No sandboxes.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Nothing listens where sandboxes look for the API.
    #[error(
        "cannot listen on {address}, where sandboxes reach the API: {source}; start the node again, or with another port in --listen"
    )]
    Door {
        /// Where.
        address: SocketAddrV4,
        /// Why.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    is_tls: bool,
    parts: Parts,
    stopping: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
    announced: Announced,
}

impl Node {
    /// Starts a node whose API answers at this listener. When it returns, the node takes work.
    pub async fn start(settings: &Settings, listener: TcpListener) -> Result<Self, StartError> {
        let system = |step| move |source| StartError::System { step, source };
        let address = listener.local_addr().map_err(system("asking for the own address"))?;
        let folder = settings.server.data.0.clone().unwrap_or_else(data::default_folder);
        let folder = data::prepare(&folder).map_err(|source| StartError::Folder { path: folder, source })?;
        let tls = Tls::open(&settings.server.tls, &folder)?;
        let stores = open_stores(wiring::embedded_config(settings, &folder, address.to_string())).await?;
        admit_guest(&stores, settings, address).await?;
        runtimes::lay_out(&folder.join("runtimes"))?;
        let kept = KeptRuntimes::new(&folder, settings.runtimes.manifest.0.clone());
        let manifest = kept.start()?;
        let manifest = if settings.node.null_kind { wiring::with_null_kind(manifest) } else { manifest };
        let runtimes = Runtimes::new(manifest);
        let keys = stores.parameter_keys(&settings.parameter_storage.keys())?;
        if settings.sandbox.insecure_process {
            tracing::warn!(
                "functions run as plain processes: they are NOT isolated from this machine and each other"
            );
        }
        let executable = own_program().map_err(system("asking for the own program"))?;
        let door_port = door_port(address).map_err(system("looking for a port for sandboxes"))?;
        let config =
            wiring::sandbox_config(settings, executable, &folder, runtimes.clone(), address, door_port);
        let images = Arc::new(wiring::images(&folder));
        let cache = data::cache_folder().join("modules");
        let sandboxes = Arc::new(Sandboxes::open(config, images, &cache).await?);
        // Before anybody asks: what was accepted in an earlier life may be of such a kind.
        runtimes.offer(sandboxes.optional_kinds().await);
        let docker = docker::open(settings, &folder, runtimes.clone()).await;
        let parts = Parts::wire(settings, stores, keys, runtimes, sandboxes, docker);
        let (stopping, _) = watch::channel(false);
        let (admin_listener, credentials, announced) = admin_door(settings, &folder).await?;
        let is_tls = tls.is_some();
        let mut node = Self { address, is_tls, parts, stopping, doors: Vec::new(), announced };
        node.open_doors(listener, tls)?;
        node.open_admin_door(admin_listener, kept, credentials);
        node.look_for_kinds();
        let opener: Arc<dyn Sessions> = node.parts.controller.clone();
        node.parts.scheduler.recover(&opener);
        tracing::info!(%address, data = %folder.display(), version = env!("CARGO_PKG_VERSION"), "the node takes work");
        Ok(node)
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        wiring::scheme(self.is_tls)
    }

    /// A client of this node, which has no TLS, with the guest's credentials.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&wiring::base(self.is_tls, self.address)).with_credentials(guest::CREDENTIALS)
    }

    /// Its sandboxes.
    #[must_use]
    pub fn sandboxes(&self) -> &Sandboxes {
        &self.parts.sandboxes
    }

    /// Takes no more work, waits for what runs no longer than `limit`, and closes everything.
    pub async fn stop(self, limit: Duration) {
        tracing::info!(
            limit_s = limit.as_secs(),
            "the node takes no more work and lets running activations end"
        );
        let deadline = Instant::now() + limit;
        drop(self.announced);
        self.stopping.send_replace(true);
        let cut = self.parts.scheduler.drain(deadline).await;
        if cut > 0 {
            tracing::warn!(cut, "activations did not end in time and were interrupted");
        }
        let answered = async {
            for door in self.doors {
                // A door that panicked has said so.
                let _ = door.await;
            }
        };
        if tokio::time::timeout(ANSWER_GRACE, answered).await.is_err() {
            tracing::warn!("some requests did not take their answers in time");
        }
        let Parts { stores, sandboxes, invoker, scheduler, controller } = self.parts;
        invoker.close().await;
        drop((controller, scheduler, sandboxes));
        stores.close().await;
    }

    /// The API's door, and the one that sandboxes reach.
    fn open_doors(&mut self, listener: TcpListener, tls: Option<Tls>) -> Result<(), StartError> {
        if let Some(door) = self.parts.sandboxes.factory().door_address() {
            let inner =
                bind::listen(door.into()).map_err(|source| StartError::Door { address: door, source })?;
            let served = self.parts.controller.clone().serve_sandboxes(inner, self.stopped());
            self.doors.push(task::spawn("sandbox door", served));
        }
        let controller = self.parts.controller.clone();
        let door = match tls {
            None => task::spawn("door", controller.serve(listener, self.stopped())),
            Some(tls) => {
                let served = controller.serve_tls(listener, tls.config(), self.stopped());
                self.doors.push(task::spawn("certificates", tls.keep(self.stopped())));
                task::spawn("door", served)
            }
        };
        self.doors.push(door);
        Ok(())
    }

    /// The operator's door.
    fn open_admin_door(&mut self, listener: TcpListener, kept: KeptRuntimes, credentials: AdminCredentials) {
        let status = Status::new(self.parts.stores.event_log(), self.parts.invoker.clone());
        let admin = Admin::new(Arc::new(status), Arc::new(kept), credentials);
        let served = self.parts.controller.clone().serve_admin(listener, admin, self.stopped());
        self.doors.push(task::spawn("admin door", served));
    }

    /// Looks again and again which optional kinds can run: what is installed or built meanwhile is offered, too.
    fn look_for_kinds(&mut self) {
        let (sandboxes, controller) = (self.parts.sandboxes.clone(), self.parts.controller.clone());
        let mut stopped = Box::pin(self.stopped());
        let looking = async move {
            while tokio::time::timeout(FORGET_MISSING, &mut stopped).await.is_err() {
                tokio::select! {
                    found = sandboxes.optional_kinds() => controller.offer_kinds(found),
                    () = &mut stopped => break,
                }
            }
        };
        self.doors.push(task::spawn("kinds", looking));
    }

    /// Resolves when the node is stopping.
    fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // The sender lives as long as the node; its end means the same.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

/// Where the own program lies. One that was replaced since the node began has its successor there.
fn own_program() -> io::Result<PathBuf> {
    const REPLACED: &str = " (deleted)";
    let path = std::env::current_exe()?;
    let successor = path.to_str().and_then(|path| path.strip_suffix(REPLACED)).map(PathBuf::from);
    Ok(successor.filter(|successor| successor.exists()).unwrap_or(path))
}

/// Opens the stores off the runtime's threads.
async fn open_stores(config: EmbeddedConfig) -> Result<Embedded, StartError> {
    match tokio::task::spawn_blocking(move || Embedded::open(config)).await {
        Ok(opened) => Ok(opened?),
        Err(error) => {
            Err(StartError::System { step: "opening the data folder", source: io::Error::other(error) })
        }
    }
}

/// Listens for administrators and lets those of the data folder know where, and with which credentials.
async fn admin_door(
    settings: &Settings,
    folder: &Path,
) -> Result<(TcpListener, AdminCredentials, Announced), StartError> {
    let system = |step| move |source| StartError::System { step, source };
    let credentials = match &settings.admin.credentials.0 {
        Some(given) => given.clone(),
        None => made_up_credentials().map_err(io::Error::from).map_err(system("making up a password"))?,
    };
    let listener = bind::bind_for(&settings.admin.listen, "admin.listen").await?;
    let address = listener.local_addr().map_err(system("asking for the own address"))?;
    let announced = DoorFile::announce(folder, address, &credentials)
        .map_err(system("writing the file of the administrators' door"))?;
    Ok((listener, AdminCredentials::new(&credentials), announced))
}

async fn admit_guest(stores: &Embedded, settings: &Settings, address: SocketAddr) -> Result<(), StartError> {
    let allowed = address.ip().is_loopback() || settings.server.allow_guest;
    guest::admit(&*stores.subject_store(), allowed).await?;
    if !allowed {
        tracing::info!(
            "the API listens beyond loopback: the guest does not exist; create users with `chasen admin user create NAME`"
        );
    }
    Ok(())
}

/// The port of the sandboxes' door: the API's own, unless the API listens on every address and has it there too.
fn door_port(address: SocketAddr) -> io::Result<u16> {
    if address.ip().is_unspecified() {
        let free = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        return Ok(free.local_addr()?.port());
    }
    Ok(address.port())
}

/// The address under which this machine reaches a listener.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

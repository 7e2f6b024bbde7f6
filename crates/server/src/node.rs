//! A running node: started step by step, stopped in the reverse order.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chasen_client::Client;
use chasen_embedded::{Embedded, OpenError};
use chasen_spi::{Invoker, StoreError};
use chasen_telemetry::task;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::runtimes::{self, RuntimesError};
use crate::settings::Settings;
use crate::wiring::{self, Parts};
use crate::{data, guest};

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
    parts: Parts,
    stopping: watch::Sender<bool>,
    doors: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts a node whose API answers at this listener. When it returns, the node takes work.
    pub async fn start(settings: &Settings, listener: TcpListener) -> Result<Self, StartError> {
        let system = |step| move |source| StartError::System { step, source };
        let address = listener.local_addr().map_err(system("asking for the own address"))?;
        let folder = settings.server.data.0.clone().unwrap_or_else(data::default_folder);
        let folder = data::prepare(&folder).map_err(|source| StartError::Folder { path: folder, source })?;
        let stores = open(wiring::embedded_config(settings, &folder, address.to_string())).await?;
        admit_guest(&stores, settings, address).await?;
        runtimes::lay_out(&folder.join("runtimes"))?;
        let manifest = Arc::new(runtimes::manifest(settings.runtimes.manifest.0.as_deref())?);
        let unfinished = stores.event_log().unfinished()?;
        let parts = Parts::wire(settings, stores, manifest, Vec::new());
        parts.scheduler.recover(unfinished);
        let (stopping, _) = watch::channel(false);
        let mut node = Self { address, parts, stopping, doors: Vec::new() };
        node.open_door(listener);
        Ok(node)
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of this node with the guest's credentials.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&format!("http://{}", reachable(self.address))).with_credentials(guest::CREDENTIALS)
    }

    /// Why this machine cannot run a kind; `None` if it can.
    pub async fn missing(&self, _kind: &str) -> Option<String> {
        None
    }

    /// Takes no more work, waits for what runs no longer than `limit`, and closes everything.
    pub async fn stop(self, limit: Duration) {
        let deadline = Instant::now() + limit;
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
        self.parts.invoker.close().await;
        drop(self.parts.controller);
        drop(self.parts.scheduler);
        self.parts.stores.close().await;
    }

    fn open_door(&mut self, listener: TcpListener) {
        let mut stopping = self.stopping.subscribe();
        let stopped = async move {
            // The sender lives as long as the node; its end means the same.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        self.doors.push(task::spawn("door", self.parts.controller.clone().serve(listener, stopped)));
    }
}

/// Opens the stores off the runtime's threads.
async fn open(config: chasen_embedded::EmbeddedConfig) -> Result<Embedded, StartError> {
    match tokio::task::spawn_blocking(move || Embedded::open(config)).await {
        Ok(opened) => Ok(opened?),
        Err(error) => {
            Err(StartError::System { step: "opening the data folder", source: io::Error::other(error) })
        }
    }
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

/// The address under which this machine reaches a listener.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

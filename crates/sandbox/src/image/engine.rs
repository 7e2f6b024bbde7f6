//! A cell that runs an image, as the conversation over HTTP needs it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::ByteSize;
use chasen_runtime::http::{Dial, Engine, PORT};
use chasen_runtime::meter::Reading;
use chasen_spi::image_store::HeldImage;
use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream};

use super::printed::Printed;
use crate::cell::Cell;
use crate::network::Lease;

/// A running cell.
pub(crate) struct CellEngine {
    cell: Cell,
    printed: Arc<Printed>,
    /// Given back when the cell is gone.
    held: Mutex<Option<Held>>,
}

/// What a cell needs for as long as anything of it is there.
struct Held {
    _lease: Option<Lease>,
    _image: HeldImage,
}

impl CellEngine {
    pub(super) fn new(cell: Cell, printed: Arc<Printed>, lease: Option<Lease>, image: HeldImage) -> Self {
        Self { cell, printed, held: Mutex::new(Some(Held { _lease: lease, _image: image })) }
    }
}

#[async_trait]
impl Dial for CellEngine {
    /// The socket is made in the cell's network and stays there, wherever it is used: nothing else leads in.
    async fn dial(&self) -> io::Result<TcpStream> {
        let socket = std::net::TcpStream::from(self.cell.socket().await?);
        TcpSocket::from_std_stream(socket).connect(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).await
    }
}

#[async_trait]
impl Engine for CellEngine {
    fn name(&self) -> &str {
        self.cell.name()
    }

    async fn freeze(&self) -> io::Result<()> {
        self.cell.freeze()
    }

    async fn thaw(&self) -> io::Result<()> {
        self.cell.thaw()
    }

    async fn exited(&self) {
        self.cell.exited().await;
    }

    async fn oom_killed(&self) -> bool {
        self.cell.oom_killed()
    }

    fn reading(&self, limit: ByteSize) -> Reading {
        self.cell.reading(limit)
    }

    async fn kill(&self) {
        if let Err(error) = self.cell.kill().await {
            tracing::warn!(container = self.name(), %error, "the end of a sandbox was not seen");
        }
    }

    async fn stop(&self) {
        self.kill().await;
        self.held.lock().take();
    }

    fn drain(&self) {
        self.printed.drain();
    }
}

//! What the host of an image provides.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use chasen_entity::ByteSize;
use tokio::net::TcpStream;

use crate::meter::Reading;

/// The port that every image listens on.
pub const PORT: u16 = 8080;

/// A way to an image's port.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A new connection. Dropping the future gives it up.
    async fn dial(&self) -> io::Result<TcpStream>;
}

/// An address that the node reaches as it is.
#[async_trait]
impl Dial for SocketAddr {
    async fn dial(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self).await
    }
}

/// One container of a host of images: how it is reached, stopped from running, and ended.
#[async_trait]
pub trait Engine: Dial {
    /// Name in logs.
    fn name(&self) -> &str;

    /// Stops every process in it from running.
    async fn freeze(&self) -> io::Result<()>;

    /// Undoes `freeze`.
    async fn thaw(&self) -> io::Result<()>;

    /// Resolves when its first process has ended, by whatever cause; at once from then on.
    async fn exited(&self);

    /// True if something in it was ended for want of memory. Asked repeatedly: the news may take a while.
    async fn oom_killed(&self) -> bool;

    /// Ends its processes, whatever they do about it. It may be called again, and with the future dropped early.
    async fn kill(&self);

    /// Ends it and waits until nothing of it is left.
    async fn stop(&self);

    /// What its counters say, of one with this memory limit. Nothing where the host has none.
    fn reading(&self, _limit: ByteSize) -> Reading {
        Reading::default()
    }

    /// Puts what has been printed by now into the container's [`super::Output`], where the host can tell that without
    /// waiting.
    fn drain(&self) {}
}

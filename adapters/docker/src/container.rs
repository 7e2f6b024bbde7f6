//! One container of the engine, as the platform's conversation with it needs it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use chasen_entity::ByteSize;
use chasen_runtime::http::{Dial, Engine as Host, Output, PORT};
use chasen_runtime::meter::{Gauges, Reading};
use chasen_telemetry::task;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::engine::{Engine, EngineError, Frames, Inspected};
use crate::groups;
use crate::watch::{Life, Line};

/// Bytes of output that are read at once.
const PIECE: usize = 64 * 1024;

/// A started container. Its name is its identity: the engine is asked by it, so that nothing is lost between the two.
pub(crate) struct EngineContainer {
    name: String,
    /// Id of the image that it was made from.
    image_id: String,
    /// `None` if it had ended before it had one.
    address: Option<SocketAddr>,
    life: Arc<Life>,
    line: Arc<Line>,
    output: Arc<Output>,
    /// `None` where its control groups are out of sight.
    gauges: Option<Gauges>,
}

impl EngineContainer {
    /// A container that was started under this name, as it was inspected then.
    ///
    /// # Errors
    /// It runs and cannot be reached; the text is for the operator.
    pub(crate) fn new(
        name: String,
        network: &str,
        inspected: Inspected,
        life: Arc<Life>,
        line: Arc<Line>,
        output: Arc<Output>,
    ) -> Result<Self, String> {
        let address = address(&inspected, network).map(|ip| SocketAddr::new(ip, PORT));
        if address.is_none() && inspected.state.running {
            return Err(format!(
                "it has no address in the network '{network}'; set docker.network to one of type bridge"
            ));
        }
        if !inspected.state.running {
            tracing::debug!(
                container = name,
                code = inspected.state.exit_code,
                "ended as soon as it was started"
            );
            life.ended();
        }
        let gauges = groups::gauges(&inspected.id, inspected.state.pid);
        Ok(Self { name, image_id: inspected.image, address, life, line, output, gauges })
    }

    /// Id of the image that it was made from.
    pub(crate) fn image_id(&self) -> &str {
        &self.image_id
    }

    /// What it prints.
    pub(crate) fn output(&self) -> Arc<Output> {
        Arc::clone(&self.output)
    }

    fn engine(&self) -> io::Result<Engine> {
        self.line.engine().map_err(|why| io::Error::other(why.to_string()))
    }
}

fn address(inspected: &Inspected, network: &str) -> Option<IpAddr> {
    let networks = &inspected.network_settings.networks;
    // The engine may know the network by another name than the one that it was asked for (`default`).
    let endpoint = networks.get(network).or_else(|| networks.values().next())?;
    [&endpoint.ip_address, &endpoint.global_ipv6_address].into_iter().find_map(|text| text.parse().ok())
}

/// Reads what a container prints until it ends, however much that is: nobody else does, and a full pipe would stop
/// the function.
pub(crate) fn read_output(name: String, mut attached: TokioIo<Upgraded>, output: Arc<Output>) {
    drop(task::spawn("container output", async move {
        let mut frames = Frames::default();
        let mut piece = vec![0; PIECE];
        let why = loop {
            let read = match attached.read(&mut piece).await {
                Ok(0) => break None,
                Ok(read) => piece.get(..read).unwrap_or_default(),
                Err(error) => break Some(error.to_string()),
            };
            let now = Timestamp::now();
            if let Err(error) = frames.push(read, |stream, text| output.add(stream, text, now)) {
                break Some(error.to_string());
            }
        };
        if let Some(why) = why {
            tracing::debug!(container = name, why, "its output is not read any more");
        }
        output.close();
    }));
}

#[async_trait]
impl Dial for EngineContainer {
    async fn dial(&self) -> io::Result<TcpStream> {
        // The address of a container that has ended may be another one's by now.
        match self.address {
            Some(address) if !self.life.has_ended() => TcpStream::connect(address).await,
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

#[async_trait]
impl Host for EngineContainer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn freeze(&self) -> io::Result<()> {
        self.engine()?.pause(&self.name).await.map_err(io::Error::other)
    }

    async fn thaw(&self) -> io::Result<()> {
        self.engine()?.unpause(&self.name).await.map_err(io::Error::other)
    }

    async fn exited(&self) {
        self.life.end().await;
    }

    async fn oom_killed(&self) -> bool {
        if self.life.oom_killed() {
            return true;
        }
        let Ok(engine) = self.engine() else { return false };
        engine.inspect(&self.name).await.is_ok_and(|inspected| inspected.state.oom_killed)
    }

    fn reading(&self, limit: ByteSize) -> Reading {
        self.gauges.as_ref().map(|gauges| gauges.read(limit)).unwrap_or_default()
    }

    async fn kill(&self) {
        let killed = match self.line.engine() {
            Ok(engine) => engine.kill(&self.name).await.map_err(|error: EngineError| error.to_string()),
            Err(why) => Err(why.to_string()),
        };
        if let Err(why) = killed {
            tracing::warn!(container = self.name, why, "could not be killed; it will be removed");
        }
    }

    async fn stop(&self) {
        self.line.remove(&self.name).await;
        self.life.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(networks: &str) -> Inspected {
        let text = format!(
            r#"{{"Image":"sha256:0","State":{{"Running":true}},"NetworkSettings":{{"Networks":{networks}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_address_is_that_of_the_network_that_was_asked_for() {
        let both = inspected(r#"{"a":{"IPAddress":"10.0.0.1"},"b":{"IPAddress":"10.0.0.2"}}"#);
        assert_eq!(address(&both, "b"), Some(IpAddr::from([10, 0, 0, 2])));
        assert_eq!(address(&both, "c"), Some(IpAddr::from([10, 0, 0, 1])));
        let six = inspected(r#"{"a":{"IPAddress":"","GlobalIPv6Address":"fd00::2"}}"#);
        assert_eq!(address(&six, "a"), "fd00::2".parse().ok());
        assert_eq!(address(&inspected(r#"{"host":{"IPAddress":""}}"#), "host"), None);
    }
}

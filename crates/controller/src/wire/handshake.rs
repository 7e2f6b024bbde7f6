//! TLS: one handshake, bounded in time.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The protocol of a certificate authority that looks whether a name is ours (RFC 8737): its connections end with
/// the handshake.
const AUTHORITY_LOOKS: &[u8] = b"acme-tls/1";

/// The encrypted stream; `None` if there is nothing to serve on it.
pub(crate) async fn shake(
    tls: &TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Option<TlsStream<TcpStream>> {
    let mut stream = match tokio::time::timeout(limit, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!("a handshake took too long");
            return None;
        }
    };
    if stream.get_ref().1.alpn_protocol() == Some(AUTHORITY_LOOKS) {
        // Who has seen the certificate may be gone already.
        let _ = tokio::time::timeout(limit, stream.shutdown()).await;
        return None;
    }
    Some(stream)
}

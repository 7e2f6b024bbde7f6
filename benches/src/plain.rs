//! References: servers that do nothing but answer, each in a process of its own.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::http;
use crate::{Failure, load};

/// The argument with which this program is the plain server.
pub(crate) const SERVE: &str = "plain-server";

/// A plain server in a child process, which ends with it.
pub(crate) struct Plain {
    child: Child,
    /// `host:port`
    pub(crate) host: String,
}

impl Plain {
    /// Hyper, as bare as it goes, on all processors.
    pub(crate) fn hyper() -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SERVE);
        Self::of(command)
    }

    /// Any command that prints the port of the loopback address that it listens on.
    pub(crate) fn of(mut command: Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut plain = Self { child, host: String::new() };
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        plain.host = format!("127.0.0.1:{}", port.trim().parse::<u16>()?);
        Ok(plain)
    }

    /// A server that is known to listen there.
    pub(crate) fn at(child: Child, host: String) -> Self {
        Self { child, host }
    }

    /// Answers a second to the request that a call of an action would be.
    pub(crate) fn rate(&self, clients: u32, time: Duration) -> Result<f64, Failure> {
        let run = load::closed(clients, time, &[http::call(&self.host, "plain")?])?;
        Ok(load::all_succeeded(run)?.rate())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the plain server: prints its port, answers everything with `{}` once it has read the body.
pub(crate) fn serve() -> ExitCode {
    match tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(accept())) {
        Ok(never) => match never {},
        Err(why) => {
            eprintln!("the plain server: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn accept() -> std::io::Result<Infallible> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(answer));
        // A client that leaves ends its connection, and nothing else.
        tokio::spawn(connection);
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))
}

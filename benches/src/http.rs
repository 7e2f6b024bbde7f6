//! A plain HTTP/1.1 client on one kept connection: as little as possible between the clock and the node.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Failure;

/// `Authorization` of the guest.
pub(crate) const GUEST: &str = "Basic MjNiYzQ2YjEtNzFmNi00ZWQ1LThjNTQtODE2YWE0ZjhjNTAyOjEyM3pPM3haQ0xyTU42djJCS0sxZFhZRnBYbFBrY2NPRnFtMTJDZEFzTWdSVTRWck5aOWx5R1ZDR3VNREdJd1A=";

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) activation_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(host: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        Ok(Self { stream: BufReader::new(stream), host: host.to_owned() })
    }

    /// One request as the guest; `path` starts below `/api/v1/namespaces/_`.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Failure> {
        let request = self.request(method, path, body);
        self.stream.get_mut().write_all(&request)?;
        self.receive()
    }

    /// The same request so many times, none of which waits for an answer; the ids of the activations, all of which
    /// must have been accepted.
    pub(crate) fn send_many(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        count: usize,
    ) -> Result<Vec<String>, Failure> {
        let requests = self.request(method, path, body).repeat(count);
        let mut writer = self.stream.get_ref().try_clone()?;
        let writing = std::thread::spawn(move || writer.write_all(&requests));
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            let reply = self.receive()?;
            reply.expect(202)?;
            ids.push(reply.activation_id.ok_or("no activation id")?);
        }
        writing.join().map_err(|_| "the writer panicked")??;
        Ok(ids)
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "{method} /api/v1/namespaces/_{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {GUEST}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.host,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// The reference: an answer of the same HTTP server that does nothing.
    pub(crate) fn ping(&mut self) -> Result<Reply, Failure> {
        let request = format!("GET /ping HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.receive()
    }

    fn receive(&mut self) -> Result<Reply, Failure> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status")?;
        let (mut length, mut activation_id) = (0, None);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse()?,
                "x-openwhisk-activation-id" => activation_id = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, activation_id, body })
    }

    /// Creates or replaces an action.
    pub(crate) fn put_action(
        &mut self,
        name: &str,
        exec: &serde_json::Value,
        memory: u32,
    ) -> Result<(), Failure> {
        let body = serde_json::json!({"exec": exec, "limits": {"memory": memory}}).to_string();
        let reply = self.send("PUT", &format!("/actions/{name}?overwrite=true"), body.as_bytes())?;
        reply.expect(200)
    }

    /// A blocking call.
    pub(crate) fn invoke(&mut self, name: &str) -> Result<Reply, Failure> {
        self.send("POST", &format!("/actions/{name}?blocking=true&result=true"), b"{}")
    }
}

impl Reply {
    pub(crate) fn expect(&self, status: u16) -> Result<(), Failure> {
        if self.status == status {
            return Ok(());
        }
        Err(format!("status {} instead of {status}: {}", self.status, String::from_utf8_lossy(&self.body))
            .into())
    }
}

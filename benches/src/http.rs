//! A plain HTTP/1.1 client on one kept connection: as little as possible between the clock and the node.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chasen_loadgen::Target;
use serde_json::{Value, json};

use crate::Failure;

/// `Authorization` of the guest.
pub(crate) const GUEST: &str = "Basic MjNiYzQ2YjEtNzFmNi00ZWQ1LThjNTQtODE2YWE0ZjhjNTAyOjEyM3pPM3haQ0xyTU42djJCS0sxZFhZRnBYbFBrY2NPRnFtMTJDZEFzTWdSVTRWck5aOWx5R1ZDR3VNREdJd1A=";

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    authorization: String,
}

/// An activation's id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) u128);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) activation_id: Option<Id>,
    pub(crate) body: Vec<u8>,
}

/// A blocking call of an action by the guest, its result wanted.
pub(crate) fn call(host: &str, action: &str) -> Result<Target, Failure> {
    invocation(host, action, BLOCKING, GUEST)
}

/// What a call asks for that waits for the result, and for nothing else.
pub(crate) const BLOCKING: &str = "?blocking=true&result=true";

/// A call of an action.
pub(crate) fn invocation(
    host: &str,
    action: &str,
    query: &str,
    authorization: &str,
) -> Result<Target, Failure> {
    let url = format!("http://{host}/api/v1/namespaces/_/actions/{action}{query}");
    Ok(Target::new("POST", &url)?
        .header("Authorization", authorization)?
        .header("Content-Type", "application/json")?
        .body("{}")?)
}

impl Client {
    pub(crate) fn connect(host: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        Ok(Self { stream: BufReader::new(stream), authorization: GUEST.to_owned() })
    }

    /// The same node, as somebody else.
    pub(crate) fn connect_as(host: &str, authorization: &str) -> Result<Self, Failure> {
        Ok(Self { authorization: authorization.to_owned(), ..Self::connect(host)? })
    }

    /// One request; `path` starts below `/api/v1/namespaces/_`.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Reply, Failure> {
        let request = self.request(method, path, body);
        self.stream.get_mut().write_all(&request)?;
        self.receive()
    }

    /// Reads all of these, without waiting for one answer before the next question.
    pub(crate) fn read_all(
        &mut self,
        paths: impl Iterator<Item = String>,
        mut answered: impl FnMut(Reply) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        const TOGETHER: usize = 256;
        let mut paths = paths.peekable();
        while paths.peek().is_some() {
            let mut count = 0;
            let mut bytes = Vec::new();
            for path in paths.by_ref().take(TOGETHER) {
                bytes.extend(self.request("GET", &path, b""));
                count += 1;
            }
            self.stream.get_mut().write_all(&bytes)?;
            for _ in 0..count {
                answered(self.receive()?)?;
            }
        }
        Ok(())
    }

    /// The same request so many times, none of which waits for an answer; the ids of the activations, all of which
    /// must have been accepted.
    pub(crate) fn send_many(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
        count: usize,
    ) -> Result<Vec<Id>, Failure> {
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
            "{method} /api/v1/namespaces/_{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.authorization,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    fn receive(&mut self) -> Result<Reply, Failure> {
        let mut line = String::with_capacity(128);
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status")?;
        let (mut length, mut activation_id) = (0, None);
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse()?;
            } else if name.eq_ignore_ascii_case("x-openwhisk-activation-id") {
                activation_id = Some(Id(u128::from_str_radix(value, 16)?));
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Reply { status, activation_id, body })
    }

    /// Creates or replaces an action.
    pub(crate) fn put_action(&mut self, name: &str, exec: &Value, memory: u32) -> Result<(), Failure> {
        self.put(name, &json!({"exec": exec, "limits": {"memory": memory}}))
    }

    /// Creates or replaces an action from its whole document.
    pub(crate) fn put(&mut self, name: &str, action: &Value) -> Result<(), Failure> {
        let reply =
            self.send("PUT", &format!("/actions/{name}?overwrite=true"), action.to_string().as_bytes())?;
        reply.expect(200)
    }

    /// Records of activations in the namespace.
    pub(crate) fn records(&mut self) -> Result<u64, Failure> {
        let reply = self.send("GET", "/activations?count=true", b"")?;
        reply.expect(200)?;
        let count: Value = serde_json::from_slice(&reply.body)?;
        Ok(count.get("activations").and_then(Value::as_u64).ok_or("the records are not counted")?)
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

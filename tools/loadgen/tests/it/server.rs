//! Servers of any manners, on a free port, each a few threads of this process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What a server does with one request: its head, its body, and what to write; false ends the connection.
pub(crate) type Manner = dyn Fn(&str, &[u8], &mut TcpStream) -> bool + Send + Sync;

/// A server that lives as long as the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(
        manner: impl Fn(&str, &[u8], &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let manner: Arc<Manner> = Arc::new(manner);
        let asked = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (manner, asked) = (manner.clone(), asked.clone());
                thread::spawn(move || serve(stream, &*manner, &asked));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A reply with a length.
pub(crate) fn reply(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn serve(mut stream: TcpStream, manner: &Manner, asked: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut held = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut held) {
        asked.fetch_add(1, Ordering::SeqCst);
        if !manner(&head, &body, &mut stream) {
            break;
        }
    }
}

/// The next request of a connection: its head and its body.
pub(crate) fn request(stream: &mut impl Read, held: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(held[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok())
                .unwrap_or(0);
            if held.len() >= end + 4 + length {
                let body = held[end + 4..end + 4 + length].to_vec();
                held.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(read) => held.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Writes, whoever listens.
pub(crate) fn say(stream: &mut TcpStream, text: &str) -> bool {
    stream.write_all(text.as_bytes()).is_ok()
}

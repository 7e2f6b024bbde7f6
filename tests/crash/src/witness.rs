//! Who sees every run: a host of the internet that functions tell of it, outside the node, before they do anything else.
//!
//! A function sends a line of JSON, a [`Note`], and goes on when it has one byte in return.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use chasen_testkit::internet::PUBLIC;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Where it listens, on [`PUBLIC`].
pub const PORT: u16 = 7007;
/// What it answers.
pub const SEEN: u8 = b'.';

/// One run of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What the request that led to the run carries.
    pub token: u64,
    /// Action, and how many ran before it for the same request: `again#1`.
    pub step: String,
    /// The activation.
    pub id: String,
    /// When it was told, epoch milliseconds; set by the witness.
    #[serde(default)]
    pub at: u64,
}

/// Everything that was seen.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    notes: Arc<Mutex<BTreeMap<u64, Vec<Note>>>>,
}

impl Witness {
    /// `host:port`, as functions reach it.
    #[must_use]
    pub fn address() -> String {
        SocketAddrV4::new(PUBLIC, PORT).to_string()
    }

    /// Listens on threads of its own; called on the internet's side.
    ///
    /// # Panics
    /// When the port is taken.
    pub fn listen(&self) {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("the witness's port is free");
        let witness = self.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let witness = witness.clone();
                thread::spawn(move || witness.hear(&stream));
            }
        });
    }

    /// Reads notes until the function is gone.
    fn hear(&self, stream: &TcpStream) {
        let mut writer = stream;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // A line that is cut short is of a function that was killed before it had its answer.
            let Ok(note) = serde_json::from_str::<Note>(&line) else { return };
            self.note(Note { at: crate::now(), ..note });
            if writer.write_all(&[SEEN]).is_err() {
                return;
            }
        }
    }

    fn note(&self, note: Note) {
        self.notes.lock().entry(note.token).or_default().push(note);
    }

    /// What it saw of a request.
    #[must_use]
    pub fn of(&self, token: u64) -> Vec<Note> {
        self.notes.lock().get(&token).cloned().unwrap_or_default()
    }

    /// Forgets a request that is settled.
    pub fn forget(&self, token: u64) {
        self.notes.lock().remove(&token);
    }
}

//! What runtimes send: lines of executables and frames of launchers, in pieces, to the platform's side of the conversation.
//!
//! The first byte of an input says which of the two, the second how large the pieces are.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use chasen_entity::ActivationId;
use chasen_entity::frame::FrameKind;
use chasen_runtime::connection::{Body, Connection, LineConnection};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Most bytes of an answer that are kept.
const KEEP: usize = 256;
/// Most pieces.
const PIECES: usize = 64;
/// Longest time for what needs a moment: both ends are here, and one of them is closed.
const PATIENCE: Duration = Duration::from_secs(10);

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
}

pub(crate) fn converse(input: &[u8]) {
    let [sort, piece, said @ ..] = input else { return };
    // Nobody reads while they are written: a socket takes a few hundred, however small.
    let size = usize::from(*piece).max(said.len() / PIECES + 1);
    let pieces: Vec<&[u8]> = said.chunks(size).collect();
    RUNTIME.with(|runtime| {
        let talk = async {
            match sort % 2 {
                0 => lines(said, &pieces).await,
                _ => frames(&pieces).await,
            }
        };
        runtime.block_on(async {
            timeout(PATIENCE, talk).await.expect("a conversation whose end is closed ends")
        });
    });
}

/// Every line arrives once, in order, whole or cut at the bound; what is no line any more is the end.
async fn lines(said: &[u8], pieces: &[&[u8]]) {
    let (input, _question) = rustix::pipe::pipe().map(|(read, write)| (write, read)).unwrap();
    let (output, mut executable) = std::io::pipe().unwrap();
    let mut connection = LineConnection::new(input, output.into(), KEEP).unwrap();
    for piece in pieces {
        executable.write_all(piece).unwrap();
    }
    drop(executable);
    let mut expected = said.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    while let Ok(line) = connection.next_line().await {
        let expected = expected.next().expect("no more lines than were written");
        check(&line, &expected[..expected.len() - 1]);
    }
    assert!(expected.next().is_none(), "a line was lost");
}

fn check(line: &Body, expected: &[u8]) {
    match line {
        Body::Whole(text) => assert_eq!(&text[..], expected),
        Body::Cut { length, kept } => {
            assert_eq!(*length, expected.len() as u64);
            assert!(expected.starts_with(kept) && kept.len() == KEEP);
        }
    }
}

/// A launcher that says anything: the platform has an answer or an error, and does not wait for ever.
async fn frames(pieces: &[&[u8]]) {
    let (ours, mut launcher) = UnixStream::pair().unwrap();
    let connection = Connection::new(OwnedFd::from(ours), KEEP).unwrap();
    for piece in pieces {
        launcher.write_all(piece).unwrap();
    }
    launcher.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = connection.hello().await;
    let id = ActivationId::from_bytes([7; 16]);
    for kind in [FrameKind::Init, FrameKind::Run] {
        if let Ok(reply) = connection.exchange(kind, &id, b"{}", None).await {
            drop(reply);
        }
    }
}

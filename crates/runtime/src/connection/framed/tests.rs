//! Launchers good and bad at the other end of the socket.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::*;

const KEEP: usize = 1000;

fn pair() -> (Arc<Connection>, StdUnixStream) {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    (Arc::new(Connection::new(ours.into(), KEEP).unwrap()), theirs)
}

fn id(byte: u8) -> ActivationId {
    ActivationId::from_bytes([byte; 16])
}

fn frame(kind: FrameKind, id: &ActivationId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_header(&mut bytes, kind, Some(id), payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads one request as a launcher would.
fn read_request(socket: &mut StdUnixStream) -> (u8, ActivationId, Vec<u8>) {
    let mut header = [0; HEADER_LEN];
    socket.read_exact(&mut header).unwrap();
    let header_len = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
    let mut payload = vec![0; header_len - (HEADER_LEN - 4)];
    socket.read_exact(&mut payload).unwrap();
    (header[4], ActivationId::from_bytes(header[5..].try_into().unwrap()), payload)
}

fn whole(text: &str) -> Result<Reply, Broken> {
    Ok(Reply::Result(Body::Whole(text.as_bytes().to_vec())))
}

#[tokio::test]
async fn greeting_then_requests_and_replies() {
    let (ours, mut theirs) = pair();
    let launcher = std::thread::spawn(move || {
        let zero = id(0);
        theirs.write_all(&frame(FrameKind::Hello, &zero, br#"{"protocol":1,"concurrent":true}"#)).unwrap();
        let (kind, asked, payload) = read_request(&mut theirs);
        assert_eq!((kind, payload.as_slice()), (FrameKind::Init as u8, b"init".as_slice()));
        theirs.write_all(&frame(FrameKind::Initialized, &asked, b"")).unwrap();
        let (_, asked, payload) = read_request(&mut theirs);
        theirs.write_all(&frame(FrameKind::Result, &asked, &payload)).unwrap();
        let (_, asked, _) = read_request(&mut theirs);
        theirs.write_all(&frame(FrameKind::DeveloperError, &asked, b"{}")).unwrap();
    });
    assert_eq!(ours.hello().await, Ok(Hello { protocol: 1, concurrent: true }));
    assert_eq!(ours.exchange(FrameKind::Init, &id(1), b"init").await, Ok(Reply::Initialized));
    let large = vec![b'x'; 400_000];
    let reply = ours.exchange(FrameKind::Run, &id(2), &large).await;
    assert_eq!(reply, Ok(Reply::Result(Body::Cut { length: 400_000, kept: vec![b'x'; KEEP] })));
    let reply = ours.exchange(FrameKind::Run, &id(3), b"").await;
    assert_eq!(reply, Ok(Reply::DeveloperError(Body::Whole(b"{}".to_vec()))));
    launcher.join().unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(4), b"").await, Err(Broken::Closed));
}

#[tokio::test]
async fn replies_out_of_order_reach_their_owners() {
    const RUNS: u8 = 50;
    let (ours, mut theirs) = pair();
    let launcher = std::thread::spawn(move || {
        let mut asked: Vec<_> = (0..RUNS).map(|_| read_request(&mut theirs)).collect();
        asked.reverse();
        for (_, asked, payload) in asked {
            theirs.write_all(&frame(FrameKind::Result, &asked, &payload)).unwrap();
        }
    });
    let runs: Vec<_> = (1..=RUNS)
        .map(|byte| {
            let ours = Arc::clone(&ours);
            tokio::spawn(async move {
                let text = format!("run {byte}");
                assert_eq!(ours.exchange(FrameKind::Run, &id(byte), text.as_bytes()).await, whole(&text));
            })
        })
        .collect();
    for run in runs {
        run.await.unwrap();
    }
    launcher.join().unwrap();
    assert!(ours.exchanges.lock().slots.is_empty());
}

#[tokio::test]
async fn forged_frames_break_the_connection() {
    for (name, forged) in [
        ("unknown id", frame(FrameKind::Result, &id(9), b"{}")),
        ("a request", frame(FrameKind::Run, &id(1), b"{}")),
        ("a second greeting", frame(FrameKind::Hello, &id(0), b"{}")),
        ("log", frame(FrameKind::Log, &id(1), b"\x01x")),
        ("nonsense", b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxx".to_vec()),
        ("short", vec![0; HEADER_LEN]),
    ] {
        let (ours, mut theirs) = pair();
        theirs.write_all(&forged).unwrap();
        let reply = ours.exchange(FrameKind::Run, &id(1), b"{}").await;
        assert!(matches!(reply, Err(Broken::Unexpected(_) | Broken::Frame(_))), "{name}: {reply:?}");
        assert_eq!(ours.exchange(FrameKind::Run, &id(2), b"{}").await, reply, "{name} stays broken");
    }
}

#[tokio::test]
async fn a_reply_too_many_breaks_the_next_exchange() {
    let (ours, mut theirs) = pair();
    theirs.write_all(&frame(FrameKind::Result, &id(1), b"{}")).unwrap();
    theirs.write_all(&frame(FrameKind::Result, &id(1), b"{}")).unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(1), b"").await, whole("{}"));
    assert!(matches!(ours.exchange(FrameKind::Run, &id(2), b"").await, Err(Broken::Unexpected(_))));
}

#[tokio::test]
async fn a_wrong_greeting_is_refused() {
    for (kind, text) in [
        (FrameKind::Hello, br#"{"protocol":2,"concurrent":false}"#.as_slice()),
        (FrameKind::Hello, b"hello"),
        (FrameKind::Result, br#"{"protocol":1,"concurrent":false}"#),
    ] {
        let (ours, mut theirs) = pair();
        theirs.write_all(&frame(kind, &id(0), text)).unwrap();
        assert!(matches!(ours.hello().await, Err(Broken::Unexpected(_))));
    }
}

#[tokio::test]
async fn giving_up_breaks_the_connection_for_all() {
    let (ours, theirs) = pair();
    let other = tokio::spawn({
        let ours = Arc::clone(&ours);
        async move { ours.exchange(FrameKind::Run, &id(2), b"").await }
    });
    let one = id(1);
    let given_up = tokio::time::timeout(Duration::from_millis(20), ours.exchange(FrameKind::Run, &one, b""));
    assert!(given_up.await.is_err());
    drop(theirs);
    assert!(other.await.unwrap().is_err());
    assert_eq!(ours.exchange(FrameKind::Run, &id(3), b"").await, Err(Broken::Abandoned));
}

#[tokio::test]
async fn one_activation_cannot_run_twice_at_a_time() {
    let (ours, theirs) = pair();
    let first = tokio::spawn({
        let ours = Arc::clone(&ours);
        async move { ours.exchange(FrameKind::Run, &id(1), b"").await }
    });
    while ours.exchanges.lock().slots.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(ours.exchange(FrameKind::Run, &id(1), b"").await, Err(Broken::Unexpected(_))));
    drop(theirs);
    assert_eq!(first.await.unwrap(), Err(Broken::Closed));
}

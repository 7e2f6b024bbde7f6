//! Launchers good and bad at the other end of the socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream as StdUnixStream;
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
    assert_eq!(ours.exchange(FrameKind::Init, &id(1), b"init", None).await, Ok(Reply::Initialized));
    let large = vec![b'x'; 400_000];
    let reply = ours.exchange(FrameKind::Run, &id(2), &large, None).await;
    assert_eq!(reply, Ok(Reply::Result(Body::Cut { length: 400_000, kept: vec![b'x'; KEEP] })));
    let reply = ours.exchange(FrameKind::Run, &id(3), b"", None).await;
    assert_eq!(reply, Ok(Reply::DeveloperError(Body::Whole(b"{}".to_vec()))));
    launcher.join().unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(4), b"", None).await, Err(Broken::Closed));
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
                assert_eq!(
                    ours.exchange(FrameKind::Run, &id(byte), text.as_bytes(), None).await,
                    whole(&text)
                );
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
        ("log of no stream", frame(FrameKind::Log, &id(1), b"")),
        ("log of an unknown stream", frame(FrameKind::Log, &id(1), b"\x03x")),
        ("a log without end", frame(FrameKind::Log, &id(1), &[1; 70_000])),
        ("nonsense", b"HTTP/1.1 200 OK\r\n\r\nxxxxxxxxxxx".to_vec()),
        ("short", vec![0; HEADER_LEN]),
    ] {
        let (ours, mut theirs) = pair();
        theirs.write_all(&forged).unwrap();
        let reply = ours.exchange(FrameKind::Run, &id(1), b"{}", None).await;
        assert!(matches!(reply, Err(Broken::Unexpected(_) | Broken::Frame(_))), "{name}: {reply:?}");
        assert_eq!(ours.exchange(FrameKind::Run, &id(2), b"{}", None).await, reply, "{name} stays broken");
    }
}

#[tokio::test]
async fn a_reply_too_many_breaks_the_next_exchange() {
    let (ours, mut theirs) = pair();
    theirs.write_all(&frame(FrameKind::Result, &id(1), b"{}")).unwrap();
    theirs.write_all(&frame(FrameKind::Result, &id(1), b"{}")).unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(1), b"", None).await, whole("{}"));
    assert!(matches!(ours.exchange(FrameKind::Run, &id(2), b"", None).await, Err(Broken::Unexpected(_))));
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
        async move { ours.exchange(FrameKind::Run, &id(2), b"", None).await }
    });
    let one = id(1);
    let given_up =
        tokio::time::timeout(Duration::from_millis(20), ours.exchange(FrameKind::Run, &one, b"", None));
    assert!(given_up.await.is_err());
    drop(theirs);
    assert!(other.await.unwrap().is_err());
    assert_eq!(ours.exchange(FrameKind::Run, &id(3), b"", None).await, Err(Broken::Abandoned));
}

#[tokio::test]
async fn one_activation_cannot_run_twice_at_a_time() {
    let (ours, theirs) = pair();
    let first = tokio::spawn({
        let ours = Arc::clone(&ours);
        async move { ours.exchange(FrameKind::Run, &id(1), b"", None).await }
    });
    while ours.exchanges.lock().slots.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(ours.exchange(FrameKind::Run, &id(1), b"", None).await, Err(Broken::Unexpected(_))));
    drop(theirs);
    assert_eq!(first.await.unwrap(), Err(Broken::Closed));
}

/// Keeps what it is given.
#[derive(Default)]
struct Collected(Mutex<Vec<(Stream, Vec<u8>)>>);

impl LogSink for Collected {
    fn add(&self, stream: Stream, text: &[u8]) {
        self.0.lock().push((stream, text.to_vec()));
    }
}

impl Collected {
    fn text(&self, of: Stream) -> String {
        let pieces = self.0.lock();
        let bytes: Vec<u8> =
            pieces.iter().filter(|(stream, _)| *stream == of).flat_map(|(_, text)| text.clone()).collect();
        String::from_utf8(bytes).unwrap()
    }
}

fn piece(id: &ActivationId, stream: Stream, text: &[u8]) -> Vec<u8> {
    frame(FrameKind::Log, id, &[&[stream as u8], text].concat())
}

#[tokio::test]
async fn logs_of_runs_that_are_not_there_are_dropped() {
    let (ours, mut theirs) = pair();
    let log = Arc::new(Collected::default());
    theirs.write_all(&piece(&id(9), Stream::Stdout, b"of nobody")).unwrap();
    theirs.write_all(&piece(&id(1), Stream::Stdout, b"own")).unwrap();
    theirs.write_all(&frame(FrameKind::Result, &id(1), b"{}")).unwrap();
    theirs.write_all(&piece(&id(1), Stream::Stderr, b"late")).unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(1), b"", Some(log.clone())).await, whole("{}"));
    theirs.write_all(&frame(FrameKind::Result, &id(2), b"{}")).unwrap();
    assert_eq!(ours.exchange(FrameKind::Run, &id(2), b"", None).await, whole("{}"));
    assert_eq!((log.text(Stream::Stdout), log.text(Stream::Stderr)), ("own".to_owned(), String::new()));
}

#[tokio::test]
async fn replies_that_come_together_are_handed_over_together() {
    let (ours, mut theirs) = pair();
    let [first, second] = [1, 2].map(|number| {
        let ours = Arc::clone(&ours);
        tokio::spawn(async move { ours.exchange(FrameKind::Run, &id(number), b"", None).await })
    });
    let launcher = std::thread::spawn(move || {
        let asked = [(); 2].map(|()| read_request(&mut theirs).1);
        let replies = asked.map(|asked| frame(FrameKind::Result, &asked, b"{}")).concat();
        theirs.write_all(&replies).unwrap();
        theirs
    });
    assert_eq!([first.await.unwrap(), second.await.unwrap()], [whole("{}"), whole("{}")]);
    drop(launcher.join().unwrap());
}

#[tokio::test]
async fn a_flood_of_logs_does_not_outlast_a_time_limit() {
    let (ours, mut theirs) = pair();
    let flood = std::thread::spawn(move || {
        let pieces = piece(&id(9), Stream::Stdout, &[b'x'; 100]).repeat(100);
        while theirs.write_all(&pieces).is_ok() {}
    });
    let one = id(1);
    let run = ours.exchange(FrameKind::Run, &one, b"", None);
    assert!(tokio::time::timeout(Duration::from_millis(50), run).await.is_err());
    drop(ours);
    flood.join().unwrap();
}

mod interleaved {
    use proptest::prelude::*;

    use super::*;

    /// What the launcher does next for one of its runs.
    #[derive(Debug, Clone)]
    enum Step {
        Print(u8, bool, Vec<u8>),
        Answer(u8),
    }

    fn steps(runs: u8) -> impl Strategy<Value = Vec<Step>> {
        let print = (0..runs, any::<bool>(), "[a-zé\n]{0,20}")
            .prop_map(|(run, out, text)| Step::Print(run, out, text.into_bytes()));
        let answers = Just((0..runs).map(Step::Answer).collect::<Vec<_>>()).prop_shuffle();
        (prop::collection::vec(print, 0..60), answers, any::<prop::sample::Selector>()).prop_map(
            |(mut steps, answers, places)| {
                for answer in answers {
                    let at = *places.select(&(0..=steps.len()).collect::<Vec<_>>());
                    steps.insert(at, answer);
                }
                steps
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// However a launcher mixes what its runs print and answer: each gets its answer, and what was printed for it
        /// before that, in order.
        #[test]
        fn each_run_gets_its_own(steps in steps(8)) {
            const RUNS: u8 = 8;
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let _inside = runtime.enter();
            let (ours, mut theirs) = pair();
            let runs: Vec<_> = (0..RUNS).map(|run| {
                let (ours, log) = (Arc::clone(&ours), Arc::new(Collected::default()));
                let sink = log.clone();
                let work = runtime.spawn(async move {
                    ours.exchange(FrameKind::Run, &id(run + 1), b"{}", Some(sink)).await
                });
                (log, work)
            }).collect();
            for _ in 0..RUNS {
                read_request(&mut theirs);
            }
            let mut expected = vec![[String::new(), String::new()]; usize::from(RUNS)];
            let mut answered = [false; RUNS as usize];
            for step in &steps {
                match step {
                    Step::Print(run, out, text) => {
                        let stream = if *out { Stream::Stdout } else { Stream::Stderr };
                        theirs.write_all(&piece(&id(run + 1), stream, text)).unwrap();
                        let run = usize::from(*run);
                        if !answered[run] {
                            expected[run][usize::from(!*out)].push_str(std::str::from_utf8(text).unwrap());
                        }
                    }
                    Step::Answer(run) => {
                        let text = format!("{{\"run\":{run}}}");
                        theirs.write_all(&frame(FrameKind::Result, &id(run + 1), text.as_bytes())).unwrap();
                        answered[usize::from(*run)] = true;
                    }
                }
            }
            for (run, (log, work)) in runs.into_iter().enumerate() {
                prop_assert_eq!(runtime.block_on(work).unwrap(), whole(&format!("{{\"run\":{run}}}")));
                prop_assert_eq!([log.text(Stream::Stdout), log.text(Stream::Stderr)], expected[run].clone());
            }
        }
    }
}

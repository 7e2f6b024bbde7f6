//! What the tests share: data folders, invocations, records.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chasen_embedded::{Embedded, EmbeddedConfig};
use chasen_entity::{
    ActionLimits, Activation, ActivationId, AuthKey, ByteSize, Event, Identity, Invocation, Parameters,
};
use chasen_spi::{ActivationQuery, EventLog, TakenUp, Unfinished, memory};

/// The secret half of every caller's key.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Small segments, so that tests meet many of them, and a disk that is never too slow for work that can wait.
pub(crate) fn config(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        segment_bytes: ByteSize::bytes(256 << 10),
        slow_commit: Duration::from_secs(3600),
        ..EmbeddedConfig::new(folder)
    }
}

/// An open folder with small segments.
pub(crate) fn open(folder: &Path) -> Embedded {
    Embedded::open(config(folder)).unwrap()
}

/// Work that is accepted now.
pub(crate) fn invocation(arguments: &str) -> Arc<Invocation> {
    let one = memory::invocation("guest", "hello", "nodejs:20", arguments);
    let auth_key = AuthKey { uuid: "u".into(), key: SECRET.into() };
    let identity = Arc::new(Identity { auth_key, ..Identity::clone(&one.identity) });
    Arc::new(Invocation { identity, blocking: false, accepted_at: 1, ..one })
}

/// The three events of an activation that succeeds.
pub(crate) fn events(arguments: &str, start: u64) -> [Event; 3] {
    let invocation = invocation(arguments);
    let activation_id = invocation.activation_id;
    let record = record(activation_id, start);
    let started = Event::Started { activation_id, attempt: 1, at: start };
    [Event::Accepted(invocation), started, Event::Finished(record)]
}

/// A record like those of real actions.
pub(crate) fn record(activation_id: ActivationId, start: u64) -> Arc<Activation> {
    let mut annotations = Parameters::new();
    annotations.set("path", "guest/hello");
    annotations.set("kind", "nodejs:20");
    annotations.set("limits", &ActionLimits::default());
    annotations.set("waitTime", &3);
    annotations.set("timeout", &false);
    let plain = memory::activation("guest", "hello", start);
    Arc::new(Activation { activation_id, annotations, ..plain })
}

/// Takes up all that an earlier life left.
pub(crate) fn take_up_all(log: &dyn EventLog) -> Vec<Unfinished> {
    let take_up = |id| match log.take_up(id).unwrap() {
        TakenUp::Taken(work) => *work,
        other => panic!("{id} is {other:?}"),
    };
    log.inherited().iter().map(take_up).collect()
}

/// Everything of the guest, newest first, up to this many.
pub(crate) fn newest(limit: u64) -> ActivationQuery {
    ActivationQuery { namespace: "guest".to_owned(), limit, ..ActivationQuery::default() }
}

/// Asks again until the answer is yes; fails after a while.
pub(crate) async fn eventually(what: &str, mut asked: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !asked().await {
        assert!(std::time::Instant::now() < deadline, "{what}: not within 60 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Files in a folder that end so, sorted.
pub(crate) fn files(folder: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    files.sort();
    files
}

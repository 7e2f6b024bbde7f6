//! The kinds of the platform, as they are at the moment: an operator may change them while the node runs.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use chasen_entity::Manifest;
use chasen_entity::manifest::RuntimeKind;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::StoreError;

/// The manifest in force. Reading it costs no lock; whoever keeps something made from it follows its changes.
///
/// In force is what the operator wants of the kinds, less the optional ones that nobody found to be there.
#[derive(Debug)]
pub struct Runtimes {
    wanted: Mutex<Wanted>,
    current: ArcSwap<Manifest>,
    changes: watch::Sender<Arc<Manifest>>,
}

#[derive(Debug)]
struct Wanted {
    manifest: Arc<Manifest>,
    /// Optional kinds that are there.
    found: BTreeSet<String>,
}

impl Runtimes {
    /// Runtimes that begin with this manifest, without its optional kinds.
    #[must_use]
    pub fn new(manifest: Manifest) -> Arc<Self> {
        let wanted = Wanted { manifest: Arc::new(manifest), found: BTreeSet::new() };
        let current = wanted.offered();
        let (changes, _) = watch::channel(current.clone());
        Arc::new(Self { wanted: Mutex::new(wanted), current: ArcSwap::new(current), changes })
    }

    /// The manifest in force.
    #[must_use]
    pub fn manifest(&self) -> Guard<Arc<Manifest>> {
        self.current.load()
    }

    /// What the operator wants, with every optional kind.
    #[must_use]
    pub fn whole(&self) -> Arc<Manifest> {
        self.wanted.lock().manifest.clone()
    }

    /// Puts another manifest in force, as a whole.
    pub fn replace(&self, manifest: Manifest) {
        let mut wanted = self.wanted.lock();
        wanted.manifest = Arc::new(manifest);
        self.enforce(&wanted);
    }

    /// Says which optional kinds can run here. True if that changes what is in force.
    pub fn offer(&self, found: BTreeSet<String>) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.found == found {
            return false;
        }
        wanted.found = found;
        self.enforce(&wanted)
    }

    /// Follows the changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Manifest>> {
        self.changes.subscribe()
    }

    fn enforce(&self, wanted: &Wanted) -> bool {
        let offered = wanted.offered();
        if **self.current.load() == *offered {
            return false;
        }
        self.current.store(offered.clone());
        self.changes.send_replace(offered);
        true
    }
}

impl Wanted {
    fn offered(&self) -> Arc<Manifest> {
        if self.manifest.kinds().any(RuntimeKind::is_optional) {
            Arc::new(self.manifest.offered(|kind| self.found.contains(kind)))
        } else {
            self.manifest.clone()
        }
    }
}

/// Keeps the manifest that an operator put in force, for the next life of the node.
#[async_trait]
pub trait RuntimesKeeper: Send + Sync {
    /// Adds what this node knows of the kinds and the manifest does not say.
    fn complete(&self, manifest: Manifest) -> Manifest;

    /// Refuses a kind that this node could not work with. Says which and why.
    fn check(&self, kind: &RuntimeKind) -> Result<(), String>;

    /// Keeps a manifest in place of what was kept; durable when it returns.
    async fn keep(&self, manifest: &Manifest) -> Result<(), StoreError>;

    /// Forgets what was kept, and gives what the node starts with from now on.
    async fn forget(&self) -> Result<Manifest, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_seen_by_readers_and_followers() {
        let runtimes = Runtimes::new(Manifest::default());
        let mut changes = runtimes.changes();
        assert!(runtimes.manifest().resolve("k:1").is_none());
        let text = r#"{"runtimes":{"k":[{"kind":"k:1","default":true,"image":{"prefix":"p","name":"n","tag":"t"}}]}}"#;
        runtimes.replace(Manifest::parse(text).unwrap());
        changes.changed().await.unwrap();
        assert!(changes.borrow().resolve("k:1").is_some() && runtimes.manifest().resolve("k:1").is_some());
    }

    #[tokio::test]
    async fn optional_kinds_come_and_go_with_what_is_found() {
        let launch = r#"{"interpreter":{"command":"c","version":"1"},"optional":true}"#;
        let kind = |name: &str| {
            format!(r#"{{"kind":"{name}","default":true,"image":{{"name":"n"}},"chasen":{launch}}}"#)
        };
        let text = format!(r#"{{"runtimes":{{"k":[{}],"o":[{}]}}}}"#, kind("k:1"), kind("o:1"));
        let runtimes = Runtimes::new(Manifest::parse(&text).unwrap());
        let mut changes = runtimes.changes();
        let offered = |runtimes: &Runtimes| {
            runtimes.manifest().kinds().map(|kind| kind.kind.clone()).collect::<Vec<_>>()
        };
        assert!(offered(&runtimes).is_empty() && runtimes.whole().kinds().count() == 2);
        let found = BTreeSet::from(["o:1".to_owned(), "other:1".to_owned()]);
        assert!(runtimes.offer(found.clone()) && !runtimes.offer(found));
        changes.changed().await.unwrap();
        assert_eq!(offered(&runtimes), ["o:1"]);
        runtimes.replace(Manifest::parse(&text.replace("o:1", "other:1")).unwrap());
        assert_eq!(offered(&runtimes), ["other:1"], "what was found is remembered");
        assert!(runtimes.offer(BTreeSet::new()) && offered(&runtimes).is_empty());
    }
}

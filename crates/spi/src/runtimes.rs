//! The kinds of the platform, as they are at the moment: an operator may change them while the node runs.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use chasen_entity::Manifest;
use chasen_entity::manifest::RuntimeKind;
use tokio::sync::watch;

use crate::StoreError;

/// The manifest in force. Reading it costs no lock; whoever keeps something made from it follows its changes.
#[derive(Debug)]
pub struct Runtimes {
    current: ArcSwap<Manifest>,
    changes: watch::Sender<Arc<Manifest>>,
}

impl Runtimes {
    /// Runtimes that begin with this manifest.
    #[must_use]
    pub fn new(manifest: Manifest) -> Arc<Self> {
        let manifest = Arc::new(manifest);
        let (changes, _) = watch::channel(manifest.clone());
        Arc::new(Self { current: ArcSwap::new(manifest), changes })
    }

    /// The manifest in force.
    #[must_use]
    pub fn manifest(&self) -> Guard<Arc<Manifest>> {
        self.current.load()
    }

    /// Puts another manifest in force, as a whole.
    pub fn replace(&self, manifest: Manifest) {
        let manifest = Arc::new(manifest);
        self.current.store(manifest.clone());
        self.changes.send_replace(manifest);
    }

    /// Follows the changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<Manifest>> {
        self.changes.subscribe()
    }
}

/// Keeps the manifest that an operator put in force, for the next life of the node.
#[async_trait]
pub trait RuntimesKeeper: Send + Sync {
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
}

//! Images: when a registry is asked for one, and how.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use chasen_entity::{ImageReference, ImageVersion};
use chasen_telemetry::task;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::config::PullPolicy;
use crate::credentials;
use crate::engine::{Engine, EngineError};

/// Pulls at a time.
const PARALLEL_PULLS: usize = 4;

/// What is asked of a registry before a container is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// It must say that the image is up to date.
    Required,
    /// It is asked; what is here does where it says nothing.
    Wanted,
    /// It is asked for what is missing here.
    IfMissing,
    /// It is not asked.
    Never,
}

impl Check {
    /// The check of an image that an action names, or that the manifest has for a kind.
    pub(crate) fn of(policy: PullPolicy, version: ImageVersion<'_>, is_actions: bool) -> Self {
        match (policy, version) {
            (PullPolicy::Never, _) => Self::Never,
            (PullPolicy::Missing, _) | (_, ImageVersion::Digest(_)) => Self::IfMissing,
            (PullPolicy::Always, _) if !is_actions => Self::IfMissing,
            (PullPolicy::Always, ImageVersion::Latest) => Self::Required,
            (PullPolicy::Always, ImageVersion::Tag(_)) => Self::Wanted,
        }
    }
}

/// Why an image was not pulled.
#[derive(Debug, Clone)]
pub(crate) enum NotPulled {
    /// The registry has it not, or does not give it; or there is no room for it.
    Refused,
    /// The engine is not there.
    NoEngine(Arc<str>),
}

type Outcome = Option<Result<(), NotPulled>>;

/// Pulls images. Those who want the same one at the same time share a pull, which ends even if nobody waits for it
/// any more: what it brought is there for the next.
#[derive(Debug)]
pub(crate) struct Images {
    credentials: Option<PathBuf>,
    pulls: Arc<Mutex<HashMap<String, watch::Receiver<Outcome>>>>,
    turns: Arc<Semaphore>,
}

impl Images {
    pub(crate) fn new(credentials: Option<PathBuf>) -> Self {
        Self { credentials, pulls: Arc::default(), turns: Arc::new(Semaphore::new(PARALLEL_PULLS)) }
    }

    /// Has the engine ask the registry for what an image's name means at the moment, and fetch it.
    pub(crate) async fn pull(&self, engine: &Engine, image: &str) -> Result<(), NotPulled> {
        let mut outcome = self.join(engine, image);
        match outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) {
            Ok(Some(result)) => result,
            // Its task has ended without a word.
            Ok(None) | Err(_) => Err(NotPulled::Refused),
        }
    }

    /// The pull of this image that is under way, or a new one.
    fn join(&self, engine: &Engine, image: &str) -> watch::Receiver<Outcome> {
        let mut pulls = self.pulls.lock();
        if let Some(outcome) = pulls.get(image) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        pulls.insert(image.to_owned(), outcome.clone());
        let entry = Entry { pulls: Arc::clone(&self.pulls), image: image.to_owned() };
        let (engine, turns) = (engine.clone(), Arc::clone(&self.turns));
        let credentials = self.credentials.clone();
        drop(task::spawn("image pull", async move {
            let turn = turns.acquire().await;
            let result = pull(&engine, credentials, &entry.image).await;
            drop((turn, entry));
            tell.send_replace(Some(result));
        }));
        outcome
    }
}

/// A pull's place among those under way.
struct Entry {
    pulls: Arc<Mutex<HashMap<String, watch::Receiver<Outcome>>>>,
    image: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pulls.lock().remove(&self.image);
    }
}

async fn pull(engine: &Engine, credentials: Option<PathBuf>, image: &str) -> Result<(), NotPulled> {
    let reference = ImageReference::of(image);
    let login = match credentials {
        Some(file) => credentials::login(&file, reference.registry()).await.unwrap_or_else(|why| {
            tracing::error!(image, reason = why, "pulled without logging in");
            None
        }),
        None => None,
    };
    engine.pull(reference.name, reference.version().as_str(), login).await.map_err(|error| {
        let why: Arc<str> = error.to_string().into();
        tracing::warn!(image, reason = &*why, "an image was not pulled");
        match error {
            EngineError::Unreachable { .. } => NotPulled::NoEngine(why),
            _ => NotPulled::Refused,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_when() {
        use PullPolicy::{Always, Missing, Never};
        let (latest, tag, digest) =
            (ImageVersion::Latest, ImageVersion::Tag("1"), ImageVersion::Digest("sha256:0"));
        for (policy, version, is_actions, check) in [
            (Always, latest, true, Check::Required),
            (Always, tag, true, Check::Wanted),
            (Always, digest, true, Check::IfMissing),
            (Always, latest, false, Check::IfMissing),
            (Always, tag, false, Check::IfMissing),
            (Missing, latest, true, Check::IfMissing),
            (Never, latest, true, Check::Never),
            (Never, digest, false, Check::Never),
        ] {
            assert_eq!(Check::of(policy, version, is_actions), check, "{policy:?} {version:?} {is_actions}");
        }
    }
}

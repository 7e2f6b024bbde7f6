//! How long a cold start of each kind takes: the manifest's guess first, then what was measured.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::Manifest;
use chasen_spi::Runtimes;
use parking_lot::Mutex;

/// Guess for kinds of which the manifest says nothing.
const UNKNOWN: Duration = Duration::from_millis(500);

/// What is expected after a start that took `time`, where a mean was `known`: it counts for a quarter.
#[must_use]
pub fn smoothed(known: Duration, time: Duration) -> Duration {
    (known * 3 + time) / 4
}

/// Estimates by kind.
#[derive(Debug)]
pub(crate) struct Estimates {
    runtimes: Arc<Runtimes>,
    means: Mutex<HashMap<String, Duration>>,
}

impl Estimates {
    pub(crate) fn new(runtimes: Arc<Runtimes>) -> Self {
        Self { runtimes, means: Mutex::default() }
    }

    pub(crate) fn get(&self, kind: &str) -> Duration {
        let measured = self.means.lock().get(kind).copied();
        measured.or_else(|| self.guess(kind)).unwrap_or(UNKNOWN)
    }

    fn guess(&self, kind: &str) -> Option<Duration> {
        let manifest = self.runtimes.manifest();
        Some(Duration::from_millis(manifest.resolve(kind)?.launch.as_ref()?.cold_millis))
    }

    /// Takes a measured start into the mean; the first one of a kind of which nothing is known is the mean.
    pub(crate) fn measured(&self, kind: &str, time: Duration) {
        let guess = self.guess(kind);
        let mut means = self.means.lock();
        let known = means.get(kind).copied().or(guess);
        means.insert(kind.to_owned(), known.map_or(time, |mean| smoothed(mean, time)));
    }

    /// Forgets kinds that this manifest does not know, so that what is kept stays bounded.
    pub(crate) fn forget_others(&self, manifest: &Manifest) {
        self.means.lock().retain(|kind, _| manifest.resolve(kind).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUESSED: &str = r#"{"runtimes":{"k":[{"kind":"k:1","image":{"name":"k"},
        "chasen":{"interpreter":{"command":"k","version":"1"},"launcher":"k","coldMillis":100}}]}}"#;

    #[test]
    fn measurements_replace_the_guess_by_and_by() {
        let runtimes = Runtimes::new(Manifest::default());
        let estimates = Estimates::new(runtimes.clone());
        assert_eq!(estimates.get("k:1"), UNKNOWN);
        runtimes.replace(Manifest::parse(GUESSED).unwrap());
        assert_eq!(estimates.get("k:1"), Duration::from_millis(100));
        estimates.measured("k:1", Duration::from_millis(20));
        assert_eq!(estimates.get("k:1"), Duration::from_millis(80));
        estimates.measured("other", Duration::from_millis(20));
        assert_eq!(estimates.get("other"), Duration::from_millis(20));
        estimates.forget_others(&runtimes.manifest());
        assert_eq!([estimates.get("k:1"), estimates.get("other")], [Duration::from_millis(80), UNKNOWN]);
    }
}

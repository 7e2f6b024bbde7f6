//! How long a cold start of each kind takes: a guess first, then what was measured.

use std::collections::HashMap;
use std::time::Duration;

use chasen_entity::Manifest;
use parking_lot::Mutex;

/// Guess for kinds of which the manifest says nothing.
const UNKNOWN: Duration = Duration::from_millis(500);

/// Estimates by kind.
#[derive(Debug)]
pub(crate) struct Estimates {
    means: Mutex<HashMap<String, Duration>>,
}

impl Estimates {
    /// The manifest's guesses.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let guess = |kind: &chasen_entity::manifest::RuntimeKind| {
            let launch = kind.launch.as_ref()?;
            Some((kind.kind.clone(), Duration::from_millis(launch.cold_millis)))
        };
        Self { means: Mutex::new(manifest.kinds().filter_map(guess).collect()) }
    }

    pub(crate) fn get(&self, kind: &str) -> Duration {
        self.means.lock().get(kind).copied().unwrap_or(UNKNOWN)
    }

    /// Takes a measured start into the mean, with a weight of a quarter.
    pub(crate) fn measured(&self, kind: &str, time: Duration) {
        let mut means = self.means.lock();
        match means.get_mut(kind) {
            Some(mean) => *mean = (*mean * 3 + time) / 4,
            None => {
                means.insert(kind.to_owned(), time);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measurements_replace_the_guess_by_and_by() {
        let estimates = Estimates::of(&Manifest::default());
        assert_eq!(estimates.get("k"), UNKNOWN);
        estimates.measured("k", Duration::from_millis(100));
        estimates.measured("k", Duration::from_millis(20));
        assert_eq!(estimates.get("k"), Duration::from_millis(80));
    }
}

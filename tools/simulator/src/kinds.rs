//! Modelled containers: how long each kind takes to create, to initialise, to freeze, to thaw and to stop.

use std::time::Duration;

use chasen_entity::Manifest;

use crate::number::micros;
use crate::random::Random;
use crate::trace::Micros;

/// The kinds of simulated platforms, their stem cells as a node ships them. Numbers are this model's own, so that a
/// documented run stays what it is while the platform's guesses change.
const MANIFEST: &str = r#"{"runtimes":{
    "nodejs":[{"kind":"nodejs:20","image":{"name":"nodejs"},"stemCells":[{"initialCount":2,"memory":"256 MB",
        "reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":1,"increment":1}}]}],
    "python":[{"kind":"python:3.11","image":{"name":"python"},"stemCells":[{"initialCount":1,"memory":"256 MB",
        "reactive":{"minCount":1,"maxCount":4,"ttl":"2 minutes","threshold":1,"increment":1}}]}],
    "java":[{"kind":"java:8","image":{"name":"java"}}],
    "rust":[{"kind":"rust:1.34","image":{"name":"rust"}}]}}"#;

/// Medians of creation and initialisation, in microseconds.
const TIMES: [(&str, Micros, Micros); 4] = [
    ("nodejs:20", 50_000, 12_000),
    ("python:3.11", 24_000, 10_000),
    ("java:8", 110_000, 60_000),
    ("rust:1.34", 6_000, 4_000),
];
const UNKNOWN: (&str, Micros, Micros) = ("", 100_000, 50_000);

/// Spread of these times.
const SPREAD: f64 = 0.25;
/// A freeze, a thaw and a stop, in microseconds.
pub(crate) const FREEZE: Micros = 300;
pub(crate) const THAW: Micros = 200;
pub(crate) const STOP: Micros = 5_000;

/// The manifest of simulated platforms.
///
/// # Errors
/// The text of a manifest that its own reader refuses.
pub(crate) fn manifest() -> Result<Manifest, String> {
    Manifest::parse(MANIFEST).map_err(|error| error.to_string())
}

fn medians(kind: &str) -> (Micros, Micros) {
    let (_, creation, initialisation) = TIMES.iter().find(|(name, ..)| *name == kind).unwrap_or(&UNKNOWN);
    (*creation, *initialisation)
}

/// First guess of a cold start.
pub(crate) fn guess(kind: &str) -> Duration {
    let (creation, initialisation) = medians(kind);
    Duration::from_micros(creation + initialisation)
}

/// Time of one creation, on a node whose processors are shared by `crowd` times as much work as they can do at once.
pub(crate) fn creation(kind: &str, crowd: f64, random: &mut Random) -> Micros {
    drawn(medians(kind).0, crowd, random)
}

/// Time of one initialisation.
pub(crate) fn initialisation(kind: &str, crowd: f64, random: &mut Random) -> Micros {
    drawn(medians(kind).1, crowd, random)
}

fn drawn(median: Micros, crowd: f64, random: &mut Random) -> Micros {
    micros(random.log_normal(crate::number::float(median), SPREAD) * crowd.max(1.0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_with_times_is_in_the_manifest() {
        let manifest = manifest().unwrap();
        assert!(TIMES.iter().all(|(kind, ..)| manifest.resolve(kind).is_some()));
        assert_eq!(manifest.kinds().count(), TIMES.len());
    }

    #[test]
    fn starts_are_spread_and_a_crowd_makes_them_longer() {
        let mut random = Random::new(1, 1);
        let times: Vec<Micros> = (0..1000).map(|_| creation("java:8", 0.5, &mut random)).collect();
        let below = times.iter().filter(|time| **time < 110_000).count();
        assert!((400..600).contains(&below), "{below}");
        assert!((0..100).all(|_| creation("java:8", 10.0, &mut random) > 300_000));
    }
}

//! How many stem cells of which kind and memory are to be there.

use std::collections::HashSet;
use std::time::Duration;

use chasen_entity::manifest::{Image, Launch, Reactive, parse_duration_millis};
use chasen_entity::{ByteSize, Manifest};

/// Creations that fail in a row before no more are tried, until a container of the kind works.
const MAX_FAILURES: u32 = 5;

/// One line of the manifest's `stemCells`.
#[derive(Debug)]
struct Rule {
    kind: String,
    memory: ByteSize,
    reactive: Option<Reactive>,
    /// What containers of the kind are made of.
    image: Image,
    launch: Option<Launch>,
    /// True from the first container of the kind on: an idle node keeps nothing.
    used: bool,
    /// Wanted now, once used.
    target: u32,
    /// Requests since the last adjustment that found none.
    cold_starts: u32,
    failures: u32,
}

/// All rules.
#[derive(Debug)]
pub(super) struct Stems {
    rules: Vec<Rule>,
}

impl Stems {
    pub(super) fn of(manifest: &Manifest) -> Self {
        let rules = manifest.kinds().flat_map(|kind| {
            kind.stem_cells.iter().map(|cells| Rule {
                kind: kind.kind.clone(),
                memory: cells.memory,
                reactive: cells.reactive.clone(),
                image: kind.image.clone(),
                launch: kind.launch.clone(),
                used: false,
                target: cells.initial_count,
                cold_starts: 0,
                failures: 0,
            })
        });
        Self { rules: rules.collect() }
    }

    /// Follows another manifest, and says which kinds' stem cells are not what new containers of the kind would be.
    /// What is known of demand stays; creations that failed may succeed now.
    pub(super) fn follow(&mut self, manifest: &Manifest) -> HashSet<String> {
        let old = std::mem::replace(self, Self::of(manifest)).rules;
        for new in &mut self.rules {
            new.used = old.iter().any(|rule| rule.kind == new.kind && rule.used);
            let same = |rule: &&Rule| {
                rule.kind == new.kind && rule.memory == new.memory && rule.reactive == new.reactive
            };
            if let (Some(reactive), Some(rule)) = (&new.reactive, old.iter().find(same)) {
                new.target = rule.target.clamp(reactive.min_count, reactive.max_count);
                new.cold_starts = rule.cold_starts;
            }
        }
        let is_made_alike = |rule: &Rule| {
            manifest
                .kinds()
                .any(|kind| kind.kind == rule.kind && kind.image == rule.image && kind.launch == rule.launch)
        };
        old.into_iter().filter(|rule| !is_made_alike(rule)).map(|rule| rule.kind).collect()
    }

    /// How many there may be: demand that falls does not end those that are there.
    pub(super) fn most(&self, kind: &str, memory: ByteSize) -> u32 {
        let rule = self.rules.iter().find(|rule| rule.kind == kind && rule.memory == memory);
        rule.map_or(0, |rule| {
            let reactive = rule.reactive.as_ref().map_or(0, |reactive| reactive.max_count);
            rule.target.max(reactive)
        })
    }

    fn rule(&mut self, kind: &str, memory: ByteSize) -> Option<&mut Rule> {
        self.rules.iter_mut().find(|rule| rule.kind == kind && rule.memory == memory)
    }

    /// A container of this kind works: from now on its stem cells are kept.
    pub(super) fn used(&mut self, kind: &str) {
        for rule in self.rules.iter_mut().filter(|rule| rule.kind == kind) {
            rule.used = true;
            rule.failures = 0;
        }
    }

    /// A request found no stem cell.
    pub(super) fn cold_start(&mut self, kind: &str, memory: ByteSize) {
        if let Some(rule) = self.rule(kind, memory) {
            rule.cold_starts = rule.cold_starts.saturating_add(1);
        }
    }

    /// A stem cell is up.
    pub(super) fn succeeded(&mut self, kind: &str, memory: ByteSize) {
        if let Some(rule) = self.rule(kind, memory) {
            rule.failures = 0;
        }
    }

    /// A stem cell could not be made.
    pub(super) fn failed(&mut self, kind: &str, memory: ByteSize) {
        if let Some(rule) = self.rule(kind, memory) {
            rule.failures = rule.failures.saturating_add(1);
        }
    }

    /// A kind and memory of which there are fewer than there should be, and which fits into `room` bytes.
    pub(super) fn wanted(
        &self,
        present: impl Fn(&str, ByteSize) -> usize,
        room: u64,
    ) -> Option<(String, ByteSize)> {
        let short = |rule: &&Rule| {
            rule.used
                && rule.failures < MAX_FAILURES
                && rule.memory.as_bytes() <= room
                && present(&rule.kind, rule.memory) < rule.target as usize
        };
        self.rules.iter().find(short).map(|rule| (rule.kind.clone(), rule.memory))
    }

    /// How long an unused stem cell lives; only reactive ones end.
    pub(super) fn life(&self, kind: &str, memory: ByteSize) -> Option<Duration> {
        let rule = self.rules.iter().find(|rule| rule.kind == kind && rule.memory == memory)?;
        parse_duration_millis(&rule.reactive.as_ref()?.ttl).map(Duration::from_millis)
    }

    /// Takes the demand since the last time in: as many increments as thresholds were reached.
    pub(super) fn adjust(&mut self) {
        for rule in &mut self.rules {
            if let (Some(reactive), true) = (&rule.reactive, rule.used) {
                let demand =
                    (rule.cold_starts / reactive.threshold.max(1)).saturating_mul(reactive.increment);
                rule.target = demand.clamp(reactive.min_count, reactive.max_count);
            }
            rule.cold_starts = 0;
        }
    }
}

//! Counting while a simulation goes on.

use chasen_entity::EntityName;
use hdrhistogram::{CreationError, Histogram};

use super::{Containers, Memory, NamespaceReport, Refused, Report, Slowdown, Wait};
use crate::number::{float, micros, share};
use crate::trace::{Micros, SECOND};

/// Times from this one on, and slowdowns in thousandths, are not told apart: an hour in microseconds.
const LONGEST: u64 = 3600 * SECOND;
const THOUSAND: f64 = 1000.0;
/// Namespaces that are told one by one.
const WORST: usize = 5;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    Throttled,
    Overloaded,
    TimedOut,
    Failed,
}

/// What was counted of a policy's run.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) activations: u64,
    pub(crate) refused: Refused,
    pub(crate) timed_out: u64,
    pub(crate) failed: u64,
    cold: u64,
    pub(crate) stem: u64,
    pub(crate) containers: Containers,
    pub(crate) events: u64,
    completed: u64,
    begun: u64,
    waits: Histogram<u64>,
    longest_wait: Micros,
    slowdowns: Histogram<u64>,
    slowdown: f64,
    /// Waits of each namespace.
    namespaces: Vec<Own>,
    empty: Histogram<u32>,
    meter: Meter,
}

/// What one namespace had.
#[derive(Debug)]
struct Own {
    name: EntityName,
    cold: u64,
    /// None before its first call.
    waits: Option<Histogram<u32>>,
}

/// Memory of containers over time, in MB × microseconds.
#[derive(Debug, Default)]
struct Meter {
    at: Micros,
    held: u64,
    alive: u64,
    total: u128,
    idle: u128,
    wasted: u128,
}

impl Tally {
    /// Nothing counted yet. Two digits of every time are kept.
    pub(crate) fn new(namespaces: impl Iterator<Item = EntityName>) -> Result<Self, CreationError> {
        let (empty, empty_small) = (Histogram::new(2)?, Histogram::new(2)?);
        Ok(Self {
            activations: 0,
            refused: Refused::default(),
            timed_out: 0,
            failed: 0,
            cold: 0,
            stem: 0,
            containers: Containers::default(),
            events: 0,
            completed: 0,
            begun: 0,
            waits: empty.clone(),
            longest_wait: 0,
            slowdowns: empty,
            slowdown: 0.0,
            namespaces: namespaces.map(|name| Own { name, cold: 0, waits: None }).collect(),
            empty: empty_small,
            meter: Meter::default(),
        })
    }

    /// A call begins to run.
    pub(crate) fn begins(&mut self, namespace: usize, wait: Micros, service: Micros, is_cold: bool) {
        self.begun += 1;
        self.cold += u64::from(is_cold);
        self.waits += wait.min(LONGEST);
        self.longest_wait = self.longest_wait.max(wait);
        let slowdown = float(wait.saturating_add(service)) / float(service.max(1));
        self.slowdown += slowdown;
        self.slowdowns += micros(slowdown * THOUSAND).min(LONGEST);
        if let Some(own) = self.namespaces.get_mut(namespace) {
            own.cold += u64::from(is_cold);
            *own.waits.get_or_insert_with(|| self.empty.clone()) += wait.min(LONGEST);
        }
    }

    /// A call is over.
    pub(crate) fn ends(&mut self, ending: Ending) {
        let count = match ending {
            Ending::Completed => &mut self.completed,
            Ending::Throttled => &mut self.refused.throttled,
            Ending::Overloaded => &mut self.refused.overloaded,
            Ending::TimedOut => &mut self.timed_out,
            Ending::Failed => &mut self.failed,
        };
        *count += 1;
    }

    /// Calls that are over.
    pub(crate) fn ended(&self) -> u64 {
        self.completed + self.refused.throttled + self.refused.overloaded + self.timed_out + self.failed
    }

    /// A container holds memory, in MB, from now on.
    pub(crate) fn holds(&mut self, memory: u64, now: Micros) {
        self.meter.go_on(now);
        self.meter.held += memory;
        self.meter.alive += 1;
        self.containers.started += 1;
        self.containers.peak = self.containers.peak.max(self.meter.alive);
    }

    /// It holds it no more.
    pub(crate) fn frees(&mut self, memory: u64, now: Micros) {
        self.meter.go_on(now);
        self.meter.held = self.meter.held.saturating_sub(memory);
        self.meter.alive = self.meter.alive.saturating_sub(1);
    }

    /// A container was idle for a time, which was wasted if nobody came back to it.
    pub(crate) fn idled(&mut self, memory: u64, time: Micros, wasted: bool) {
        let held = u128::from(memory) * u128::from(time);
        self.meter.idle += held;
        if wasted {
            self.meter.wasted += held;
        }
    }

    /// The report, at the end.
    pub(crate) fn report(mut self, policy: &str, trace: &str, seed: u64, now: Micros) -> Report {
        self.meter.go_on(now);
        Report {
            policy: policy.to_owned(),
            trace: trace.to_owned(),
            seed,
            activations: self.activations,
            completed: self.completed,
            refused: self.refused,
            timed_out: self.timed_out,
            failed: self.failed,
            cold: self.cold,
            stem: self.stem,
            cold_share: rounded(share(self.cold, self.begun), 5),
            wait: Wait {
                p50: millis(self.waits.value_at_quantile(0.5).min(self.longest_wait)),
                p99: millis(self.waits.value_at_quantile(0.99).min(self.longest_wait)),
                max: millis(self.longest_wait),
            },
            slowdown: Slowdown {
                mean: rounded(self.slowdown / float(self.begun.max(1)), 3),
                p99: rounded(float(self.slowdowns.value_at_quantile(0.99)) / THOUSAND, 3),
            },
            memory: Memory {
                total: mb_seconds(self.meter.total),
                idle: mb_seconds(self.meter.idle),
                wasted: mb_seconds(self.meter.wasted),
            },
            containers: self.containers,
            unfairness: self.unfairness(),
            namespaces: self.worst(),
            events: self.events,
        }
    }

    fn unfairness(&self) -> f64 {
        const LEAST: u64 = 1000;
        let p99 = |waits: &Histogram<u32>| waits.value_at_quantile(0.99).max(LEAST);
        let mut waits: Vec<u64> =
            self.namespaces.iter().filter_map(|own| own.waits.as_ref()).map(p99).collect();
        waits.sort_unstable();
        match (waits.last(), waits.get(waits.len().saturating_sub(1) / 2)) {
            (Some(worst), Some(median)) => rounded(float(*worst) / float(*median), 3),
            _ => 1.0,
        }
    }

    /// The namespaces that waited longest.
    fn worst(&self) -> Vec<NamespaceReport> {
        let reports = self.namespaces.iter().filter_map(|own| {
            let waits = own.waits.as_ref()?;
            Some(NamespaceReport {
                namespace: own.name.to_string(),
                ran: waits.len(),
                cold: own.cold,
                wait_p50: millis(waits.value_at_quantile(0.5)),
                wait_p99: millis(waits.value_at_quantile(0.99)),
            })
        });
        let mut reports: Vec<NamespaceReport> = reports.collect();
        reports.sort_by(|a, b| b.wait_p99.total_cmp(&a.wait_p99).then(a.namespace.cmp(&b.namespace)));
        reports.truncate(WORST);
        reports
    }
}

impl Meter {
    fn go_on(&mut self, now: Micros) {
        let passed = now.saturating_sub(self.at);
        self.total += u128::from(self.held) * u128::from(passed);
        self.at = self.at.max(now);
    }
}

fn millis(time: Micros) -> f64 {
    float(time) / THOUSAND
}

fn mb_seconds(held: u128) -> f64 {
    let seconds = u64::try_from(held / u128::from(SECOND)).unwrap_or(u64::MAX);
    float(seconds)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

//! What a run does: whom it asks, at which pace, for how long. Checked as a whole before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::profile::{Profile, Stage};
use crate::target::Target;

/// Most connections of a run.
pub const MAX_CLIENTS: u32 = 20_000;
/// Highest rate, in requests per second.
pub const MAX_RATE: f64 = 1_000_000.0;
/// Most threads.
pub const MAX_THREADS: usize = 64;
const MAX_TARGETS: usize = 256;
/// The same where figures are for all of them together.
const MAX_TARGETS_TOGETHER: usize = 20_000;
const MAX_STAGES: usize = 100;
const LONGEST: Duration = Duration::from_hours(24);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
/// Connections of an open loop, unless said otherwise.
const OPEN_CLIENTS: u32 = 256;
/// How long a reply may take, unless said otherwise: longer than a blocking call waits.
const TIMEOUT: Duration = Duration::from_secs(65);

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A number is out of its bounds.
    #[error("{what} is {given}, out of bounds: {bounds}")]
    Bounds {
        /// Which number.
        what: &'static str,
        /// What it is.
        given: String,
        /// What it may be.
        bounds: &'static str,
    },
    /// Nobody would be asked.
    #[error("there is no target: name at least one")]
    NoTarget,
    /// Nothing would be sent.
    #[error("nothing would be sent: every stage has rate or clients 0")]
    Nothing,
}

/// What decides when a request is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// Closed loop: each client asks again as soon as it is answered.
    Closed {
        /// Clients over time. No stages mean: as many as `clients`, until the plan's duration is over.
        stages: Vec<Stage>,
        /// Clients at once, at most.
        clients: u32,
    },
    /// Open loop: requests are due at a rate, whether answers come or not.
    Open {
        /// Requests per second over time. No stages mean: `rate`, until the plan's duration is over.
        stages: Vec<Stage>,
        /// Requests per second where there are no stages.
        rate: f64,
        /// Connections at once, at most; what is due beyond waits for one, and its latency counts on.
        clients: u32,
    },
}

impl Pace {
    /// So many clients, each asking again when it is answered.
    #[must_use]
    pub fn closed(clients: u32) -> Self {
        Self::Closed { stages: Vec::new(), clients }
    }

    /// So many requests per second.
    #[must_use]
    pub fn open(rate: f64) -> Self {
        Self::Open { stages: Vec::new(), rate, clients: OPEN_CLIENTS }
    }

    /// Connections at once, at most.
    #[must_use]
    pub fn clients(&self) -> u32 {
        match self {
            Self::Closed { clients, .. } | Self::Open { clients, .. } => *clients,
        }
    }

    /// True for an open loop.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom to ask, each in proportion to its weight.
    pub targets: Vec<Target>,
    /// When to ask.
    pub pace: Pace,
    /// How long, where the pace has no stages; without the warm-up.
    pub duration: Duration,
    /// Time before, at the pace's first value, that is not counted.
    pub warm_up: Duration,
    /// How long a reply may take, from when it was sent for.
    pub timeout: Duration,
    /// Uses a connection for more than one request.
    pub keep_alive: bool,
    /// Threads that send.
    pub threads: usize,
    /// Ends after so many requests, warm-up included, if that comes before the duration.
    pub requests: Option<u64>,
    /// Keeps the ids of activations that replies name.
    pub collect_ids: bool,
    /// Keeps figures of each target. Without them, there may be far more targets.
    pub per_target: bool,
    /// What handshakes are made with where targets are at `https`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Decides which target is asked when; the same seed gives every thread the same order.
    pub seed: u64,
}

impl Plan {
    /// A plan with defaults: replies within 65 s, connections kept, a thread per processor and at most one per client.
    #[must_use]
    pub fn new(targets: Vec<Target>, pace: Pace, duration: Duration) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads: processors.min(pace.clients() as usize).clamp(1, MAX_THREADS),
            targets,
            pace,
            duration,
            warm_up: Duration::ZERO,
            timeout: TIMEOUT,
            keep_alive: true,
            requests: None,
            collect_ids: false,
            per_target: true,
            tls: None,
            seed: 1,
        }
    }

    /// Everything is within its bounds.
    pub fn check(&self) -> Result<(), PlanError> {
        let bounds = |what, given: String, bounds| Err(PlanError::Bounds { what, given, bounds });
        if self.targets.is_empty() {
            return Err(PlanError::NoTarget);
        }
        let (most, shown) = if self.per_target {
            (MAX_TARGETS, "at most 256 with figures of each")
        } else {
            (MAX_TARGETS_TOGETHER, "at most 20000")
        };
        if self.targets.len() > most {
            return bounds("the number of targets", self.targets.len().to_string(), shown);
        }
        if !(1..=MAX_CLIENTS).contains(&self.pace.clients()) {
            return bounds("the number of clients", self.pace.clients().to_string(), "1 to 20000");
        }
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return bounds("the number of threads", self.threads.to_string(), "1 to 64");
        }
        if !(SHORTEST_TIMEOUT..=LONGEST).contains(&self.timeout) {
            return bounds("the timeout", format!("{:?}", self.timeout), "1ms to 24h");
        }
        let stages = self.stages();
        if stages.len() > MAX_STAGES {
            return bounds("the number of stages", stages.len().to_string(), "at most 100");
        }
        let (most, shown) = match &self.pace {
            Pace::Closed { clients, .. } => (f64::from(*clients), "0 to as many as there are clients"),
            Pace::Open { .. } => (MAX_RATE, "0 to 1000000 per second"),
        };
        for stage in &stages {
            if !(0.0..=most).contains(&stage.to) {
                return bounds("the value of a stage", stage.to.to_string(), shown);
            }
        }
        let length = stages.iter().try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.duration));
        let length = length.unwrap_or(Duration::MAX);
        if length.is_zero() || length.saturating_add(self.warm_up) > LONGEST {
            return bounds(
                "the duration",
                format!("{length:?}"),
                "more than nothing, at most 24h with the warm-up",
            );
        }
        if self.requests == Some(0) {
            return bounds("the number of requests", "0".to_owned(), "at least 1");
        }
        if Profile::new(&stages).peak() <= 0.0 {
            return Err(PlanError::Nothing);
        }
        Ok(())
    }

    /// The stages, without the warm-up.
    fn stages(&self) -> Vec<Stage> {
        let (stages, value) = match &self.pace {
            Pace::Closed { stages, clients } => (stages, f64::from(*clients)),
            Pace::Open { stages, rate, .. } => (stages, *rate),
        };
        if stages.is_empty() { vec![Stage { duration: self.duration, to: value }] } else { stages.clone() }
    }

    /// The pace over time, with the warm-up before it.
    pub(crate) fn profile(&self) -> Profile {
        let mut stages = self.stages();
        let first = stages.first().map_or(0.0, |stage| stage.to);
        stages.insert(0, Stage { duration: self.warm_up, to: first });
        Profile::new(&stages)
    }

    /// How long is measured.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.profile().length().saturating_sub(self.warm_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pace: Pace) -> Plan {
        Plan::new(vec![Target::new("GET", "http://h/").unwrap()], pace, Duration::from_secs(1))
    }

    #[test]
    fn plans_out_of_bounds_are_refused() {
        assert_eq!(plan(Pace::closed(1)).check(), Ok(()));
        let second = Duration::from_secs(1);
        let stages =
            |to: f64| Pace::Open { stages: vec![Stage { duration: second, to }], rate: 0.0, clients: 1 };
        for pace in [
            Pace::closed(0),
            Pace::closed(MAX_CLIENTS + 1),
            Pace::open(f64::NAN),
            Pace::open(-1.0),
            Pace::open(MAX_RATE * 2.0),
            Pace::open(0.0),
            stages(f64::INFINITY),
            stages(0.0),
        ] {
            assert!(plan(pace.clone()).check().is_err(), "{pace:?}");
        }
        let many = |count: usize, per_target| {
            let mut plan = plan(Pace::closed(1));
            plan.targets = vec![plan.targets[0].clone(); count];
            plan.per_target = per_target;
            plan.check()
        };
        assert_eq!((many(256, true), many(20_000, false)), (Ok(()), Ok(())));
        assert!(many(257, true).is_err() && many(20_001, false).is_err());
        let broken: [fn(&mut Plan); 7] = [
            |plan| plan.targets.clear(),
            |plan| plan.duration = Duration::ZERO,
            |plan| plan.duration = Duration::MAX,
            |plan| plan.timeout = Duration::ZERO,
            |plan| plan.threads = 0,
            |plan| plan.threads = MAX_THREADS + 1,
            |plan| plan.requests = Some(0),
        ];
        for change in broken {
            let mut plan = plan(Pace::closed(1));
            change(&mut plan);
            assert!(plan.check().is_err(), "{plan:?}");
        }
    }

    #[test]
    fn the_warm_up_goes_before_the_stages() {
        let mut plan = plan(Pace::open(10.0));
        plan.warm_up = Duration::from_secs(2);
        assert_eq!(plan.profile().length(), Duration::from_secs(3));
        assert_eq!(plan.length(), Duration::from_secs(1));
    }
}

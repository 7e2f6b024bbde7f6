//! What the steps of a session add up to. Pure.

use chasen_entity::{ActionLimits, Activation, ActivationId, Millis, ResourceUse, Response};
use serde::{Deserialize, Serialize};

/// The steps that a session has taken so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    begun: Millis,
    /// Ids of the steps, in their order.
    steps: Vec<ActivationId>,
    /// Milliseconds that the steps took, without the time between them.
    duration: u64,
    /// MB that the largest step had; `None` before the first.
    memory: Option<u32>,
    #[serde(with = "as_annotations")]
    used: ResourceUse,
}

/// What was used, written as records tell it.
mod as_annotations {
    use chasen_entity::{Parameters, ResourceUse};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(used: &ResourceUse, serializer: S) -> Result<S::Ok, S::Error> {
        let mut annotations = Parameters::new();
        used.annotate(&mut annotations);
        annotations.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ResourceUse, D::Error> {
        Parameters::deserialize(deserializer).map(|annotations| ResourceUse::of(&annotations))
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) start: Millis,
    pub(super) end: Millis,
    pub(super) duration: u64,
    pub(super) steps: Vec<ActivationId>,
    pub(super) memory: Option<u32>,
    pub(super) used: ResourceUse,
    pub(super) response: Response,
}

impl Ledger {
    /// An empty one.
    pub(super) fn begin(now: Millis) -> Self {
        Self { begun: now, steps: Vec::new(), duration: 0, memory: None, used: ResourceUse::default() }
    }

    /// A step has ended.
    pub(super) fn ended(&mut self, step: &Activation) {
        self.begun_only(step.activation_id);
        self.duration = self.duration.saturating_add(step.duration().unwrap_or(0));
        let limits = step.annotations.get("limits").and_then(|limits| limits.read::<ActionLimits>().ok());
        self.memory = self.memory.max(limits.map(|limits| limits.memory));
        self.used = self.used.with(ResourceUse::of(&step.annotations));
    }

    /// A step was begun, and its end is not known.
    pub(super) fn begun_only(&mut self, step: ActivationId) {
        self.steps.push(step);
    }

    /// Closes it.
    pub(super) fn close(self, response: Response, now: Millis) -> Ending {
        Ending {
            start: self.begun,
            end: now.max(self.begun),
            duration: self.duration,
            steps: self.steps,
            memory: self.memory,
            used: self.used,
            response,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use chasen_entity::{Outcome, RawJson};
    use chasen_spi::memory::activation;

    use super::*;

    pub(in crate::activate) fn json(text: &str) -> RawJson {
        RawJson::parse(text.as_bytes()).unwrap()
    }

    /// A step that took 3 ms and gave this.
    pub(in crate::activate) fn record(outcome: Outcome, result: &str) -> Arc<Activation> {
        let mut record = activation("guest", "step", 10);
        record.duration = Some(3);
        record.response = Response { outcome, result: Some(json(result)), size: Some(5) };
        Arc::new(record)
    }

    #[test]
    fn durations_add_up_and_the_largest_memory_counts() {
        let mut ledger = Ledger::begin(100);
        let mut ids = Vec::new();
        for (duration, memory) in [(5, Some(256)), (7, Some(512)), (1, None), (2, Some(128))] {
            let mut step = activation("guest", "step", 10);
            step.duration = Some(duration);
            if let Some(memory) = memory {
                step.annotations.set("limits", &ActionLimits { memory, ..ActionLimits::default() });
            }
            let cpu_time = Some(Duration::from_millis(duration));
            ResourceUse { cpu_time, ..ResourceUse::default() }.annotate(&mut step.annotations);
            ids.push(step.activation_id);
            ledger.ended(&step);
        }
        let late = ActivationId::generate();
        ledger.begun_only(late);
        ids.push(late);
        let ending = ledger.close(Response::error(Outcome::WhiskError, "x"), 50);
        assert_eq!((ending.start, ending.end), (100, 100), "clocks may be set back");
        assert_eq!((ending.duration, ending.memory), (15, Some(512)));
        assert_eq!(ending.used.cpu_time, Some(Duration::from_millis(15)));
        assert_eq!(ending.steps, ids);
    }
}

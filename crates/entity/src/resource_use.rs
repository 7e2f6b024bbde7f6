//! What an activation cost, and the annotations of its record that say so.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ByteSize, Parameters};

/// How an activation found its container: a [`StartKind`].
pub const START_KIND: &str = "startKind";
/// Most memory that its container had held by its end, bytes.
pub const PEAK_MEMORY: &str = "peakMemory";
/// Processor time, milliseconds with a fraction.
pub const CPU_TIME: &str = "cpuTime";
/// Time of the run without the initialisation (`initTime`), milliseconds with a fraction.
pub const RUN_TIME: &str = "runTime";
/// `true` if a process was ended for want of memory; else it is not there.
pub const OUT_OF_MEMORY: &str = "outOfMemory";

/// How an activation came by its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartKind {
    /// It waited for a new one.
    Cold,
    /// It waited for a stem cell to take the action.
    Stem,
    /// It got one that had the action.
    Warm,
}

/// What an activation, or all steps of a sequence or composition, used, as far as it was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceUse {
    /// Most memory that the container held at one time, from its making to the end of this activation.
    pub peak_memory: Option<ByteSize>,
    /// Processor time. Not told where activations share a container.
    pub cpu_time: Option<Duration>,
    /// True if a process in the container was ended for want of memory.
    pub out_of_memory: bool,
}

impl ResourceUse {
    /// What a record's annotations say.
    #[must_use]
    pub fn of(annotations: &Parameters) -> Self {
        let millis = annotations.get(CPU_TIME).and_then(|time| time.read::<f64>().ok());
        Self {
            peak_memory: annotations
                .get(PEAK_MEMORY)
                .and_then(|bytes| bytes.read().ok())
                .map(ByteSize::bytes),
            cpu_time: millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()),
            out_of_memory: annotations.is_truthy(OUT_OF_MEMORY),
        }
    }

    /// Writes it into a record's annotations; what was not measured is left out.
    pub fn annotate(&self, annotations: &mut Parameters) {
        if let Some(peak) = self.peak_memory {
            annotations.set(PEAK_MEMORY, &peak.as_bytes());
        }
        if let Some(time) = self.cpu_time {
            annotations.set(CPU_TIME, &millis(time));
        }
        if self.out_of_memory {
            annotations.set(OUT_OF_MEMORY, &true);
        }
    }

    /// This and a further step: the largest memory, and all processor time that was measured.
    #[must_use]
    pub fn with(self, step: Self) -> Self {
        let cpu_time = match (self.cpu_time, step.cpu_time) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            (one, other) => one.or(other),
        };
        Self {
            peak_memory: self.peak_memory.max(step.peak_memory),
            cpu_time,
            out_of_memory: self.out_of_memory || step.out_of_memory,
        }
    }
}

/// Milliseconds with a fraction, to the microsecond.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "exact for some hundred years")]
pub fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_what_was_measured_and_nothing_else() {
        let mut annotations = Parameters::new();
        ResourceUse::default().annotate(&mut annotations);
        assert!(annotations.is_empty());
        assert_eq!(ResourceUse::of(&annotations), ResourceUse::default());
        let used = ResourceUse {
            peak_memory: Some(ByteSize::bytes(104_857_600)),
            cpu_time: Some(Duration::from_nanos(1_000_412_999)),
            out_of_memory: true,
        };
        used.annotate(&mut annotations);
        let text = serde_json::to_string(&annotations).unwrap();
        let expected = r#"[{"key":"peakMemory","value":104857600},{"key":"cpuTime","value":1000.412},{"key":"outOfMemory","value":true}]"#;
        assert_eq!(text, expected);
        let read = ResourceUse::of(&annotations);
        assert_eq!(read.cpu_time.map(|time| time.as_micros()), Some(1_000_412));
        assert_eq!((read.peak_memory, read.out_of_memory), (used.peak_memory, true));
    }

    #[test]
    fn annotations_of_anybody_elses_making_are_passed_over() {
        let mut annotations = Parameters::new();
        for value in ["-1", "1e300", "\"much\"", "null"] {
            let value = crate::RawJson::parse(value.as_bytes()).unwrap();
            annotations.set(CPU_TIME, &value);
            annotations.set(PEAK_MEMORY, &value);
            assert_eq!(ResourceUse::of(&annotations), ResourceUse::default(), "{value:?}");
        }
    }

    #[test]
    fn steps_add_their_time_and_the_largest_memory_counts() {
        let step = |mb: Option<u64>, ms: Option<u64>, out_of_memory| ResourceUse {
            peak_memory: mb.map(ByteSize::mb),
            cpu_time: ms.map(Duration::from_millis),
            out_of_memory,
        };
        let steps = [
            step(Some(3), Some(5), false),
            step(None, None, true),
            step(Some(9), None, false),
            step(Some(1), Some(2), false),
        ];
        let sum = steps.into_iter().fold(ResourceUse::default(), ResourceUse::with);
        assert_eq!(sum, step(Some(9), Some(7), true));
    }
}

//! Limits of an action, their bounds, and the texts of their violation.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ByteSize, UserLimits};

/// Limits that an action carries. Times in milliseconds, sizes in MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionLimits {
    /// Longest initialisation, and longest run, each.
    pub timeout: u32,
    /// Memory of a sandbox.
    pub memory: u32,
    /// Logs kept of one activation.
    pub logs: u32,
    /// Activations that share a sandbox at the same time.
    pub concurrency: u32,
    /// Most sandboxes of this action; absent means no own bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
}

impl Default for ActionLimits {
    fn default() -> Self {
        Self { timeout: 60_000, memory: 256, logs: 10, concurrency: 1, instances: None }
    }
}

impl ActionLimits {
    /// First violation of the bounds, as the whole text for the client.
    #[must_use]
    pub fn violation(&self, bounds: &LimitBounds) -> Option<String> {
        let Self { timeout, memory, logs, concurrency, .. } = *self;
        let all = LimitsUpdate {
            timeout: Some(timeout.into()),
            memory: Some(memory.into()),
            logs: Some(logs.into()),
            concurrency: Some(concurrency.into()),
            instances: None,
        };
        all.violation(bounds)
    }
}

/// Lowest and highest value of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Lowest allowed.
    pub min: u32,
    /// Highest allowed.
    pub max: u32,
}

/// Bounds of every limit, as the system or a namespace sets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitBounds {
    /// Milliseconds.
    pub timeout: Range,
    /// MB.
    pub memory: Range,
    /// MB.
    pub logs: Range,
    /// Activations.
    pub concurrency: Range,
}

impl Default for LimitBounds {
    fn default() -> Self {
        Self {
            timeout: Range { min: 100, max: 300_000 },
            memory: Range { min: 128, max: 512 },
            logs: Range { min: 0, max: 10 },
            concurrency: Range { min: 1, max: 1 },
        }
    }
}

/// Bounds of what a function answers. A namespace may lower the system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLimits {
    /// Longest answer.
    pub max: ByteSize,
    /// How much is kept of a longer one.
    pub truncation: ByteSize,
}

impl Default for PayloadLimits {
    fn default() -> Self {
        Self { max: ByteSize::mb(1), truncation: ByteSize::mb(1) }
    }
}

impl PayloadLimits {
    /// The bounds of a namespace with these limits.
    #[must_use]
    pub fn of_namespace(&self, limits: &UserLimits) -> Self {
        let lowered = |own: Option<ByteSize>, system: ByteSize| own.map_or(system, |own| own.min(system));
        Self {
            max: lowered(limits.max_payload_size, self.max),
            truncation: lowered(limits.truncation_size, self.truncation),
        }
    }

    /// Bytes of an answer that are needed to tell and show what these bounds make of it.
    #[must_use]
    pub fn kept(&self) -> ByteSize {
        self.max.max(self.truncation)
    }
}

/// Limits in a request, as sent: each field may be left out, or be out of every bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsUpdate {
    /// Milliseconds.
    pub timeout: Option<i64>,
    /// MB.
    pub memory: Option<i64>,
    /// MB.
    pub logs: Option<i64>,
    /// Activations.
    pub concurrency: Option<i64>,
    /// Sandboxes.
    pub instances: Option<i64>,
}

impl LimitsUpdate {
    /// Reads the `limits` object of a request. Unknown fields are ignored, `null` counts as absent.
    /// The error is the reason after "The request content was malformed:".
    pub fn parse(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("Object expected in field 'timeout'")?;
        let field = |key: &str, noun: &str, malformed: &str, negative: &str| match object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => whole_number(number, noun, negative).map(Some),
            Some(_) => Err(malformed.to_owned()),
        };
        const NEGATIVE_SIZE: &str = "requirement failed: a negative size of an object is not allowed.";
        const NEGATIVE_INSTANCES: &str =
            "requirement failed: Action container concurrency must be greater than or equal to 0.";
        Ok(Self {
            memory: field("memory", "memory limit", "memory limit malformed", NEGATIVE_SIZE)?,
            timeout: field("timeout", "time limit", "time limit malformed", "")?,
            logs: field("logs", "log limit", "log limit malformed", NEGATIVE_SIZE)?,
            concurrency: field("concurrency", "intra concurrency limit", "concurrency limit malformed", "")?,
            instances: field(
                "instances",
                "instance concurrency limit",
                "instance concurrency limit malformed",
                NEGATIVE_INSTANCES,
            )?,
        })
    }

    /// First violation of the bounds, as the whole text for the client.
    #[must_use]
    pub fn violation(&self, bounds: &LimitBounds) -> Option<String> {
        let size = |noun: &str, value: Option<i64>, range: Range| {
            violation(value, range, |v| format!("{noun} size {v} MB"), |b| format!("{b} MB"))
        };
        size("memory", self.memory, bounds.memory)
            .or_else(|| {
                violation(
                    self.timeout,
                    bounds.timeout,
                    |v| format!("duration {v} milliseconds"),
                    |b| format!("{b} milliseconds"),
                )
            })
            .or_else(|| size("log", self.logs, bounds.logs))
            .or_else(|| {
                violation(
                    self.concurrency,
                    bounds.concurrency,
                    |v| format!("concurrency {v}"),
                    |b| b.to_string(),
                )
            })
    }

    /// The limits after this update of `old`; what [`violation`](Self::violation) refuses may stay as it was.
    #[must_use]
    pub fn apply(&self, old: ActionLimits) -> ActionLimits {
        let taken = |new: Option<i64>| new.and_then(|new| u32::try_from(new).ok());
        ActionLimits {
            timeout: taken(self.timeout).unwrap_or(old.timeout),
            memory: taken(self.memory).unwrap_or(old.memory),
            logs: taken(self.logs).unwrap_or(old.logs),
            concurrency: taken(self.concurrency).unwrap_or(old.concurrency),
            instances: taken(self.instances).or(old.instances),
        }
    }
}

/// A whole number, `1e3` too. Of limits that have a text for values below zero, `negative` is it.
fn whole_number(number: &serde_json::Number, noun: &str, negative: &str) -> Result<i64, String> {
    /// Beyond it not every whole number has a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let whole = |float: f64| (float.fract() == 0.0 && float.abs() <= EXACT).then_some(float as i64);
    match number.as_i64().or_else(|| number.as_f64().and_then(whole)) {
        Some(value) if value < 0 && !negative.is_empty() => Err(negative.to_owned()),
        Some(value) => Ok(value),
        None => Err(format!("requirement failed: {noun} must be whole number")),
    }
}

fn violation(
    value: Option<i64>,
    range: Range,
    subject: impl Fn(i64) -> String,
    bound: impl Fn(u32) -> String,
) -> Option<String> {
    let value = value?;
    let (relation, limit) = match value {
        v if v > range.max.into() => ("exceeds", range.max),
        v if v < range.min.into() => ("below", range.min),
        _ => return None,
    };
    Some(format!("requirement failed: {} {relation} allowed threshold of {}", subject(value), bound(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn violations_name_the_bound() {
        let bounds = LimitBounds::default();
        for (limits, text) in [
            (
                json!({"memory": 1024, "timeout": 1}),
                "requirement failed: memory size 1024 MB exceeds allowed threshold of 512 MB",
            ),
            (
                json!({"timeout": 99}),
                "requirement failed: duration 99 milliseconds below allowed threshold of 100 milliseconds",
            ),
            (json!({"logs": 11}), "requirement failed: log size 11 MB exceeds allowed threshold of 10 MB"),
            (json!({"concurrency": 2}), "requirement failed: concurrency 2 exceeds allowed threshold of 1"),
            (json!({"concurrency": -3}), "requirement failed: concurrency -3 below allowed threshold of 1"),
            (
                json!({"timeout": -5e0}),
                "requirement failed: duration -5 milliseconds below allowed threshold of 100 milliseconds",
            ),
            (
                json!({"memory": 5_000_000_000u64}),
                "requirement failed: memory size 5000000000 MB exceeds allowed threshold of 512 MB",
            ),
        ] {
            assert_eq!(LimitsUpdate::parse(&limits).unwrap().violation(&bounds).as_deref(), Some(text));
        }
        assert_eq!(LimitsUpdate::parse(&json!({"memory": null, "x": 1})).unwrap().violation(&bounds), None);
    }

    #[test]
    fn namespaces_lower_payload_limits_and_never_raise_them() {
        let system = PayloadLimits { max: ByteSize::bytes(1000), truncation: ByteSize::bytes(100) };
        for (max, truncation, expected) in [
            (None, None, (1000, 100)),
            (Some(10), None, (10, 100)),
            (None, Some(5), (1000, 5)),
            (Some(9999), Some(9999), (1000, 100)),
        ] {
            let limits = UserLimits {
                max_payload_size: max.map(ByteSize::bytes),
                truncation_size: truncation.map(ByteSize::bytes),
                ..UserLimits::default()
            };
            let bounds = system.of_namespace(&limits);
            assert_eq!((bounds.max.as_bytes(), bounds.truncation.as_bytes()), expected);
        }
        assert_eq!(system.kept(), ByteSize::bytes(1000));
    }

    #[test]
    fn malformed_limits_say_which() {
        for (limits, text) in [
            (json!([]), "Object expected in field 'timeout'"),
            (json!({"timeout": 1.5}), "requirement failed: time limit must be whole number"),
            (json!({"memory": -1}), "requirement failed: a negative size of an object is not allowed."),
            (json!({"memory": "1"}), "memory limit malformed"),
            (
                json!({"instances": -1}),
                "requirement failed: Action container concurrency must be greater than or equal to 0.",
            ),
        ] {
            assert_eq!(LimitsUpdate::parse(&limits), Err(text.to_owned()));
        }
    }
}

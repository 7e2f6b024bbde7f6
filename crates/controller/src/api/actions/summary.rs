//! The summary of an action: how its newest activations went and what they cost.

use std::ops::ControlFlow;

use chasen_entity::{Activation, Outcome, StartKind, resource_use};
use chasen_spi::ActivationQuery;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::records::{self, Extent};
use crate::call::Call;
use crate::entities::ActionAddress;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Most records that are looked at.
const MOST_RECORDS: u64 = 1000;
/// No more records are looked at when those before had so many bytes of logs and results.
const MOST_BYTES: u64 = 16 << 20;

/// Answers what the newest activations in the time that the request asks for add up to.
pub(super) async fn answer(
    call: &Call<'_>,
    action: &ActionAddress,
    mut query: ActivationQuery,
) -> Result<Reply, ApiError> {
    // One more than counts tells whether there are more.
    query.limit = MOST_RECORDS + 1;
    let sample: Sample = records::read_into(call, &query, Sample::take).await?;
    if sample.extent.activations == 0 {
        records::require_known(call, action).await?;
    }
    call.success(&sample)
}

/// What was looked at.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    #[serde(flatten)]
    extent: Extent,
    statuses: Statuses,
    /// How many went over their time limit.
    timeouts: u64,
    /// In how many a process ran out of memory.
    out_of_memory: u64,
    starts: Starts,
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip)]
    bytes: u64,
}

/// How many ended so, by outcome.
#[derive(Debug, Default)]
struct Statuses([u64; 4]);

const OUTCOMES: [Outcome; 4] =
    [Outcome::Success, Outcome::ApplicationError, Outcome::DeveloperError, Outcome::WhiskError];

impl Statuses {
    fn add(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(usize::from(outcome.code())) {
            *count += 1;
        }
    }
}

impl Serialize for Statuses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(OUTCOMES.iter().map(|outcome| outcome.as_str()).zip(self.0))
    }
}

/// How many began so; sequences and compositions, and records that do not say, are in none.
#[derive(Debug, Default, Serialize)]
struct Starts {
    cold: u64,
    stem: u64,
    warm: u64,
}

impl Starts {
    fn add(&mut self, start: StartKind) {
        match start {
            StartKind::Cold => self.cold += 1,
            StartKind::Stem => self.stem += 1,
            StartKind::Warm => self.warm += 1,
        }
    }
}

/// What records say in numbers. Times are milliseconds, memory is bytes.
const FIGURES: [&str; 6] = [
    "duration",
    "waitTime",
    "initTime",
    resource_use::RUN_TIME,
    resource_use::CPU_TIME,
    resource_use::PEAK_MEMORY,
];

/// Every value of each figure.
#[derive(Debug, Default)]
struct Figures([Vec<f64>; 6]);

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "exact for some hundred thousand years")]
    fn add(&mut self, record: &Activation) {
        for (name, values) in FIGURES.into_iter().zip(&mut self.0) {
            let value = match name {
                "duration" => record.duration().map(|duration| duration as f64),
                _ => record.annotations.get(name).and_then(|value| value.read::<f64>().ok()),
            };
            values.extend(value.filter(|value| *value >= 0.0));
        }
    }
}

impl Serialize for Figures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, values) in FIGURES.into_iter().zip(&self.0) {
            if let Some(spread) = Spread::of(values.clone()) {
                map.serialize_entry(name, &spread)?;
            }
        }
        map.end()
    }
}

/// How values are spread. Each is one that there was: half of all, or 95 of 100, are not larger.
#[derive(Debug, PartialEq, Serialize)]
struct Spread {
    /// How many records have a value.
    records: usize,
    #[serde(serialize_with = "as_number")]
    p50: f64,
    #[serde(serialize_with = "as_number")]
    p95: f64,
    #[serde(serialize_with = "as_number")]
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let share = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100);
            values.get(rank.saturating_sub(1)).copied()
        };
        Some(Self { records: values.len(), p50: share(50)?, p95: share(95)?, max: share(100)? })
    }
}

/// Whole numbers without a fraction, as in records.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what the library asks for")]
fn as_number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    /// From here on not every whole number is one of this type.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && (0.0..EXACT).contains(value) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
        serializer.serialize_u64(*value as u64)
    } else {
        serializer.serialize_f64(*value)
    }
}

impl Sample {
    /// Takes in the next record, newest first.
    fn take(&mut self, record: &Activation) -> ControlFlow<()> {
        if self.extent.activations == MOST_RECORDS || self.bytes >= MOST_BYTES {
            self.extent.more = true;
            return ControlFlow::Break(());
        }
        let result = record.response.result.as_ref().map_or(0, |result| result.as_str().len());
        let logs: usize = record.logs.iter().map(String::len).sum();
        self.bytes += (result + logs) as u64;
        // What has no end is the fire of a trigger that had the name before.
        if record.end == 0 {
            return ControlFlow::Continue(());
        }
        self.extent.add(record);
        self.statuses.add(record.response.outcome);
        self.timeouts += u64::from(record.annotations.is_truthy("timeout"));
        self.out_of_memory += u64::from(record.annotations.is_truthy(resource_use::OUT_OF_MEMORY));
        let start = record.annotations.get(resource_use::START_KIND);
        if let Some(start) = start.and_then(|start| start.read().ok()) {
            self.starts.add(start);
        }
        self.figures.add(record);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::RawJson;
    use chasen_spi::memory::activation;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(records: &[Activation]) -> Sample {
        let mut sample = Sample::default();
        let _ = records.iter().try_for_each(|record| sample.take(record));
        sample
    }

    fn record(start: u64, outcome: Outcome, annotations: &[(&str, serde_json::Value)]) -> Activation {
        let mut record = activation("guest", "a", start);
        record.response.outcome = outcome;
        for (key, value) in annotations {
            record.annotations.set(key, value);
        }
        record
    }

    #[test]
    fn records_are_counted_and_measured() {
        let records = [
            record(
                30,
                Outcome::Success,
                &[
                    ("startKind", json!("warm")),
                    ("waitTime", json!(2)),
                    ("runTime", json!(0.25)),
                    ("cpuTime", json!(0.125)),
                    ("peakMemory", json!(5_000_000_000_u64)),
                ],
            ),
            record(20, Outcome::ApplicationError, &[("startKind", json!("stem")), ("waitTime", json!(4))]),
            record(
                10,
                Outcome::DeveloperError,
                &[
                    ("startKind", json!("cold")),
                    ("initTime", json!(60)),
                    ("timeout", json!(true)),
                    ("outOfMemory", json!(true)),
                ],
            ),
            Activation { end: 0, ..record(5, Outcome::Success, &[]) },
        ];
        let summary = serde_json::to_value(of(&records)).unwrap();
        let expected = json!({
            "activations": 3, "since": 10, "upto": 30, "more": false,
            "statuses": {
                "success": 1, "application error": 1, "action developer error": 1, "whisk internal error": 0,
            },
            "timeouts": 1, "outOfMemory": 1,
            "starts": {"cold": 1, "stem": 1, "warm": 1},
            "duration": {"records": 3, "p50": 1, "p95": 1, "max": 1},
            "waitTime": {"records": 2, "p50": 2, "p95": 4, "max": 4},
            "initTime": {"records": 1, "p50": 60, "p95": 60, "max": 60},
            "runTime": {"records": 1, "p50": 0.25, "p95": 0.25, "max": 0.25},
            "cpuTime": {"records": 1, "p50": 0.125, "p95": 0.125, "max": 0.125},
            "peakMemory": {"records": 1, "p50": 5_000_000_000_u64, "p95": 5_000_000_000_u64, "max": 5_000_000_000_u64},
        });
        assert_eq!(summary, expected);
    }

    #[test]
    fn nothing_has_no_figures() {
        let summary = serde_json::to_value(of(&[])).unwrap();
        assert_eq!(summary.as_object().unwrap().len(), 6, "{summary}");
        assert_eq!(summary["activations"], 0);
    }

    #[test]
    fn what_is_no_figure_is_passed_over() {
        for value in [json!("1"), json!(null), json!(-1), json!([1]), json!({})] {
            let all: Vec<_> = FIGURES.iter().chain(&["startKind"]).map(|key| (*key, value.clone())).collect();
            let summary = serde_json::to_value(of(&[record(1, Outcome::Success, &all)])).unwrap();
            assert_eq!(summary.as_object().unwrap().len(), 9, "the duration alone: {summary}");
            assert_eq!(summary["starts"], json!({"cold": 0, "stem": 0, "warm": 0}));
        }
    }

    #[test]
    fn samples_end_at_so_many_records_or_bytes() {
        let many: Vec<_> = (0..=MOST_RECORDS).map(|age| record(9_999 - age, Outcome::Success, &[])).collect();
        let sample = of(&many);
        assert_eq!((sample.extent.activations, sample.extent.more), (MOST_RECORDS, true));
        assert!(!of(many.get(1..).unwrap()).extent.more);
        let mut large = record(1, Outcome::Success, &[]);
        large.response.result = Some(RawJson::from_value(&"x".repeat(1 << 20)));
        large.logs = vec!["y".repeat(3 << 20)];
        let sample = of(&vec![large.clone(); 5]);
        assert_eq!((sample.extent.activations, sample.extent.more), (4, true));
        let fires = vec![Activation { end: 0, ..large }; 5];
        let sample = of(&fires);
        assert_eq!((sample.extent.activations, sample.extent.more), (0, true), "reading them costs the same");
    }

    proptest! {
        #[test]
        fn so_many_are_not_larger_and_not_smaller(values in prop::collection::vec(0..50u32, 1..300)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let spread = Spread::of(values.clone()).unwrap();
            for (percent, found) in [(50, spread.p50), (95, spread.p95), (100, spread.max)] {
                let not_larger = values.iter().filter(|value| **value <= found).count();
                let smaller = values.iter().filter(|value| **value < found).count();
                prop_assert!(not_larger * 100 >= values.len() * percent);
                prop_assert!(smaller * 100 < values.len() * percent);
                prop_assert!(values.contains(&found));
            }
        }
    }
}

//! The logs of an action: the lines of its activations, each with the activation that it is of, in the order of time.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use chasen_entity::{Activation, ActivationId, Millis};
use chasen_spi::ActivationQuery;
use serde::Serialize;

use super::records::{self, Extent};
use crate::api::activations;
use crate::call::Call;
use crate::entities::ActionAddress;
use crate::wire::error::ApiError;
use crate::wire::reply::Reply;

/// Most bytes of lines in one answer, each counted with what an answer has around it.
const MOST_BYTES: usize = 1 << 20;
/// Bytes around a line: the id of its activation, names, quotes.
const AROUND_LINE: usize = 64;
/// Columns of a line's time.
const TIME_COLUMNS: usize = 30;
/// How a time begins; digits stand for digits.
const TIME_SHAPE: &[u8] = b"0000-00-00T00:00:00";

/// Answers the page of activations that the request asks for.
pub(super) async fn answer(
    call: &Call<'_>,
    action: &ActionAddress,
    mut query: ActivationQuery,
) -> Result<Reply, ApiError> {
    let config = &call.controller.config;
    let (skip, limit) = call.query.skip_and_limit(
        activations::COLLECTION,
        config.default_list_limit,
        config.max_list_limit,
    )?;
    // One more than is shown tells whether there are more.
    (query.skip, query.limit) = (skip, limit.saturating_add(1));
    let take = move |logs: &mut Logs, record: &Activation| logs.take(record, limit);
    let mut logs: Logs = records::read_into(call, &query, take).await?;
    if logs.extent.activations == 0 {
        records::require_known(call, action).await?;
    }
    logs.sort();
    call.document(&logs)
}

/// The answer in the making.
#[derive(Debug, Default, Serialize)]
struct Logs {
    logs: Vec<Line>,
    #[serde(flatten)]
    extent: Extent,
    /// True if lines at the beginning of the oldest activation's log are left out.
    truncated: bool,
    #[serde(skip)]
    bytes: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    activation_id: ActivationId,
    log: String,
    /// When it was printed, as text that sorts, and how many activations are newer than its own.
    #[serde(skip)]
    place: (String, Reverse<u64>),
}

impl Logs {
    /// Takes the lines of the next record, newest first.
    fn take(&mut self, record: &Activation, limit: u64) -> ControlFlow<()> {
        let room = MOST_BYTES.saturating_sub(self.bytes);
        let size = |line: &String| line.len().saturating_add(AROUND_LINE);
        let bytes: usize = record.logs.iter().map(size).sum();
        if self.extent.activations == limit || (bytes > room && self.extent.activations > 0) {
            self.extent.more = true;
            return ControlFlow::Break(());
        }
        // The first one is shown in any case: its end, if it is too long.
        let mut left = bytes;
        let fits = |line: &&String| {
            let fits = left <= room;
            left = left.saturating_sub(size(line));
            fits
        };
        let shown: Vec<&String> = record.logs.iter().filter(fits).collect();
        self.truncated |= shown.len() < record.logs.len();
        self.bytes += bytes.min(room);
        let mut time = sortable(record.start);
        for line in shown {
            // Without a time of its own, or with an earlier one, a line keeps its place.
            if let Some(own) = time_of(line).filter(|own| *own > time.as_str()) {
                own.clone_into(&mut time);
            }
            let place = (time.clone(), Reverse(self.extent.activations));
            self.logs.push(Line { activation_id: record.activation_id, log: line.clone(), place });
        }
        self.extent.add(record);
        ControlFlow::Continue(())
    }

    /// Brings the lines into the order of time. Those of one activation stay in theirs.
    fn sort(&mut self) {
        self.logs.sort_by(|one, other| one.place.cmp(&other.place));
    }
}

/// The time that a line begins with, without what would disturb its order: of two times with fractions of different
/// length, a `Z` would put the shorter one last.
fn time_of(line: &str) -> Option<&str> {
    let time = line.get(..TIME_COLUMNS)?.trim_end().strip_suffix('Z')?;
    let kind = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    let begin = time.as_bytes().get(..TIME_SHAPE.len())?;
    begin.iter().zip(TIME_SHAPE).all(|(byte, shape)| kind(*byte) == *shape).then_some(time)
}

/// A time in the same form.
fn sortable(time: Millis) -> String {
    let time = i64::try_from(time).ok().and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    format!("{:.3}", time.unwrap_or_default()).trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::activation;

    use super::*;

    fn record(start: Millis, lines: &[&str]) -> Activation {
        let logs = lines.iter().map(|line| (*line).to_owned()).collect();
        Activation { logs, ..activation("guest", "a", start) }
    }

    /// A line that was printed so long after the beginning of time.
    fn line(time: &str, text: &str) -> String {
        format!("{:<30} stdout: {text}", format!("1970-01-01T00:00:0{time}Z"))
    }

    fn of(records: &[Activation], limit: u64) -> Logs {
        let mut logs = Logs::default();
        let _ = records.iter().try_for_each(|record| logs.take(record, limit));
        logs.sort();
        logs
    }

    fn texts(logs: &Logs) -> Vec<&str> {
        logs.logs.iter().map(|line| line.log.rsplit(' ').next().unwrap()).collect()
    }

    #[test]
    fn lines_of_activations_at_the_same_time_lie_in_each_other() {
        let older = [line("1.000", "a"), line("1.5", "c"), line("2", "e"), line("3.9", "g")];
        let newer = [line("1.25", "b"), line("1.51", "d"), line("2.000000001", "f")];
        let records = [(1_200, &newer[..]), (1_000, &older[..])]
            .map(|(start, lines)| record(start, &lines.iter().map(String::as_str).collect::<Vec<_>>()));
        let logs = of(&records, 10);
        assert_eq!(texts(&logs), ["a", "b", "c", "d", "e", "f", "g"]);
        let of_older = logs.logs.iter().filter(|line| line.activation_id == records[1].activation_id);
        assert_eq!(of_older.count(), 4);
        let extent = Extent { activations: 2, since: Some(1_000), upto: Some(1_200), more: false };
        assert_eq!((logs.extent, logs.truncated), (extent, false));
    }

    #[test]
    fn lines_without_a_time_and_lines_of_the_past_stay_where_they_are() {
        let (first, past, last) = (line("1.7", "first"), line("0.1", "past"), line("9", "last"));
        let older = record(1_000, &[&first, "x no-time", "é", &past, &last, ""]);
        let newer = record(2_000, &["ids"]);
        let logs = of(&[newer, older], 10);
        assert_eq!(texts(&logs), ["first", "no-time", "é", "past", "ids", "last", ""]);
    }

    #[test]
    fn older_ones_go_first_at_the_same_time() {
        let same = line("1.0", "x");
        let records = [record(1_000, &[&same, &same]), record(1_000, &[&same])];
        let logs = of(&records, 10);
        let ids: Vec<_> = logs.logs.iter().map(|line| line.activation_id).collect();
        assert_eq!(ids, [records[1].activation_id, records[0].activation_id, records[0].activation_id]);
    }

    #[test]
    fn answers_have_whole_activations_within_their_bounds() {
        let half = "x".repeat(MOST_BYTES / 2 - AROUND_LINE);
        let records: Vec<_> = (0..3).map(|age| record(9 - age, &[&half])).collect();
        let logs = of(&records, 10);
        assert_eq!((logs.extent.activations, logs.extent.more, logs.truncated), (2, true, false));
        assert_eq!(logs.bytes, MOST_BYTES);
        let silent = [record(9, &[&half]), record(8, &[]), record(7, &[])];
        let logs = of(&silent, 2);
        assert_eq!((logs.extent.activations, logs.extent.more, logs.logs.len()), (2, true, 1));
        assert!(!of(&silent, 3).extent.more);
    }

    #[test]
    fn of_the_newest_activation_the_end_is_shown_in_any_case() {
        let long = "x".repeat(MOST_BYTES / 4);
        let logs = of(&[record(9, &["begin", &long, &long, &long, &long, "end"]), record(8, &[])], 10);
        assert_eq!((logs.logs.len(), logs.truncated), (4, true));
        assert_eq!(logs.logs.last().map(|line| line.log.as_str()), Some("end"));
        let longer = "x".repeat(MOST_BYTES);
        let logs = of(&[record(9, &[&longer])], 10);
        assert_eq!((logs.logs.len(), logs.truncated, logs.extent.activations), (0, true, 1));
    }

    #[test]
    fn times_are_recognised() {
        for (line, time) in [
            ("2026-01-01T00:00:00.123Z       stdout: x", Some("2026-01-01T00:00:00.123")),
            ("2026-01-01T00:00:00.123456789Z stdout: x", Some("2026-01-01T00:00:00.123456789")),
            ("2026-01-01T00:00:00Z           stdout: x", Some("2026-01-01T00:00:00")),
            ("2026-01-01                     stdout: x", None),
            ("0123456789abcdef0123456789abcdef", None),
            ("2026-01-01T00:00:00.12345678é stdout: x", None),
            ("short", None),
        ] {
            assert_eq!(time_of(line), time, "{line}");
        }
        assert_eq!(sortable(1_234), "1970-01-01T00:00:01.234");
    }
}

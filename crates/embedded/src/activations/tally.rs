//! How many records of a namespace, and of each name in it, started in which half minute: kept with every file, so
//! that neither counting nor skipping walks through records one by one.
//!
//! A tally is exact: it is written in the transaction that writes its records. What lies at the edges of a query, in
//! parts of a span, is counted in the index.

use std::collections::{BTreeMap, HashMap};

use chasen_entity::Millis;
use chasen_spi::ActivationQuery;
use rusqlite::{Connection, Row, Transaction, params};

use crate::sqlite::{integer, unsigned};

/// A span is this power of two in milliseconds: 33 seconds. Migrations have it too.
const SPAN_BITS: u32 = 15;
/// In place of a name: the namespace as a whole. No action is called so.
const ALL: &str = "";

/// The span that a time lies in.
fn span_of(time: Millis) -> u64 {
    time >> SPAN_BITS
}

/// When a span begins.
fn begin_of(span: u64) -> Millis {
    span << SPAN_BITS
}

/// What a transaction adds to a file's tallies.
#[derive(Default)]
pub(super) struct Changes<'a> {
    of_namespaces: HashMap<(&'a str, u64), u32>,
    of_names: HashMap<(&'a str, &'a str, u64), u32>,
}

impl<'a> Changes<'a> {
    /// Notes a new record.
    pub(super) fn add(&mut self, namespace: &'a str, name: &'a str, start: Millis) {
        *self.of_namespaces.entry((namespace, span_of(start))).or_default() += 1;
        *self.of_names.entry((namespace, name, span_of(start))).or_default() += 1;
    }

    /// Writes them.
    pub(super) fn write(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached(
            "INSERT INTO tallies VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET records = records + ?4",
        )?;
        let whole = self.of_namespaces.into_iter().map(|((namespace, span), n)| (namespace, ALL, span, n));
        let named = self.of_names.into_iter().map(|((namespace, name, span), n)| (namespace, name, span, n));
        for (namespace, name, span, records) in whole.chain(named) {
            statement.execute(params![namespace, name, integer(span), records])?;
        }
        Ok(())
    }
}

/// The spans that lie in a query's time wholly: from the first to before the second.
fn whole_spans(query: &ActivationQuery) -> (u64, u64) {
    let first = query.since.unwrap_or(0).div_ceil(1 << SPAN_BITS);
    let end = query.upto.map_or(u64::MAX, |upto| span_of(upto.saturating_add(1)));
    (first, end)
}

/// How many records of a file match a query that asks for no cause. `in_index` counts those that started between
/// two times, both inclusive.
pub(super) fn count(
    connection: &Connection,
    query: &ActivationQuery,
    in_index: impl Fn(Millis, Millis) -> rusqlite::Result<u64>,
) -> rusqlite::Result<u64> {
    let (since, upto) = (query.since.unwrap_or(0), query.upto.unwrap_or(u64::MAX));
    let (first, end) = whole_spans(query);
    if first >= end {
        return if since <= upto { in_index(since, upto) } else { Ok(0) };
    }
    let whole = connection
        .prepare_cached(
            "SELECT ifnull(sum(records), 0) FROM tallies
             WHERE namespace = ?1 AND name = ?2 AND span >= ?3 AND span < ?4",
        )?
        .query_row(
            params![query.namespace, query.name.as_deref().unwrap_or(ALL), integer(first), integer(end)],
            |row| row.get(0).map(unsigned),
        )?;
    let before = if query.since.is_some() && since < begin_of(first) {
        in_index(since, begin_of(first) - 1)?
    } else {
        0
    };
    let after = match query.upto {
        Some(upto) if begin_of(end) <= upto => in_index(begin_of(end), upto)?,
        _ => 0,
    };
    Ok(before + whole + after)
}

/// Adds how many of a file's records lie in each span of a query that asks for no cause. Of the span that its time
/// ends in only those count that started in time; of the one that it begins in, all.
pub(super) fn add_spans(
    connection: &Connection,
    query: &ActivationQuery,
    in_index: impl Fn(Millis, Millis) -> rusqlite::Result<u64>,
    spans: &mut Spans,
) -> rusqlite::Result<()> {
    let first = span_of(query.since.unwrap_or(0));
    let (_, end) = whole_spans(query);
    let mut statement = connection.prepare_cached(
        "SELECT span, records FROM tallies WHERE namespace = ?1 AND name = ?2 AND span >= ?3 AND span < ?4",
    )?;
    let name = query.name.as_deref().unwrap_or(ALL);
    let row = |row: &Row<'_>| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)));
    for found in statement.query_map(params![query.namespace, name, integer(first), integer(end)], row)? {
        let (span, records) = found?;
        spans.add(span, records);
    }
    if let Some(upto) = query.upto.filter(|upto| begin_of(end) <= *upto && first <= end) {
        spans.add(end, in_index(begin_of(end), upto)?);
    }
    Ok(())
}

/// How many records lie in each span, over several files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    fn add(&mut self, span: u64, records: u64) {
        *self.0.entry(span).or_default() += records;
    }

    /// Adds a record that is in no file yet.
    pub(super) fn add_one(&mut self, start: Millis) {
        self.add(span_of(start), 1);
    }

    /// The query without the whole spans that it skips; `None` if it skips everything.
    pub(super) fn jump(&self, query: &ActivationQuery) -> Option<ActivationQuery> {
        let begins_in = span_of(query.since.unwrap_or(0));
        let mut skip = query.skip;
        for (span, records) in self.0.iter().rev() {
            if *span <= begins_in || *records > skip {
                let last = begin_of(span + 1) - 1;
                let upto = Some(query.upto.map_or(last, |upto| upto.min(last)));
                return Some(ActivationQuery { skip, upto, ..query.clone() });
            }
            skip -= records;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 1 << SPAN_BITS;

    #[test]
    fn jumps_end_before_the_span_that_the_page_begins_in() {
        let mut spans = Spans::default();
        for (span, records) in [(1, 5), (3, 10), (4, 7)] {
            (0..records).for_each(|_| spans.add_one(span * SPAN + 1));
        }
        let jump = |skip, since, upto| {
            let query = ActivationQuery { skip, since, upto, ..ActivationQuery::default() };
            spans.jump(&query).map(|jumped| (jumped.skip, jumped.upto))
        };
        assert_eq!(jump(0, None, None), Some((0, Some(5 * SPAN - 1))));
        assert_eq!(jump(6, None, Some(4 * SPAN + 9)), Some((6, Some(4 * SPAN + 9))));
        assert_eq!(jump(7, None, Some(9 * SPAN)), Some((0, Some(4 * SPAN - 1))));
        assert_eq!(jump(20, None, None), Some((3, Some(2 * SPAN - 1))));
        assert_eq!(jump(22, None, None), None);
        assert_eq!(
            jump(20, Some(3 * SPAN + 5), None),
            Some((13, Some(4 * SPAN - 1))),
            "not beyond its beginning"
        );
    }

    #[test]
    fn whole_spans_are_those_inside() {
        let spans = |since, upto| whole_spans(&ActivationQuery { since, upto, ..ActivationQuery::default() });
        assert_eq!(spans(None, None), (0, u64::MAX));
        assert_eq!(spans(Some(SPAN), Some(3 * SPAN - 1)), (1, 3));
        assert_eq!(spans(Some(SPAN + 1), Some(3 * SPAN - 2)), (2, 2));
        assert_eq!(spans(Some(u64::MAX), Some(u64::MAX)).0, 1 << (64 - SPAN_BITS));
    }
}

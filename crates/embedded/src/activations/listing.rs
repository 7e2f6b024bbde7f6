//! Lists: records of the tail and of every file, merged newest first.
//!
//! Each file gives its keys in pages, and is not asked before its newest record is due. A list that begins far from
//! the newest record jumps there by tallies. The tail is read before
//! the files: a record that moves meanwhile is met twice and counted once, never missed.

use std::cmp::Reverse;
use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use chasen_entity::{Activation, ActivationId};
use chasen_spi::{ActivationQuery, StoreError};

use super::segment::{Key, Segment};
use super::tail::TailRecord;
use super::tally::Spans;
use crate::event_log::payload;

/// Keys that are fetched from a file at once.
const PAGE: usize = 512;
/// From here on it pays to look at tallies before skipping one by one.
const FAR: u64 = 2048;

/// Shows the page that a query asks for record by record, until the visitor has seen enough. `tail` is what of the
/// tail matches, newest first.
pub(super) fn walk(
    query: &ActivationQuery,
    tail: Vec<Arc<TailRecord>>,
    segments: Vec<Arc<Segment>>,
    mut visitor: impl FnMut(Arc<Activation>) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut tail = tail;
    let mut jumped = None;
    if query.skip >= FAR && query.cause.is_none() {
        let Some(query) = jump(query, &tail, &segments)? else { return Ok(()) };
        tail.retain(|record| query.upto.is_none_or(|upto| record.entry.start <= upto));
        jumped = Some(query);
    }
    let query = jumped.as_ref().unwrap_or(query);
    let mut merge = Merge::new(query, tail, segments);
    for _ in 0..query.skip {
        if merge.next()?.is_none() {
            return Ok(());
        }
    }
    let mut shown = 0;
    while shown < query.limit {
        let record = match merge.next()? {
            None => break,
            Some(Place::Tail(record)) => record.load()?,
            Some(Place::Segment(segment, id)) => match segment.body(None, &id)? {
                Some(body) => Arc::new(payload::activation(&body)?),
                // A record whose file expires meanwhile is left out.
                None => continue,
            },
        };
        shown += 1;
        if visitor(record).is_break() {
            break;
        }
    }
    Ok(())
}

/// How many records match.
pub(super) fn count(
    query: &ActivationQuery,
    tail: &[Arc<TailRecord>],
    segments: &[Arc<Segment>],
) -> Result<u64, StoreError> {
    let mut count = tail.len() as u64;
    for segment in segments {
        count += segment.count(query, tail)?;
    }
    Ok(count)
}

/// The query without most of what it skips; `None` if it skips everything.
fn jump(
    query: &ActivationQuery,
    tail: &[Arc<TailRecord>],
    segments: &[Arc<Segment>],
) -> Result<Option<ActivationQuery>, StoreError> {
    let (mut spans, mut filed) = (Spans::default(), HashSet::new());
    for segment in segments {
        segment.add_spans(query, tail, &mut spans, &mut filed)?;
    }
    let only_logged = tail.iter().filter(|record| !filed.contains(&record.entry.id));
    only_logged.for_each(|record| spans.add_one(record.entry.start));
    Ok(spans.jump(query))
}

/// Where the next record of a list is.
enum Place {
    Tail(Arc<TailRecord>),
    Segment(Arc<Segment>, ActivationId),
}

struct Merge<'a> {
    query: &'a ActivationQuery,
    tail: VecDeque<Arc<TailRecord>>,
    in_tail: HashSet<ActivationId>,
    cursors: Vec<Cursor>,
}

/// How far a file was read.
struct Cursor {
    segment: Arc<Segment>,
    fetched: VecDeque<Key>,
    /// What was fetched last; the next page comes after it.
    last: Key,
    exhausted: bool,
}

impl Cursor {
    /// The newest key that this file may still give.
    fn bound(&self) -> Option<Key> {
        self.fetched.front().copied().or((!self.exhausted).then_some(self.last))
    }
}

impl<'a> Merge<'a> {
    fn new(query: &'a ActivationQuery, tail: Vec<Arc<TailRecord>>, segments: Vec<Arc<Segment>>) -> Self {
        let upto = query.upto.unwrap_or(u64::MAX).saturating_add(1);
        let cursors = segments.into_iter().filter_map(|segment| {
            let bounds = segment.bounds()?;
            let in_range =
                bounds.first_start < upto && query.since.is_none_or(|since| bounds.last_start >= since);
            let last = (upto.min(bounds.last_start.saturating_add(1)), ActivationId::from_bytes([0; 16]));
            in_range.then(|| Cursor { segment, fetched: VecDeque::new(), last, exhausted: false })
        });
        Self {
            query,
            in_tail: tail.iter().map(|record| record.entry.id).collect(),
            tail: tail.into(),
            cursors: cursors.collect(),
        }
    }

    fn next(&mut self) -> Result<Option<Place>, StoreError> {
        loop {
            let of_tail = self.tail.front().map(|record| (record.entry.start, record.entry.id));
            let newest = self
                .cursors
                .iter_mut()
                .filter(|cursor| cursor.bound().is_some())
                .min_by_key(|cursor| cursor.bound().map(Reverse));
            let Some(cursor) = newest.filter(|cursor| cursor.bound() > of_tail) else {
                return Ok(self.tail.pop_front().map(Place::Tail));
            };
            if let Some((_, id)) = cursor.fetched.pop_front() {
                if self.in_tail.contains(&id) {
                    continue;
                }
                return Ok(Some(Place::Segment(cursor.segment.clone(), id)));
            }
            let page = cursor.segment.keys(self.query, cursor.last, PAGE)?;
            cursor.exhausted = page.len() < PAGE;
            cursor.last = page.last().copied().unwrap_or(cursor.last);
            cursor.fetched = page.into();
        }
    }
}

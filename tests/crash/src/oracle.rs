//! What must be true of every request, whatever happened to the node: pure, from what was answered, recorded and seen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::deployed::{AGAIN, CHAIN_AGAIN, CHAIN_ONCE, CONDUCTED, CONDUCTOR, ONCE, STEPS, TRIGGER};
use crate::witness::Note;

/// Result of what was under way when the node died, and is never tried again.
pub const INTERRUPTED: &str = "The activation was interrupted before its result was known.";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// An action that is delivered at most once, and not waited for.
    Once,
    /// One that is delivered at least once.
    Again,
    /// A sequence of the first sort.
    ChainOnce,
    /// A sequence of the second sort.
    ChainAgain,
    /// A composition of the second sort.
    Composition,
    /// The fire of a trigger with a rule for each.
    Fire,
    /// The first sort, some time later.
    Delayed,
    /// The first sort, asked for several times under one key.
    Keyed,
    /// The first sort, waited for.
    Blocking,
}

impl Sort {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Once,
        Self::Again,
        Self::ChainOnce,
        Self::ChainAgain,
        Self::Composition,
        Self::Fire,
        Self::Delayed,
        Self::Keyed,
        Self::Blocking,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Again => "again",
            Self::ChainOnce => "chain-once",
            Self::ChainAgain => "chain-again",
            Self::Composition => "composition",
            Self::Fire => "fire",
            Self::Delayed => "delayed",
            Self::Keyed => "keyed",
            Self::Blocking => "blocking",
        }
    }

    /// The action or trigger that is asked for.
    #[must_use]
    pub fn target(self) -> &'static str {
        match self {
            Self::Once | Self::Delayed | Self::Keyed | Self::Blocking => ONCE,
            Self::Again => AGAIN,
            Self::ChainOnce => CHAIN_ONCE,
            Self::ChainAgain => CHAIN_AGAIN,
            Self::Composition => CONDUCTOR,
            Self::Fire => TRIGGER,
        }
    }

    /// The steps that it takes if all goes well.
    fn steps(self) -> Vec<String> {
        let some = |action: &str, count: u64| (0..count).map(|hop| format!("{action}#{hop}")).collect();
        match self {
            Self::Once | Self::Delayed | Self::Keyed | Self::Blocking => some(ONCE, 1),
            Self::Again => some(AGAIN, 1),
            Self::ChainOnce => some(ONCE, STEPS),
            Self::ChainAgain => some(AGAIN, STEPS),
            Self::Composition => some(AGAIN, CONDUCTED),
            Self::Fire => [some(ONCE, 1), some(AGAIN, 1)].concat(),
        }
    }

    /// True if nothing of it may be lost, but by being lost too often.
    fn must_succeed(self) -> bool {
        matches!(self, Self::Again | Self::ChainAgain | Self::Composition)
    }

    /// True if it does not outlive a power cut.
    #[must_use]
    pub fn is_in_memory(self) -> bool {
        self == Self::Blocking
    }
}

/// Something that was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number, which every run of it tells.
    pub token: u64,
    /// What.
    pub sort: Sort,
    /// Earliest time that it may run, epoch milliseconds.
    pub due: Option<u64>,
    /// Ids that were answered: one, however often it was asked for.
    pub ids: Vec<String>,
    /// When the first answer came, epoch milliseconds.
    pub acknowledged: Option<u64>,
}

/// What is known of a request once the node is idle.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Records by id: of the request, of what it caused, and of every run that was seen.
    pub records: &'a BTreeMap<String, Value>,
    /// Runs that were seen.
    pub notes: &'a [Note],
    /// Ids of dead letters.
    pub dead: &'a BTreeSet<String>,
}

/// How an activation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Interrupted,
    /// It was lost as often as it may be.
    Dead,
    Other,
    /// There is no record.
    Missing,
}

/// What is wrong; nothing if all is well.
#[must_use]
pub fn judge(request: &Request, evidence: &Evidence<'_>) -> Vec<String> {
    let mut wrong = ran_twice(request, evidence.notes);
    let mut complain = |what: String| wrong.push(format!("{}: {what}", name(request)));
    let distinct: BTreeSet<&String> = request.ids.iter().collect();
    if distinct.len() > 1 {
        complain(format!("one key, several activations: {distinct:?}"));
    }
    for note in evidence.notes {
        if evidence.end(&note.id) == End::Missing {
            complain(format!("{} ran as {} and has no record", note.step, note.id));
        }
        if let Some(due) = request.due.filter(|due| note.at + CLOCK < *due) {
            complain(format!("{} ran {} ms before it was due", note.step, due - note.at));
        }
    }
    if let Some(id) = request.ids.first() {
        evidence.check_end(request, id, &mut complain);
    }
    wrong
}

/// What must be true at any time, of requests without an answer too: what is delivered at most once ran once at most,
/// and a step is one activation.
#[must_use]
pub fn ran_twice(request: &Request, notes: &[Note]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut steps: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for note in notes {
        steps.entry(&note.step).or_default().push(&note.id);
    }
    for (step, ids) in steps {
        let distinct: BTreeSet<&&str> = ids.iter().collect();
        if distinct.len() > 1 {
            wrong.push(format!("{}: {step} is several activations: {distinct:?}", name(request)));
        }
        if step.starts_with(ONCE) && ids.len() > 1 {
            wrong.push(format!("{}: {step} ran {} times, as {distinct:?}", name(request), ids.len()));
        }
    }
    wrong
}

/// Ids of activations that a record names in its log: what it caused.
#[must_use]
pub fn caused(record: &Value) -> Vec<String> {
    let lines = record["logs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let id = |line: &str| -> Option<String> {
        let of_rule =
            || serde_json::from_str::<Value>(line).ok()?["activationId"].as_str().map(str::to_owned);
        let is_id = line.len() == 32 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_id { Some(line.to_owned()) } else { of_rule() }
    };
    lines.filter_map(id).collect()
}

/// True if it, or something that it caused, was under way at this time: it ended later, or was cut off.
#[must_use]
pub fn was_under_way(request: &Request, evidence: &Evidence<'_>, at: u64) -> bool {
    let Some(id) = request.ids.first() else { return false };
    let ended = evidence.records.get(id).and_then(|record| record["end"].as_u64()).unwrap_or_default();
    let is_cut = || evidence.family(request).iter().any(|id| evidence.end(id) == End::Interrupted);
    request.acknowledged.is_some_and(|acknowledged| acknowledged <= at) && (ended >= at || is_cut())
}

/// How far two looks at the clock may be apart, in milliseconds: a function's, and the node's in whole seconds' worth of
/// rounding.
const CLOCK: u64 = 2;

fn name(request: &Request) -> String {
    let id = request.ids.first().map_or("never answered", String::as_str);
    format!("{} {} ({id})", request.sort.name(), request.token)
}

impl Evidence<'_> {
    fn end(&self, id: &str) -> End {
        let Some(record) = self.records.get(id) else { return End::Missing };
        let response = &record["response"];
        if response["success"] == true {
            End::Success
        } else if response["result"]["error"] == INTERRUPTED {
            End::Interrupted
        } else if self.dead.contains(id) {
            End::Dead
        } else {
            End::Other
        }
    }

    /// The request's own activation, what it caused as far as its record says, and what was seen of it.
    fn family(&self, request: &Request) -> BTreeSet<String> {
        let own = request.ids.iter().cloned();
        let caused = request.ids.iter().filter_map(|id| self.records.get(id)).flat_map(caused);
        own.chain(caused).chain(self.notes.iter().map(|note| note.id.clone())).collect()
    }

    fn check_end(&self, request: &Request, id: &str, complain: &mut impl FnMut(String)) {
        let steps = request.sort.steps();
        let family = self.family(request);
        let some_of_it = |end: End| family.iter().any(|id| self.end(id) == end);
        let shown = || self.records.get(id).map(Value::to_string).unwrap_or_default();
        match self.end(id) {
            End::Missing => complain("was acknowledged and has no record".to_owned()),
            End::Success => {
                let seen: BTreeSet<&str> = self.notes.iter().map(|note| note.step.as_str()).collect();
                let due: BTreeSet<&str> = steps.iter().map(String::as_str).collect();
                let excused =
                    request.sort == Sort::Fire && (some_of_it(End::Interrupted) || some_of_it(End::Dead));
                if seen != due && !excused {
                    complain(format!("succeeded with the steps {seen:?}, not {due:?}: {}", shown()));
                }
                let hops =
                    self.records.get(id).and_then(|record| record["response"]["result"]["hops"].as_u64());
                if request.sort != Sort::Fire && hops != Some(steps.len() as u64) {
                    complain(format!(
                        "a result was applied {hops:?} times, not {}: {}",
                        steps.len(),
                        shown()
                    ));
                }
            }
            End::Interrupted if request.sort.must_succeed() && !some_of_it(End::Dead) => {
                complain(format!("is delivered at least once, and ended as interrupted: {}", shown()));
            }
            End::Interrupted | End::Dead => {}
            End::Other if some_of_it(End::Dead) => {}
            End::Other if some_of_it(End::Interrupted) && !request.sort.must_succeed() => {}
            End::Other => complain(format!("failed: {}", shown())),
        }
        for child in &family {
            match self.end(child) {
                End::Missing => complain(format!("what it caused has no record: {child}")),
                End::Other if child != id && !some_of_it(End::Dead) && !some_of_it(End::Interrupted) => {
                    let record = self.records.get(child).map(Value::to_string).unwrap_or_default();
                    complain(format!("what it caused failed: {record}"));
                }
                _ => {}
            }
        }
        if request.sort == Sort::Fire
            && self.records.get(id).map_or(0, |record| caused(record).len()) != steps.len()
        {
            complain(format!("not every rule reacted: {}", shown()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000000000000000000000000001";

    fn request(sort: Sort) -> Request {
        Request { token: 7, sort, due: None, ids: vec![ID.to_owned()], acknowledged: Some(10) }
    }

    fn note(step: &str, id: &str) -> Note {
        Note { token: 7, step: step.to_owned(), id: id.to_owned(), at: 20 }
    }

    fn success(hops: u64, logs: &[&str]) -> Value {
        json!({"end": 30, "logs": logs, "response": {"success": true, "result": {"hops": hops}}})
    }

    fn failure(error: &str) -> Value {
        json!({"end": 30, "logs": [], "response": {"success": false, "result": {"error": error}}})
    }

    fn judged(request: &Request, records: &[(&str, Value)], notes: &[Note]) -> usize {
        let records = records.iter().map(|(id, record)| ((*id).to_owned(), record.clone())).collect();
        judge(request, &Evidence { records: &records, notes, dead: &BTreeSet::new() }).len()
    }

    #[test]
    fn what_is_well_is_not_complained_of() {
        let once = request(Sort::Once);
        assert_eq!(judged(&once, &[(ID, success(1, &[]))], &[note("once#0", ID)]), 0);
        assert_eq!(judged(&once, &[(ID, failure(INTERRUPTED))], &[]), 0);
        let steps = [note("again#0", "a"), note("again#0", "a"), note("again#1", "b"), note("again#2", "c")];
        let children = ["a", "b", "c"].map(|id| (id, success(1, &[])));
        let records = [&[(ID, success(3, &[]))], &children[..]].concat();
        assert_eq!(judged(&request(Sort::ChainAgain), &records, &steps), 0);
        let unanswered = Request { ids: Vec::new(), acknowledged: None, ..once };
        assert_eq!(judged(&unanswered, &[], &[]), 0);
    }

    #[test]
    fn losses_and_doubles_are_found() {
        let once = request(Sort::Once);
        assert_eq!(judged(&once, &[], &[]), 2, "no record");
        assert_eq!(judged(&once, &[(ID, success(1, &[]))], &[]), 1, "success that nobody saw");
        let twice = [note("once#0", ID), note("once#0", ID)];
        assert_eq!(judged(&once, &[(ID, success(1, &[]))], &twice), 1, "ran twice");
        let again = request(Sort::Again);
        assert_eq!(judged(&again, &[(ID, failure(INTERRUPTED))], &[]), 1, "given up");
        let applied = [(ID, success(4, &[])), ("a", success(1, &[]))];
        let steps = ["again#0", "again#1", "again#2"].map(|step| note(step, "a"));
        assert_eq!(judged(&request(Sort::ChainAgain), &applied, &steps), 1, "a result applied twice");
        let keyed = Request { ids: vec![ID.to_owned(), "other".to_owned()], ..request(Sort::Keyed) };
        assert_eq!(
            judged(&keyed, &[(ID, success(1, &[]))], &[note("once#0", ID)]),
            2,
            "two ids, one unrecorded"
        );
        let early = Request { due: Some(1000), ..request(Sort::Delayed) };
        assert_eq!(judged(&early, &[(ID, success(1, &[]))], &[note("once#0", ID)]), 1, "before its time");
        let line = format!(r#"{{"rule":"r","activationId":"{ID}"}}"#);
        let fire = [(ID, success(0, &[line.as_str()]))];
        assert!(judged(&request(Sort::Fire), &fire, &[note("once#0", ID)]) > 0, "a rule is missing");
    }

    #[test]
    fn work_under_way_is_told_from_work_that_was_over() {
        let records = BTreeMap::from([(ID.to_owned(), success(1, &[]))]);
        let evidence = Evidence { records: &records, notes: &[], dead: &BTreeSet::new() };
        let once = request(Sort::Once);
        assert_eq!([9, 10, 30, 31].map(|at| was_under_way(&once, &evidence, at)), [false, true, true, false]);
    }
}

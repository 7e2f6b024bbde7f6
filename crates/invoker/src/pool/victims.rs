//! Which containers go for a request that finds no room, and when they may.
//!
//! Pure. What is kept in mind is who holds what *now*, not what is owed for the past: whoever loses a container holds
//! less at once, so that nobody is drained for having had much.

use std::collections::HashMap;
use std::time::Duration;

use chasen_entity::{ByteSize, EntityName};

use super::event::{ContainerId, Terms, Worth};

/// How long a first container waits for one that its own namespace, or one that holds more, could do without, while
/// none is in sight.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who takes.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) namespace: EntityName,
    /// For the first container of an action.
    pub(super) is_first: bool,
    /// Bytes that it takes.
    pub(super) memory: u64,
    /// Since when it waits.
    pub(super) since: Duration,
}

/// A container that may go.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) id: ContainerId,
    /// Bytes of it.
    pub(super) memory: u64,
    /// Whose it is, what it is worth and since when that is known; none for a stem cell.
    pub(super) owned: Option<(&'a EntityName, &'a Worth, Duration)>,
}

impl Candidate<'_> {
    fn may_go_at(&self, terms: Terms) -> Option<Duration> {
        match self.owned {
            Some((_, worth, told)) => worth.may_go_in(terms).map(|wait| told.saturating_add(wait)),
            None => Some(Duration::ZERO),
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Choice {
    /// These go, on these terms.
    Go(Vec<(ContainerId, Terms)>),
    /// Nobody goes, because it would not help. At this time it may.
    Wait(Option<Duration>),
}

/// The containers that go so that so many missing bytes get free. `holds` says what a namespace holds, in bytes, without
/// what is leaving.
///
/// Order: containers of a namespace that holds more than all the others whose containers are idle, then those of the others,
/// and of each those that are worth least; then stem cells.
pub(super) fn choose(
    taker: &Taker,
    missing: u64,
    candidates: &[Candidate<'_>],
    holds: impl Fn(&EntityName) -> u64,
    now: Duration,
) -> Choice {
    let at_best = Terms { for_first: taker.is_first, from_less: false };
    let mut sooner = Sooner { now, at: None };
    let ready = candidates.iter().filter(|one| sooner.is_now(one.may_go_at(at_best)));
    if ready.map(|one| one.memory).sum::<u64>() < missing {
        return Choice::Wait(sooner.at);
    }
    let mut held = HashMap::new();
    for (owner, ..) in candidates.iter().filter_map(|one| one.owned) {
        held.entry(owner).or_insert_with(|| holds(owner));
    }
    let mut round = Round { taker, own: holds(&taker.namespace), held, spares: true, now };
    let mut picked = round.pick(missing, candidates, |one, terms| sooner.is_now(one.may_go_at(terms)));
    if picked.is_none() && taker.is_first {
        let in_sight = round.pick(missing, candidates, |_, terms| !terms.from_less);
        if in_sight.is_none() && sooner.is_now(Some(taker.since.saturating_add(PATIENCE))) {
            round.spares = false;
            picked = round.pick(missing, candidates, |one, terms| sooner.is_now(one.may_go_at(terms)));
        }
    }
    picked.map_or(Choice::Wait(sooner.at), Choice::Go)
}

/// The soonest of the times that are to come.
struct Sooner {
    now: Duration,
    at: Option<Duration>,
}

impl Sooner {
    fn is_now(&mut self, at: Option<Duration>) -> bool {
        let Some(at) = at else { return false };
        if at > self.now {
            self.at = Some(self.at.map_or(at, |other| other.min(at)));
        }
        at <= self.now
    }
}

/// Those between whom is chosen.
struct Round<'a> {
    taker: &'a Taker,
    /// What the taker's namespace holds.
    own: u64,
    held: Held<'a>,
    /// What those who hold less use is left to them.
    spares: bool,
    now: Duration,
}

/// What the owners of candidates hold, in bytes.
type Held<'a> = HashMap<&'a EntityName, u64>;

impl<'a> Round<'a> {
    /// On which a candidate goes: from less, if its owner holds less than the taker would. Whoever holds nothing takes from everybody.
    fn terms(&self, one: &Candidate<'_>, held: &Held<'a>) -> Terms {
        let would_hold = self.own.saturating_add(self.taker.memory);
        let is_less = |owner: &EntityName| {
            *owner != self.taker.namespace && held.get(owner).is_some_and(|held| *held < would_hold)
        };
        let from_less = self.spares && self.own > 0 && one.owned.is_some_and(|(owner, ..)| is_less(owner));
        Terms { for_first: self.taker.is_first, from_less }
    }

    /// Enough of those that may go, one after the other: with each its owner holds less.
    fn pick(
        &self,
        mut missing: u64,
        candidates: &[Candidate<'a>],
        mut may_go: impl FnMut(&Candidate<'a>, Terms) -> bool,
    ) -> Option<Vec<(ContainerId, Terms)>> {
        let mut held = self.held.clone();
        let mut left: Vec<&Candidate<'a>> = candidates.iter().collect();
        let mut victims = Vec::new();
        while missing > 0 {
            let total: u64 = held.values().sum();
            let ready = left.iter().enumerate();
            let ready = ready.filter(|(_, one)| may_go(one, self.terms(one, &held)));
            let ranked = ready.map(|(at, one)| (at, one.id, rank(one, &held, total, self.now)));
            let next = ranked.min_by(|(_, a, (rank, score)), (_, b, (other, than))| {
                rank.cmp(other).then(score.total_cmp(than)).then(a.cmp(b))
            });
            let (at, ..) = next?;
            let one = left.swap_remove(at);
            victims.push((one.id, self.terms(one, &held)));
            missing = missing.saturating_sub(one.memory);
            if let Some(held) = one.owned.and_then(|(owner, ..)| held.get_mut(owner)) {
                *held = held.saturating_sub(one.memory);
            }
        }
        Some(victims)
    }
}

/// Lowest first.
fn rank(one: &Candidate<'_>, held: &Held<'_>, total: u64, now: Duration) -> (u8, f64) {
    let Some((owner, worth, told)) = one.owned else { return (2, 0.0) };
    let is_most = held.get(owner).is_some_and(|held| *held > total / 2);
    (u8::from(!is_most), worth.score(ByteSize::bytes(one.memory), now.saturating_sub(told)))
}

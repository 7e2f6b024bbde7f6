//! The pool of a node: whose container gets memory, and who has to go for it.
//!
//! Pure: [`Pool::step`] takes an event and the time and says what is to be done; [`crate::NodeInvoker`] does
//! it. The pool sees containers come and go, never activations; that a container is idle it is told only
//! while it has [`Appetite`] for it, that is while a request waits for room.
//!
//! Rules:
//! - The memory of everything that is not dead, stem cells and containers that are being stopped included,
//!   never exceeds the capacity.
//! - Who waits is served in the order of `waiting`; the first in that order that does not fit holds the
//!   others up, so that nobody starves.
//! - Part of the capacity, the *reserve*, is kept for first containers: an action that has one already does
//!   not get another from it. So a function that calls another one, and waits for it, finds room for that
//!   other one's first container even where its own kind would have filled the node.
//! - For a request that does not fit, idle containers go, those of the lowest worth first: uses per minute ×
//!   cost of a cold start ÷ memory. Those of a namespace that holds more than all the others go first, stem cells go last. Busy
//!   ones never go. Nobody goes if it does not help.
//! - A container between two calls is not idle for everybody: only for a first container, and only once it has been
//!   without a call for a tenth of a cold start, or has served ten times as long as its start took. So actions that are
//!   called in turn replace one another at once, two busy ones share a full node by turns that are worth their cold
//!   starts, and an action that has a container never takes another one's between two calls.
//! - What a namespace uses does not go for one that holds more: not for a next container while it was used within the
//!   last minute, and not for a first one while it was used within a second, or ten cold starts if they take longer, unless
//!   for a second nothing else is in sight. Whoever holds nothing takes from everybody.
//! - Who waits owes for the memory that it holds, by time; of two that wait in the same class, the one that owes less
//!   goes first.
//! - Containers beyond the first of their action are started so many in a second, and later while the processors are
//!   under pressure; first ones never wait for that.
//! - Stem cells are made while nobody waits and the node is quiet, and never from the reserve. When the kinds change,
//!   those that are too many go, and those that are not what a new container of their kind would be.

mod accounts;
mod event;
mod pacing;
mod stems;
#[cfg(test)]
mod tests;
mod victims;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use chasen_entity::{ActionKey, ByteSize, Manifest, NetworkPolicy};

use accounts::Accounts;
pub use event::{Appetite, ContainerId, Effect, Event, PoolConfig, Terms, Worth};
use pacing::Pacing;
use stems::Stems;
use victims::{Candidate, Choice, Taker};
use waiting::{Presence, Turn, Waiting};
pub use waiting::{Request, RequestId};

/// Most stem cells that end in one adjustment because their life is over.
const EXPIRED_AT_ONCE: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Being made or initialised for a tenant.
    Making,
    /// Serving.
    Serving,
    /// Stem cell being made.
    StemMaking,
    /// Stem cell.
    Stem,
    /// Asked to go, or going.
    Leaving,
}

#[derive(Debug, Clone)]
struct Entry {
    kind: String,
    memory: ByteSize,
    phase: Phase,
    owner: Option<ActionKey>,
    since: Duration,
    /// A stem cell that is not what new containers of its kind are.
    stale: bool,
    /// What it was asked to go for, if it was.
    terms: Terms,
}

impl Entry {
    fn is_stem(&self) -> bool {
        matches!(self.phase, Phase::Stem | Phase::StemMaking)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    entries: BTreeMap<ContainerId, Entry>,
    used: u64,
    /// Part of it that is leaving.
    leaving: u64,
    next: ContainerId,
    waiting: Waiting,
    /// Containers of each action, and what namespaces hold.
    of_action: HashMap<ActionKey, usize>,
    accounts: Accounts,
    /// Known to be idle, and since when that is known; kept while somebody waits.
    idle: BTreeMap<ContainerId, (Worth, Duration)>,
    /// Stem cells that are up.
    cells: BTreeSet<ContainerId>,
    stems: Stems,
    pacing: Pacing,
    due: Option<Duration>,
}

impl Pool {
    /// An empty pool; stem cells as the manifest says.
    #[must_use]
    pub fn new(config: PoolConfig, manifest: &Manifest) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            used: 0,
            leaving: 0,
            next: 1,
            waiting: Waiting::default(),
            of_action: HashMap::new(),
            accounts: Accounts::default(),
            idle: BTreeMap::new(),
            cells: BTreeSet::new(),
            stems: Stems::of(manifest),
            pacing: Pacing::new(config.burst),
            due: None,
        }
    }

    /// Which idle containers are to be told.
    #[must_use]
    pub fn appetite(&self) -> Appetite {
        match self.waiting.has_first() {
            true => Appetite::Idle,
            false if self.waiting.is_empty() => Appetite::None,
            false => Appetite::Resting,
        }
    }

    /// When to send [`Event::Due`]: something may be possible then that is not yet.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Kind and memory of every stem cell that is up.
    pub fn stems(&self) -> impl Iterator<Item = (&str, ByteSize)> {
        let stems = self.cells.iter().filter_map(|id| self.entries.get(id));
        stems.map(|entry| (entry.kind.as_str(), entry.memory))
    }

    /// Memory of everything that is not dead.
    #[must_use]
    pub fn used(&self) -> ByteSize {
        ByteSize::bytes(self.used)
    }

    /// Whether a container that was asked to go may do so, if this is what it is worth by now.
    #[must_use]
    pub fn may_go(&self, id: ContainerId, worth: &Worth) -> bool {
        let terms = self.entries.get(&id).map_or(Terms::BEST, |entry| entry.terms);
        worth.may_go_in(terms) == Some(Duration::ZERO)
    }

    /// Takes an event in at a time, and adds what is to be done to `effects`.
    pub fn step(&mut self, event: Event, now: Duration, effects: &mut Vec<Effect>) {
        match event {
            Event::Requested(request) => {
                if request.memory > self.config.capacity {
                    effects.push(Effect::Refuse(request.id));
                    return;
                }
                if !request.waits && !self.waiting.is_empty() {
                    effects.push(Effect::NoRoom(request.id));
                    return;
                }
                let (id, waits) = (request.id, request.waits);
                let presence = self.presence(&request.key);
                self.waiting.push(request, presence, now);
                if !waits {
                    self.serve(now, effects);
                    if !self.waiting.is_empty() {
                        self.waiting.remove(id);
                        self.due = None;
                        effects.push(Effect::NoRoom(id));
                    }
                    return;
                }
            }
            Event::Withdrawn(id) => drop(self.waiting.remove(id)),
            Event::Made(id) => {
                if let Some(entry) = self.entries.get(&id) {
                    self.stems.used(&entry.kind);
                }
                self.enter(id, &Phase::Making, Phase::Serving);
            }
            Event::StemUp(id) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.since = now;
                    self.stems.succeeded(&entry.kind, entry.memory);
                }
                self.enter(id, &Phase::StemMaking, Phase::Stem);
                self.trim(effects);
            }
            Event::Idle(containers) => {
                for (id, worth) in containers {
                    if self.entries.get(&id).is_some_and(|entry| entry.phase == Phase::Serving) {
                        self.idle.insert(id, (worth, now));
                    }
                }
            }
            Event::Busy(id) => self.enter(id, &Phase::Leaving, Phase::Serving),
            Event::Expired { id, keep } => self.expire(id, keep, effects),
            Event::Pressed(is_pressed) => self.pacing.press(is_pressed),
            Event::Due => {}
            Event::Stopping(id) => {
                self.idle.remove(&id);
                self.set_phase(id, Phase::Leaving);
            }
            Event::Dead { id, failed } => self.forget(id, failed, now),
            Event::Adjust => self.adjust(now, effects),
            Event::Changed(manifest) => {
                let changed = self.stems.follow(&manifest);
                for entry in self.entries.values_mut() {
                    entry.stale |= entry.is_stem() && changed.contains(&entry.kind);
                }
                self.trim(effects);
            }
        }
        self.due = None;
        self.serve(now, effects);
        if self.waiting.is_empty() {
            self.idle.clear();
            self.replenish(now, effects);
        } else {
            self.make_room(now, effects);
        }
    }

    fn enter(&mut self, id: ContainerId, from: &Phase, to: Phase) {
        if self.entries.get(&id).is_some_and(|entry| entry.phase == *from) {
            self.set_phase(id, to);
        }
    }

    fn set_phase(&mut self, id: ContainerId, phase: Phase) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        match phase {
            Phase::Stem => self.cells.insert(id),
            _ => self.cells.remove(&id),
        };
        let leaves = phase == Phase::Leaving;
        if leaves != (std::mem::replace(&mut entry.phase, phase) == Phase::Leaving) {
            let memory = entry.memory;
            self.leaving = match leaves {
                true => self.leaving.saturating_add(memory.as_bytes()),
                false => self.leaving.saturating_sub(memory.as_bytes()),
            };
            if let Some(key) = &entry.owner {
                self.accounts.leave(&key.namespace, memory, leaves);
            }
        }
    }

    fn forget(&mut self, id: ContainerId, failed: bool, now: Duration) {
        self.idle.remove(&id);
        // What is dead is not leaving any more.
        self.set_phase(id, Phase::Serving);
        let Some(entry) = self.entries.remove(&id) else { return };
        self.used = self.used.saturating_sub(entry.memory.as_bytes());
        match entry.owner {
            Some(key) => {
                self.accounts.close(&key.namespace, entry.memory, now);
                count_down(&mut self.of_action, &key);
                self.waiting.follow(&key, self.presence(&key));
            }
            None if failed => self.stems.failed(&entry.kind, entry.memory),
            None => {}
        }
    }

    fn reserve(
        &mut self,
        kind: &str,
        memory: ByteSize,
        phase: Phase,
        owner: Option<ActionKey>,
        now: Duration,
    ) -> ContainerId {
        let id = self.next;
        self.next += 1;
        self.used = self.used.saturating_add(memory.as_bytes());
        if let Some(key) = &owner {
            self.own(key, memory, now);
        }
        let entry = Entry {
            kind: kind.to_owned(),
            memory,
            phase,
            owner,
            since: Duration::ZERO,
            stale: false,
            terms: Terms::BEST,
        };
        self.entries.insert(id, entry);
        id
    }

    fn own(&mut self, key: &ActionKey, memory: ByteSize, now: Duration) {
        self.accounts.open(&key.namespace, memory, now);
        *self.of_action.entry(key.clone()).or_default() += 1;
        self.waiting.follow(key, self.presence(key));
    }

    fn presence(&self, key: &ActionKey) -> Presence {
        Presence { namespace: self.accounts.has(&key.namespace), action: self.of_action.contains_key(key) }
    }

    /// Bytes that are missing for a request, beyond what is free now. A next container may not take the reserve; but a
    /// request that would fit into an empty node must be able to fit at some time.
    fn missing(&self, turn: Turn<'_>) -> u64 {
        let (capacity, wanted) = (self.config.capacity.as_bytes(), turn.request.memory.as_bytes());
        let kept = match turn.is_first {
            true => 0,
            false => self.config.reserve.as_bytes().min(capacity.saturating_sub(wanted)),
        };
        wanted.saturating_add(kept).saturating_sub(capacity.saturating_sub(self.used))
    }

    fn turn(&self, now: Duration) -> Option<Turn<'_>> {
        self.waiting.next(|namespace| self.accounts.owed(namespace, now))
    }

    /// A stem cell that would do for a request: it was made with a way to the internet.
    fn cell_for(&self, request: &Request) -> Option<ContainerId> {
        let is_alike = |id: &&ContainerId| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| entry.kind == request.kind && entry.memory == request.memory)
        };
        let would_do = request.image.is_none() && request.key.network == NetworkPolicy::Internet;
        self.cells.iter().find(is_alike).filter(|_| would_do).copied()
    }

    /// Grants what fits, in order.
    fn serve(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some(turn) = self.turn(now) {
            let (id, is_first, since) = (turn.request.id, turn.is_first, turn.since);
            let stem = self.cell_for(turn.request);
            if stem.is_none() && (self.missing(turn) > 0 || !self.may_start(is_first, since, now)) {
                return;
            }
            let Some(request) = self.waiting.take(id) else { return };
            match stem {
                Some(id) => {
                    self.own(&request.key, request.memory, now);
                    self.set_phase(id, Phase::Making);
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.owner = Some(request.key);
                    }
                    effects.push(Effect::Claim(request.id, id));
                }
                None => {
                    if !is_first {
                        self.pacing.take(now);
                    }
                    if request.key.network == NetworkPolicy::Internet {
                        self.stems.cold_start(&request.kind, request.memory);
                    }
                    let key = Some(request.key);
                    let id = self.reserve(&request.kind, request.memory, Phase::Making, key, now);
                    effects.push(Effect::Create(request.id, id));
                }
            }
        }
    }

    /// Whether a container may be started now that was asked for at a time; if not, it is due later, or never.
    fn may_start(&mut self, is_first: bool, asked: Duration, now: Duration) -> bool {
        let at = if is_first { Some(now) } else { self.pacing.next(asked, now) };
        let later = at.filter(|at| *at > now);
        if later.is_some() {
            self.due = later;
        }
        at.is_some_and(|at| at <= now)
    }

    /// Has idle containers go for the next request, if that helps it.
    fn make_room(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some(turn) = self.turn(now) else { return };
        let missing = self.missing(turn).saturating_sub(self.leaving);
        let Turn { request, since, is_first } = turn;
        let (namespace, memory) = (request.key.namespace.clone(), request.memory.as_bytes());
        if missing == 0 || !self.may_start(is_first, since, now) {
            return;
        }
        let taker = Taker { namespace, is_first, memory, since };
        let idle = self.idle.iter().filter_map(|(id, (worth, told))| {
            let entry = self.entries.get(id)?;
            let owned = Some((&entry.owner.as_ref()?.namespace, worth, *told));
            Some(Candidate { id: *id, memory: entry.memory.as_bytes(), owned })
        });
        let cells = self.cells.iter().filter_map(|id| {
            Some(Candidate { id: *id, memory: self.entries.get(id)?.memory.as_bytes(), owned: None })
        });
        let candidates: Vec<_> = idle.chain(cells).collect();
        let holds = |namespace: &_| self.accounts.stays(namespace);
        match victims::choose(&taker, missing, &candidates, holds, now) {
            Choice::Go(victims) => victims.into_iter().for_each(|(id, terms)| self.evict(id, terms, effects)),
            Choice::Wait(until) => self.due = until,
        }
    }

    fn evict(&mut self, id: ContainerId, terms: Terms, effects: &mut Vec<Effect>) {
        self.idle.remove(&id);
        self.set_phase(id, Phase::Leaving);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.terms = terms;
        }
        effects.push(Effect::Evict(id));
    }

    /// Has a container go whose time is over, unless it is one of those that its namespace may keep.
    fn expire(&mut self, id: ContainerId, keep: u32, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.phase == Phase::Serving) else { return };
        let alike = |other: &&Entry| other.owner == entry.owner && other.phase != Phase::Leaving;
        if self.entries.values().filter(alike).count() > keep as usize {
            self.evict(id, Terms::BEST, effects);
        }
    }

    /// Makes one stem cell if one is wanted and nothing of a tenant is held up by it.
    fn replenish(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let making = |entry: &&Entry| matches!(entry.phase, Phase::Making | Phase::StemMaking);
        if self.entries.values().filter(making).count() >= self.config.quiet_below.max(1) {
            return;
        }
        let free = self.config.capacity.as_bytes().saturating_sub(self.used);
        let room = free.saturating_sub(self.config.reserve.as_bytes());
        let present = |kind: &str, memory: ByteSize| {
            let stems = self
                .entries
                .values()
                .filter(|entry| entry.is_stem() && entry.kind == kind && entry.memory == memory);
            stems.count()
        };
        if let Some((kind, memory)) = self.stems.wanted(present, room) {
            let id = self.reserve(&kind, memory, Phase::StemMaking, None, now);
            effects.push(Effect::CreateStem { id, kind, memory });
        }
    }

    /// Has stem cells go that are stale or too many; those in the making go when they are up.
    fn trim(&mut self, effects: &mut Vec<Effect>) {
        let mut kept: HashMap<(&str, ByteSize), u32> = HashMap::new();
        let is_over = |id: &&ContainerId| {
            let Some(Entry { kind, memory, stale, .. }) = self.entries.get(id) else { return false };
            let kept = kept.entry((kind, *memory)).or_default();
            let is_over = *stale || *kept >= self.stems.most(kind, *memory);
            *kept += u32::from(!is_over);
            is_over
        };
        let over: Vec<_> = self.cells.iter().filter(is_over).copied().collect();
        over.into_iter().for_each(|id| self.evict(id, Terms::BEST, effects));
    }

    /// Has stem cells go whose life is over, the oldest first and not too many at a time, and takes the demand of the
    /// last period in.
    fn adjust(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let is_over = |entry: &Entry| {
            let life = self.stems.life(&entry.kind, entry.memory);
            entry.phase == Phase::Stem && life.is_some_and(|life| now.saturating_sub(entry.since) >= life)
        };
        let over = self.entries.iter().filter(|(_, entry)| is_over(entry));
        let mut over: Vec<_> = over.map(|(id, entry)| (entry.since, *id)).collect();
        over.sort_unstable();
        for (_, id) in over.into_iter().take(EXPIRED_AT_ONCE) {
            self.evict(id, Terms::BEST, effects);
        }
        self.stems.adjust();
    }
}

fn count_down<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

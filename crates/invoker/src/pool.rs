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
//!   cost of a cold start ÷ memory. Stem cells go last. Busy ones never go. Nobody goes if it does not help.
//! - A container between two calls is not idle for everybody: only for a first container, and only once it has been
//!   without a call for a tenth of a cold start, or has served ten times as long as its start took. So actions that are
//!   called in turn replace one another at once, two busy ones share a full node by turns that are worth their cold
//!   starts, and an action that has a container never takes another one's between two calls.
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
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chasen_entity::{ActionKey, ByteSize, Manifest};

use accounts::Accounts;
pub use event::{Appetite, ContainerId, Effect, Event, PoolConfig, Worth};
use pacing::Pacing;
use stems::Stems;
use waiting::Waiting;
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
    next: ContainerId,
    waiting: Waiting,
    /// Containers of each action, and what namespaces hold.
    of_action: HashMap<ActionKey, usize>,
    accounts: Accounts,
    /// Known to be idle, and since when that is known; kept while somebody waits.
    idle: BTreeMap<ContainerId, (Worth, Duration)>,
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
            next: 1,
            waiting: Waiting::default(),
            of_action: HashMap::new(),
            accounts: Accounts::default(),
            idle: BTreeMap::new(),
            stems: Stems::of(manifest),
            pacing: Pacing::new(config.burst),
            due: None,
        }
    }

    /// Which idle containers are to be told.
    #[must_use]
    pub fn appetite(&self) -> Appetite {
        match self.waiting.any(|request| self.is_first(request)) {
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
        let stems = self.entries.values().filter(|entry| entry.phase == Phase::Stem);
        stems.map(|entry| (entry.kind.as_str(), entry.memory))
    }

    /// Memory of everything that is not dead.
    #[must_use]
    pub fn used(&self) -> ByteSize {
        ByteSize::bytes(self.used)
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
                self.waiting.push(request, now);
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
            Event::Withdrawn(id) => self.waiting.remove(id),
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
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.phase = Phase::Leaving;
                }
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
        if let Some(entry) = self.entries.get_mut(&id)
            && entry.phase == *from
        {
            entry.phase = to;
        }
    }

    fn forget(&mut self, id: ContainerId, failed: bool, now: Duration) {
        self.idle.remove(&id);
        let Some(entry) = self.entries.remove(&id) else { return };
        self.used = self.used.saturating_sub(entry.memory.as_bytes());
        match entry.owner {
            Some(key) => {
                self.accounts.close(&key.namespace, entry.memory, now);
                count_down(&mut self.of_action, &key);
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
        let entry =
            Entry { kind: kind.to_owned(), memory, phase, owner, since: Duration::ZERO, stale: false };
        self.entries.insert(id, entry);
        id
    }

    fn own(&mut self, key: &ActionKey, memory: ByteSize, now: Duration) {
        self.accounts.open(&key.namespace, memory, now);
        *self.of_action.entry(key.clone()).or_default() += 1;
    }

    /// Bytes that this request may not take: the reserve, unless it is for a first container. A request that
    /// would fit into an empty node must be able to fit at some time.
    fn kept_from(&self, request: &Request) -> u64 {
        let capacity = self.config.capacity.as_bytes();
        match self.is_first(request) {
            true => 0,
            false => self.config.reserve.as_bytes().min(capacity.saturating_sub(request.memory.as_bytes())),
        }
    }

    /// The request may be older than the end of its siblings: the pool's own count is taken where it is lower.
    fn is_first(&self, request: &Request) -> bool {
        request.siblings == 0 || !self.of_action.contains_key(&request.key)
    }

    /// Bytes that are missing for a request, beyond what is free now.
    fn missing(&self, request: &Request) -> u64 {
        let wanted = request.memory.as_bytes().saturating_add(self.kept_from(request));
        wanted.saturating_sub(self.config.capacity.as_bytes().saturating_sub(self.used))
    }

    /// Whose turn it is, and since when it waits.
    fn next_request(&self, now: Duration) -> Option<(&Request, Duration)> {
        let owed = |namespace: &_| self.accounts.owed(namespace, now);
        self.waiting.next(owed, |request| self.is_first(request))
    }

    /// Grants what fits, in order.
    fn serve(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some((request, asked)) = self.next_request(now) {
            let stem = self.entries.iter().find(|(_, entry)| {
                entry.phase == Phase::Stem && entry.kind == request.kind && entry.memory == request.memory
            });
            let stem = stem.filter(|_| request.image.is_none()).map(|(id, _)| *id);
            let (id, is_first) = (request.id, self.is_first(request));
            if stem.is_none() && (self.missing(request) > 0 || !self.may_start(is_first, asked, now)) {
                return;
            }
            let Some(request) = self.waiting.take(id) else { return };
            match stem {
                Some(id) => {
                    self.own(&request.key, request.memory, now);
                    if let Some(entry) = self.entries.get_mut(&id) {
                        entry.phase = Phase::Making;
                        entry.owner = Some(request.key);
                    }
                    effects.push(Effect::Claim(request.id, id));
                }
                None => {
                    if !is_first {
                        self.pacing.take(now);
                    }
                    self.stems.cold_start(&request.kind, request.memory);
                    let key = Some(request.key);
                    let id = self.reserve(&request.kind, request.memory, Phase::Making, key, now);
                    effects.push(Effect::Create(request.id, id));
                }
            }
        }
    }

    /// Whether a container may be started now that was asked for at a time; if not, it is due later.
    fn may_start(&mut self, is_first: bool, asked: Duration, now: Duration) -> bool {
        let at = if is_first { now } else { self.pacing.next(asked, now) };
        if at > now {
            self.due = Some(at);
        }
        at <= now
    }

    /// Has idle containers go for the next request, if that helps it.
    fn make_room(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        let Some((request, asked)) = self.next_request(now) else { return };
        let leaving: u64 = self.memory_of(|entry| entry.phase == Phase::Leaving);
        let mut missing = self.missing(request).saturating_sub(leaving);
        let for_first = self.is_first(request);
        if missing == 0 || !self.may_start(for_first, asked, now) {
            return;
        }
        let mut victims: Vec<(bool, f64, ContainerId, u64)> = Vec::new();
        let mut sooner: Option<Duration> = None;
        for (id, entry) in &self.entries {
            let stem = entry.phase == Phase::Stem;
            let idle = self.idle.get(id).and_then(|(worth, told)| {
                let at = told.saturating_add(worth.may_go_in(for_first)?);
                if at > now {
                    sooner = Some(sooner.map_or(at, |other| other.min(at)));
                }
                (at <= now).then_some(worth)
            });
            let worth = idle.map(|worth| worth.score(entry.memory));
            if let Some(score) = worth.or(stem.then_some(0.0)) {
                victims.push((stem, score, *id, entry.memory.as_bytes()));
            }
        }
        if victims.iter().map(|(.., memory)| memory).sum::<u64>() < missing {
            self.due = sooner;
            return;
        }
        victims.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for (_, _, id, memory) in victims {
            if missing == 0 {
                return;
            }
            missing = missing.saturating_sub(memory);
            self.evict(id, effects);
        }
    }

    fn evict(&mut self, id: ContainerId, effects: &mut Vec<Effect>) {
        self.idle.remove(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.phase = Phase::Leaving;
        }
        effects.push(Effect::Evict(id));
    }

    /// Has a container go whose time is over, unless it is one of those that its namespace may keep.
    fn expire(&mut self, id: ContainerId, keep: u32, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get(&id).filter(|entry| entry.phase == Phase::Serving) else { return };
        let alike = |other: &&Entry| other.owner == entry.owner && other.phase != Phase::Leaving;
        if self.entries.values().filter(alike).count() > keep as usize {
            self.evict(id, effects);
        }
    }

    fn memory_of(&self, which: impl Fn(&Entry) -> bool) -> u64 {
        self.entries.values().filter(|entry| which(entry)).map(|entry| entry.memory.as_bytes()).sum()
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
        for (id, Entry { kind, memory, phase, stale, .. }) in &mut self.entries {
            if *phase != Phase::Stem {
                continue;
            }
            let kept = kept.entry((kind, *memory)).or_default();
            if *stale || *kept >= self.stems.most(kind, *memory) {
                *phase = Phase::Leaving;
                effects.push(Effect::Evict(*id));
            } else {
                *kept += 1;
            }
        }
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
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.phase = Phase::Leaving;
                effects.push(Effect::Evict(id));
            }
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

//! Scenarios and random histories of a pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActionKey, ByteSize, EntityName, FullyQualifiedName, Manifest, NetworkPolicy};
use proptest::prelude::*;

mod sharing;
mod stems;

use super::{
    Appetite, ContainerId, EXPIRED_AT_ONCE, Effect, Event, Pacing, Pool, PoolConfig, Request, RequestId,
    Worth,
};

const STEMS: &str = r#"{"runtimes":{"nodejs":[{"kind":"nodejs:20","image":{"name":"n"},
    "stemCells":[{"initialCount":2,"memory":"256 MB"}]}],
    "python":[{"kind":"python:3","image":{"name":"p"},"stemCells":[{"initialCount":1,"memory":"128 MB",
    "reactive":{"minCount":1,"maxCount":3,"ttl":"2 minutes","threshold":2,"increment":1}}]}]}}"#;

struct Bench {
    pool: Pool,
    now: Duration,
    requests: RequestId,
}

fn key(namespace: &str, action: &str) -> ActionKey {
    ActionKey {
        namespace: EntityName::new(namespace).unwrap(),
        action: FullyQualifiedName::parse(&format!("{namespace}/{action}")).unwrap(),
        environment: None,
        network: NetworkPolicy::Internet,
        superseded: None,
    }
}

impl Bench {
    fn new(capacity: u64, reserve: u64, manifest: &str) -> Self {
        let (capacity, reserve) = (ByteSize::mb(capacity), ByteSize::mb(reserve));
        let config = PoolConfig { capacity, reserve, quiet_below: 1, burst: None };
        Self {
            pool: Pool::new(config, &Manifest::parse(manifest).unwrap()),
            now: Duration::ZERO,
            requests: 0,
        }
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.pool.step(event, self.now, &mut effects);
        effects
    }

    fn request(
        &mut self,
        namespace: &str,
        action: &str,
        kind: &str,
        memory: u64,
        siblings: u32,
    ) -> Vec<Effect> {
        self.requests += 1;
        self.step(Event::Requested(Request {
            id: self.requests,
            key: key(namespace, action),
            kind: kind.to_owned(),
            image: None,
            memory: ByteSize::mb(memory),
            siblings,
            waits: true,
        }))
    }

    fn dead(&mut self, id: ContainerId) -> Vec<Effect> {
        self.step(Event::Dead { id, failed: false })
    }
}

fn worth(uses: u64) -> Worth {
    let minute = Duration::from_secs(60);
    Worth { resting: true, uses, age: minute, idle: minute, cold_start: Duration::from_millis(100) }
}

#[test]
fn memory_is_free_only_when_a_container_is_dead() {
    let mut bench = Bench::new(512, 0, "{}");
    assert_eq!(bench.request("a", "x", "k", 256, 0), [Effect::Create(1, 1)]);
    assert_eq!(bench.request("a", "y", "k", 256, 0), [Effect::Create(2, 2)]);
    assert_eq!(bench.request("b", "z", "k", 256, 0), []);
    assert_eq!(bench.step(Event::Stopping(1)), []);
    assert_eq!(bench.dead(1), [Effect::Create(3, 3)]);
    assert_eq!(bench.request("b", "z", "k", 1024, 0), [Effect::Refuse(4)], "never possible");
}

#[test]
fn everybody_gets_a_first_container_before_anybody_gets_the_next() {
    let mut bench = Bench::new(512, 0, "{}");
    bench.request("a", "x", "k", 256, 0); // stays
    bench.request("a", "x", "k", 256, 1);
    bench.request("a", "x", "k", 256, 2); // 3: next one of a/x
    bench.request("a", "y", "k", 256, 0); // 4: first one of a/y
    bench.request("b", "z", "k", 256, 0); // 5: first one of b
    bench.request("b", "z", "k", 256, 1); // 6
    bench.request("c", "w", "k", 256, 0); // 7: first one of c
    assert_eq!(bench.pool.appetite(), Appetite::Idle);
    let mut order = Vec::new();
    for id in 2.. {
        let Some(Effect::Create(request, _)) = bench.dead(id).first().cloned() else { break };
        order.push(request);
    }
    assert_eq!(order, [5, 7, 6, 4, 3], "namespaces without any, in turn; then first ones; then the rest");
}

#[test]
fn the_reserve_is_for_first_containers() {
    let mut bench = Bench::new(1024, 256, "{}");
    for siblings in 0..3 {
        assert_eq!(bench.request("a", "x", "k", 256, siblings).len(), 1);
    }
    assert_eq!(bench.request("a", "x", "k", 256, 3), [], "the last quarter is not for it");
    assert_eq!(bench.request("a", "nested", "k", 256, 0), [Effect::Create(5, 4)]);
    let mut small = Bench::new(256, 256, "{}");
    small.request("a", "x", "k", 256, 0);
    small.request("b", "y", "k", 256, 1);
    assert_eq!(small.dead(1).len(), 1, "what would fit into an empty node gets its turn");
}

#[test]
fn the_least_worthy_idle_container_goes_and_only_if_it_helps() {
    let mut bench = Bench::new(768, 0, "{}");
    for action in ["x", "y", "z"] {
        bench.request("a", action, "k", 256, 0);
    }
    for id in 1..=3 {
        bench.step(Event::Made(id));
    }
    bench.request("b", "w", "k", 512, 0);
    assert_eq!(bench.step(Event::Idle(vec![(2, worth(5))])), [], "one alone does not help");
    assert_eq!(
        bench.step(Event::Idle(vec![(1, worth(9)), (3, worth(1))])),
        [Effect::Evict(3), Effect::Evict(2)]
    );
    assert_eq!(bench.dead(3), []);
    assert_eq!(bench.step(Event::Busy(2)), [Effect::Evict(1)], "it was used meanwhile: another one");
    assert_eq!(bench.dead(1), [Effect::Create(4, 4)]);
}

#[test]
fn a_container_between_two_calls_goes_for_a_first_one_only_and_not_too_soon() {
    let mut bench = Bench::new(512, 0, "{}");
    bench.request("a", "x", "k", 256, 0);
    bench.request("b", "y", "k", 256, 0);
    bench.step(Event::Made(1));
    bench.step(Event::Made(2));
    let ms = Duration::from_millis;
    let between = |age, idle| Worth { resting: false, age: ms(age), idle: ms(idle), ..worth(1) };
    bench.request("a", "x", "k", 256, 1);
    assert_eq!(bench.pool.appetite(), Appetite::Resting);
    assert_eq!(bench.step(Event::Idle(vec![(2, between(60_000, 9))])), []);
    bench.request("c", "z", "k", 256, 0);
    assert_eq!(bench.pool.appetite(), Appetite::Idle);
    bench.step(Event::Dead { id: 2, failed: false });
    bench.request("d", "w", "k", 256, 0);
    assert_eq!(bench.step(Event::Idle(vec![(1, between(0, 0))])), [], "it has hardly begun");
    assert_eq!(bench.pool.due(), Some(ms(10)), "a tenth of a cold start without a call");
    assert_eq!(bench.step(Event::Idle(vec![(1, between(995, 0))])), []);
    assert_eq!(bench.pool.due(), Some(ms(5)), "or ten cold starts of service");
    bench.now = ms(5);
    assert_eq!(bench.step(Event::Due), [Effect::Evict(1)]);
    assert_eq!(bench.pool.due(), None);
}

#[test]
fn actions_that_are_called_in_turn_replace_one_another_at_once() {
    let mut bench = Bench::new(1024, 256, "{}");
    let ms = Duration::from_millis;
    let mut alive: Vec<(ContainerId, Duration)> = Vec::new();
    for turn in 0..80 {
        let mut effects = bench.request("a", &format!("x{}", turn % 8), "k", 256, 0);
        if effects.is_empty() {
            let idle = |since: Duration, now: Duration| Worth {
                resting: false,
                age: now - since,
                idle: now - since,
                cold_start: ms(6),
                ..worth(1)
            };
            let worths = alive.iter().map(|(id, since)| (*id, idle(*since, bench.now))).collect();
            effects = bench.step(Event::Idle(worths));
            let [Effect::Evict(id)] = effects[..] else { panic!("{effects:?} in turn {turn}") };
            alive.retain(|(other, _)| *other != id);
            effects = bench.dead(id);
        }
        let [Effect::Create(_, id)] = effects[..] else { panic!("{effects:?} in turn {turn}") };
        bench.now += ms(6);
        bench.step(Event::Made(id));
        alive.push((id, bench.now));
        bench.now += ms(1);
    }
}

#[test]
fn who_owes_less_goes_first() {
    let mut bench = Bench::new(1024, 0, "{}");
    bench.request("large", "x", "k", 512, 0);
    bench.now = Duration::from_secs(10);
    bench.request("small", "y", "k", 128, 0);
    bench.request("other", "z", "k", 384, 0);
    bench.now = Duration::from_secs(20);
    bench.request("large", "x", "k", 128, 1); // 4
    bench.request("small", "y", "k", 128, 1); // 5
    bench.request("small", "y", "k", 128, 2); // 6
    assert_eq!(bench.dead(3), [Effect::Create(5, 4), Effect::Create(6, 5), Effect::Create(4, 6)]);
}

#[test]
fn next_containers_take_turns_with_what_runs_and_first_ones_do_not() {
    let config =
        PoolConfig { capacity: ByteSize::mb(8192), reserve: ByteSize::mb(0), quiet_below: 1, burst: Some(2) };
    let mut bench = Bench { pool: Pool::new(config, &Manifest::default()), now: Duration::ZERO, requests: 0 };
    assert_eq!(bench.request("a", "x", "k", 128, 0).len(), 1);
    assert_eq!(bench.request("a", "x", "k", 128, 1).len(), 1);
    assert_eq!(bench.request("a", "x", "k", 128, 2).len(), 1);
    assert_eq!(bench.request("a", "x", "k", 128, 3), [], "two at once");
    assert_eq!(bench.request("a", "y", "k", 128, 0).len(), 1, "a first one");
    bench.now = bench.pool.due().unwrap();
    assert!(bench.now.abs_diff(Duration::from_millis(500)) < Duration::from_millis(1));
    assert_eq!(bench.step(Event::Due).len(), 1);
    assert_eq!(bench.pool.due(), None);

    bench.now = Duration::from_secs(10);
    bench.step(Event::Pressed(true));
    assert_eq!(bench.request("a", "x", "k", 128, 4), [], "under pressure");
    assert_eq!(bench.request("b", "z", "k", 128, 0).len(), 1, "a first one");
    assert_eq!(bench.pool.due(), Some(Duration::from_secs(11)), "not for ever");
    assert_eq!(bench.step(Event::Pressed(false)).len(), 1);
}

#[test]
fn without_a_burst_every_action_has_one_container() {
    let config =
        PoolConfig { capacity: ByteSize::mb(8192), reserve: ByteSize::mb(0), quiet_below: 1, burst: Some(0) };
    let mut bench = Bench { pool: Pool::new(config, &Manifest::default()), now: Duration::ZERO, requests: 0 };
    assert_eq!(bench.request("a", "x", "k", 128, 0).len(), 1);
    assert_eq!(bench.request("a", "x", "k", 128, 1), [], "it has one");
    bench.now = Duration::from_secs(3600);
    assert_eq!((bench.step(Event::Due), bench.pool.due()), (vec![], None), "and gets no other");
    assert_eq!(bench.request("a", "y", "k", 128, 0).len(), 1, "a first one is not held up by those who wait");
}

#[test]
fn who_does_not_wait_is_told_at_once() {
    let mut bench = Bench::new(512, 0, "{}");
    let impatient = |bench: &mut Bench, memory| {
        bench.requests += 1;
        let id = bench.requests;
        let kind = "k".to_owned();
        let memory = ByteSize::mb(memory);
        bench.step(Event::Requested(Request {
            id,
            key: key("a", "x"),
            kind,
            image: None,
            memory,
            siblings: 0,
            waits: false,
        }))
    };
    assert_eq!(impatient(&mut bench, 256), [Effect::Create(1, 1)]);
    assert_eq!(impatient(&mut bench, 512), [Effect::NoRoom(2)]);
    assert_eq!(bench.pool.waiting(), 0);
    bench.request("b", "y", "k", 512, 0);
    assert_eq!(impatient(&mut bench, 128), [Effect::NoRoom(4)], "somebody waits for that");
}

#[test]
fn a_namespace_keeps_as_many_as_it_may() {
    let mut bench = Bench::new(1024, 0, "{}");
    for siblings in 0..3 {
        bench.request("a", "x", "k", 128, siblings);
    }
    bench.request("a", "y", "k", 128, 0);
    for id in 1..=4 {
        bench.step(Event::Made(id));
    }
    let expired = |id, keep| Event::Expired { id, keep };
    assert_eq!(bench.step(expired(1, 2)), [Effect::Evict(1)]);
    assert_eq!(bench.step(expired(2, 2)), [], "two are left");
    assert_eq!(bench.step(expired(3, 2)), []);
    assert_eq!(bench.step(expired(4, 0)), [Effect::Evict(4)], "another action");
    assert_eq!(bench.step(expired(1, 0)), [], "it goes already");
}

/// [`STEMS`] as an operator may change it: fewer, more, made of something else, none, and a kind gone.
fn changed() -> [String; 6] {
    let nodes = |text: &str| STEMS.replace(r#"{"initialCount":2,"memory":"256 MB"}"#, text);
    [
        STEMS.to_owned(),
        nodes(r#"{"initialCount":1,"memory":"256 MB"}"#),
        nodes(r#"{"initialCount":4,"memory":"256 MB"}"#),
        STEMS.replace(r#""image":{"name":"n"}"#, r#""image":{"name":"newer"}"#),
        nodes(""),
        STEMS.replace("nodejs", "other"),
    ]
}

fn change(manifest: &str) -> Event {
    Event::Changed(Arc::new(Manifest::parse(manifest).unwrap()))
}

#[derive(Debug, Clone)]
enum Move {
    Request { tenant: usize, action: usize, memory: u64, siblings: u32 },
    Withdraw(usize),
    Made(usize),
    Die(usize),
    Idle(usize),
    EvictionRefused,
    Change(usize),
    Expire(usize),
    Press(bool),
    Due,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let which = 0usize..64;
    let one = prop_oneof![
        5 => (0usize..3, 0usize..3, prop_oneof![Just(128u64), Just(256), Just(512)], 0u32..3)
            .prop_map(|(tenant, action, memory, siblings)| Move::Request { tenant, action, memory, siblings }),
        1 => which.clone().prop_map(Move::Withdraw),
        4 => which.clone().prop_map(Move::Made),
        4 => which.clone().prop_map(Move::Die),
        3 => which.prop_map(Move::Idle),
        1 => Just(Move::EvictionRefused),
        1 => (0usize..6).prop_map(Move::Change),
        1 => (0usize..64).prop_map(Move::Expire),
        1 => any::<bool>().prop_map(Move::Press),
        2 => Just(Move::Due),
    ];
    proptest::collection::vec(one, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_stays_in_bounds_and_everybody_is_served(moves in moves()) {
        const CAPACITY: u64 = 1280;
        let mut bench = Bench::new(CAPACITY, 256, STEMS);
        bench.pool.pacing = Pacing::new(Some(3));
        // What a node would know: memory by container, and what is asked to go.
        let mut alive: BTreeMap<ContainerId, u64> = BTreeMap::new();
        let mut stems: Vec<ContainerId> = Vec::new();
        let mut evicted: Vec<ContainerId> = Vec::new();
        let mut waiting: BTreeMap<RequestId, u64> = BTreeMap::new();
        // Who asked, with how many siblings, and who has what.
        let mut asked: BTreeMap<RequestId, (ActionKey, u32)> = BTreeMap::new();
        let mut owners: BTreeMap<ContainerId, ActionKey> = BTreeMap::new();
        let mut refused = None;
        // What stem cells are made of, how many of a kind and memory may be there, and which are up.
        let manifests = changed().map(|text| Manifest::parse(&text).unwrap());
        let mut manifest = 0;
        let mut made_of: BTreeMap<ContainerId, String> = BTreeMap::new();
        let mut up: Vec<ContainerId> = Vec::new();
        let image = |manifest: usize, kind: &str| {
            manifests[manifest].resolve(kind).map(|kind| kind.image.to_string())
        };
        let most = |manifest: usize, memory: u64| {
            let kind = manifests[manifest].resolve(if memory == 256 { "nodejs:20" } else { "python:3" });
            let cells = kind.into_iter().flat_map(|kind| &kind.stem_cells);
            let cells = cells.filter(|cells| cells.memory == ByteSize::mb(memory));
            cells.map(|cells| cells.reactive.as_ref().map_or(cells.initial_count, |it| it.max_count)).sum::<u32>()
        };
        let total = moves.len();
        let end = (0..total * 8).flat_map(|_| [Move::Die(0), Move::Due]);
        for (round, step) in moves.into_iter().chain(end).enumerate() {
            let effects = match step {
                Move::Request { tenant, action, memory, siblings } => {
                    waiting.insert(bench.requests + 1, memory);
                    let names = (["a", "b", "c"][tenant], ["x", "y", "z"][action]);
                    asked.insert(bench.requests + 1, (key(names.0, names.1), siblings));
                    let kind = if memory == 256 { "nodejs:20" } else { "python:3" };
                    bench.request(["a", "b", "c"][tenant], ["x", "y", "z"][action], kind, memory, siblings)
                }
                Move::Withdraw(which) => {
                    let Some(id) = waiting.keys().nth(which).copied() else { continue };
                    waiting.remove(&id);
                    bench.step(Event::Withdrawn(id))
                }
                Move::Made(which) => {
                    let Some(id) = alive.keys().nth(which).copied() else { continue };
                    if stems.contains(&id) && !up.contains(&id) && !evicted.contains(&id) {
                        up.push(id);
                    }
                    bench.step(if stems.contains(&id) { Event::StemUp(id) } else { Event::Made(id) })
                }
                Move::Change(which) => {
                    manifest = which;
                    bench.step(Event::Changed(Arc::new(manifests[which].clone())))
                }
                Move::Die(which) => {
                    let Some(id) = alive.keys().nth(which).copied() else { continue };
                    alive.remove(&id);
                    owners.remove(&id);
                    stems.retain(|stem| *stem != id);
                    up.retain(|stem| *stem != id);
                    evicted.retain(|other| *other != id);
                    bench.step(Event::Dead { id, failed: round.is_multiple_of(3) })
                }
                Move::Idle(which) => {
                    let Some(id) = alive.keys().nth(which).copied() else { continue };
                    if stems.contains(&id) || evicted.contains(&id) { continue }
                    bench.step(Event::Idle(vec![(id, worth(round as u64 % 7))]))
                }
                Move::Expire(which) => {
                    let Some(id) = alive.keys().nth(which).copied() else { continue };
                    bench.step(Event::Expired { id, keep: 1 })
                }
                Move::Press(is_pressed) => bench.step(Event::Pressed(is_pressed)),
                Move::Due => {
                    let Some(at) = bench.pool.due() else { continue };
                    prop_assert!(at > bench.now, "not at once: that would never end");
                    bench.now = at;
                    bench.step(Event::Due)
                }
                Move::EvictionRefused => {
                    let Some(id) = refused.take() else { continue };
                    evicted.retain(|other| *other != id);
                    bench.step(Event::Busy(id))
                }
            };
            for effect in effects {
                if let Effect::Create(request, id) | Effect::Claim(request, id) = &effect {
                    let is_first = |request: &RequestId| {
                        let (key, siblings) = &asked[request];
                        *siblings == 0 || !owners.values().any(|owner| owner == key)
                    };
                    let others = waiting.keys().filter(|other| *other != request);
                    let firsts = others.filter(|other| is_first(other)).count();
                    prop_assert!(is_first(request) || firsts == 0, "first ones before next ones");
                    owners.insert(*id, asked[request].0.clone());
                }
                match effect {
                    Effect::Create(request, id) => {
                        let memory = waiting.remove(&request).unwrap();
                        prop_assert!(alive.insert(id, memory).is_none());
                    }
                    Effect::Claim(request, id) => {
                        let memory = waiting.remove(&request).unwrap();
                        prop_assert_eq!(alive.get(&id), Some(&memory), "of the same size");
                        prop_assert!(up.contains(&id) && !evicted.contains(&id));
                        let kind = if memory == 256 { "nodejs:20" } else { "python:3" };
                        prop_assert_eq!(made_of.get(&id).cloned(), image(manifest, kind), "as new ones are");
                        stems.retain(|stem| *stem != id);
                        up.retain(|stem| *stem != id);
                    }
                    Effect::NoRoom(_) => prop_assert!(false, "all of them wait"),
                    Effect::Refuse(request) => {
                        prop_assert!(waiting.remove(&request).unwrap() > CAPACITY);
                    }
                    Effect::CreateStem { id, memory, kind } => {
                        prop_assert!(waiting.is_empty(), "nobody waits for a stem cell");
                        let image = image(manifest, &kind);
                        prop_assert!(image.is_some(), "of a kind that is there");
                        made_of.insert(id, image.unwrap());
                        prop_assert!(alive.insert(id, memory.as_mb()).is_none());
                        stems.push(id);
                    }
                    Effect::Evict(id) => {
                        prop_assert!(alive.contains_key(&id) && !evicted.contains(&id));
                        evicted.push(id);
                        up.retain(|stem| *stem != id);
                        refused = (!stems.contains(&id)).then_some(id);
                    }
                }
            }
            for memory in [128, 256] {
                let there = up.iter().filter(|id| alive.get(id) == Some(&memory)).count();
                prop_assert!(there <= most(manifest, memory) as usize, "{} of {} MB", there, memory);
            }
            let memory: u64 = alive.values().sum();
            prop_assert_eq!(bench.pool.used(), ByteSize::mb(memory));
            prop_assert!(memory <= CAPACITY);
            prop_assert_eq!(bench.pool.appetite() == Appetite::None, waiting.is_empty());
        }
        prop_assert!(waiting.is_empty(), "whoever waits is served when others go");
    }
}

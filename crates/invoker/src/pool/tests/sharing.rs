//! Who loses containers to whom when there is no room.

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// One that is called again and again, and for so long now is not. A cold start takes 100 ms.
fn used(uses: u64, idle: Duration) -> Worth {
    Worth { resting: idle >= MS(100), idle, ..worth(uses) }
}

/// A node of 2 GB on which `flood` has 1 to 6, and `quiet` has 7 and 8.
fn beside() -> Bench {
    let mut bench = Bench::new(2048, 0, "{}");
    for siblings in 0..6 {
        bench.request("flood", "x", "k", 256, siblings);
    }
    bench.request("quiet", "y", "k", 256, 0);
    bench.request("quiet", "y", "k", 256, 1);
    for id in 1..=8 {
        assert_eq!(bench.step(Event::Made(id)), []);
    }
    bench
}

#[test]
fn what_is_used_does_not_go_for_who_holds_more() {
    let mut bench = beside();
    assert_eq!(bench.request("flood", "z", "k", 256, 0), []);
    let idle = |id, uses| (id, used(uses, MS(100)));
    assert_eq!(
        bench.step(Event::Idle(vec![idle(7, 1), idle(8, 1)])),
        [],
        "its own go, however much they are worth"
    );
    assert_eq!(bench.step(Event::Idle(vec![idle(3, 1000)])), [Effect::Evict(3)]);
    assert_eq!(bench.dead(3), [Effect::Create(9, 9)]);
    bench.step(Event::Made(9));

    assert_eq!(bench.request("flood", "x", "k", 256, 5), []);
    assert_eq!(bench.step(Event::Idle(vec![idle(7, 1), (8, used(1, MS(59_000)))])), []);
    assert_eq!(bench.pool.due(), Some(MS(1000)), "a minute after its last use");
    bench.now = MS(1000);
    assert_eq!(bench.step(Event::Due), [Effect::Evict(8)]);
    assert!(bench.pool.may_go(8, &used(1, MS(60_000))));
    assert!(!bench.pool.may_go(8, &used(2, MS(500))), "it was used meanwhile");
}

#[test]
fn who_holds_less_takes_from_who_holds_most() {
    let mut bench = beside();
    bench.request("quiet", "y", "k", 256, 2); // 9: a next one
    let idle = |id, uses| (id, used(uses, MS(100)));
    assert_eq!(bench.step(Event::Idle(vec![idle(1, 1000), idle(7, 1)])), [Effect::Evict(1)]);
    assert_eq!(bench.dead(1), [Effect::Create(9, 9)]);
    bench.request("new", "n", "k", 256, 0); // 10: a first one
    assert_eq!(bench.step(Event::Idle(vec![idle(2, 1000), idle(7, 1)])), [Effect::Evict(2)]);
    assert_eq!(bench.dead(2), [Effect::Create(10, 10)]);
    bench.request("newer", "n", "k", 256, 0); // 11: another one
    assert_eq!(bench.step(Event::Idle(vec![idle(7, 1)])), [Effect::Evict(7)], "at once, from whomever");
}

#[test]
fn a_first_container_waits_a_second_for_one_that_who_holds_less_uses() {
    let mut bench = beside();
    bench.now = MS(5000);
    // As a nested call does, while all that its namespace has waits for it.
    assert_eq!(bench.request("flood", "nested", "k", 256, 0), []);
    assert_eq!(bench.step(Event::Idle(vec![(7, used(1, MS(50)))])), []);
    assert_eq!(bench.pool.due(), Some(MS(5950)), "ten cold starts without a call");
    bench.now = MS(5940);
    assert_eq!(bench.step(Event::Idle(vec![(7, used(1, MS(50)))])), []);
    assert_eq!(bench.pool.due(), Some(MS(6000)), "nothing else is in sight");
    bench.now = MS(6000);
    assert_eq!(bench.step(Event::Due), [Effect::Evict(7)]);
    assert!(bench.pool.may_go(7, &used(1, MS(50))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever waits is served though nothing ends by itself: for a first container it is enough that those that are there
    /// are between two calls at times, for a next one they have to rest.
    #[test]
    fn nobody_starves(
        wishes in proptest::collection::vec((0usize..4, 0usize..3, 1u64..5, 0u32..3), 1..60),
        pause in 1u64..2000,
    ) {
        let mut bench = Bench::new(1536, 256, "{}");
        let mut serving: Vec<ContainerId> = Vec::new();
        let mut wishes = wishes.into_iter();
        // Each round somebody asks for something, and every container is between two calls, or rests.
        for round in 0..4000 {
            bench.now += MS(pause);
            let mut effects = match wishes.next() {
                Some((tenant, action, size, siblings)) => {
                    let (tenant, action) = (["a", "b", "c", "d"][tenant], ["x", "y", "z"][action]);
                    bench.request(tenant, action, "k", size * 128, siblings)
                }
                None if bench.pool.waiting() == 0 => break,
                None => Vec::new(),
            };
            let idle = if bench.pool.appetite() == Appetite::Idle { pause } else { 60_000 };
            let idle = serving.iter().map(|id| (*id, used(*id % 7, MS(idle)))).collect();
            effects.extend(bench.step(Event::Idle(idle)));
            while let Some(effect) = effects.pop() {
                match effect {
                    Effect::Create(_, id) => {
                        effects.extend(bench.step(Event::Made(id)));
                        serving.push(id);
                    }
                    Effect::Evict(id) => {
                        serving.retain(|other| *other != id);
                        effects.extend(bench.dead(id));
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(round < 3999, "{} wait", bench.pool.waiting());
        }
    }
}

#[test]
fn what_was_told_long_ago_has_grown_old_since() {
    let mut bench = Bench::new(768, 0, "{}");
    for action in ["x", "y", "z"] {
        bench.request("a", action, "k", 256, 0);
    }
    for id in 1..=3 {
        bench.step(Event::Made(id));
    }
    bench.request("b", "w", "k", 512, 0);
    let old = |seconds| Worth { age: Duration::from_secs(seconds), ..worth(1) };
    assert_eq!(bench.step(Event::Idle(vec![(1, old(0))])), [], "one alone does not help");
    bench.now = Duration::from_secs(10);
    assert_eq!(
        bench.step(Event::Idle(vec![(2, old(2)), (3, old(3))])),
        [Effect::Evict(1), Effect::Evict(3)],
        "the oldest have had the fewest calls a minute"
    );
}

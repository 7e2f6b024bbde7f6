//! Stem cells: when they are made, whom they serve, and when they go.

use super::*;

#[test]
fn stem_cells_come_after_the_first_use_and_are_claimed_and_replaced() {
    let mut bench = Bench::new(2048, 256, STEMS);
    assert_eq!(bench.request("a", "x", "nodejs:20", 256, 0), [Effect::Create(1, 1)]);
    let stem = |id| Effect::CreateStem { id, kind: "nodejs:20".to_owned(), memory: ByteSize::mb(256) };
    assert_eq!(bench.step(Event::Made(1)), [stem(2)], "one at a time while the node is quiet");
    assert_eq!(bench.step(Event::StemUp(2)), [stem(3)]);
    assert_eq!(bench.step(Event::StemUp(3)), []);
    assert_eq!(
        bench.request("b", "y", "nodejs:20", 256, 0),
        [Effect::Claim(2, 2)],
        "not replaced before it is made"
    );
    assert_eq!(bench.step(Event::Made(2)), [stem(4)]);
    assert_eq!(bench.request("b", "y", "nodejs:20", 512, 0), [Effect::Create(3, 5)], "another memory");
    for _ in 0..9 {
        let failing = bench.pool.next - 1;
        bench.step(Event::Dead { id: failing, failed: true });
    }
    assert!(bench.pool.next < 16, "creations that fail are not tried for ever");
}

#[test]
fn stem_cells_have_a_way_to_the_internet_and_serve_nobody_without() {
    let mut bench = Bench::new(2048, 0, STEMS);
    bench.request("a", "x", "nodejs:20", 256, 0);
    bench.step(Event::Made(1));
    bench.step(Event::StemUp(2));
    bench.step(Event::StemUp(3));
    let key = ActionKey { network: NetworkPolicy::None, ..key("a", "x") };
    let closed = Request {
        id: 99,
        key,
        kind: "nodejs:20".to_owned(),
        image: None,
        memory: ByteSize::mb(256),
        siblings: 0,
        waits: true,
    };
    let effects = bench.step(Event::Requested(closed));
    assert!(matches!(effects.as_slice(), [Effect::Create(99, _), ..]), "{effects:?}");
}

#[test]
fn stem_cells_give_way_last_but_give_way() {
    let mut bench = Bench::new(1024, 0, STEMS);
    bench.request("a", "x", "nodejs:20", 256, 0);
    bench.step(Event::Made(1));
    bench.step(Event::StemUp(2));
    bench.step(Event::StemUp(3));
    bench.request("a", "y", "k", 256, 0);
    bench.step(Event::Made(4));
    assert_eq!(bench.request("b", "z", "k", 256, 0), [Effect::Evict(2)], "nothing idle is known");
    assert_eq!(bench.dead(2), [Effect::Create(3, 5)]);
    bench.request("c", "w", "k", 512, 0);
    assert_eq!(bench.step(Event::Idle(vec![(1, worth(100))])), [Effect::Evict(1), Effect::Evict(3)]);
}

#[test]
fn reactive_stem_cells_follow_demand() {
    let mut bench = Bench::new(4096, 0, STEMS);
    for siblings in 0..5 {
        bench.request("a", "x", "python:3", 128, siblings);
    }
    for id in 1..=5 {
        bench.step(Event::Made(id));
    }
    bench.step(Event::StemUp(6));
    let mut stems = vec![6];
    for effect in bench.step(Event::Adjust) {
        if let Effect::CreateStem { id, .. } = effect {
            stems.push(id);
            bench.step(Event::StemUp(id));
        }
    }
    assert_eq!(stems.len(), 2, "five cold starts are two thresholds");
    bench.now = Duration::from_secs(120);
    assert_eq!(bench.step(Event::Adjust)[..2], [Effect::Evict(6), Effect::Evict(7)], "their life is over");
    bench.dead(6);
    bench.dead(7);
    assert_eq!(bench.pool.entries.values().filter(|entry| entry.owner.is_none()).count(), 1, "at rest: one");
}

#[test]
fn the_oldest_hundred_stem_cells_go_at_once() {
    const MANY: usize = EXPIRED_AT_ONCE + 20;
    let manifest = r#"{"runtimes":{"python":[{"kind":"python:3","image":{"name":"p"},"stemCells":[
        {"initialCount":120,"memory":"128 MB",
         "reactive":{"minCount":0,"maxCount":200,"ttl":"2 minutes","threshold":1,"increment":1}}]}]}}"#;
    let mut bench = Bench::new(1 << 20, 0, manifest);
    bench.request("a", "x", "python:3", 128, 0);
    let mut effects = bench.step(Event::Made(1));
    let mut made = Vec::new();
    while let Some(Effect::CreateStem { id, .. }) = effects.first().cloned() {
        made.push(id);
        bench.now += Duration::from_secs(1);
        effects = bench.step(Event::StemUp(id));
    }
    assert_eq!(made.len(), MANY);
    bench.step(Event::Adjust); // takes the first call's demand in
    bench.now += Duration::from_secs(120);
    let evict = |ids: &[ContainerId]| -> Vec<Effect> { ids.iter().copied().map(Effect::Evict).collect() };
    assert_eq!(bench.step(Event::Adjust), evict(&made[..EXPIRED_AT_ONCE]));
    assert_eq!(bench.step(Event::Adjust), evict(&made[EXPIRED_AT_ONCE..]));
}

#[test]
fn stem_cells_follow_the_manifest() {
    let [before, fewer, more, newer, none, gone] = changed();
    let mut bench = Bench::new(4096, 0, &before);
    bench.request("a", "x", "nodejs:20", 256, 0);
    bench.step(Event::Made(1));
    bench.step(Event::StemUp(2));
    bench.step(Event::StemUp(3));
    assert_eq!(bench.step(change(&fewer)), [Effect::Evict(3)]);
    bench.dead(3);
    let stem = |id| Effect::CreateStem { id, kind: "nodejs:20".to_owned(), memory: ByteSize::mb(256) };
    assert_eq!(bench.step(change(&more)), [stem(4)]);
    assert_eq!(bench.step(Event::StemUp(4)), [stem(5)]);
    assert_eq!(bench.step(change(&before)), [], "there are two, and one in the making");
    assert_eq!(bench.step(Event::StemUp(5)), [Effect::Evict(5)], "which is one too many");
    bench.dead(5);
    assert_eq!(
        bench.step(change(&newer)),
        [Effect::Evict(2), Effect::Evict(4), stem(6)],
        "made of something else"
    );
    assert_eq!(bench.step(change(&none)), [], "one is in the making");
    assert_eq!(bench.step(Event::StemUp(6)), [Effect::Evict(6)]);
    assert_eq!(bench.step(change(&gone)), []);
    for id in [2, 4, 6] {
        bench.dead(id);
    }
    assert_eq!(bench.step(change(&before)), [], "new to the platform, and not used yet");
    assert_eq!(bench.request("a", "x", "nodejs:20", 256, 1), [Effect::Create(2, 7)]);
}

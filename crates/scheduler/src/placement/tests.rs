//! Which nodes may run what, and which ones are taken.

use std::collections::BTreeSet;

use chasen_entity::{ByteSize, EntityName};
use chasen_spi::{Choice, InvokerState, Need, NoNode, NodeView, Placement};
use proptest::prelude::*;

use super::sharding::{hash, steps};
use super::{Sharding, TwoChoices, candidates};

fn name(text: &str) -> EntityName {
    EntityName::new(text).unwrap()
}

pub(crate) fn node(id: &str) -> NodeView {
    NodeView {
        id: id.to_owned(),
        state: InvokerState::Up,
        memory: ByteSize::mb(1024),
        free: ByteSize::mb(1024),
        idle: ByteSize::mb(0),
        waiting: 0,
        labels: BTreeSet::new(),
        dedicated: BTreeSet::new(),
        cpu_pressure: 0.0,
        kinds: ["k:1", "blackbox"].map(str::to_owned).into(),
        stems: BTreeSet::new(),
        images: BTreeSet::new(),
    }
}

fn labelled(id: &str, labels: &[&str]) -> NodeView {
    NodeView { labels: labels.iter().map(|label| (*label).to_owned()).collect(), ..node(id) }
}

fn need() -> Need {
    Need {
        namespace: name("guest"),
        action: "guest/hello".to_owned(),
        kind: "k:1".to_owned(),
        image: None,
        memory: ByteSize::mb(256),
        labels: Vec::new(),
        strict: true,
    }
}

fn asking(labels: &[&str], strict: bool) -> Need {
    Need { labels: labels.iter().map(|label| (*label).to_owned()).collect(), strict, ..need() }
}

fn image() -> Need {
    Need { kind: "blackbox".to_owned(), image: Some("i".to_owned()), ..need() }
}

#[test]
fn who_may_run_what() {
    let of_guest = NodeView { dedicated: [name("guest")].into(), ..node("guest's") };
    let of_other = NodeView { dedicated: [name("other")].into(), ..node("other's") };
    let down = NodeView { state: InvokerState::Unhealthy, ..node("down") };
    let small = NodeView { memory: ByteSize::mb(128), ..node("small") };
    let no_images = NodeView { kinds: ["k:1".to_owned()].into(), ..node("without images") };
    let (plain, gpu, both) = (node("plain"), labelled("gpu", &["gpu"]), labelled("both", &["gpu", "fast"]));
    let gpus = || vec![plain.clone(), gpu.clone(), both.clone()];
    let no_labels = |label: &str| Err(NoNode::NoLabels(vec![label.to_owned()]));
    for (what, need, nodes, expected) in [
        ("no nodes", need(), vec![], Err(NoNode::NotAvailable)),
        ("down", need(), vec![down, plain.clone()], Ok(vec![1])),
        ("of others", need(), vec![of_other.clone(), plain.clone(), of_guest], Ok(vec![1, 2])),
        ("of others alone", need(), vec![of_other], Err(NoNode::NotAvailable)),
        (
            "another kind",
            Need { kind: "k:2".to_owned(), ..need() },
            vec![plain.clone()],
            Err(NoNode::NotAvailable),
        ),
        ("too small", need(), vec![small.clone(), plain.clone()], Ok(vec![1])),
        ("all too small", need(), vec![small.clone()], Err(NoNode::TooSmall)),
        ("too small, and larger ones with labels", need(), vec![small, gpu.clone()], Ok(vec![1])),
        ("images", image(), vec![no_images, plain.clone()], Ok(vec![1])),
        ("labels are kept for those who ask", need(), gpus(), Ok(vec![0])),
        ("but serve others where nobody else does", need(), vec![gpu.clone()], Ok(vec![0])),
        ("a label", asking(&["gpu"], true), gpus(), Ok(vec![1, 2])),
        ("two labels", asking(&["fast", "gpu"], true), gpus(), Ok(vec![2])),
        ("a label that nobody has", asking(&["tpu"], true), gpus(), no_labels("tpu")),
        ("not strictly", asking(&["tpu"], false), gpus(), Ok(vec![0])),
        (
            "not strictly, only others there",
            asking(&["tpu"], false),
            vec![gpu.clone(), both.clone()],
            Ok(vec![0, 1]),
        ),
    ] {
        assert_eq!(candidates(&need, &nodes), expected, "{what}");
    }
}

#[test]
fn the_better_one_of_two_is_taken() {
    let full = NodeView { free: ByteSize::mb(0), ..node("full") };
    let half = NodeView { free: ByteSize::mb(512), ..node("half") };
    let pressed = NodeView { cpu_pressure: 90.0, ..node("pressed") };
    let stem = NodeView { stems: [("k:1".to_owned(), ByteSize::mb(256))].into(), ..half.clone() };
    let full_with_stem = NodeView { free: ByteSize::mb(0), ..stem.clone() };
    let cached = NodeView { images: ["i".to_owned()].into(), ..half.clone() };
    for (what, need, worse, better) in [
        ("free memory", need(), half.clone(), node("free")),
        ("room at all", need(), full.clone(), pressed.clone()),
        ("calm processors", need(), pressed, half.clone()),
        ("a stem cell", need(), node("free"), stem),
        ("a stem cell has its memory", need(), full.clone(), full_with_stem),
        ("an image that is there", image(), node("free"), cached),
    ] {
        let nodes = [worse, better];
        let taken = |dice| match TwoChoices.place(&need, &nodes, dice).unwrap() {
            Choice { ask, .. } if !ask.is_empty() => ask[0],
            choice => choice.wait_at,
        };
        let better = (0..1000).filter(|dice| taken(*dice) == 1).count();
        // Both draws hit the worse one once in four times.
        assert!(better > 650, "{what}: {better} of 1000");
    }
}

#[test]
fn three_are_asked_and_then_one_is_waited_at() {
    let nodes: Vec<_> = (0..10).map(|number| node(&number.to_string())).collect();
    let choice = TwoChoices.place(&need(), &nodes, 7).unwrap();
    assert_eq!((choice.ask.len(), choice.others.len()), (3, 9));
    let busy = nodes.iter().map(|node| NodeView { waiting: 1, ..node.clone() }).collect::<Vec<_>>();
    assert!(TwoChoices.place(&need(), &busy, 7).unwrap().ask.is_empty(), "others wait there");
}

#[test]
fn work_spreads_evenly() {
    let mut nodes: Vec<_> = (0..20).map(|number| node(&number.to_string())).collect();
    for dice in 0..40u64 {
        let taken = TwoChoices.place(&need(), &nodes, dice * 7919).unwrap().ask[0];
        nodes[taken].free = ByteSize::bytes(nodes[taken].free.as_bytes() - need().memory.as_bytes());
    }
    let free: Vec<_> = nodes.iter().map(|node| node.free.as_mb()).collect();
    assert!(free.iter().all(|free| *free >= 256), "none is full while others are empty: {free:?}");
}

#[test]
fn steps_and_hashes_are_those_of_the_sharding_balancer() {
    for (count, expected) in [
        (1, vec![1]),
        (3, vec![1, 2]),
        (9, vec![1, 2, 5, 7]),
        (10, vec![1, 3, 7]),
        (18, vec![1, 5, 7, 11, 13, 17]),
    ] {
        assert_eq!(steps(count), expected, "{count}");
    }
    // Java: "guest".hashCode() is 98708952 and "guest/hello".hashCode() is 86723035.
    assert_eq!(hash("guest", ""), 98_708_952);
    assert_eq!(hash("", "guest/hello"), 86_723_035);
    assert_eq!(hash("guest", "guest/hello"), (98_708_952i32 ^ 86_723_035).unsigned_abs());
}

#[test]
fn an_action_goes_home_then_by_steps_then_anywhere() {
    let nodes: Vec<_> = (0..10).map(|number| node(&number.to_string())).collect();
    let managed = 9; // nine tenths, rounded up
    let hash = hash("guest", "guest/hello") as usize;
    let home = hash % managed;
    let step = [1, 2, 5, 7][hash % 4];
    let at = |nodes: &[NodeView], dice| Sharding::default().place(&need(), nodes, dice).unwrap().wait_at;
    assert_eq!(at(&nodes, 0), home);
    let mut busy = nodes.clone();
    busy[home].free = ByteSize::mb(0);
    assert_eq!(at(&busy, 0), (home + step) % managed);
    busy[home].idle = ByteSize::mb(256);
    assert_eq!(at(&busy, 0), home, "idle containers give way at home");
    let full: Vec<_> = nodes.iter().map(|node| NodeView { free: ByteSize::mb(0), ..node.clone() }).collect();
    let anywhere: BTreeSet<_> = (0..1000).map(|dice| at(&full, dice)).collect();
    assert_eq!(anywhere, (0..managed).collect());
    let images = |nodes: &[NodeView]| Sharding::default().place(&image(), nodes, 0).unwrap().wait_at;
    assert_eq!((images(&nodes), images(&nodes[..1])), (9, 0), "the last tenth, at least one");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the nodes: only those that may run it are named, each once, and somebody is if anybody may.
    #[test]
    fn nobody_is_asked_who_may_not(
        free in proptest::collection::vec((0u64..1024, any::<bool>(), 0usize..3, 0.0f64..100.0), 0..12),
        asks in any::<bool>(),
        strict in any::<bool>(),
        dice: u64,
    ) {
        let nodes: Vec<_> = free
            .into_iter()
            .map(|(free, has_label, waiting, cpu_pressure)| NodeView {
                free: ByteSize::mb(free),
                waiting,
                cpu_pressure,
                ..labelled("n", if has_label { &["gpu"] } else { &[] })
            })
            .collect();
        let need = asking(if asks { &["gpu"] } else { &[] }, strict);
        let able = candidates(&need, &nodes);
        for placement in [&TwoChoices as &dyn Placement, &Sharding::default()] {
            match (placement.place(&need, &nodes, dice), &able) {
                (Ok(Choice { ask, wait_at, others }), Ok(able)) => {
                    let mut waits = others.clone();
                    waits.push(wait_at);
                    for named in [&ask, &waits] {
                        let set: BTreeSet<_> = named.iter().collect();
                        prop_assert_eq!(set.len(), named.len());
                        prop_assert!(named.iter().all(|at| able.contains(at)));
                    }
                    prop_assert!(ask.len() <= 3);
                }
                (Err(why), Err(expected)) => prop_assert_eq!(&why, expected),
                (result, able) => prop_assert!(false, "{:?} for {:?}", result, able),
            }
        }
    }
}

//! Whatever comes, and whichever nodes die: the invariants hold after every event, and everybody ends.

use chasen_entity::{ByteSize, SchedulingPolicy};
use chasen_scheduler::{Policies, Policy};
use chasen_simulator::trace::SECOND;
use chasen_simulator::trace::shapes::{Generated, Parameters, Shape};
use chasen_simulator::{Fault, NodeSetup, Setup, simulate};
use proptest::prelude::*;

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Steady),
        Just(Shape::Burst),
        Just(Shape::Zipf),
        Just(Shape::Hourly),
        Just(Shape::Neighbour)
    ]
}

fn node() -> impl Strategy<Value = NodeSetup> {
    (512u64..3000, 1u32..5).prop_map(|(memory, cores)| NodeSetup {
        memory: ByteSize::mb(memory),
        cores,
        dedicated: Vec::new(),
    })
}

fn fault() -> impl Strategy<Value = Fault> {
    (0usize..3, 0u64..35_000, 1u64..10_000).prop_map(|(node, at, length)| Fault {
        node,
        at: at * 1000,
        length: length * 1000,
    })
}

fn policy(which: usize) -> Policy {
    let names = SchedulingPolicy::ALL;
    Policies::default().get(names[which % names.len()]).clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20, ..ProptestConfig::default() })]

    #[test]
    fn no_history_breaks_a_rule(
        shape in shape(),
        which in 0usize..8,
        nodes in proptest::collection::vec(node(), 1..4),
        faults in proptest::collection::vec(fault(), 0..4),
        actions in 1usize..60,
        concurrency in 1u32..5,
        rate in 1.0f64..60.0,
        service in 1u64..3_000_000,
        seed in any::<u64>(),
    ) {
        let parameters = Parameters {
            actions: Some(actions),
            namespaces: Some(5),
            rate: Some(rate),
            length: Some(35 * SECOND),
            service: Some(service),
            concurrency: Some(concurrency),
        };
        let trace = Generated::new(shape, &parameters, seed);
        let setup = Setup { faults, concurrent: 300, ..Setup::new(nodes, seed) };
        let report = simulate(&trace, &policy(which), &setup, &mut |_| {});
        let report = report.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let refused = report.refused.throttled + report.refused.overloaded;
        prop_assert_eq!(report.activations, report.completed + refused + report.timed_out + report.failed);
        prop_assert!(report.memory.wasted <= report.memory.idle && report.memory.idle <= report.memory.total);
    }
}

#[test]
fn what_a_dead_node_ran_is_told_and_the_rest_goes_on_elsewhere() {
    let nodes = || vec![NodeSetup { memory: ByteSize::mb(2048), cores: 4, dedicated: Vec::new() }; 2];
    let parameters = Parameters {
        actions: Some(4),
        rate: Some(50.0),
        service: Some(100_000),
        length: Some(60 * SECOND),
        ..Parameters::default()
    };
    let trace = Generated::new(Shape::Steady, &parameters, 1);
    let faults = vec![Fault { node: 0, at: 20 * SECOND, length: 20 * SECOND }];
    let run = |faults| {
        let setup = Setup { faults, ..Setup::new(nodes(), 1) };
        simulate(&trace, &Policy::event_driven(), &setup, &mut |_| {}).unwrap()
    };
    let (whole, broken) = (run(Vec::new()), run(faults));
    assert_eq!((whole.failed, whole.completed), (0, whole.activations));
    assert!((1..=16).contains(&broken.failed), "what ran there at the time: {}", broken.failed);
    assert_eq!(broken.completed + broken.failed, broken.activations);
    assert!(broken.cold > whole.cold);
}

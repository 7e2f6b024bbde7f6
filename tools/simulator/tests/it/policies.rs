//! What the policies are for: expectations about the default that hold by a wide margin.

use chasen_entity::{ByteSize, EntityName};
use chasen_scheduler::Policy;
use chasen_simulator::report::Report;
use chasen_simulator::trace::SECOND;
use chasen_simulator::trace::shapes::{Generated, Parameters, Shape};
use chasen_simulator::{NodeSetup, Setup, simulate};

fn run(shape: Shape, parameters: &Parameters, policy: &Policy, nodes: &[NodeSetup]) -> Report {
    let trace = Generated::new(shape, parameters, 1);
    let setup = Setup { check_every: 50, ..Setup::new(nodes.to_vec(), 1) };
    simulate(&trace, policy, &setup, &mut |_| {}).unwrap()
}

fn nodes(count: usize, megabytes: u64) -> Vec<NodeSetup> {
    vec![NodeSetup { memory: ByteSize::mb(megabytes), cores: 4, dedicated: Vec::new() }; count]
}

#[test]
fn steady_load_is_warm() {
    let parameters = Parameters { length: Some(120 * SECOND), ..Parameters::default() };
    let report = run(Shape::Steady, &parameters, &Policy::event_driven(), &nodes(2, 8192));
    assert_eq!(report.completed, report.activations);
    assert!(report.cold_share < 0.02, "{report:?}");
    assert!(report.wait.p50 < 1.0, "{report:?}");
}

#[test]
fn a_burst_of_short_runs_does_not_fill_the_nodes_with_containers() {
    let parameters = Parameters { length: Some(60 * SECOND), service: Some(10_000), ..Parameters::default() };
    let [ours, upstream] = [Policy::event_driven(), Policy::sharding()]
        .map(|policy| run(Shape::Burst, &parameters, &policy, &nodes(4, 8192)));
    assert!(ours.containers.started <= upstream.containers.started, "{ours:?} {upstream:?}");
    assert_eq!(ours.completed, ours.activations);
}

#[test]
fn a_node_of_ones_own_is_out_of_the_neighbours_reach() {
    let parameters = Parameters {
        length: Some(15 * SECOND),
        actions: Some(20),
        rate: Some(400.0),
        service: Some(50_000),
        ..Parameters::default()
    };
    let own =
        NodeSetup { dedicated: EntityName::new("quiet").into_iter().collect(), ..nodes(1, 1024).remove(0) };
    let with =
        run(Shape::Neighbour, &parameters, &Policy::event_driven(), &[nodes(1, 2048), vec![own]].concat());
    assert_eq!(with.failed, 0, "{with:?}");
    assert!(with.unfairness >= 1.0);
}

#[test]
fn who_calls_now_and_then_keeps_its_containers_beside_a_flood() {
    let quiet = |rate: f64, seed: u64| {
        let parameters = Parameters { length: Some(24 * SECOND), rate: Some(rate), ..Parameters::default() };
        let trace = Generated::new(Shape::Neighbour, &parameters, seed);
        let setup = Setup { check_every: 1000, ..Setup::new(nodes(1, 8192), seed) };
        let report = simulate(&trace, &Policy::event_driven(), &setup, &mut |_| {}).unwrap();
        report.namespaces.into_iter().find(|one| one.namespace == "quiet").unwrap()
    };
    for seed in 1..4 {
        let (alone, beside) = (quiet(0.01, seed), quiet(1200.0, seed));
        let latency = |wait: f64| wait + 20.0;
        let times = latency(beside.wait_p99) / latency(alone.wait_p99);
        assert!(times <= 3.0, "seed {seed}: {alone:?} {beside:?}");
    }
}

//! A cold call through the node against the same launcher, same initialisation and run, without a sandbox.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Failure;
use crate::direct::Launcher;
use crate::http::Client;
use crate::kinds::{self, Kind};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};

const REPETITIONS: usize = 5;
const CALLS: usize = 9;

/// What the last call left behind ends meanwhile: a launcher, a cell that is prepared, the deletion of an action.
const PAUSE: Duration = Duration::from_millis(30);
/// Room for the containers of all calls: what it takes to evict one is another benchmark's.
const ROOM: (&str, &str) = ("node.memory", "64GB");

type MakeKind = fn(&Node) -> Result<Kind, Failure>;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let kinds: [MakeKind; 6] = [
        |_| kinds::node(),
        |_| kinds::python(),
        |_| kinds::php(),
        |_| kinds::ruby(),
        |node| kinds::java(node.data()),
        |_| kinds::bash(),
    ];
    for kind in kinds {
        let node = Node::without_stem_cells(&[ROOM])?;
        let kind = kind(&node)?;
        // The preinstalled modules and built launchers of every kind are waited for by its first call.
        let mut client = Client::connect(&node.host)?;
        client.put_action("first", &kind.exec(), 256)?;
        client.invoke("first")?.expect(200)?;
        let (ours, reference) = best_of_both(&node, &kind, PAUSE)?;
        report.judge(
            &format!("cold {} call ÷ launcher alone, p50", kind.name),
            &Measured::ratio(ours / reference).with(format!("{ours:.1} ÷ {reference:.1} ms")),
            Bound::at_most(1.2),
        );
    }
    let node = Node::without_stem_cells(&[ROOM])?;
    executable(report, &node, "native executable", &kinds::native_stub()?, Bound::at_most(8.0))?;
    executable(report, &node, "executable in Go", &kinds::go_executable()?, Bound::at_most(12.0))?;
    forked(report, "back to back", Duration::ZERO)?;
    forked(report, "in peace", PAUSE)
}

/// Cold calls of an executable that speaks for itself: there is no launcher to hold them against.
fn executable(
    report: &mut Report,
    node: &Node,
    name: &str,
    exec: &serde_json::Value,
    bound: Bound,
) -> Result<(), Failure> {
    let mut client = Client::connect(&node.host)?;
    let mut medians = Vec::new();
    for repetition in 0..REPETITIONS {
        let mut samples = Samples::new()?;
        for call in 0..CALLS {
            let action = format!("{}-{repetition}-{call}", name.replace(' ', "-"));
            client.put_action(&action, exec, 256)?;
            sleep(PAUSE);
            let begun = Instant::now();
            client.invoke(&action)?.expect(200)?;
            samples.record(begun.elapsed());
            client.send("DELETE", &format!("/actions/{action}"), b"")?.expect(200)?;
        }
        medians.push(millis(samples.at(0.5)));
    }
    report.judge(&format!("cold {name} call, p50"), &Measured::millis(best(&medians)), bound);
    Ok(())
}

/// Cold calls of functions in Python that are forked from an interpreter that is up.
fn forked(report: &mut Report, manner: &str, pause: Duration) -> Result<(), Failure> {
    let node = Node::without_stem_cells(&[("sandbox.fork-server", "true"), ROOM])?;
    let mut client = Client::connect(&node.host)?;
    let code = "def main(args):\n    return {'forked': 'fork_server' in open('/proc/self/cmdline').read()}\n";
    let mut tries = 0..100;
    // Functions are not forked before the server is up, and first the cells go that were prepared before.
    let mut in_a_row = 0;
    while in_a_row < 3 && tries.next().is_some() {
        client.put_action("probe", &json!({"kind": kinds::python()?.name, "code": code}), 256)?;
        let forked = String::from_utf8_lossy(&client.invoke("probe")?.body).contains("true");
        client.send("DELETE", "/actions/probe", b"")?.expect(200)?;
        in_a_row = if forked { in_a_row + 1 } else { 0 };
        sleep(PAUSE);
    }
    if in_a_row < 3 {
        return Err("no function was forked".into());
    }
    let kind = kinds::python()?;
    let (ours, reference) = best_of_both(&node, &kind, pause)?;
    report.judge(
        &format!("cold {} call, forked, {manner}, p50", kind.name),
        &Measured::millis(ours).with(format!("launcher alone: {reference:.1} ms")),
        Bound::at_most(8.0),
    );
    Ok(())
}

/// The best medians, in milliseconds, of cold calls and of the launcher alone.
fn best_of_both(node: &Node, kind: &Kind, pause: Duration) -> Result<(f64, f64), Failure> {
    let (mut platform, mut direct) = (Vec::new(), Vec::new());
    for repetition in 0..REPETITIONS {
        let (ours, reference) = alternate(node, kind, repetition, pause)?;
        platform.push(millis(ours.at(0.5)));
        direct.push(millis(reference.at(0.5)));
    }
    Ok((best(&platform), best(&direct)))
}

/// Cold calls of both sides in turn, so that both see the same machine.
fn alternate(
    node: &Node,
    kind: &Kind,
    repetition: usize,
    pause: Duration,
) -> Result<(Samples, Samples), Failure> {
    let mut client = Client::connect(&node.host)?;
    let (mut ours, mut reference) = (Samples::new()?, Samples::new()?);
    for call in 0..CALLS {
        sleep(pause);
        let begun = Instant::now();
        let mut launcher = Launcher::start(kind)?;
        launcher.run("{\"value\":{}}")?;
        reference.record(begun.elapsed());
        drop(launcher);

        let name = format!("cold-{repetition}-{call}");
        client.put_action(&name, &kind.exec(), 256)?;
        sleep(pause);
        let begun = Instant::now();
        client.invoke(&name)?.expect(200)?;
        ours.record(begun.elapsed());
        client.send("DELETE", &format!("/actions/{name}"), b"")?.expect(200)?;
    }
    Ok((ours, reference))
}

//! The first call of an action whose kind has a stem cell waiting, against initialisation and run of the same launcher
//! when it is up already, without a sandbox.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::direct::Launcher;
use crate::http::Client;
use crate::kinds;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};

const REPETITIONS: usize = 5;
const CALLS: usize = 9;
/// Until another stem cell waits in the place of the one that was taken.
const REFILL: Duration = Duration::from_millis(700);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let kind = kinds::node()?;
    let mut client = Client::connect(&node.host)?;
    // Stem cells of a kind are made once it has been used.
    client.put_action("first", &kind.exec(), 256)?;
    client.invoke("first")?.expect(200)?;
    let (mut platform, mut direct) = (Vec::new(), Vec::new());
    for repetition in 0..REPETITIONS {
        let (mut ours, mut reference) = (Samples::new()?, Samples::new()?);
        for call in 0..CALLS {
            let mut launcher = Launcher::boot(&kind)?;
            let name = format!("stem-{repetition}-{call}");
            client.put_action(&name, &kind.exec(), 256)?;
            sleep(REFILL);

            let begun = Instant::now();
            launcher.initialise()?;
            launcher.run("{\"value\":{}}")?;
            reference.record(begun.elapsed());
            drop(launcher);

            let begun = Instant::now();
            client.invoke(&name)?.expect(200)?;
            ours.record(begun.elapsed());
            client.send("DELETE", &format!("/actions/{name}"), b"")?.expect(200)?;
        }
        platform.push(millis(ours.at(0.5)));
        direct.push(millis(reference.at(0.5)));
    }
    let (ours, reference) = (best(&platform), best(&direct));
    report.judge(
        &format!(
            "first {} call in a stem cell − initialisation and run of a launcher that is up, p50",
            kind.name
        ),
        &Measured::millis(ours - reference).with(format!("{ours:.1} − {reference:.1} ms")),
        Bound::at_most(5.0),
    );
    Ok(())
}

//! What the platform adds to a warm call: one client at a fixed rate, against a round trip to the same launcher.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::direct::Launcher;
use crate::http::Client;
use crate::kinds;
use crate::load::Pressure;
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{Samples, best, millis};

const REPETITIONS: usize = 5;
const WARM_UP: u32 = 300;
const CALLS: u32 = 2_000;
/// Open loop: calls start on this schedule, whatever the last one took.
const INTERVAL: Duration = Duration::from_micros(2_500);
const BODY: &str = r#"{"value":{},"namespace":"guest","action_name":"/guest/warm","action_version":"0.0.1","activation_id":"00000000000000000000000000000000","transaction_id":"t","deadline":"9999999999999"}"#;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let mut sides = Sides::start()?;
    let pressure = Pressure::begin();
    let (mut ours, mut reference) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        let (these, those) = sides.measure(WARM_UP, CALLS)?;
        ours.push(these);
        reference.push(those);
    }
    let bounds = [Bound::at_most(0.25).stretch(0.15), Bound::at_most(2.0).stretch(1.0)];
    for ((quantile, name), bound) in [(0.5, "p50"), (0.99, "p99")].into_iter().zip(bounds) {
        let at =
            |samples: &[Samples]| best(&samples.iter().map(|s| millis(s.at(quantile))).collect::<Vec<_>>());
        let (ours, reference) = (at(&ours), at(&reference));
        report.judge(
            &format!(
                "warm blocking no-op (Node.js) − direct round trip to the same launcher, 1 client, {name}"
            ),
            &Measured::millis(ours - reference).with(format!("{ours:.3} − {reference:.3} ms")),
            bound,
        );
    }
    report.beside("meanwhile", pressure.share());
    Ok(())
}

/// The same function behind the platform and alone.
pub(crate) struct Sides {
    client: Client,
    launcher: Launcher,
    _node: Node,
}

impl Sides {
    pub(crate) fn start() -> Result<Self, Failure> {
        let node = Node::start()?;
        let kind = kinds::node()?;
        let mut client = Client::connect(&node.host)?;
        client.put_action("warm", &kind.exec(), 256)?;
        let launcher = Launcher::start(&kind)?;
        Ok(Self { client, launcher, _node: node })
    }

    /// One after the other: calls through the platform, and direct ones.
    pub(crate) fn measure(&mut self, warm_up: u32, calls: u32) -> Result<(Samples, Samples), Failure> {
        let reference = paced(warm_up, calls, || self.launcher.run(BODY))?;
        let ours = paced(warm_up, calls, || self.client.invoke("warm")?.expect(200))?;
        Ok((ours, reference))
    }
}

fn paced(
    warm_up: u32,
    calls: u32,
    mut call: impl FnMut() -> Result<(), Failure>,
) -> Result<Samples, Failure> {
    for _ in 0..warm_up {
        call()?;
    }
    let mut samples = Samples::new()?;
    let begun = Instant::now();
    for number in 0..calls {
        let due = begun + INTERVAL * number;
        wait_until(due);
        call()?;
        samples.record(due.elapsed());
    }
    Ok(samples)
}

/// Sleeps most of the time and spins the last stretch: timers are late by more than what is measured here.
fn wait_until(due: Instant) {
    const SPIN: Duration = Duration::from_micros(200);
    if let Some(wait) = due.checked_duration_since(Instant::now() + SPIN) {
        std::thread::sleep(wait);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

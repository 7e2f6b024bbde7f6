//! What the platform adds to a warm call: one client at a fixed rate, against a round trip to the same launcher.

use std::time::{Duration, Instant};

use crate::direct::Launcher;
use crate::http::Client;
use crate::kinds;
use crate::node::Node;
use crate::stats::{Samples, best, millis};
use crate::{Failure, report};

const REPETITIONS: usize = 5;
const WARM_UP: u32 = 300;
const CALLS: u32 = 2_000;
/// Open loop: calls start on this schedule, whatever the last one took.
const INTERVAL: Duration = Duration::from_micros(2_500);

pub(crate) fn run() -> Result<(), Failure> {
    let node = Node::start()?;
    let kind = kinds::node()?;
    let mut client = Client::connect(&node.host)?;
    client.put_action("warm", &kind.exec(), 256)?;
    let mut launcher = Launcher::start(&kind)?;
    let body = r#"{"value":{},"namespace":"guest","action_name":"/guest/warm","action_version":"0.0.1","activation_id":"00000000000000000000000000000000","transaction_id":"t","deadline":"9999999999999"}"#;

    let (mut runs, mut references) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        references.push(paced(|| launcher.run(body))?);
        runs.push(paced(|| client.invoke("warm")?.expect(200))?);
    }
    for (quantile, name, must) in [(0.5, "p50", "≤ 0.5 ms"), (0.99, "p99", "≤ 3 ms")] {
        let at =
            |samples: &[Samples]| best(&samples.iter().map(|s| millis(s.at(quantile))).collect::<Vec<_>>());
        let (ours, reference) = (at(&runs), at(&references));
        let what = format!("warm blocking no-op − direct round trip, {name} ({ours:.3} − {reference:.3} ms)");
        report(&what, &format!("{:.3} ms", ours - reference), must);
    }
    Ok(())
}

fn paced(mut call: impl FnMut() -> Result<(), Failure>) -> Result<Samples, Failure> {
    for _ in 0..WARM_UP {
        call()?;
    }
    let mut samples = Samples::new()?;
    let begun = Instant::now();
    for number in 0..CALLS {
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

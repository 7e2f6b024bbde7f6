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

    let (mut p50, mut p99, mut shown) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..REPETITIONS {
        let direct = paced(|| launcher.run(body))?;
        let ours = paced(|| client.invoke("warm")?.expect(200))?;
        p50.push(millis(ours.at(0.5)) - millis(direct.at(0.5)));
        p99.push(millis(ours.at(0.99)) - millis(direct.at(0.99)));
        shown = format!(
            "{:.3} / {:.3} ms, {:.3} / {:.3} ms",
            millis(ours.at(0.5)),
            millis(ours.at(0.99)),
            millis(direct.at(0.5)),
            millis(direct.at(0.99))
        );
    }
    report(
        "warm blocking no-op − direct round trip, p50 (nodejs:20, 1 client)",
        &format!("{:.3} ms", best(&p50)),
        "≤ 0.5 ms",
    );
    report("warm blocking no-op − direct round trip, p99", &format!("{:.3} ms", best(&p99)), "≤ 3 ms");
    report("  of which: call, direct (p50 / p99 of the last run)", &shown, "");
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

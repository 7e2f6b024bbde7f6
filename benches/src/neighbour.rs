//! A quiet tenant beside one that wants three times what it has.

use std::time::Duration;

use base64::Engine;
use chasen_loadgen::{Halt, Pace};
use serde_json::json;

use crate::http::{self, BLOCKING, Client, GUEST};
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::best;
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
const WORK: Duration = Duration::from_millis(20);
/// Containers that each tenant may have.
const QUIET_SLOTS: u32 = 4;
const NOISY_SLOTS: u32 = 8;
/// Calls a second of the quiet tenant, half of what its slots could do; what serves them one by one waits for nothing.
const RATE: f64 = 100.0;
const QUIET_CLIENTS: u32 = 16;
const MEASURED: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_millis(500);
/// Longer than the quiet tenant is measured.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let noisy = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(node.tenant("noisy")?));
    let exec = kinds::native_stub_that_waits(WORK)?;
    for (who, slots) in [(GUEST, QUIET_SLOTS), (noisy.as_str(), NOISY_SLOTS)] {
        let mut client = Client::connect_as(&node.host, who)?;
        client.put("works", &json!({"exec": exec, "limits": {"memory": 128, "instances": slots}}))?;
    }
    let quiet = [http::invocation(&node.host, "works", BLOCKING, GUEST)?];
    let noisy = [http::invocation(&node.host, "works", BLOCKING, &noisy)?];
    // Both have all their containers.
    load::all_succeeded(load::closed(QUIET_SLOTS, WARM_UP, &quiet)?)?;
    load::all_succeeded(load::closed(NOISY_SLOTS, WARM_UP, &noisy)?)?;
    let tail = || -> Result<f64, Failure> {
        load::all_succeeded(load::open(QUIET_CLIENTS, RATE, WARM_UP, &quiet)?)?;
        let run = load::all_succeeded(load::open(QUIET_CLIENTS, RATE, MEASURED, &quiet)?)?;
        Ok(load::at(&run, 0.99))
    };
    let pressure = Pressure::begin();
    let (mut beside, mut alone, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        alone.push(tail()?);
        let halt = Halt::default();
        let (tail, noise) = std::thread::scope(|scope| {
            let noise = scope.spawn(|| {
                load::run(Pace::closed(NOISY_SLOTS * 3), PATIENCE, &noisy, &halt)
                    .map_err(|error| error.to_string())
            });
            let tail = tail();
            halt.stop();
            (tail, noise.join())
        });
        beside.push(tail?);
        others.push(noise.map_err(|_| "the noise panicked")??.rate());
    }
    let (ours, reference) = (best(&beside), best(&alone));
    report.judge(
        "quiet tenant's p99 (20 ms function, slots of its own) beside one that offers 3 × its slots ÷ alone",
        &Measured::ratio(ours / reference).with(format!("{ours:.1} ÷ {reference:.1} ms")),
        Bound::at_most(3.0).stretch(2.0),
    );
    report.beside(
        "the other one's calls answered; meanwhile",
        format!("{:.0}/s; {}", best(&others), pressure.share()),
    );
    Ok(())
}

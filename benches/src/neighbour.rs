//! A quiet tenant beside one that wants three times what it has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use serde_json::json;

use crate::http::{self, Client, GUEST};
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{best, millis};
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

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let node = Node::start()?;
    let noisy = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(node.tenant("noisy")?));
    let exec = kinds::native_stub_that_waits(WORK)?;
    for (who, slots) in [(GUEST, QUIET_SLOTS), (noisy.as_str(), NOISY_SLOTS)] {
        let mut client = Client::connect_as(&node.host, who)?;
        client.put("works", &json!({"exec": exec, "limits": {"memory": 128, "instances": slots}}))?;
    }
    let [quiet, noisy] =
        [GUEST, &noisy].map(|who| [(http::invocation("works", "?blocking=true&result=true", who), 1.0)]);
    // Both have all their containers.
    load::closed(&node.host, QUIET_SLOTS, WARM_UP, &quiet)?.all_succeeded()?;
    load::closed(&node.host, NOISY_SLOTS, WARM_UP, &noisy)?.all_succeeded()?;
    let tail = || -> Result<f64, Failure> {
        load::open(&node.host, QUIET_CLIENTS, RATE, WARM_UP, &quiet)?.all_succeeded()?;
        let run = load::open(&node.host, QUIET_CLIENTS, RATE, MEASURED, &quiet)?.all_succeeded()?;
        Ok(millis(run.samples.at(0.99)))
    };
    let pressure = Pressure::begin();
    let (mut beside, mut alone, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        alone.push(tail()?);
        let ended = AtomicBool::new(false);
        let (tail, theirs) = std::thread::scope(|scope| {
            let noise = scope.spawn(|| {
                let mut calls = 0;
                while !ended.load(Ordering::Relaxed) {
                    let run = load::closed(&node.host, NOISY_SLOTS * 3, WARM_UP, &noisy);
                    calls += run.map_err(|error| error.to_string())?.samples.count();
                }
                Ok::<_, String>(calls)
            });
            let tail = tail();
            ended.store(true, Ordering::Relaxed);
            (tail, noise.join())
        });
        beside.push(tail?);
        let theirs = theirs.map_err(|_| "the noise panicked")??;
        others.push(theirs as f64 / (WARM_UP + MEASURED).as_secs_f64());
    }
    let (ours, reference) = (best(&beside), best(&alone));
    report.judge(
        "quiet tenant's p99 (20 ms function, slots of its own) beside one that offers 3 × its slots ÷ alone",
        &Measured::ratio(ours / reference).with(format!("{ours:.1} ÷ {reference:.1} ms")),
        Bound::at_most(3.0).stretch(2.0),
    );
    report.beside(
        "the other one's calls answered; meanwhile",
        format!("{}/s; {}", best(&others).round(), pressure.share()),
    );
    Ok(())
}

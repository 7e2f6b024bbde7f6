//! Three times more work than there are slots for: what gets done, and how soon all is well afterwards.

use std::time::{Duration, Instant};

use chasen_loadgen::ErrorClass;
use serde_json::json;

use crate::http::{self, Client};
use crate::load::{self, Pressure};
use crate::node::Node;
use crate::report::{Bound, Measured, Report};
use crate::stats::{best, most};
use crate::{Failure, kinds};

const REPETITIONS: usize = 5;
const WORK: Duration = Duration::from_millis(20);
const SLOTS: u32 = 4;
/// Time limit of the function, in milliseconds, and thereby the longest wait for a slot that callers are let in for.
const TIME_LIMIT: u32 = 1000;
const TIMES: f64 = 3.0;
const OFFERED: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
/// Answers may take the time limit: so many callers keep up the rate.
const CLIENTS: u32 = 900;
/// All is well when a call takes no longer than this.
const WELL: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    chasen_testkit::allow_many_files();
    let node = Node::start()?;
    let mut client = Client::connect(&node.host)?;
    let exec = kinds::native_stub_that_waits(WORK)?;
    let limits = json!({"memory": 128, "instances": SLOTS, "timeout": TIME_LIMIT});
    client.put("works", &json!({"exec": exec, "limits": limits}))?;
    let request = [http::call(&node.host, "works")?];
    load::all_succeeded(load::closed(SLOTS, WARM_UP, &request)?)?;
    let pressure = Pressure::begin();
    let (mut capacities, mut goodputs, mut recoveries) = (Vec::new(), Vec::new(), Vec::new());
    let mut statuses = Vec::new();
    for _ in 0..REPETITIONS {
        // As many callers as there are slots, and as many again, so that none ever idles.
        let capacity = load::all_succeeded(load::closed(SLOTS * 2, WARM_UP, &request)?)?.rate();
        let begun = Instant::now();
        let (recovery, run) = std::thread::scope(|scope| {
            let offered = scope.spawn(|| {
                load::open(CLIENTS, capacity * TIMES, OFFERED, &request).map_err(|error| error.to_string())
            });
            std::thread::sleep((begun + OFFERED).saturating_duration_since(Instant::now()));
            (recovery(&mut client, begun + OFFERED), offered.join())
        });
        let run = run.map_err(|_| "the clients panicked")??;
        if let Some(status) = run.statuses.iter().find(|(status, _)| !matches!(status, 200 | 429 | 503)) {
            return Err(format!("under overload {} answers had the status {}", status.1, status.0).into());
        }
        if let Some((class, count)) = run.failures.iter().find(|(class, _)| *class != ErrorClass::Unsent) {
            return Err(format!("under overload {count} calls came to nothing: {}", class.as_str()).into());
        }
        eprintln!(
            "overload: {:.0}/s of capacity {capacity:.0}/s; {:?} {:?}",
            run.rate(),
            run.statuses,
            run.failures
        );
        capacities.push(capacity);
        goodputs.push(run.rate() / capacity);
        recoveries.push(recovery?.as_secs_f64());
        statuses = run.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    }
    report.judge(
        &format!(
            "{SLOTS} slots, 20 ms function, {TIMES} × as much offered as they can do: goodput ÷ capacity"
        ),
        &Measured::ratio(most(&goodputs)).with(format!("capacity {:.0}/s", most(&capacities))),
        Bound::at_least(0.95),
    );
    report.judge(
        "from the end of the offer until a call takes no longer than twice its work",
        &Measured::seconds(best(&recoveries)),
        Bound::at_most(2.0),
    );
    report.beside(
        "answers, the last time; meanwhile",
        format!("{}; {}", statuses.join(", "), pressure.share()),
    );
    Ok(())
}

/// From then until a call is as quick as it should be.
fn recovery(client: &mut Client, since: Instant) -> Result<Duration, Failure> {
    loop {
        let begun = Instant::now();
        let reply = client.invoke("works")?;
        if reply.status == 200 && begun.elapsed() <= WELL {
            return Ok(since.elapsed());
        }
        if since.elapsed() > PATIENCE {
            return Err(format!(
                "calls do not get well again: status {} after {:?}",
                reply.status,
                begun.elapsed()
            )
            .into());
        }
    }
}

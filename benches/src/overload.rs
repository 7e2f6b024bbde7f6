//! Three times more work than there are slots for: what gets done, and how soon all is well afterwards.

use std::time::{Duration, Instant};

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
const MEASURED: Duration = Duration::from_secs(5);
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
    let request = [(http::call("works"), 1.0)];
    load::closed(&node.host, SLOTS, WARM_UP, &request)?.all_succeeded()?;
    let pressure = Pressure::begin();
    let (mut capacities, mut goodputs, mut recoveries) = (Vec::new(), Vec::new(), Vec::new());
    let mut statuses = String::new();
    for _ in 0..REPETITIONS {
        // As many callers as there are slots, and as many again, so that none ever idles.
        let capacity = load::closed(&node.host, SLOTS * 2, WARM_UP, &request)?.all_succeeded()?.rate();
        let run = load::open(&node.host, CLIENTS, capacity * TIMES, MEASURED, &request)?;
        let ended = Instant::now();
        let offered: u64 = run.statuses.values().sum();
        statuses = run.statuses.iter().map(|(status, count)| format!("{status}: {count} ")).collect();
        if let Some((status, _)) = run.statuses.iter().find(|(status, _)| !matches!(status, 200 | 429 | 503))
        {
            return Err(format!("an answer of status {status} under overload ({statuses})").into());
        }
        capacities.push(capacity);
        goodputs.push(run.rate() / capacity);
        eprintln!(
            "overload: {:.0}/s of {:.0}/s offered, capacity {capacity:.0}/s",
            run.rate(),
            offered as f64 / MEASURED.as_secs_f64()
        );
        recoveries.push(recovery(&mut client, ended)?.as_secs_f64());
    }
    report.judge(
        &format!(
            "{SLOTS} slots, 20 ms function, {TIMES} × as much offered as they can do: goodput ÷ capacity"
        ),
        &Measured::ratio(most(&goodputs)).with(format!("capacity {:.0}/s", most(&capacities))),
        Bound::at_least(0.95),
    );
    report.judge(
        "from the last answer to a call that takes no longer than twice its work",
        &Measured::seconds(best(&recoveries)),
        Bound::at_most(2.0),
    );
    report.beside("answers by status, the last time; meanwhile", format!("{statuses}; {}", pressure.share()));
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

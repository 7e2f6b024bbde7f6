//! The load generator itself: its closed loop beside `wrk`'s against the same plain server, in turns.

use std::process::Command;
use std::time::Duration;

use chasen_loadgen::{Halt, Pace, Plan, Target, run};

use crate::Failure;
use crate::plain::Plain;
use crate::report::{Bound, Measured, Report};

const ROUNDS: usize = 5;
const CLIENTS: u32 = 8;
const THREADS: usize = 2;
const ROUND: Duration = Duration::from_secs(3);

pub(crate) fn compare(report: &mut Report) -> Result<(), Failure> {
    if Command::new("wrk").arg("--version").output().is_err() {
        report
            .beside("the load generator beside wrk", "skipped: `wrk` is not installed (apt-get install wrk)");
        return Ok(());
    }
    let server = Plain::hyper()?;
    let url = format!("http://{}/", server.host);
    let (mut ours, mut theirs) = (0f64, 0f64);
    for _ in 0..ROUNDS {
        theirs = theirs.max(of_wrk(&url)?);
        ours = ours.max(of_chasen(&url)?);
    }
    let ratio = Measured::ratio(ours / theirs).with(format!("{ours:.0}/s and {theirs:.0}/s"));
    let what = "closed loop ÷ `wrk`, 8 clients, 2 threads, plain hyper server, best of 5 in turns";
    report.judge(what, &ratio, Bound::at_least(0.9));
    Ok(())
}

/// Requests per second that `wrk` counts.
fn of_wrk(url: &str) -> Result<f64, Failure> {
    let (threads, clients) = (THREADS.to_string(), CLIENTS.to_string());
    let time = format!("{}s", ROUND.as_secs());
    let output = Command::new("wrk").args(["-t", &threads, "-c", &clients, "-d", &time, url]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(rate.ok_or_else(|| format!("wrk told no rate: {text}"))?.trim().parse()?)
}

fn of_chasen(url: &str) -> Result<f64, Failure> {
    let mut plan = Plan::new(vec![Target::new("GET", url)?], Pace::closed(CLIENTS), ROUND);
    plan.threads = THREADS;
    let measured = run(&plan, &Halt::default(), |_| {})?;
    if measured.errors() > 0 {
        return Err(format!("errors of the plain server: {:?}", measured.examples).into());
    }
    Ok(measured.rate())
}

//! A load generator for HTTP/1.1: closed loop (so many clients, each asking again when it is answered) and open loop
//! (so many requests per second, whether answers come or not).
//!
//! ```no_run
//! use std::time::Duration;
//! use chasen_loadgen::{Halt, Pace, Plan, Target, run};
//!
//! let target = Target::new("POST", "http://127.0.0.1:3233/api/v1/namespaces/_/actions/hello?blocking=true")?
//!     .header("Authorization", "Basic …")?
//!     .body("{}")?;
//! let mut plan = Plan::new(vec![target], Pace::closed(8), Duration::from_secs(4));
//! plan.warm_up = Duration::from_secs(1);
//! plan.collect_ids = true; // of activations, from `X-OpenWhisk-Activation-Id`
//! let measured = run(&plan, &Halt::default(), |_tick| {})?;
//! println!("{:.0}/s, p99 {} ns", measured.rate(), measured.latencies.value_at_quantile(0.99));
//! assert_eq!(measured.errors(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In an open loop latencies count from when a request was due, not from when it could be sent: a server that stands
//! still makes every request late that was due meanwhile, and the figures say so (no coordinated omission).
//!
//! One thread drives many connections over readiness; a request is rendered once, replies are read in place and their
//! bodies dropped, so that nothing is allocated per request. [`check_records`] looks for the record of every activation
//! afterwards; a [`Report`] is what is left of a run: text, JSON, or a page that needs nothing else.

mod api;
mod check;
pub mod duration;
mod engine;
mod file;
mod measure;
mod plan;
mod profile;
pub mod reply;
mod report;
mod target;
mod wire;

pub use api::Api;
pub use check::{CheckError, Checked, RecordCheck, check_records};
pub use engine::{Halt, RunError, run};
pub use file::{FileError, LoadFile};
pub use measure::{ErrorClass, Latencies, Measured, PerTarget, Slice, Tick};
pub use plan::{MAX_CLIENTS, MAX_RATE, MAX_THREADS, Pace, Plan, PlanError};
pub use profile::Stage;
pub use report::{
    Comparison, Example, LatencyShown, Moment, Named, PaceShown, Point, RecordsShown, Report, ReportError,
    StatusCount, TargetShown, Threshold,
};
pub use target::{Authority, MAX_BODY, MAX_WEIGHT, Target, TargetError, Unreachable};

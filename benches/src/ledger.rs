//! Activations that were answered, and whether each has its record.

use std::thread;
use std::time::{Duration, Instant};

use chasen_loadgen::Measured;

use crate::Failure;
use crate::http::{Client, Id};
use crate::load;
use crate::report::{self, Bound, Report};

/// Longest time until the last record is there, and pause between two looks.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

/// What a benchmark was answered, beginning with the number of records that were there before.
pub(crate) struct Ledger {
    before: u64,
    ids: Vec<Id>,
}

impl Ledger {
    pub(crate) fn open(client: &mut Client) -> Result<Self, Failure> {
        Ok(Self { before: client.records()?, ids: Vec::new() })
    }

    /// Takes the ids of a run, all of whose calls must have succeeded; the run's figures.
    pub(crate) fn enter(&mut self, run: Measured) -> Result<Measured, Failure> {
        let run = load::all_succeeded(run)?;
        if run.ids.len() as u64 != run.successes() {
            return Err("a call was answered without an activation id".into());
        }
        self.ids.extend(run.ids.iter().copied().map(Id));
        Ok(run)
    }

    /// Waits until there are as many records as answers; how long that took.
    pub(crate) fn settled(&self, client: &mut Client) -> Result<Duration, Failure> {
        let begun = Instant::now();
        let due = self.ids.len() as u64;
        loop {
            let records = client.records()? - self.before;
            if records >= due {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{records} records of {due} activations").into());
            }
            thread::sleep(LOOK);
        }
    }

    /// Fails unless there are as many records as answers, and reads every one of them by its id.
    pub(crate) fn close(self, client: &mut Client, report: &mut Report) -> Result<(), Failure> {
        let answered = self.ids.len() as u64;
        let records = client.records()? - self.before;
        let mut missing = 0;
        let paths = self.ids.iter().map(|id| format!("/activations/{id}"));
        client.read_all(paths, |reply| {
            missing += u64::from(reply.status != 200);
            Ok(())
        })?;
        report.judge(
            "records that are missing, or too many, or cannot be read by the id that was answered",
            &report::Measured::count(missing + records.abs_diff(answered)).with(format!("of {answered}")),
            Bound::at_most(0.0),
        );
        Ok(())
    }
}

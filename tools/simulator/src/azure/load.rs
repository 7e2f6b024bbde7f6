//! A day of the trace, read.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use chasen_entity::ByteSize;

use super::rows::Rows;
use super::tables::{Percentiles, at_share, durations, memory};
use super::{AzureError, MINUTES, MOST_CALLS, MOST_CELLS, Table};
use crate::number::micros;
use crate::random::Random;
use crate::trace::{Action, Call, Calls, Micros, SECOND, Trace};

const MINUTE: Micros = 60 * SECOND;
/// Memory where nothing is known, the least and the step, in MB.
const MEMORY: f64 = 256.0;
const LEAST_MEMORY: u64 = 128;
/// Longest run: the platform's own bound of a time limit.
const LONGEST: Micros = 300 * SECOND;
/// Kinds of the applications, of which the trace says nothing: out of ten.
const KINDS: [&str; 10] = [
    "nodejs:20",
    "nodejs:20",
    "nodejs:20",
    "nodejs:20",
    "nodejs:20",
    "python:3.11",
    "python:3.11",
    "python:3.11",
    "java:8",
    "rust:1.34",
];

/// Which part of a trace is taken.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Which day, from 1.
    pub day: u32,
    /// Minutes of the day.
    pub minutes: Range<usize>,
    /// Share of the applications, drawn by the seed.
    pub share: f64,
    /// Largest memory of a container: applications that had more get this.
    pub most_memory: ByteSize,
    /// For everything that is drawn.
    pub seed: u64,
}

/// Part of a day.
#[derive(Debug)]
pub struct Azure {
    name: String,
    actions: Vec<Action>,
    functions: Vec<Function>,
    /// Calls of each function, by minute of the selection.
    minutes: Vec<Vec<(u32, u32)>>,
    calls: u64,
    seed: u64,
}

#[derive(Debug)]
struct Function {
    percentiles: Percentiles,
    /// It is called at the beginning of its minutes, by a timer.
    is_timer: bool,
}

impl Azure {
    /// Reads the selected part of the trace in a folder.
    pub fn read(folder: &Path, selection: &Selection) -> Result<Self, AzureError> {
        let durations = durations(folder, selection.day)?;
        let memory = memory(folder, selection.day)?;
        let path = Table::Invocations.path(folder, selection.day);
        let mut rows = Rows::open(&path)?;
        let (owner, app) = (rows.column("HashOwner")?, rows.column("HashApp")?);
        let (function, trigger) = (rows.column("HashFunction")?, rows.column("Trigger")?);
        let range = selection.minutes.start.min(MINUTES)..selection.minutes.end.min(MINUTES);
        let mut counts = Vec::new();
        for minute in range {
            counts.push(rows.column(&(minute + 1).to_string())?);
        }
        let mut trace = Self {
            name: format!("azure day {}", selection.day),
            actions: Vec::new(),
            functions: Vec::new(),
            minutes: vec![Vec::new(); counts.len()],
            calls: 0,
            seed: selection.seed,
        };
        let mut known: HashMap<String, u32> = HashMap::new();
        let mut cells = 0;
        while let Some(row) = rows.next()? {
            let application = format!("{}/{}", row.name(owner)?, row.name(app)?);
            let mut dice = Random::new(selection.seed, label(&application));
            if dice.unit() >= selection.share {
                continue;
            }
            let size = (dice.bits(), dice.bits());
            let name = format!("{application}/{}", row.name(function)?);
            let mut own = Vec::new();
            for (minute, column) in counts.iter().enumerate() {
                match row.count(*column)? {
                    0 => {}
                    count => own.push((minute, count)),
                }
            }
            if own.is_empty() {
                continue;
            }
            cells += own.len();
            if cells > MOST_CELLS {
                return Err(AzureError::TooLarge { path, what: "too many functions are called".to_owned() });
            }
            let index = match known.get(&name) {
                Some(index) => *index,
                None => {
                    let index = u32::try_from(trace.functions.len()).unwrap_or(u32::MAX);
                    let memory = memory.get(&application, size.0).unwrap_or(MEMORY);
                    let kind = pick(&KINDS, size.1);
                    let memory = rounded(memory, selection.most_memory);
                    let action = Action::new(row.text(owner), &joined(&row, app, function), kind, memory);
                    let action =
                        action.ok_or_else(|| row.wrong("its names make no legal name".to_owned()))?;
                    let trigger = row.text(trigger);
                    trace.actions.push(Action { blocking: trigger == "http", ..action });
                    let dice = Random::new(selection.seed, label(&name)).bits();
                    let percentiles = durations.get(&name, dice).ok_or_else(|| {
                        AzureError::Empty(format!(
                            "day {}: the table of durations has no rows",
                            selection.day
                        ))
                    })?;
                    trace.functions.push(Function { percentiles, is_timer: trigger == "timer" });
                    known.insert(name, index);
                    index
                }
            };
            for (minute, count) in own {
                trace.calls += u64::from(count);
                if let Some(minute) = trace.minutes.get_mut(minute) {
                    minute.push((index, count));
                }
            }
        }
        let most = trace.minutes.iter().map(|minute| minute.iter().map(|(_, count)| u64::from(*count)).sum());
        if most.max().unwrap_or(0u64) > MOST_CALLS {
            return Err(AzureError::TooLarge {
                path,
                what: format!("a minute has more than {MOST_CALLS} calls"),
            });
        }
        if trace.calls == 0 {
            let what = format!("{}: nothing is called in the selected minutes", path.display());
            return Err(AzureError::Empty(what));
        }
        Ok(trace)
    }

    fn minute(&self, number: usize) -> Vec<Call> {
        let begin = MINUTE * number as u64;
        let mut calls = Vec::new();
        for (index, count) in self.minutes.get(number).into_iter().flatten() {
            let Some(function) = self.functions.get(*index as usize) else { continue };
            let mut random = Random::new(self.seed, (number as u64) << 32 | u64::from(*index));
            for turn in 0..u64::from(*count) {
                let at = match function.is_timer {
                    true => MINUTE * turn / u64::from(*count) + random.below(SECOND),
                    false => random.below(MINUTE),
                };
                let service = micros(at_share(&function.percentiles, random.unit()) * 1000.0);
                let service = service.clamp(1, LONGEST);
                calls.push(Call { at: begin + at.min(MINUTE - 1), action: *index as usize, service });
            }
        }
        calls.sort_unstable_by_key(|call| (call.at, call.action, call.service));
        calls
    }
}

impl Trace for Azure {
    fn name(&self) -> &str {
        &self.name
    }

    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn length(&self) -> Micros {
        MINUTE * self.minutes.len() as u64
    }

    fn expected(&self) -> u64 {
        self.calls
    }

    fn calls(&self) -> Calls<'_> {
        Box::new((0..self.minutes.len()).flat_map(|number| self.minute(number)))
    }
}

/// A number that stands for a name.
fn label(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn pick(kinds: &[&'static str], dice: u64) -> &'static str {
    let index = usize::try_from(dice % (kinds.len().max(1) as u64)).unwrap_or_default();
    kinds.get(index).copied().unwrap_or_default()
}

/// Functions of different applications may have one name.
fn joined(row: &super::rows::Row<'_>, app: usize, function: usize) -> String {
    let short = |text: &str| text.chars().take(16).collect::<String>();
    format!("{}-{}", short(row.text(app)), row.text(function))
}

fn rounded(megabytes: f64, most: ByteSize) -> ByteSize {
    let steps = micros((megabytes / 128.0).ceil()).max(1);
    ByteSize::mb(steps.saturating_mul(LEAST_MEMORY).min(most.as_mb().max(LEAST_MEMORY)))
}

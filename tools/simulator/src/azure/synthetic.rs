//! A trace that is made up and has the form of the public one, for tests and first tries.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::{AzureError, MINUTES, Table, file_error};
use crate::number::{float, micros};
use crate::random::{Random, Weighted};

/// Triggers, and how many functions of a hundred have them.
const TRIGGERS: [(&str, f64); 7] = [
    ("http", 40.0),
    ("timer", 25.0),
    ("queue", 18.0),
    ("orchestration", 7.0),
    ("storage", 5.0),
    ("event", 3.0),
    ("others", 2.0),
];
/// Minutes between two calls by timers.
const PERIODS: [usize; 6] = [1, 5, 15, 30, 60, 720];
const PERCENTILES: [&str; 8] = ["pct1", "pct5", "pct25", "pct50", "pct75", "pct95", "pct99", "pct100"];

/// What is to be made up.
#[derive(Debug, Clone)]
pub struct Synthetic {
    /// Applications; each has 1 to 10 functions, most of them few.
    pub applications: usize,
    /// Which day, from 1.
    pub day: u32,
    /// Median of the calls of a function in a day. Their spread is that of real traces: the most popular hundredth has
    /// nearly all calls.
    pub calls: f64,
    /// For everything that is drawn.
    pub seed: u64,
}

struct Function {
    owner: String,
    app: String,
    name: String,
    trigger: &'static str,
    counts: Vec<u64>,
    /// Run time, in milliseconds.
    median: f64,
}

impl Synthetic {
    /// Writes the three tables of a day into a folder, which is made if it is not there.
    ///
    /// Like the real ones they do not agree: of twenty functions one has no durations, of ten applications one has no
    /// memory, some ends of durations were not recorded, and some functions with durations were never called.
    pub fn write(&self, folder: &Path) -> Result<(), AzureError> {
        std::fs::create_dir_all(folder).map_err(file_error(folder))?;
        let mut random = Random::new(self.seed, 1);
        let mut functions = Vec::new();
        for _ in 0..self.applications {
            let owner = hash(&mut Random::new(self.seed, 2 + random.below(self.applications as u64 / 2 + 1)));
            let app = hash(&mut random);
            let count = micros(random.log_normal(2.0, 0.8)).clamp(1, 10);
            for _ in 0..count {
                functions.push(self.function(&owner, &app, &mut random));
            }
        }
        write(&Table::Invocations.path(folder, self.day), |file| invocations(file, &functions))?;
        write(&Table::Durations.path(folder, self.day), |file| durations(file, &functions, &mut random))?;
        write(&Table::Memory.path(folder, self.day), |file| memory(file, &functions, &mut random))
    }

    fn function(&self, owner: &str, app: &str, random: &mut Random) -> Function {
        let triggers = Weighted::new(TRIGGERS.iter().map(|(_, weight)| *weight));
        let trigger = TRIGGERS.get(triggers.pick(random)).map_or("http", |(name, _)| name);
        let counts = match trigger {
            "timer" => {
                let period =
                    PERIODS.get(Weighted::zipf(PERIODS.len(), 0.0).pick(random)).copied().unwrap_or(60);
                let first = micros(random.unit() * float(period as u64));
                (0..MINUTES as u64).map(|minute| u64::from(minute % period as u64 == first)).collect()
            }
            _ => {
                let rate = random.log_normal(self.calls, 2.5) / float(MINUTES as u64);
                let peak = random.unit();
                (0..MINUTES as u64).map(|minute| poisson(rate * daytime(minute, peak), random)).collect()
            }
        };
        Function {
            owner: owner.to_owned(),
            app: app.to_owned(),
            name: hash(random),
            trigger,
            counts,
            median: random.log_normal(300.0, 1.5),
        }
    }
}

/// Load of a time of day beside the mean: a line up to the peak and down again.
fn daytime(minute: u64, peak: f64) -> f64 {
    let day = float(minute) / float(MINUTES as u64);
    let distance = (day - peak).abs();
    1.5 - 2.0 * distance.min(1.0 - distance)
}

/// How many events of a Poisson process fall into a time in which `mean` are expected.
fn poisson(mean: f64, random: &mut Random) -> u64 {
    if mean > 50.0 {
        // Nearly normal, of variance `mean`; the root by Newton's steps.
        let root = (0..20).fold(mean, |root, _| (root + mean / root) / 2.0);
        return micros(mean + root * random.normal());
    }
    let mut left = mean;
    let mut count = 0;
    loop {
        left -= random.exponential(1.0);
        if left < 0.0 {
            return count;
        }
        count += 1;
    }
}

fn hash(random: &mut Random) -> String {
    (0..4).map(|_| format!("{:016x}", random.bits())).collect()
}

fn write(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), AzureError> {
    let write = || {
        let mut file = BufWriter::new(File::create(path)?);
        content(&mut file)?;
        file.flush()
    };
    write().map_err(file_error(path))
}

fn invocations(file: &mut impl Write, functions: &[Function]) -> std::io::Result<()> {
    write!(file, "HashOwner,HashApp,HashFunction,Trigger")?;
    for minute in 1..=MINUTES {
        write!(file, ",{minute}")?;
    }
    for Function { owner, app, name, trigger, counts, .. } in functions {
        if counts.iter().all(|count| *count == 0) {
            continue;
        }
        write!(file, "\n{owner},{app},{name},{trigger}")?;
        for count in counts {
            write!(file, ",{count}")?;
        }
    }
    writeln!(file)
}

fn durations(file: &mut impl Write, functions: &[Function], random: &mut Random) -> std::io::Result<()> {
    write!(file, "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum")?;
    for percent in [0, 1, 25, 50, 75, 99, 100] {
        write!(file, ",percentile_Average_{percent}")?;
    }
    for Function { owner, app, name, counts, median, .. } in functions {
        if random.below(20) == 0 {
            continue;
        }
        let count: u64 = counts.iter().sum();
        write!(file, "\n{owner},{app},{name},{},{count}", micros(median * 1.2))?;
        match random.below(50) {
            0 => write!(file, ",0,0")?,
            _ => write!(file, ",{},{}", micros(median * 0.3), micros(median * 8.0))?,
        }
        for part in [0.35, 0.4, 0.8, 1.0, 1.4, 4.0, 6.0] {
            write!(file, ",{}", micros(median * part))?;
        }
    }
    writeln!(file)
}

fn memory(file: &mut impl Write, functions: &[Function], random: &mut Random) -> std::io::Result<()> {
    write!(file, "HashOwner,HashApp,SampleCount,AverageAllocatedMb")?;
    for percent in PERCENTILES {
        write!(file, ",AverageAllocatedMb_{percent}")?;
    }
    let mut last = "";
    for Function { owner, app, counts, .. } in functions {
        if std::mem::replace(&mut last, app) == app || random.below(10) == 0 {
            continue;
        }
        let median = random.log_normal(140.0, 0.5).min(1_500.0);
        let samples: u64 = counts.iter().sum();
        write!(file, "\n{owner},{app},{samples},{}", micros(median))?;
        for part in [0.6, 0.7, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4] {
            write!(file, ",{}", micros(median * part))?;
        }
    }
    writeln!(file)
}

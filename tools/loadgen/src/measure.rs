//! What a run has measured: latencies, outcomes, and how both went over time.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::target::printable;

/// Durations in nanoseconds, told apart to three significant digits.
pub type Latencies = Histogram<u64>;

/// Statuses are below this.
const STATUSES: usize = 1000;
/// The first status that is an error.
pub(crate) const FIRST_ERROR: u16 = 400;
/// Most ids that are kept.
const MAX_IDS: usize = 1 << 24;
/// Bytes of an error's body that are kept.
const SAMPLE: usize = 200;
/// Most kinds of errors of which an example is kept.
const MAX_SAMPLES: usize = 16;

/// How a request came to nothing. Replies with an error's status have been answered and are counted by status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// No connection.
    Connect,
    /// No whole reply in time.
    Timeout,
    /// The reply was cut short, or is none.
    Broken,
    /// It was due in an open loop and had not been sent when the run ended: all connections were busy.
    Unsent,
}

impl ErrorClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Broken, Self::Unsent];

    /// What reports call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Unsent => "unsent",
        }
    }
}

/// A part of the measured time.
#[derive(Debug, Clone)]
pub struct Slice {
    /// When it begins, from the beginning of what is measured.
    pub begin: Duration,
    /// How long it is.
    pub length: Duration,
    /// Replies that are no errors.
    pub successes: u64,
    /// Everything else that came to an end in it.
    pub errors: u64,
    /// Latency that half of the successes stayed below, in nanoseconds.
    pub p50: u64,
    /// The same for 99 of 100.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// How far a run is.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The slice that is over.
    pub slice: Slice,
    /// Successes so far.
    pub successes: u64,
    /// Errors so far.
    pub errors: u64,
    /// How long will be measured.
    pub length: Duration,
}

/// What became of the requests to one target.
#[derive(Debug, Clone)]
pub struct PerTarget {
    /// Replies that are no errors.
    pub successes: u64,
    /// Everything else.
    pub errors: u64,
    /// Latencies of the successes.
    pub latencies: Latencies,
}

/// What a run has measured; nothing of the warm-up is in it, except for `ids` and `connections`.
#[derive(Debug, Clone)]
pub struct Measured {
    /// How long was measured.
    pub length: Duration,
    /// Latencies of the successes.
    pub latencies: Latencies,
    /// Replies by status, in the order of statuses.
    pub statuses: Vec<(u16, u64)>,
    /// What came to nothing, by class.
    pub failures: Vec<(ErrorClass, u64)>,
    /// By target, in the order of the plan, where it wants them.
    pub targets: Vec<PerTarget>,
    /// How it went over time; the last ones may lie behind the measured time, where late replies came in.
    pub slices: Vec<Slice>,
    /// Requests that were under way when somebody stopped the run; no errors.
    pub cut_off: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Bytes of replies.
    pub received: u64,
    /// Ids of activations that replies named, of the warm-up too, where the plan wants them.
    pub ids: Vec<u128>,
    /// Ids beyond what is kept.
    pub ids_dropped: u64,
    /// What was wrong, an example of each sort.
    pub examples: Vec<(String, String)>,
    /// True if somebody stopped it before its time.
    pub stopped: bool,
}

impl Measured {
    /// Replies that are no errors.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.latencies.len()
    }

    /// Replies with an error's status, and everything that came to nothing.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let answered =
            self.statuses.iter().filter(|(status, _)| *status >= FIRST_ERROR).map(|(_, count)| count);
        answered.chain(self.failures.iter().map(|(_, count)| count)).sum()
    }

    /// Errors among everything that ended; 0 where nothing did.
    #[must_use]
    pub fn error_share(&self) -> f64 {
        let all = self.successes() + self.errors();
        if all == 0 { 0.0 } else { self.errors() as f64 / all as f64 }
    }

    /// Successes per second of the measured time; those that came in after it are not in the rate.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let within =
            self.slices.iter().filter(|slice| slice.begin < self.length).map(|slice| slice.successes);
        let seconds = self.length.as_secs_f64();
        if seconds > 0.0 { within.sum::<u64>() as f64 / seconds } else { 0.0 }
    }
}

/// What a thread counts during a slice.
#[derive(Debug)]
pub(crate) struct SliceCount {
    pub(crate) latencies: Latencies,
    pub(crate) errors: u64,
}

/// What a thread counts from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Tally {
    /// When it counted last, from the beginning of what is measured.
    pub(crate) active: Duration,
    statuses: Vec<u64>,
    failures: [u64; ErrorClass::ALL.len()],
    pub(crate) targets: Vec<PerTarget>,
    pub(crate) cut_off: u64,
    pub(crate) connections: u64,
    pub(crate) received: u64,
    pub(crate) ids: Vec<u128>,
    pub(crate) ids_dropped: u64,
    examples: Vec<(String, String)>,
}

impl Tally {
    pub(crate) fn new(targets: usize, empty: &Latencies) -> Self {
        let target = PerTarget { successes: 0, errors: 0, latencies: Histogram::new_from(empty) };
        Self {
            active: Duration::ZERO,
            statuses: vec![0; STATUSES],
            failures: [0; ErrorClass::ALL.len()],
            targets: vec![target; targets],
            cut_off: 0,
            connections: 0,
            received: 0,
            ids: Vec::new(),
            ids_dropped: 0,
            examples: Vec::new(),
        }
    }

    /// A reply came. True if it is no error.
    pub(crate) fn answered(&mut self, target: usize, status: u16, latency: u64) -> bool {
        if let Some(count) = self.statuses.get_mut(usize::from(status)) {
            *count += 1;
        }
        let is_success = status < FIRST_ERROR;
        if let Some(target) = self.targets.get_mut(target) {
            if is_success {
                target.successes += 1;
                let _ = target.latencies.record(latency);
            } else {
                target.errors += 1;
            }
        }
        is_success
    }

    /// A request came to nothing.
    pub(crate) fn failed(&mut self, target: Option<usize>, class: ErrorClass, why: &str) {
        self.failed_often(class, 1);
        if let Some(target) = target.and_then(|target| self.targets.get_mut(target)) {
            target.errors += 1;
        }
        if self.wants_example(class.as_str()) {
            self.keep_example(class.as_str().to_owned(), why.as_bytes());
        }
    }

    pub(crate) fn failed_often(&mut self, class: ErrorClass, often: u64) {
        if let Some(count) = self.failures.get_mut(class as usize) {
            *count += often;
        }
    }

    pub(crate) fn keep_id(&mut self, id: u128) {
        if self.ids.len() < MAX_IDS {
            self.ids.push(id);
        } else {
            self.ids_dropped += 1;
        }
    }

    /// Keeps how the first reply of an error's status begins.
    pub(crate) fn keep_status_example(&mut self, status: u16, body: &[u8]) {
        let is_new = self.statuses.get(usize::from(status)) == Some(&1);
        if is_new && self.examples.len() < MAX_SAMPLES {
            self.keep_example(format!("status {status}"), body);
        }
    }

    /// True if no example of this is there yet, and there is room.
    fn wants_example(&self, what: &str) -> bool {
        self.examples.len() < MAX_SAMPLES && !self.examples.iter().any(|(held, _)| held == what)
    }

    fn keep_example(&mut self, what: String, text: &[u8]) {
        let text = String::from_utf8_lossy(text.get(..SAMPLE).unwrap_or(text));
        self.examples.push((what, printable(&text)));
    }

    fn add(&mut self, other: Self) {
        for (sum, count) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += count;
        }
        for (sum, count) in self.failures.iter_mut().zip(other.failures) {
            *sum += count;
        }
        for (sum, target) in self.targets.iter_mut().zip(other.targets) {
            sum.successes += target.successes;
            sum.errors += target.errors;
            let _ = sum.latencies.add(&target.latencies);
        }
        self.cut_off += other.cut_off;
        self.connections += other.connections;
        self.received += other.received;
        self.ids.extend(other.ids);
        self.ids_dropped += other.ids_dropped;
        for (what, text) in other.examples {
            if self.wants_example(&what) {
                self.examples.push((what, text));
            }
        }
    }
}

/// Puts together what all threads have measured.
#[derive(Debug)]
pub(crate) struct Collector {
    threads: usize,
    length: Duration,
    slice: Duration,
    latencies: Latencies,
    errors: u64,
    slices: Vec<Slice>,
    /// Slices that not every thread has finished, the first of which is number `slices.len()`.
    open: std::collections::VecDeque<(usize, SliceCount)>,
}

impl Collector {
    pub(crate) fn new(threads: usize, length: Duration, slice: Duration, empty: &Latencies) -> Self {
        let latencies = Histogram::new_from(empty);
        Self { threads, length, slice, latencies, errors: 0, slices: Vec::new(), open: Default::default() }
    }

    /// A thread's count of a slice; `None` where nothing happened. Says what is over now. Threads tell every slice,
    /// in order.
    pub(crate) fn add(&mut self, index: usize, count: Option<SliceCount>) -> Vec<Tick> {
        let Some(place) = index.checked_sub(self.slices.len()) else { return Vec::new() };
        while self.open.len() <= place {
            let latencies = Histogram::new_from(&self.latencies);
            self.open.push_back((0, SliceCount { latencies, errors: 0 }));
        }
        if let Some((threads, sum)) = self.open.get_mut(place) {
            *threads += 1;
            if let Some(count) = count {
                let _ = sum.latencies.add(&count.latencies);
                sum.errors += count.errors;
            }
        }
        let mut ticks = Vec::new();
        while self.open.front().is_some_and(|(threads, _)| *threads >= self.threads) {
            ticks.extend(self.close());
        }
        ticks
    }

    fn close(&mut self) -> Option<Tick> {
        let (_, count) = self.open.pop_front()?;
        let begin = self.slice * u32::try_from(self.slices.len()).unwrap_or(u32::MAX);
        let slice = Slice {
            begin,
            length: self.slice,
            successes: count.latencies.len(),
            errors: count.errors,
            p50: count.latencies.value_at_quantile(0.5),
            p99: count.latencies.value_at_quantile(0.99),
            max: count.latencies.max(),
        };
        let _ = self.latencies.add(&count.latencies);
        self.errors += count.errors;
        self.slices.push(slice.clone());
        Some(Tick { slice, successes: self.latencies.len(), errors: self.errors, length: self.length })
    }

    /// Everything, once all threads are done. `length` is how long was really measured.
    pub(crate) fn finish(mut self, tallies: Vec<Tally>, length: Duration, stopped: bool) -> Measured {
        while self.close().is_some() {}
        let mut sum = Tally::new(tallies.first().map_or(0, |tally| tally.targets.len()), &self.latencies);
        for tally in tallies {
            sum.add(tally);
        }
        // The last slice that was measured may be a part of one.
        for slice in &mut self.slices {
            if slice.begin < length {
                slice.length = slice.length.min(length - slice.begin);
            }
        }
        let has_some = |slice: &Slice| slice.begin < length || slice.successes + slice.errors > 0;
        let kept = self.slices.iter().rposition(has_some).map_or(0, |last| last + 1);
        self.slices.truncate(kept);
        let statuses = (0u16..).zip(&sum.statuses).filter(|(_, count)| **count > 0);
        let failures = ErrorClass::ALL.into_iter().zip(sum.failures).filter(|(_, count)| *count > 0);
        Measured {
            length,
            statuses: statuses.map(|(status, count)| (status, *count)).collect(),
            failures: failures.collect(),
            latencies: self.latencies,
            targets: sum.targets,
            slices: self.slices,
            cut_off: sum.cut_off,
            connections: sum.connections,
            received: sum.received,
            ids: sum.ids,
            ids_dropped: sum.ids_dropped,
            examples: sum.examples,
            stopped,
        }
    }
}

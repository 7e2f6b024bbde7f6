//! Generated traces: streams of calls, each of a rate and a circle of actions, laid over each other.

use chasen_entity::ByteSize;

use super::{Action, Call, Calls, Micros, SECOND, Trace};
use crate::number::{float, micros};
use crate::random::{Random, Weighted};

/// Kinds that generated actions have, and how often.
const KINDS: [(&str, f64); 4] =
    [("nodejs:20", 10.0), ("python:3.11", 6.0), ("java:8", 1.0), ("rust:1.34", 3.0)];
/// Memory that they have, in MB, and how often.
const MEMORY: [(u64, f64); 3] = [(128, 3.0), (256, 6.0), (512, 1.0)];
/// Spread of the service times of one action, and of the medians of all actions.
const SPREAD: f64 = 0.3;
const SPREAD_OF_MEDIANS: f64 = 1.0;

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// A few actions, called evenly.
    Steady,
    /// The same, and every minute 500 calls of one action within a second.
    Burst,
    /// Very many actions, few of them popular.
    Zipf,
    /// Quiet hours, and at the end of each every action once within ten seconds, as timers do.
    Hourly,
    /// One tenant calls evenly; another one offers more than there is room for, for a third of the time.
    Neighbour,
}

/// What may be said of a shape; what is not said is the shape's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parameters {
    /// Actions.
    pub actions: Option<usize>,
    /// Namespaces that they belong to.
    pub namespaces: Option<usize>,
    /// Calls per second, bursts aside.
    pub rate: Option<f64>,
    /// Length.
    pub length: Option<Micros>,
    /// Median time of a run.
    pub service: Option<Micros>,
    /// Activations that share a container.
    pub concurrency: Option<u32>,
}

/// Calls of a Poisson process.
#[derive(Debug, Clone)]
struct Stream {
    from: Micros,
    until: Micros,
    /// Calls per second; 0 is one call, at the beginning.
    rate: f64,
    /// The first action of those that are called, and how popular each of them is.
    first: usize,
    popular: Weighted,
}

/// A generated trace.
#[derive(Debug, Clone)]
pub struct Generated {
    name: &'static str,
    actions: Vec<Action>,
    /// Median time of a run of each action, in microseconds.
    service: Vec<f64>,
    streams: Vec<Stream>,
    length: Micros,
    seed: u64,
}

impl Generated {
    /// The trace of a shape. The same parameters and seed make the same trace.
    #[must_use]
    pub fn new(shape: Shape, parameters: &Parameters, seed: u64) -> Self {
        match shape {
            Shape::Steady => steady("steady", 100.0, parameters, seed),
            Shape::Burst => burst(parameters, seed),
            Shape::Zipf => zipf(parameters, seed),
            Shape::Hourly => hourly(parameters, seed),
            Shape::Neighbour => neighbour(parameters, seed),
        }
    }
}

fn steady(name: &'static str, rate: f64, parameters: &Parameters, seed: u64) -> Generated {
    let mut trace = circle(name, parameters, seed, 20, 4, 600 * SECOND);
    let even = Weighted::zipf(trace.actions.len(), 0.0);
    trace.add(0, trace.length, parameters.rate.unwrap_or(rate), 0, even);
    trace
}

fn burst(parameters: &Parameters, seed: u64) -> Generated {
    const CALLS: f64 = 500.0;
    let mut trace = steady("burst", 50.0, parameters, seed);
    let mut turns = (0..trace.actions.len()).cycle();
    let mut from = 30 * SECOND;
    while from < trace.length {
        trace.add(from, from + SECOND, CALLS, turns.next().unwrap_or_default(), Weighted::zipf(1, 0.0));
        from += 60 * SECOND;
    }
    trace
}

fn zipf(parameters: &Parameters, seed: u64) -> Generated {
    const EXPONENT: f64 = 1.1;
    let mut trace = circle("zipf", parameters, seed, 10_000, 100, 600 * SECOND);
    let popular = Weighted::zipf(trace.actions.len(), EXPONENT);
    trace.add(0, trace.length, parameters.rate.unwrap_or(100.0), 0, popular);
    trace
}

fn hourly(parameters: &Parameters, seed: u64) -> Generated {
    const HOUR: Micros = 3600 * SECOND;
    const SPIKE: Micros = 10 * SECOND;
    let mut trace = circle("hourly", parameters, seed, 400, 20, 3 * HOUR + 60 * SECOND);
    let popular = Weighted::zipf(trace.actions.len(), 1.0);
    trace.add(0, trace.length, parameters.rate.unwrap_or(5.0), 0, popular);
    let distance = HOUR.min(trace.length / 3).max(SPIKE);
    let mut random = Random::new(seed, 2);
    let mut from = distance;
    while from + SPIKE <= trace.length {
        for which in 0..trace.actions.len() {
            let at = from + random.below(SPIKE);
            trace.add(at, at + 1, 0.0, which, Weighted::zipf(1, 0.0));
        }
        from += distance;
    }
    trace
}

fn neighbour(parameters: &Parameters, seed: u64) -> Generated {
    const QUIET_RATE: f64 = 20.0;
    let mut trace = circle("neighbour", parameters, seed, 40, 1, 300 * SECOND);
    let noisy = trace.actions.len();
    // The quiet tenant's action comes after the noisy one's.
    trace.actions.extend(Action::new("quiet", "steady", "nodejs:20", ByteSize::mb(256)));
    trace.service.push(float(parameters.service.unwrap_or(20_000)));
    trace.add(0, trace.length, QUIET_RATE, noisy, Weighted::zipf(1, 0.0));
    let even = Weighted::zipf(noisy, 0.0);
    let rate = parameters.rate.unwrap_or(4_000.0);
    trace.add(trace.length / 3, trace.length / 3 * 2, rate, 0, even);
    trace
}

/// A trace without calls: actions of all kinds and sizes, which belong to the namespaces by turns.
fn circle(
    name: &'static str,
    parameters: &Parameters,
    seed: u64,
    actions: usize,
    namespaces: usize,
    length: Micros,
) -> Generated {
    let mut random = Random::new(seed, 1);
    let count = parameters.actions.unwrap_or(actions).max(1);
    let namespaces = parameters.namespaces.unwrap_or(namespaces).clamp(1, count);
    let kinds = Weighted::new(KINDS.iter().map(|(_, weight)| *weight));
    let sizes = Weighted::new(MEMORY.iter().map(|(_, weight)| *weight));
    let mut trace = Generated {
        name,
        actions: Vec::with_capacity(count),
        service: Vec::with_capacity(count),
        streams: Vec::new(),
        length: parameters.length.unwrap_or(length),
        seed,
    };
    for index in 0..count {
        let kind = KINDS.get(kinds.pick(&mut random)).map_or("nodejs:20", |(kind, _)| kind);
        let memory = MEMORY.get(sizes.pick(&mut random)).map_or(256, |(memory, _)| *memory);
        let namespace = format!("tenant{}", index % namespaces);
        let action = Action::new(&namespace, &format!("action{index}"), kind, ByteSize::mb(memory));
        let concurrency = parameters.concurrency.unwrap_or(1).max(1);
        trace.actions.extend(action.map(|action| Action { concurrency, ..action }));
        let drawn = random.log_normal(20_000.0, SPREAD_OF_MEDIANS);
        trace.service.push(parameters.service.map_or(drawn, float));
    }
    trace
}

impl Generated {
    fn add(&mut self, from: Micros, until: Micros, rate: f64, first: usize, popular: Weighted) {
        self.streams.push(Stream { from, until: until.min(self.length), rate, first, popular });
    }
}

impl Trace for Generated {
    fn name(&self) -> &str {
        self.name
    }

    fn actions(&self) -> &[Action] {
        &self.actions
    }

    fn length(&self) -> Micros {
        self.length
    }

    fn expected(&self) -> u64 {
        let of = |stream: &Stream| match stream.rate > 0.0 {
            true => micros(stream.rate * float(stream.until.saturating_sub(stream.from)) / float(SECOND)),
            false => 1,
        };
        self.streams.iter().map(of).sum()
    }

    fn calls(&self) -> Calls<'_> {
        let mut flows: Vec<Flow<'_>> =
            self.streams.iter().zip(0..).map(|(stream, index)| Flow::new(self, stream, index)).collect();
        // Soonest last, and of two that are as soon the one that comes first in the list.
        let order = |flow: &Flow<'_>| std::cmp::Reverse((flow.next.at, flow.index));
        flows.retain(|flow| flow.next.at < flow.stream.until);
        flows.sort_by_key(order);
        Box::new(std::iter::from_fn(move || {
            let mut flow = flows.pop()?;
            let call = flow.next;
            if flow.advance() {
                let at = flows.partition_point(|other| order(other) < order(&flow));
                flows.insert(at, flow);
            }
            Some(call)
        }))
    }
}

/// A stream as it goes on.
struct Flow<'a> {
    trace: &'a Generated,
    stream: &'a Stream,
    index: u64,
    random: Random,
    next: Call,
}

impl<'a> Flow<'a> {
    fn new(trace: &'a Generated, stream: &'a Stream, index: u64) -> Self {
        let random = Random::new(trace.seed, 1000 + index);
        let mut flow = Self { trace, stream, index, random, next: Call { at: 0, action: 0, service: 0 } };
        let first = if stream.rate > 0.0 { flow.distance() } else { 0 };
        flow.draw(stream.from.saturating_add(first));
        flow
    }

    fn distance(&mut self) -> Micros {
        micros(self.random.exponential(float(SECOND) / self.stream.rate))
    }

    fn draw(&mut self, at: Micros) {
        let action = self.stream.first + self.stream.popular.pick(&mut self.random);
        let median = self.trace.service.get(action).copied().unwrap_or_default();
        let service = micros(self.random.log_normal(median, SPREAD)).max(1);
        self.next = Call { at, action, service };
    }

    /// False if it has no more calls.
    fn advance(&mut self) -> bool {
        if self.stream.rate <= 0.0 {
            return false;
        }
        let at = self.next.at.saturating_add(self.distance());
        let goes_on = at < self.stream.until;
        if goes_on {
            self.draw(at);
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shape_has_the_calls_that_it_says_in_order_and_the_same_again() {
        for shape in Shape::value_variants() {
            let parameters = Parameters { length: Some(90 * SECOND), ..Parameters::default() };
            let trace = Generated::new(*shape, &parameters, 3);
            let calls: Vec<Call> = trace.calls().collect();
            assert!(calls.is_sorted_by_key(|call| call.at), "{shape:?}");
            assert!(calls.iter().all(|call| call.action < trace.actions().len() && call.service > 0));
            assert!(calls.iter().all(|call| call.at < trace.length()), "{shape:?}");
            assert!(calls.iter().copied().eq(trace.calls()), "{shape:?}");
            let ratio = calls.len() as f64 / trace.expected() as f64;
            assert!((0.95..1.05).contains(&ratio), "{shape:?}: {} of {}", calls.len(), trace.expected());
            let other = Generated::new(*shape, &parameters, 4);
            assert_ne!(calls.first(), other.calls().next().as_ref(), "{shape:?}");
        }
    }

    #[test]
    fn shapes_are_what_they_are_called() {
        let of = |shape| Generated::new(shape, &Parameters::default(), 1);
        let hourly = of(Shape::Hourly);
        let spike = hourly.calls().filter(|call| (3600 * SECOND..3610 * SECOND).contains(&call.at)).count();
        assert!((400..500).contains(&spike), "every action once, and a few beside: {spike}");
        let burst = of(Shape::Burst);
        let second = burst.calls().filter(|call| (30 * SECOND..31 * SECOND).contains(&call.at)).count();
        assert!((450..700).contains(&second), "{second}");
        let neighbour =
            Generated::new(Shape::Neighbour, &Parameters { rate: Some(50.0), ..Parameters::default() }, 1);
        let quiet = neighbour.actions().len() - 1;
        let calls = neighbour.calls().filter(|call| call.action == quiet).count();
        assert!((5_500..6_500).contains(&calls), "20 in a second: {calls}");
        let parameters = Parameters { actions: Some(3), length: Some(SECOND), ..Parameters::default() };
        let small = Generated::new(Shape::Zipf, &parameters, 1);
        assert_eq!((small.actions().len(), small.length()), (3, SECOND));
    }
}

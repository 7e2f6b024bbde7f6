//! A platform in virtual time: the queues, pools and containers that the binary links, with modelled work between them.
//!
//! What the shells do with tasks, a simulation does with a list of what is planned (`clock`) and one of what follows at
//! once (`Todo`): every step of a state machine is one entry of either. Nothing depends on anything but trace, policy,
//! setup and seed, so a history can be had again by its seed.

mod actions;
mod calls;
mod clock;
mod containers;
mod faults;
mod fleet;
mod invariants;
mod nodes;

use std::collections::{BTreeMap, HashMap, VecDeque};

use chasen_entity::{ByteSize, EntityName, Manifest};
use chasen_scheduler::queue::Slot;
use chasen_scheduler::{Policy, SchedulerConfig};
use chasen_spi::NodeView;

use crate::kinds;
use crate::random::Random;
use crate::report::{Report, Tally};
use crate::trace::{Call, Micros, Trace};
use actions::ActionState;
use calls::Activation;
use clock::{CallId, Clock, Planned, Serial};
use containers::SimulatedContainer;
use fleet::Roaming;
use nodes::Node;

/// How often the progress is told, in events.
const PROGRESS: u64 = 1 << 16;

/// A node of a simulation.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    /// Memory for containers.
    pub memory: ByteSize,
    /// Processors: starts beyond their number take longer.
    pub cores: u32,
    /// Namespaces that it works for; none means for everybody.
    pub dedicated: Vec<EntityName>,
}

/// A node that dies and comes back empty.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which, from 0.
    pub node: usize,
    /// When.
    pub at: Micros,
    /// For how long.
    pub length: Micros,
}

/// What a trace runs on.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Nodes.
    pub nodes: Vec<NodeSetup>,
    /// Bounds of queues and waits.
    pub scheduler: SchedulerConfig,
    /// Most calls of a namespace in flight.
    pub concurrent: u64,
    /// Nodes that die.
    pub faults: Vec<Fault>,
    /// For everything that is drawn.
    pub seed: u64,
    /// After how many events the invariants are checked; 0 is never.
    pub check_every: u64,
}

impl Setup {
    /// These nodes, and a node's own bounds.
    #[must_use]
    pub fn new(nodes: Vec<NodeSetup>, seed: u64) -> Self {
        Self {
            nodes,
            scheduler: SchedulerConfig::default(),
            concurrent: 10_000,
            faults: Vec::new(),
            seed,
            check_every: 1,
        }
    }
}

/// How far a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Calls that have come.
    pub calls: u64,
    /// Events that have happened.
    pub events: u64,
    /// Virtual time.
    pub now: Micros,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// A rule that must hold at all times did not.
    #[error(
        "{rule} is broken after event {event} of {trace} under '{policy}' with seed {seed}, at {now} µs: {what}"
    )]
    Invariant {
        /// Which: I1 to I7, as the contract of the engine numbers them.
        rule: &'static str,
        /// How.
        what: String,
        /// Number of the event.
        event: u64,
        /// Virtual time.
        now: Micros,
        /// Trace.
        trace: String,
        /// Policy.
        policy: String,
        /// Seed.
        seed: u64,
    },
    /// The simulation cannot begin.
    #[error("{0}")]
    Setup(String),
}

/// Runs a trace under a policy to its end: until the last call has ended.
///
/// # Errors
/// An invariant that was broken, or a setup without nodes.
pub fn simulate(
    trace: &dyn Trace,
    policy: &Policy,
    setup: &Setup,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, SimulationError> {
    let mut world = World::new(trace, policy, setup).map_err(SimulationError::Setup)?;
    let mut calls = trace.calls().peekable();
    loop {
        let call = calls.next_if(|call| world.clock.next_at().is_none_or(|at| call.at <= at));
        match call {
            Some(call) => world.arrive(call),
            None if calls.peek().is_none() && world.calls.is_empty() => break,
            None => match world.clock.next() {
                Some(planned) => world.happen(planned),
                None => break,
            },
        }
        world.come_to_rest();
        world.tally.events += 1;
        let events = world.tally.events;
        if events.is_multiple_of(PROGRESS) {
            progress(Progress { calls: world.tally.activations, events, now: world.clock.now });
        }
        if setup.check_every > 0 && events.is_multiple_of(setup.check_every) {
            world.check()?;
        }
    }
    world.check_end()?;
    Ok(world.report())
}

/// Something that follows at once.
#[derive(Debug)]
enum Todo {
    /// A call has this slot.
    Enter(CallId, Slot<Serial>),
    /// A container takes no more work.
    Gone(Serial),
    /// A freeze or thaw is over: calls that waited for it try again.
    Settled(Serial),
    /// A container is idle, and its pool wants to hear of it.
    Idle(Serial),
    /// A container's keeper looks after it.
    Keep(Serial),
    /// An action wants another container, and had so many when it asked.
    Start { action: usize, siblings: u32 },
    /// A container cannot be had.
    StartFailed { action: usize },
    /// A start was given up because nothing needed it.
    StartWithdrawn { action: usize },
    /// Memory got free on a node.
    Room(usize),
}

struct World<'a> {
    trace: &'a dyn Trace,
    policy: &'a Policy,
    setup: &'a Setup,
    manifest: Manifest,
    clock: Clock,
    todo: VecDeque<Todo>,
    actions: Vec<ActionState>,
    nodes: Vec<Node>,
    /// What placement sees of them.
    views: Vec<NodeView>,
    containers: BTreeMap<Serial, SimulatedContainer>,
    next_serial: Serial,
    calls: HashMap<CallId, Activation>,
    next_call: CallId,
    /// Calls that wait.
    waiting: usize,
    /// Calls in flight of each namespace.
    in_flight: Vec<u64>,
    roaming: Roaming,
    tally: Tally,
    random: Random,
    /// A rule that was broken within a step.
    broken: Option<(&'static str, String)>,
}

impl<'a> World<'a> {
    fn new(trace: &'a dyn Trace, policy: &'a Policy, setup: &'a Setup) -> Result<Self, String> {
        if setup.nodes.is_empty() {
            return Err("a simulation needs a node".to_owned());
        }
        let manifest = kinds::manifest()?;
        let mut namespaces: HashMap<&EntityName, usize> = HashMap::new();
        let actions = trace.actions().iter().map(|action| {
            let next = namespaces.len();
            let namespace = *namespaces.entry(&action.key.namespace).or_insert(next);
            ActionState::new(action, namespace)
        });
        let actions: Vec<ActionState> = actions.collect();
        let mut names: Vec<(usize, &EntityName)> =
            namespaces.iter().map(|(name, place)| (*place, *name)).collect();
        names.sort_unstable();
        let names = names.into_iter().map(|(_, name)| name.clone());
        let tally = Tally::new(names).map_err(|error| error.to_string())?;
        let mut world = Self {
            trace,
            policy,
            setup,
            clock: Clock::default(),
            todo: VecDeque::new(),
            in_flight: vec![0; namespaces.len()],
            actions,
            nodes: setup.nodes.iter().map(|node| Node::new(node, &manifest)).collect(),
            views: setup.nodes.iter().enumerate().map(|(at, node)| Node::view(at, node, &manifest)).collect(),
            manifest,
            containers: BTreeMap::new(),
            next_serial: 1,
            calls: HashMap::new(),
            next_call: 1,
            waiting: 0,
            roaming: Roaming::default(),
            tally,
            random: Random::new(setup.seed, 0),
            broken: None,
        };
        for node in 0..world.nodes.len() {
            world.plan_node_timers(node);
        }
        for fault in setup.faults.iter().filter(|fault| fault.node < setup.nodes.len()) {
            world.clock.plan_at(fault.at, Planned::NodeDown(fault.node));
            world.clock.plan_at(fault.at.saturating_add(fault.length), Planned::NodeUp(fault.node));
        }
        Ok(world)
    }

    fn happen(&mut self, planned: Planned) {
        match planned {
            Planned::Finished(call) => self.finished(call),
            Planned::Deadline(call) => self.deadline(call),
            Planned::Woken { action, life } => self.woken(action, life),
            Planned::Created(serial) => self.created(serial),
            Planned::Initialized(serial) => self.initialized(serial),
            Planned::Froze(serial) => self.froze(serial),
            Planned::Thawed(serial, call) => self.thawed(serial, call),
            Planned::Stopped(serial) => self.stopped(serial),
            Planned::Keep(serial) => self.keep(serial),
            Planned::Adjust { node, life } => self.adjust(node, life),
            Planned::Look { node, life } => self.look(node, life),
            Planned::Due { node, life } => self.due(node, life),
            Planned::NodeDown(node) => self.node_down(node),
            Planned::NodeLost(node) => self.node_lost(node),
            Planned::NodeUp(node) => self.node_up(node),
        }
    }

    /// Does everything that follows at once.
    fn come_to_rest(&mut self) {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Enter(call, slot) => self.enter(call, slot),
                Todo::Gone(serial) => self.gone(serial),
                Todo::Settled(serial) => self.settled(serial),
                Todo::Idle(serial) => self.idle(serial),
                Todo::Keep(serial) => self.keep(serial),
                Todo::Start { action, siblings } => self.start(action, siblings),
                Todo::StartFailed { action } => self.start_failed(action),
                Todo::StartWithdrawn { action } => self.start_withdrawn(action),
                Todo::Room(node) => self.invite(node),
            }
        }
    }

    /// Remembers the first rule that is broken within a step.
    fn demand(&mut self, holds: bool, rule: &'static str, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some((rule, what()));
        }
    }

    fn report(mut self) -> Report {
        self.close_accounts();
        let now = self.clock.now;
        self.tally.report(self.policy.name, self.trace.name(), self.setup.seed, now)
    }
}

impl World<'_> {
    fn arrive(&mut self, call: Call) {
        self.clock.now = self.clock.now.max(call.at);
        self.tally.activations += 1;
        self.admit(call);
    }
}

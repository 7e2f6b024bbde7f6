//! Placement: which node makes a container, and what is known of nodes for that.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use chasen_entity::{ByteSize, EntityName, ExecutableAction};

use crate::{BoxFuture, Invoker, InvokerState, StartFailure, StartRequest, StartedContainer};

/// A policy of placement. Pure: the same nodes and dice give the same choice.
pub trait Placement: Debug + Send + Sync {
    /// Which nodes to ask, in which order. `dice` is a number at random.
    fn place(&self, need: &Need, nodes: &[NodeView], dice: u64) -> Result<Choice, NoNode>;
}

/// A container that is to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Namespace that it works for.
    pub namespace: EntityName,
    /// Full name of the action, `ns/[package/]name`.
    pub action: String,
    /// Concrete kind, or `blackbox`.
    pub kind: String,
    /// Image of a blackbox action.
    pub image: Option<String>,
    /// Its memory.
    pub memory: ByteSize,
    /// Labels that the node must have: annotation `invoker-resources`.
    pub labels: Vec<String>,
    /// False if other nodes may do where none has the labels: annotation `invoker-resources-strict-policy`.
    pub strict: bool,
}

impl Need {
    /// What a container of this action for this namespace needs.
    #[must_use]
    pub fn of(namespace: &EntityName, action: &ExecutableAction) -> Self {
        Self {
            namespace: namespace.clone(),
            action: action.name.to_string(),
            kind: action.exec.kind.clone(),
            image: action.exec.image.clone(),
            memory: ByteSize::mb(u64::from(action.limits.memory)),
            labels: action.needed_labels(),
            strict: action.needs_labels_strictly(),
        }
    }
}

/// A node as placement sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeView {
    /// Its name among the nodes.
    pub id: String,
    /// Whether it takes work.
    pub state: InvokerState,
    /// Memory for containers.
    pub memory: ByteSize,
    /// What of it nothing holds.
    pub free: ByteSize,
    /// What idle containers hold: it is free when they go.
    pub idle: ByteSize,
    /// Requests that wait for memory.
    pub waiting: usize,
    /// What it has that others have not: an action may ask for these.
    pub labels: BTreeSet<String>,
    /// Namespaces that it works for; none means for everybody.
    pub dedicated: BTreeSet<EntityName>,
    /// Share of the last second in which somebody waited for a processor, in percent.
    pub cpu_pressure: f64,
    /// Kinds that it runs, `blackbox` if it runs images that actions name.
    pub kinds: BTreeSet<String>,
    /// Stem cells that are up: kind and memory.
    pub stems: BTreeSet<(String, ByteSize)>,
    /// Images that it has containers of.
    pub images: BTreeSet<String>,
}

impl NodeView {
    /// True if the node may run this at all, now or when it has room.
    #[must_use]
    pub fn may_run(&self, need: &Need) -> bool {
        self.state == InvokerState::Up
            && (self.dedicated.is_empty() || self.dedicated.contains(&need.namespace))
            && self.kinds.contains(&need.kind)
    }

    /// True if it has every label that is asked for.
    #[must_use]
    pub fn has_labels(&self, need: &Need) -> bool {
        need.labels.iter().all(|label| self.labels.contains(label))
    }
}

/// Where a container may be made, as positions in the list of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Nodes to ask for room that they have at once, the first first.
    pub ask: Vec<usize>,
    /// Where the request waits if all of them refuse.
    pub wait_at: usize,
    /// Nodes that may take it while it waits, as soon as they have room that nobody waits for.
    pub others: Vec<usize>,
}

/// Why no node will ever take it, as things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoNode {
    /// None is up, works for the namespace and runs the kind.
    NotAvailable,
    /// None of them has the labels.
    NoLabels(Vec<String>),
    /// None of them is large enough.
    TooSmall,
}

/// A node of a fleet: answers what it has, and reserves memory before it makes anything.
#[async_trait]
pub trait FleetNode: Invoker {
    /// What it has, at the moment.
    fn view(&self) -> NodeView;

    /// Memory for a container, when there is room. `patience` says whether the request may wait for it. Dropping the
    /// future withdraws the request.
    async fn reserve(
        &self,
        request: &StartRequest,
        patience: Patience,
    ) -> Result<Box<dyn Reservation>, ReserveFailure>;

    /// Resolves when memory gets free that nobody on the node waits for, the next time from this call on.
    fn room(&self) -> BoxFuture<()>;
}

/// Whether a request for memory waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It is granted or refused at once.
    None,
    /// It waits fairly until there is room.
    Waits,
}

/// Why memory was not reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReserveFailure {
    /// There is no room, or others wait for it.
    NoRoom,
    /// Nothing more is to be asked of this node.
    Failed(StartFailure),
}

/// Memory that is kept for a container. Dropped unused, it is free again.
#[async_trait]
pub trait Reservation: Send {
    /// Makes the container.
    async fn make(self: Box<Self>) -> Result<StartedContainer, StartFailure>;
}

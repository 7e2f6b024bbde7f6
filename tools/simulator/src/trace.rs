//! Traces: which action is called when, and how long its function takes.

pub mod shapes;

use chasen_entity::{ActionKey, ByteSize, EntityName, EntityPath, FullyQualifiedName, NetworkPolicy};

/// Time in a simulation: microseconds since its beginning.
pub type Micros = u64;

/// A second of a simulation.
pub const SECOND: Micros = 1_000_000;

/// An action that a trace calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Whose it is, and its name.
    pub key: ActionKey,
    /// Concrete kind.
    pub kind: String,
    /// Memory of its containers.
    pub memory: ByteSize,
    /// Activations that share a container, at least 1.
    pub concurrency: u32,
    /// True if its callers wait for the result.
    pub blocking: bool,
}

impl Action {
    /// An action of a namespace that somebody waits for, one activation in a container. `None` if a name is illegal.
    #[must_use]
    pub fn new(namespace: &str, name: &str, kind: &str, memory: ByteSize) -> Option<Self> {
        let namespace = EntityName::new(namespace)?;
        let action = FullyQualifiedName::new(EntityPath::root(&namespace), EntityName::new(name)?);
        let key = ActionKey {
            namespace,
            action,
            environment: None,
            network: NetworkPolicy::Internet,
            superseded: None,
        };
        Some(Self { key, kind: kind.to_owned(), memory, concurrency: 1, blocking: true })
    }
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// When.
    pub at: Micros,
    /// Which action, as a place in [`Trace::actions`].
    pub action: usize,
    /// How long the function runs, without any start.
    pub service: Micros,
}

/// Calls in the order of their time.
pub type Calls<'a> = Box<dyn Iterator<Item = Call> + 'a>;

/// Actions and the calls of them, which can be gone through as often as there are policies to compare.
pub trait Trace {
    /// For the report.
    fn name(&self) -> &str;

    /// Every action that may be called.
    fn actions(&self) -> &[Action];

    /// When it ends; the last calls may end later.
    fn length(&self) -> Micros;

    /// How many calls there are, as far as it is known before: for the progress.
    fn expected(&self) -> u64;

    /// The calls, from the first one on, every time the same.
    fn calls(&self) -> Calls<'_>;
}

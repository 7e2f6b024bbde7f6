//! Who does the work of an action.

use crate::entities::{KindState, ResolvedAction};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A container or isolate.
    Action,
    /// The controller, running its components.
    Sequence,
    /// The controller, running it and whatever it asks for in turns.
    Composition,
}

impl Sort {
    pub(crate) fn of(action: &ResolvedAction) -> Self {
        match action {
            action if action.executable.exec.is_sequence() => Self::Sequence,
            action if action.conductor => Self::Composition,
            _ => Self::Action,
        }
    }

    /// The sort of an action that may run as a step; `None` for one whose kind runs no more.
    pub(crate) fn of_step(action: &ResolvedAction) -> Option<Self> {
        (action.kind == KindState::Runs).then(|| Self::of(action))
    }
}

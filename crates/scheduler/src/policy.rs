//! Scheduling policies by name, and which one an invocation is scheduled by.

use std::sync::Arc;

use chasen_entity::Invocation;
use chasen_spi::{Placement, Scaling};

use crate::{placement, scaling};

/// When containers are started, and where.
#[derive(Debug, Clone)]
pub struct Policy {
    /// What it is chosen by.
    pub name: &'static str,
    /// When.
    pub scaling: Arc<dyn Scaling>,
    /// Where.
    pub placement: Arc<dyn Placement>,
}

impl Policy {
    /// The platform's own: waits for a slot while that is sooner than a new container, and places by two choices.
    #[must_use]
    pub fn event_driven() -> Self {
        Self {
            name: "event-driven",
            scaling: Arc::new(scaling::EventDriven),
            placement: Arc::new(placement::TwoChoices),
        }
    }

    /// OpenWhisk's sharding balancer, for comparison.
    #[must_use]
    pub fn sharding() -> Self {
        Self {
            name: "sharding",
            scaling: Arc::new(scaling::Sharding),
            placement: Arc::new(placement::Sharding::default()),
        }
    }
}

/// All policies of a platform.
#[derive(Debug)]
pub struct Policies {
    default: Policy,
    others: Vec<Policy>,
}

impl Default for Policies {
    fn default() -> Self {
        Self::new(Policy::event_driven(), vec![Policy::sharding()])
    }
}

impl Policies {
    /// These policies; the first one is in force where nobody asks for another.
    #[must_use]
    pub fn new(default: Policy, others: Vec<Policy>) -> Self {
        Self { default, others }
    }

    /// The platform's policies, with the one of this name in force where nobody asks for another; `None` if there is
    /// none of this name.
    #[must_use]
    pub fn with_default(name: &str) -> Option<Self> {
        let mut all = vec![Policy::event_driven(), Policy::sharding()];
        let at = all.iter().position(|policy| policy.name == name)?;
        let default = all.remove(at);
        Some(Self::new(default, all))
    }

    /// Names of all of them, that of the default first.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(&self.default).chain(&self.others).map(|policy| policy.name)
    }

    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Policy> {
        std::iter::once(&self.default).chain(&self.others).find(|policy| policy.name == name)
    }

    /// What an invocation is scheduled by: what the limits of its namespace say, else what its action asks for, else
    /// the default. A name that there is no policy of says nothing.
    #[must_use]
    pub fn of(&self, invocation: &Invocation) -> &Policy {
        let limits = invocation.identity.limits.scheduling_policy.as_deref();
        limits
            .and_then(|name| self.get(name))
            .or_else(|| self.get(&invocation.action.scheduling_policy()?))
            .unwrap_or(&self.default)
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ExecutableAction, Identity};
    use chasen_spi::memory::invocation;

    use super::*;

    #[test]
    fn the_namespace_says_then_the_action_then_the_platform() {
        let plain = invocation("guest", "a", "k:1", "{}");
        let with = |limit: Option<&str>, annotation: Option<&str>| {
            let mut action = ExecutableAction::clone(&plain.action);
            if let Some(name) = annotation {
                action.annotations.set("scheduling-policy", name);
            }
            let mut identity = Identity::clone(&plain.identity);
            identity.limits.scheduling_policy = limit.map(str::to_owned);
            Invocation { action: Arc::new(action), identity: Arc::new(identity), ..plain.clone() }
        };
        let policies = Policies::default();
        for (limit, annotation, expected) in [
            (None, None, "event-driven"),
            (None, Some("sharding"), "sharding"),
            (Some("sharding"), None, "sharding"),
            (Some("event-driven"), Some("sharding"), "event-driven"),
            (Some("unknown"), Some("unknown"), "event-driven"),
        ] {
            assert_eq!(policies.of(&with(limit, annotation)).name, expected, "{limit:?}, {annotation:?}");
        }
        assert_eq!(Policies::with_default("sharding").unwrap().of(&plain).name, "sharding");
        assert!(Policies::with_default("unknown").is_none());
    }
}

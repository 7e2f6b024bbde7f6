//! Scheduling policies by name, and which one an invocation is scheduled by.

use std::sync::Arc;

use chasen_entity::{Invocation, SchedulingPolicy};
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
            name: SchedulingPolicy::EventDriven.as_str(),
            scaling: Arc::new(scaling::EventDriven),
            placement: Arc::new(placement::TwoChoices),
        }
    }

    /// OpenWhisk's sharding balancer, for comparison.
    #[must_use]
    pub fn sharding() -> Self {
        Self {
            name: SchedulingPolicy::Sharding.as_str(),
            scaling: Arc::new(scaling::Sharding),
            placement: Arc::new(placement::Sharding::default()),
        }
    }
}

/// All policies of a platform.
#[derive(Debug)]
pub struct Policies {
    default: SchedulingPolicy,
    event_driven: Policy,
    sharding: Policy,
}

impl Default for Policies {
    fn default() -> Self {
        Self::with_default(SchedulingPolicy::default())
    }
}

impl Policies {
    /// The policies, with this one in force where nobody asks for another.
    #[must_use]
    pub fn with_default(default: SchedulingPolicy) -> Self {
        Self { default, event_driven: Policy::event_driven(), sharding: Policy::sharding() }
    }

    /// The policy of this name.
    #[must_use]
    pub fn get(&self, name: SchedulingPolicy) -> &Policy {
        match name {
            SchedulingPolicy::EventDriven => &self.event_driven,
            SchedulingPolicy::Sharding => &self.sharding,
        }
    }

    /// What an invocation is scheduled by: what the limits of its namespace say, else what its action asks for, else
    /// the default.
    #[must_use]
    pub fn of(&self, invocation: &Invocation) -> &Policy {
        let limits = invocation.identity.limits.scheduling_policy;
        self.get(limits.or_else(|| invocation.action.scheduling_policy()).unwrap_or(self.default))
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ExecutableAction, Identity};
    use chasen_spi::memory::invocation;

    use super::*;

    #[test]
    fn the_namespace_says_then_the_action_then_the_platform() {
        use SchedulingPolicy::{EventDriven, Sharding};
        let plain = invocation("guest", "a", "k:1", "{}");
        let with = |limit: Option<SchedulingPolicy>, annotation: Option<&str>| {
            let mut action = ExecutableAction::clone(&plain.action);
            if let Some(name) = annotation {
                action.annotations.set("scheduling-policy", name);
            }
            let mut identity = Identity::clone(&plain.identity);
            identity.limits.scheduling_policy = limit;
            Invocation { action: Arc::new(action), identity: Arc::new(identity), ..plain.clone() }
        };
        let policies = Policies::default();
        for (limit, annotation, expected) in [
            (None, None, EventDriven),
            (None, Some("sharding"), Sharding),
            (Some(Sharding), None, Sharding),
            (Some(EventDriven), Some("sharding"), EventDriven),
            (None, Some("unknown"), EventDriven),
        ] {
            assert_eq!(
                policies.of(&with(limit, annotation)).name,
                expected.as_str(),
                "{limit:?}, {annotation:?}"
            );
        }
        assert_eq!(Policies::with_default(Sharding).of(&plain).name, "sharding");
    }
}

//! What each namespace holds and has held of late: memory × time, the cost by which scarce memory is shared out.

use std::collections::HashMap;
use std::time::Duration;

use chasen_entity::{ByteSize, EntityName};

/// Time in which a cost loses all but a third of its weight, in seconds.
const MEMORY: f64 = 60.0;

#[derive(Debug, Default)]
struct Account {
    containers: usize,
    held: u64,
    /// Part of it that is leaving.
    leaving: u64,
    /// MB × seconds, until `at`.
    spent: f64,
    at: Duration,
}

impl Account {
    #[expect(clippy::cast_precision_loss, reason = "a cost is compared, not counted")]
    fn spent(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let kept = (-passed / MEMORY).exp();
        self.spent * kept + self.held as f64 / f64::from(1 << 20) * MEMORY * (1.0 - kept)
    }

    fn settle(&mut self, now: Duration) {
        self.spent = self.spent(now);
        self.at = now;
    }
}

/// Accounts of the namespaces that have containers. Whoever has none owes nothing.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<EntityName, Account>);

impl Accounts {
    /// It has a container more.
    pub(super) fn open(&mut self, namespace: &EntityName, memory: ByteSize, now: Duration) {
        let account = self.0.entry(namespace.clone()).or_default();
        account.settle(now);
        account.containers += 1;
        account.held = account.held.saturating_add(memory.as_bytes());
    }

    /// It has one less.
    pub(super) fn close(&mut self, namespace: &EntityName, memory: ByteSize, now: Duration) {
        let Some(account) = self.0.get_mut(namespace) else { return };
        account.settle(now);
        account.containers = account.containers.saturating_sub(1);
        account.held = account.held.saturating_sub(memory.as_bytes());
        if account.containers == 0 {
            self.0.remove(namespace);
        }
    }

    /// A container of it is leaving, or is not any more.
    pub(super) fn leave(&mut self, namespace: &EntityName, memory: ByteSize, leaves: bool) {
        let Some(account) = self.0.get_mut(namespace) else { return };
        account.leaving = match leaves {
            true => account.leaving.saturating_add(memory.as_bytes()),
            false => account.leaving.saturating_sub(memory.as_bytes()),
        };
    }

    /// True if it has a container.
    pub(super) fn has(&self, namespace: &EntityName) -> bool {
        self.0.contains_key(namespace)
    }

    /// Bytes that it holds, without what is leaving.
    pub(super) fn stays(&self, namespace: &EntityName) -> u64 {
        self.0.get(namespace).map_or(0, |account| account.held.saturating_sub(account.leaving))
    }

    /// MB × seconds of late, whole ones; none if it has no container.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "never negative, saturates")]
    pub(super) fn owed(&self, namespace: &EntityName, now: Duration) -> u64 {
        self.0.get(namespace).map_or(0, |account| account.spent(now) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_grows_with_memory_and_time_and_is_forgotten() {
        let mut accounts = Accounts::default();
        let [small, large] = ["small", "large"].map(|name| EntityName::new(name).unwrap());
        let at = Duration::from_secs;
        assert!(!accounts.has(&small));
        accounts.open(&small, ByteSize::mb(128), at(0));
        accounts.open(&large, ByteSize::mb(512), at(0));
        let owed =
            |accounts: &Accounts, seconds| [&small, &large].map(|name| accounts.owed(name, at(seconds)));
        assert_eq!(owed(&accounts, 0), [0, 0]);
        let [a, b] = owed(&accounts, 10);
        assert!(a > 1000 && b / 4 == a, "{a}, {b}");
        accounts.open(&large, ByteSize::mb(128), at(10));
        accounts.close(&large, ByteSize::mb(512), at(10));
        assert_eq!(owed(&accounts, 10)[1], b);
        let [a, b] = owed(&accounts, 600);
        assert!(a.abs_diff(b) < 2, "alike for ten minutes: {a}, {b}");
        accounts.close(&small, ByteSize::mb(128), at(600));
        assert_eq!((accounts.has(&small), accounts.owed(&small, at(600))), (false, 0));
        accounts.leave(&large, ByteSize::mb(128), true);
        assert_eq!(accounts.stays(&large), 0);
        accounts.leave(&large, ByteSize::mb(128), false);
        assert_eq!(accounts.stays(&large), ByteSize::mb(128).as_bytes());
    }
}

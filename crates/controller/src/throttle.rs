//! Throttles: how often and how much at once a namespace may invoke and fire. Exact, and without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use chasen_entity::{Millis, UserLimits, error_text};

use crate::config::Rates;
use crate::turns::OwnTurns;
use crate::wire::error::ApiError;

const MINUTE: Millis = 60_000;
/// Seconds after which a slot may be free.
const RETRY_CONCURRENCY: u32 = 1;

/// What one namespace uses at the moment.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    invocations: MinuteCount,
    fires: MinuteCount,
    in_flight: AtomicU32,
    /// What it reads at once.
    pub(crate) reads: OwnTurns,
}

/// Requests of a calendar minute: its number, then 32 bits of how many there were in it.
#[derive(Debug, Default)]
struct MinuteCount(AtomicU64);

/// The usage of every namespace that called since the start: a few words each.
pub(crate) struct Throttles {
    rates: Rates,
    usage: papaya::HashMap<Arc<str>, Arc<Usage>>,
}

/// One of the invocations that a namespace may have in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Usage>);

impl Throttles {
    pub(crate) fn new(rates: Rates) -> Self {
        Self { rates, usage: papaya::HashMap::new() }
    }

    /// The counters of the namespace with this id.
    pub(crate) fn usage_of(&self, namespace_uuid: &Arc<str>) -> Arc<Usage> {
        self.usage.pin().get_or_insert_with(namespace_uuid.clone(), Arc::default).clone()
    }

    /// Charges one invocation: the rate first, then the number in flight. A refused one counts for the rate.
    pub(crate) fn charge(
        &self,
        usage: &Arc<Usage>,
        limits: &UserLimits,
        now: Millis,
    ) -> Result<Permit, ApiError> {
        usage.invocations.charge(limits.invocations_per_minute.or(self.rates.invocations_per_minute), now)?;
        let allowed = self.concurrency(limits).unwrap_or(u32::MAX);
        usage
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < allowed).then_some(count + 1))
            .map(|_| Permit(usage.clone()))
            .map_err(|count| {
                let text = error_text::too_many_concurrent(count.into(), allowed.into());
                ApiError::throttled(text, RETRY_CONCURRENCY)
            })
    }

    /// Charges one fire of a trigger. A refused one counts, too.
    pub(crate) fn charge_fire(
        &self,
        usage: &Usage,
        limits: &UserLimits,
        now: Millis,
    ) -> Result<(), ApiError> {
        usage.fires.charge(limits.fires_per_minute.or(self.rates.fires_per_minute), now)
    }

    /// How many invocations a namespace with these limits may have in flight; `None` is without bound.
    pub(crate) fn concurrency(&self, limits: &UserLimits) -> Option<u32> {
        limits.concurrent_invocations.or(self.rates.concurrent_invocations)
    }

    /// How many containers an action of a namespace with these limits may ask for; `None` is without bound.
    pub(crate) fn instances(&self, limits: &UserLimits) -> Option<u32> {
        let own = limits.max_action_instances;
        match self.concurrency(limits) {
            Some(concurrency) => Some(own.map_or(concurrency, |own| own.min(concurrency))),
            None => own,
        }
    }

    /// The rates of namespaces without limits of their own.
    pub(crate) fn rates(&self) -> Rates {
        self.rates
    }
}

impl MinuteCount {
    /// Counts a request; refuses it if there are more than allowed in its minute.
    fn charge(&self, allowed: Option<u32>, now: Millis) -> Result<(), ApiError> {
        let Some(allowed) = allowed else { return Ok(()) };
        let count = self.count(now / MINUTE);
        if count <= allowed {
            return Ok(());
        }
        let seconds = u32::try_from((MINUTE - now % MINUTE).div_ceil(1000)).unwrap_or(u32::MAX);
        Err(ApiError::throttled(error_text::too_many_requests(count.into(), allowed.into()), seconds))
    }

    /// Counts a request in this minute and returns how many there were with it.
    fn count(&self, minute: u64) -> u32 {
        let next = |word: u64| {
            let (of, count) = (word >> 32, word & u64::from(u32::MAX));
            let count = if of == minute { (count + 1).min(u32::MAX.into()) } else { 1 };
            minute << 32 | count
        };
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(next(word)));
        let counted = next(before.unwrap_or_else(|word| word)) & u64::from(u32::MAX);
        u32::try_from(counted).unwrap_or(u32::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn throttles(per_minute: Option<u32>, concurrent: Option<u32>) -> (Throttles, Arc<Usage>) {
        let rates = Rates {
            invocations_per_minute: per_minute,
            concurrent_invocations: concurrent,
            fires_per_minute: None,
        };
        let throttles = Throttles::new(rates);
        let usage = throttles.usage_of(&"id".into());
        (throttles, usage)
    }

    #[test]
    fn rates_count_calendar_minutes_and_refused_ones_too() {
        let (throttles, usage) = throttles(Some(2), None);
        let charge = |now| {
            throttles.charge(&usage, &UserLimits::default(), now).map_err(|e| e.text().to_owned()).map(drop)
        };
        assert_eq!(charge(59_000), Ok(()));
        assert_eq!(charge(59_000), Ok(()));
        assert_eq!(
            charge(59_999),
            Err("Too many requests in the last minute (count: 3, allowed: 2).".to_owned())
        );
        assert_eq!(
            charge(59_999),
            Err("Too many requests in the last minute (count: 4, allowed: 2).".to_owned())
        );
        assert_eq!(charge(60_000), Ok(()));
    }

    #[test]
    fn zero_allows_nothing_and_the_namespace_overrides() {
        let (throttles, usage) = throttles(None, Some(10));
        let limits = UserLimits { concurrent_invocations: Some(0), ..UserLimits::default() };
        let error = throttles.charge(&usage, &limits, 1).unwrap_err();
        assert_eq!(error.text(), "Too many concurrent requests in flight (count: 0, allowed: 0).");
        let limits = UserLimits { invocations_per_minute: Some(0), ..UserLimits::default() };
        let error = throttles.charge(&usage, &limits, 1).unwrap_err();
        assert_eq!(error.text(), "Too many requests in the last minute (count: 1, allowed: 0).");
    }

    #[test]
    fn permits_come_back_and_are_never_exceeded() {
        let (throttles, usage) = throttles(None, Some(4));
        let held = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if let Ok(permit) = throttles.charge(&usage, &UserLimits::default(), 1) {
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 4);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert_eq!(usage.in_flight.load(Ordering::SeqCst), 0);
        assert!(Arc::ptr_eq(&usage, &throttles.usage_of(&"id".into())));
    }

    #[test]
    fn fires_and_invocations_are_counted_apart() {
        let (throttles, usage) = throttles(Some(1), None);
        let limits = UserLimits { fires_per_minute: Some(2), ..UserLimits::default() };
        assert!(throttles.charge(&usage, &limits, 1).is_ok());
        assert!(throttles.charge(&usage, &limits, 1).is_err());
        for count in 1..5u64 {
            let charged = throttles.charge_fire(&usage, &limits, 1).map_err(|error| error.text().to_owned());
            let text = format!("Too many requests in the last minute (count: {count}, allowed: 2).");
            assert_eq!(charged, if count > 2 { Err(text) } else { Ok(()) });
        }
    }

    #[test]
    fn containers_of_an_action_stay_below_both_bounds() {
        let (throttles, _) = throttles(None, Some(10));
        for (instances, concurrent, allowed) in
            [(None, None, 10), (Some(3), None, 3), (Some(30), None, 10), (Some(30), Some(20), 20)]
        {
            let limits = UserLimits {
                max_action_instances: instances,
                concurrent_invocations: concurrent,
                ..UserLimits::default()
            };
            assert_eq!(throttles.instances(&limits), Some(allowed));
        }
    }

    proptest! {
        #[test]
        fn under_parallel_load_exactly_what_is_allowed_passes(
            allowed in 0..40u32, threads in 1..5usize, each in 1..20u32, minutes in 1..4u64,
        ) {
            let (throttles, usage) = throttles(Some(allowed), None);
            for minute in 1..=minutes {
                let passed = AtomicU32::new(0);
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| for _ in 0..each {
                            if throttles.charge(&usage, &UserLimits::default(), minute * MINUTE).is_ok() {
                                passed.fetch_add(1, Ordering::SeqCst);
                            }
                        });
                    }
                });
                let asked = each * u32::try_from(threads).unwrap();
                prop_assert_eq!(passed.into_inner(), allowed.min(asked));
            }
        }
    }
}

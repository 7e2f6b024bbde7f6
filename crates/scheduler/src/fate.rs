//! What becomes of work that is taken up, or whose try was lost. Pure.

use std::time::Duration;

use chasen_entity::{Delivery, Invocation};
use chasen_spi::event_log::Unfinished;

use crate::start::Announcement;

/// Longest time before the next try.
const LONGEST: Duration = Duration::from_secs(60);

/// What becomes of work whose try was lost: it began, and its end is not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It runs again as this try when this time is over.
    Again(u32, Duration),
    /// It must not run again.
    Interrupted,
    /// It was tried as often as it may be.
    Dead,
}

/// The try that an earlier life has begun of this work, if it has. A start that was announced counts as begun unless the
/// log is certain to have everything since; where starts are not announced, so does all work of which it may lack something.
pub(crate) fn begun(work: &Unfinished, era: Option<u64>) -> Option<u32> {
    let announced = work.progress.as_ref().and_then(Announcement::read);
    let counts = announced.filter(|announced| era.is_none() || announced.era != era);
    let unknown = may_lack_notes(work).then_some(1);
    work.started.max(counts.map(|announced| announced.attempt)).max(unknown)
}

/// What is certain of how far a session came. Its steps make its notes safe where they are synced; elsewhere the last one
/// may be lost, and steps that followed it with it.
pub(crate) fn certain(session: Unfinished) -> Unfinished {
    match may_lack_notes(&session) {
        true => Unfinished { started: session.started.max(Some(1)), progress: None, ..session },
        false => session,
    }
}

fn may_lack_notes(work: &Unfinished) -> bool {
    !work.is_whole && work.invocation.durability.is_memory()
}

/// What becomes of work whose try of this number was lost.
pub(crate) fn of_lost(invocation: &Invocation, attempt: u32) -> Fate {
    match invocation.delivery {
        Delivery::AtMostOnce => Fate::Interrupted,
        Delivery::AtLeastOnce if attempt < invocation.action.max_attempts() => {
            Fate::Again(attempt.saturating_add(1), pause(invocation, attempt))
        }
        Delivery::AtLeastOnce => Fate::Dead,
    }
}

/// Time between a lost try and the next: from one second, twice as long each time, and up to a quarter less, so that
/// what was lost together does not come again together.
fn pause(invocation: &Invocation, attempt: u32) -> Duration {
    let whole = Duration::from_secs(1 << attempt.saturating_sub(1).min(6)).min(LONGEST);
    let dice = invocation
        .activation_id
        .digits()
        .as_str()
        .bytes()
        .fold(attempt, |dice, digit| dice.wrapping_mul(31).wrapping_add(u32::from(digit)));
    whole.saturating_sub(whole / 4 * (dice % 1000) / 1000)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chasen_entity::{Durability, RawJson};
    use chasen_spi::memory::invocation;
    use proptest::prelude::*;

    use super::*;

    fn work(delivery: Delivery) -> Invocation {
        Invocation { delivery, ..invocation("guest", "a", "k:1", "{}") }
    }

    #[test]
    fn what_is_delivered_once_never_runs_again() {
        assert_eq!(of_lost(&work(Delivery::AtMostOnce), 1), Fate::Interrupted);
        assert!(matches!(of_lost(&work(Delivery::AtLeastOnce), 2), Fate::Again(3, _)));
        assert_eq!(of_lost(&work(Delivery::AtLeastOnce), 3), Fate::Dead);
    }

    #[test]
    fn an_announced_start_counts_where_its_sequel_may_be_lost() {
        let announced = |attempt, era| Some(RawJson::from_value(&Announcement { attempt, era }));
        for (started, progress, era, expected) in [
            (None, None, None, None),
            (None, announced(1, Some(7)), Some(7), None),
            (None, announced(1, Some(7)), Some(8), Some(1)),
            (None, announced(1, Some(7)), None, Some(1)),
            (None, announced(1, None), None, Some(1)),
            (Some(1), announced(1, Some(7)), Some(7), Some(1)),
            (Some(1), announced(2, Some(7)), Some(7), Some(1)),
            (Some(1), announced(2, Some(7)), Some(8), Some(2)),
        ] {
            let what = format!("{started:?} {progress:?} {era:?}");
            let invocation =
                Arc::new(Invocation { durability: Durability::Synced, ..work(Delivery::AtMostOnce) });
            let left = Unfinished { invocation, started, progress, is_whole: false };
            assert_eq!(begun(&left, era), expected, "{what}");
        }
    }

    #[test]
    fn what_was_in_memory_only_counts_as_begun_where_something_may_be_lost() {
        for (durability, is_whole, expected) in [
            (Durability::Memory, false, Some(1)),
            (Durability::Memory, true, None),
            (Durability::Synced, false, None),
        ] {
            let invocation = Arc::new(Invocation { durability, ..work(Delivery::AtMostOnce) });
            let left = Unfinished { invocation, started: None, progress: None, is_whole };
            assert_eq!(begun(&left, Some(7)), expected, "{durability:?} {is_whole}");
            let noted = Unfinished { progress: Some(RawJson::from_value(&"here")), ..left };
            let certain = certain(noted);
            assert_eq!((certain.started, certain.progress.is_some()), (expected, expected.is_none()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pauses_grow_within_their_bounds(attempt in 1u32..200) {
            let pause = pause(&work(Delivery::AtLeastOnce), attempt);
            let whole = Duration::from_secs(1u64 << (attempt - 1).min(40)).min(LONGEST);
            prop_assert!(pause <= whole && pause >= whole * 3 / 4, "{:?} of {:?}", pause, whole);
        }
    }
}

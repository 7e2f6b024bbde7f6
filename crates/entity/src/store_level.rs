//! Which activations leave a record.

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// Which ends of activations leave a record. Written in settings as OpenWhisk writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StoreLevel {
    /// All.
    #[default]
    StoreAlways,
    /// All but successes.
    StoreFailures,
    /// Developer errors and whisk errors.
    StoreFailuresNotApplicationErrors,
    /// None: the namespace wants no records.
    StoreNever,
}

impl StoreLevel {
    /// True for the level that keeps everything.
    #[must_use]
    pub fn is_always(&self) -> bool {
        *self == Self::StoreAlways
    }

    /// True if an activation with this outcome leaves a record.
    #[must_use]
    pub fn keeps(self, outcome: Outcome) -> bool {
        match self {
            Self::StoreAlways => true,
            Self::StoreFailures => outcome != Outcome::Success,
            Self::StoreFailuresNotApplicationErrors => {
                matches!(outcome, Outcome::DeveloperError | Outcome::WhiskError)
            }
            Self::StoreNever => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_keep_what_their_names_say() {
        use Outcome::{ApplicationError, DeveloperError, Success, WhiskError};
        for (level, kept) in [
            (StoreLevel::StoreAlways, &[Success, ApplicationError, DeveloperError, WhiskError][..]),
            (StoreLevel::StoreFailures, &[ApplicationError, DeveloperError, WhiskError]),
            (StoreLevel::StoreFailuresNotApplicationErrors, &[DeveloperError, WhiskError]),
            (StoreLevel::StoreNever, &[]),
        ] {
            for outcome in [Success, ApplicationError, DeveloperError, WhiskError] {
                assert_eq!(level.keeps(outcome), kept.contains(&outcome), "{level:?} {outcome:?}");
            }
        }
        assert_eq!(
            serde_json::to_string(&StoreLevel::StoreFailuresNotApplicationErrors).unwrap(),
            "\"STORE_FAILURES_NOT_APPLICATION_ERRORS\""
        );
    }
}

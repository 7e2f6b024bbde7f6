//! What actions ask for their work that is lost.

use serde::{Deserialize, Serialize};

use crate::{ExecutableAction, Parameters, error_text};

/// Annotation by which an action says what happens to its work that was started and lost.
const DELIVERY: &str = "delivery";

/// Annotation by which an action says how often its work is tried at most.
const MAX_ATTEMPTS: &str = "max-attempts";

/// Tries of work that is delivered at least once, where its action does not say.
const USUAL_ATTEMPTS: u32 = 3;

/// Most tries that an action may ask for.
const MOST_ATTEMPTS: u32 = 100;

/// Most characters of a value that an error shows.
const ECHO: usize = 256;

/// What happens to work that was started and lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// It ends in a whisk-error record; it never runs twice.
    #[default]
    AtMostOnce,
    /// It runs again.
    AtLeastOnce,
}

impl Delivery {
    /// What the annotations of an action ask for; the error is the reason why that is nothing that there is.
    pub fn asked_by(annotations: &Parameters) -> Result<Self, String> {
        let Some(value) = annotations.get(DELIVERY) else { return Ok(Self::default()) };
        serde_json::from_str(value.as_str()).map_err(|_| error_text::unknown_delivery(&shown(value.as_str())))
    }
}

/// Tries that the annotations of an action ask for, if it is delivered at least once; the error is the reason why they
/// ask for nothing that there is.
pub fn max_attempts(annotations: &Parameters) -> Result<u32, String> {
    let Some(value) = annotations.get(MAX_ATTEMPTS) else { return Ok(USUAL_ATTEMPTS) };
    let number: Option<u32> = value.read().ok();
    number
        .filter(|number| (1..=MOST_ATTEMPTS).contains(number))
        .ok_or_else(|| error_text::bad_max_attempts(&shown(value.as_str()), MOST_ATTEMPTS))
}

impl ExecutableAction {
    /// Tries of its work, if it is delivered at least once.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        max_attempts(&self.annotations).unwrap_or(USUAL_ATTEMPTS)
    }
}

fn shown(value: &str) -> String {
    value.chars().take(ECHO).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotated(key: &str, value: &serde_json::Value) -> Parameters {
        let mut annotations = Parameters::new();
        annotations.set(key, value);
        annotations
    }

    #[test]
    fn deliveries_are_words() {
        assert_eq!(Delivery::asked_by(&Parameters::new()), Ok(Delivery::AtMostOnce));
        for (word, delivery) in
            [("at-most-once", Delivery::AtMostOnce), ("at-least-once", Delivery::AtLeastOnce)]
        {
            assert_eq!(Delivery::asked_by(&annotated(DELIVERY, &word.into())), Ok(delivery));
        }
        for wrong in ["exactly-once".into(), true.into(), serde_json::Value::Null] {
            let text = Delivery::asked_by(&annotated(DELIVERY, &wrong)).unwrap_err();
            assert!(text.starts_with(&format!("{wrong} is not a delivery;")), "{text}");
        }
        let long = Delivery::asked_by(&annotated(DELIVERY, &"x".repeat(100_000).into())).unwrap_err();
        assert!(long.len() < 400, "{}", long.len());
    }

    #[test]
    fn attempts_are_small_integers() {
        assert_eq!(max_attempts(&Parameters::new()), Ok(3));
        for right in [1, 3, 100] {
            assert_eq!(max_attempts(&annotated(MAX_ATTEMPTS, &right.into())), Ok(right));
        }
        for wrong in [0.into(), 101.into(), (-1).into(), 1.5.into(), "3".into(), serde_json::Value::Null] {
            let text = max_attempts(&annotated(MAX_ATTEMPTS, &wrong)).unwrap_err();
            assert!(text.contains("from 1 to 100"), "{text}");
        }
    }
}

//! Attacks on what the node reads: replies and logs.

use serde_json::json;

use super::attack::{Attack, Sign};
use crate::functions::Language;

pub(super) fn attacks() -> Vec<Attack> {
    let flood = |lines: bool| json!({"megabytes": 3, "lines": lines});
    vec![
        Attack::new("reply_for_another_activation", "forged_reply", json!({}), &["reply-owner"])
            .by(&[Language::Nodejs, Language::Python])
            .shown_by(Sign::WordOrEnd),
        Attack::new("flood_of_lines", "flood_of_log", flood(true), &["log-limit"]).shown_by(Sign::Log),
        Attack::new("flood_without_lines", "flood_of_log", flood(false), &["log-limit"]).shown_by(Sign::Log),
    ]
}

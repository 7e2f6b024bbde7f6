//! Attacks with processes: too many, too eager, not to be ended, and on those of others.

use serde_json::json;

use super::attack::{Attack, BY_CALLS, Sign};
use super::stage::SECRET;
use crate::functions::Language;

/// More than a cell may have, few enough to be borne by a small machine.
const CROWD: u32 = 1100;

/// Own processes, and what becomes of them.
pub(super) fn attacks() -> Vec<Attack> {
    let name = |name: &str| json!({"name": name});
    vec![
        Attack::new("fork_bomb", "processes", json!({"count": CROWD}), &["process-limit"])
            .with_memory(1024)
            .shown_by(Sign::WordOrEnd),
        Attack::new("thread_bomb", "threads", json!({"count": CROWD}), &["process-limit"])
            .with_memory(512)
            .by(BY_CALLS),
        Attack::new("many_at_one_processor", "spin", json!({"processes": 32}), &["processor-share"])
            .shown_by(Sign::Share)
            .by(&[Language::Python]),
        Attack::new("deaf_to_signals", "ignore_the_end", name("evil-deaf"), &["forced-end"])
            .shown_by(Sign::Survivor),
        // Of executables everything ends with the call.
        Attack::new(
            "daemon",
            "daemon",
            name("evil-daemon"),
            &["pid-namespace", "user-namespace", "forced-end"],
        )
        .by(&[Language::Nodejs, Language::Python])
        .shown_by(Sign::Survivor),
        Attack::new("time_bomb", "time_bomb", json!({}), &["freezing"])
            .shown_by(Sign::Idle)
            .by(&[Language::Nodejs, Language::Python]),
    ]
}

/// Processes of others, on a node whose own has this number.
pub(super) fn attacks_on_others(node: u32) -> Vec<Attack> {
    let mark = json!({"mark": SECRET});
    let nobody_else = &["pid-namespace", "user-namespace"];
    vec![
        Attack::new("environment_of_a_neighbour", "environment", mark.clone(), nobody_else)
            .beside_a_neighbour(),
        Attack::new("kill_a_neighbour", "kill_neighbour", mark.clone(), nobody_else).beside_a_neighbour(),
        Attack::new(
            "trace_a_neighbour",
            "trace_neighbour",
            mark,
            &["pid-namespace", "user-namespace", "call-filter", "no-capabilities"],
        )
        .beside_a_neighbour()
        .by(BY_CALLS),
        Attack::new(
            "signal_the_node",
            "signal_the_node",
            json!({"process": node}),
            &["pid-namespace", "user-namespace", "no-capabilities"],
        ),
        Attack::new("shared_memory", "shared_memory", json!({}), &["ipc-namespace"])
            .after("shared_memory", json!({"leave": true}))
            .by(BY_CALLS),
    ]
}

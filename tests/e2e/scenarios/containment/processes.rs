//! Attacks with processes: too many, too eager, not to be ended, and on those of others.

use serde_json::json;

use super::attack::{Attack, Sign};
use super::stage::{ASLEEP, SECRET};
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
        Attack::new("thread_bomb", "threads", json!({"count": CROWD}), &["process-limit"]).with_memory(512),
        Attack::new("many_at_one_processor", "spin", json!({"count": 32}), &["processor-share"])
            .with_memory(512)
            .shown_by(Sign::Share),
        Attack::new("deaf_to_signals", "ignore_the_end", name("evil-deaf"), &["forced-end"])
            .shown_by(Sign::Survivor),
        // Of executables everything ends with the call.
        Attack::new("daemon", "daemon", name("evil-daemon"), &["pid-namespace", "forced-end"])
            .shown_by(Sign::Survivor)
            .by(&[Language::Nodejs, Language::Python]),
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
        // Which everybody may read who sees the process.
        Attack::new(
            "command_line_of_a_neighbour",
            "command_line",
            json!({"mark": ASLEEP}),
            &["pid-namespace"],
        )
        .beside_a_neighbour(),
        Attack::new("environment_of_a_neighbour", "environment", mark.clone(), nobody_else)
            .stopped_by_each_of(nobody_else)
            .beside_a_neighbour(),
        Attack::new("kill_a_neighbour", "kill_neighbour", mark.clone(), nobody_else).beside_a_neighbour(),
        Attack::new(
            "log_of_a_neighbour",
            "write_for_a_neighbour",
            mark.clone(),
            &["pid-namespace", "user-namespace", "no-capabilities"],
        )
        .beside_a_neighbour(),
        Attack::new(
            "trace_a_neighbour",
            "trace_neighbour",
            mark,
            &["pid-namespace", "user-namespace", "call-filter", "no-capabilities"],
        )
        .beside_a_neighbour(),
        Attack::new(
            "signal_the_parents",
            "signal_the_parents",
            json!({}),
            &["pid-namespace", "user-namespace", "no-capabilities"],
        ),
        Attack::new(
            "signal_the_node",
            "signal_the_node",
            json!({"process": node}),
            &["pid-namespace", "user-namespace", "no-capabilities"],
        ),
        Attack::new("shared_memory", "shared_memory", json!({}), &["ipc-namespace"])
            .after("shared_memory", json!({"leave": true})),
    ]
}

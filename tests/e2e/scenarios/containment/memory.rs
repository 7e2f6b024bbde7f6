//! Attacks on memory, disk and descriptors.

use serde_json::json;

use super::attack::{Attack, Sign};

/// More than twice what the function may have, megabytes.
const TOO_MUCH: u32 = 300;

pub(super) fn attacks() -> Vec<Attack> {
    let scratch = &["scratch-limit"];
    vec![
        Attack::new("memory_fast", "memory", json!({"megabytes": TOO_MUCH}), &["memory-limit"])
            .shown_by(Sign::WordOrEnd),
        Attack::new(
            "memory_slow",
            "memory",
            json!({"megabytes": TOO_MUCH, "slowly": true}),
            &["memory-limit"],
        )
        .shown_by(Sign::WordOrEnd),
        Attack::new("memory_in_files", "memory_in_files", json!({"megabytes": TOO_MUCH}), &["memory-limit"])
            .shown_by(Sign::WordOrEnd),
        // Each folder holds less than the function may have.
        Attack::new(
            "memory_in_folders",
            "fill_all",
            json!({"folders": ["/tmp", "/dev/shm", "/action"], "megabytes": 60}),
            &["memory-limit"],
        )
        .shown_by(Sign::WordOrEnd),
        // With memory to spare, so that it is the folder's bound that counts.
        Attack::new("disk", "fill", json!({"folder": "/tmp", "megabytes": 160}), scratch).with_memory(256),
        Attack::new("disk_of_code", "fill", json!({"folder": "/action", "megabytes": 160}), scratch)
            .with_memory(256),
        Attack::new("shared_files", "fill", json!({"folder": "/dev/shm", "megabytes": 100}), scratch)
            .with_memory(256),
        Attack::new("inodes", "inodes", json!({"folder": "/tmp", "count": 70_000}), scratch).with_memory(256),
        Attack::new("descriptors", "descriptors", json!({"count": 2000}), &["file-limit"]),
    ]
}

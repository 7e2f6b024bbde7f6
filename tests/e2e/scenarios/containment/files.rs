//! Attacks on files: the host's, those of other functions, and those that the next function will see.

use std::path::Path;

use serde_json::json;

use super::attack::Attack;
use super::stage::{CODE_MARK, PLANTED, SECRET_OF_THE_NODE};

const HOST: &[&str] = &["hidden-host", "user-namespace", "no-capabilities"];
const SYSTEM: &[&str] = &["read-only-root", "user-namespace", "no-capabilities"];
const SCRATCH: &[&str] = &["private-scratch"];

/// The attacks on a node with this data folder.
pub(super) fn attacks(data: &Path) -> Vec<Attack> {
    // Where the host is, if it can be had at all; ways that lead there on a machine without walls, and their roots.
    let ways = |path: &str| {
        ["", "/host", "/proc/1/root", "/proc/self/root/..", "/action/../.."].map(|way| format!("{way}{path}"))
    };
    let secret = ways(&data.join(PLANTED).display().to_string());
    let layers = ways(&data.join("layers").display().to_string());
    let unused = "chasen-containment-proof";
    let places =
        ["/usr/lib", "/usr/bin", "/etc", "/", "/opt", "/bin"].map(|place| format!("{place}/{unused}"));
    let note = "from one function to another";
    let shared = |attack: Attack, path: &str| attack.after("leave", json!({"paths": [path], "text": note}));
    let find = |path: &str| json!({"paths": [path], "text": note});
    vec![
        Attack::new("secret_of_the_node", "find", json!({"paths": secret, "text": SECRET_OF_THE_NODE}), HOST),
        Attack::new(
            "passwords_of_the_host",
            "find",
            json!({"paths": ways("/etc/shadow"), "text": ":"}),
            HOST,
        )
        .stopped_by_each_of(&["hidden-host"]),
        // Which everybody may read.
        Attack::new(
            "groups_of_the_host",
            "find",
            json!({"paths": ways("/etc/group"), "text": "daemon:x:1:"}),
            &["hidden-host"],
        ),
        Attack::new("code_of_others", "search", json!({"paths": layers, "text": CODE_MARK}), HOST),
        Attack::new("system", "create", json!({"paths": places}), SYSTEM)
            .stopped_by_each_of(&["read-only-root"]),
        shared(Attack::new("system_of_the_next_function", "find", find("/etc/note"), SYSTEM), "/etc/note"),
        shared(Attack::new("scratch_of_others", "find", find("/tmp/note"), SCRATCH), "/tmp/note"),
        shared(
            Attack::new("shared_files_of_others", "find", find("/dev/shm/note"), SCRATCH),
            "/dev/shm/note",
        ),
        shared(
            Attack::new("code_that_others_run", "find", find("/action/note"), &["private-code"]),
            "/action/note",
        ),
    ]
}

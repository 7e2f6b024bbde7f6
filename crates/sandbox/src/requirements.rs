//! What the machine must offer before a sandbox can be trusted.
//!
//! [`missing`] gathers facts and judges them, and leaves the machine as it was. An empty answer means that cells can
//! be expected to start; the last word has the helper, which tries.

use std::fs;
use std::path::Path;

use crate::cgroup::{Controller, Layout};

/// One thing that is missing, why it matters, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The missing feature, in the operator's words.
    pub what: String,
    /// What it protects or provides.
    pub why: String,
    /// The exact command or setting that would provide it.
    pub how: String,
}

impl Missing {
    fn new(what: impl Into<String>, why: impl Into<String>, how: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), how: how.into() }
    }
}

/// Oldest kernel that can make a whole tree of mounts read-only at once.
const OLDEST_KERNEL: (u32, u32) = (5, 12);
/// Namespaces of a cell, with the option that builds each into a kernel.
const NAMESPACES: [(&str, &str); 7] = [
    ("user", "CONFIG_USER_NS"),
    ("pid", "CONFIG_PID_NS"),
    ("mnt", "CONFIG_NAMESPACES"),
    ("net", "CONFIG_NET_NS"),
    ("ipc", "CONFIG_IPC_NS"),
    ("uts", "CONFIG_UTS_NS"),
    ("cgroup", "CONFIG_CGROUPS"),
];

/// What is lacking on this machine for the cells of the node `node_id`; empty when nothing is.
#[must_use]
pub fn missing(node_id: &str) -> Vec<Missing> {
    judge(&Facts::gather(node_id))
}

/// What was found on the machine.
#[derive(Debug, Clone)]
struct Facts {
    root: bool,
    kernel: Option<(u32, u32)>,
    absent_namespaces: Vec<(&'static str, &'static str)>,
    max_user_namespaces: Option<u64>,
    /// Whether a setting keeps users other than root from making user namespaces, and which.
    users_restricted_by: Option<&'static str>,
    seccomp: bool,
    overlay: bool,
    cgroups: Cgroups,
}

#[derive(Debug, Clone)]
enum Cgroups {
    Usable,
    Lacking(Vec<Controller>),
    /// With what the kernel said.
    NotWritable(String),
}

impl Facts {
    fn gather(node_id: &str) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let number = |path: &str| text(path).trim().parse().ok();
        let restricted = [
            (
                "kernel.unprivileged_userns_clone",
                number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0),
            ),
            (
                "kernel.apparmor_restrict_unprivileged_userns",
                number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            ),
        ];
        Self {
            root: rustix::process::geteuid().is_root(),
            kernel: version(&text("/proc/sys/kernel/osrelease")),
            absent_namespaces: NAMESPACES
                .into_iter()
                .filter(|(name, _)| !Path::new("/proc/self/ns").join(name).exists())
                .collect(),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            users_restricted_by: restricted.into_iter().find_map(|(name, holds)| holds.then_some(name)),
            seccomp: text("/proc/sys/kernel/seccomp/actions_avail").contains("errno"),
            overlay: text("/proc/filesystems").lines().any(|line| line.ends_with("\toverlay")),
            cgroups: Cgroups::gather(node_id),
        }
    }
}

impl Cgroups {
    fn gather(node_id: &str) -> Self {
        // Not the node's own groups: it may be running.
        let layout = match Layout::detect(&format!("{node_id}-probe")) {
            Ok(layout) => layout,
            Err(error) => return Self::NotWritable(error.to_string()),
        };
        let lacking = layout.lacking();
        if !lacking.is_empty() {
            return Self::Lacking(lacking);
        }
        let created = layout.create();
        layout.remove_empty();
        created.map_or_else(|error| Self::NotWritable(error.to_string()), |()| Self::Usable)
    }
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn judge(facts: &Facts) -> Vec<Missing> {
    let mut missing = Vec::new();
    if let Some((major, minor)) = facts.kernel.filter(|kernel| *kernel < OLDEST_KERNEL) {
        missing.push(Missing::new(
            format!("Linux {}.{} or newer (this is {major}.{minor})", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
            "older kernels cannot make the system read-only inside a sandbox in one step",
            "upgrade the distribution's kernel, then reboot",
        ));
    }
    for (name, option) in &facts.absent_namespaces {
        missing.push(Missing::new(
            format!("{name} namespaces"),
            "they keep a function from seeing the host and other functions",
            format!("boot a kernel built with {option}=y"),
        ));
    }
    if facts.max_user_namespaces == Some(0) {
        missing.push(Missing::new(
            "room for user namespaces",
            "each sandbox has its own users, none of which has rights on the host",
            "sysctl -w user.max_user_namespaces=65536",
        ));
    }
    if let (false, Some(setting)) = (facts.root, facts.users_restricted_by) {
        let allowed = i32::from(setting == "kernel.unprivileged_userns_clone");
        missing.push(Missing::new(
            "user namespaces without root",
            "without root they are the only way to separate functions",
            format!("sysctl -w {setting}={allowed} (or run as root)"),
        ));
    }
    if !facts.seccomp {
        missing.push(Missing::new(
            "system call filters (seccomp)",
            "they close the parts of the kernel that functions never need",
            "boot a kernel built with CONFIG_SECCOMP_FILTER=y",
        ));
    }
    if !facts.overlay {
        missing.push(Missing::new(
            "the overlay file system",
            "it lets functions change their copy of shared code",
            "modprobe overlay",
        ));
    }
    missing.extend(judge_cgroups(facts));
    missing
}

fn judge_cgroups(facts: &Facts) -> Option<Missing> {
    let why = "they bound a function's memory, processes and processor time";
    match &facts.cgroups {
        Cgroups::Usable => None,
        Cgroups::Lacking(controllers) => {
            let names: Vec<_> = controllers.iter().map(|controller| controller.name()).collect();
            let how = if facts.root {
                "mount the control group tree (mount -t cgroup2 none /sys/fs/cgroup) and boot without cgroup_disable"
            } else {
                "systemd-run --user --scope -p Delegate=yes chasen serve (or run as root)"
            };
            Some(Missing::new(format!("control groups for {}", names.join(", ")), why, how))
        }
        Cgroups::NotWritable(refusal) => {
            let how = if facts.root {
                "free the group of other processes: run as a service of its own with Delegate=yes; \
                 in a container, start it with its own writable control group tree"
            } else {
                "systemd-run --user --scope -p Delegate=yes chasen serve (or run as root)"
            };
            Some(Missing::new(format!("control groups that the node may use ({refusal})"), why, how))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit() -> Facts {
        Facts {
            root: true,
            kernel: Some((6, 1)),
            absent_namespaces: Vec::new(),
            max_user_namespaces: Some(1000),
            users_restricted_by: None,
            seccomp: true,
            overlay: true,
            cgroups: Cgroups::Usable,
        }
    }

    #[test]
    fn fit_machine_lacks_nothing() {
        assert_eq!(judge(&fit()), []);
    }

    #[test]
    fn every_lack_is_named_with_its_remedy() {
        let poor = Facts {
            root: false,
            kernel: Some((4, 19)),
            absent_namespaces: vec![("user", "CONFIG_USER_NS")],
            max_user_namespaces: Some(0),
            users_restricted_by: Some("kernel.unprivileged_userns_clone"),
            seccomp: false,
            overlay: false,
            cgroups: Cgroups::Lacking(vec![Controller::Memory, Controller::Pids]),
        };
        let missing = judge(&poor);
        assert_eq!(missing.len(), 7);
        let all = format!("{missing:?}");
        for part in
            ["4.19", "CONFIG_USER_NS", "unprivileged_userns_clone=1", "modprobe overlay", "memory, pids"]
        {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(missing.iter().all(|one| !one.why.is_empty() && !one.how.is_empty()));
    }

    #[test]
    fn restrictions_of_users_do_not_concern_root() {
        let facts = Facts { users_restricted_by: Some("kernel.unprivileged_userns_clone"), ..fit() };
        assert_eq!(judge(&facts), []);
    }

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(version("6.1.0-18-amd64\n"), Some((6, 1)));
        assert_eq!(version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(version("nonsense"), None);
    }
}

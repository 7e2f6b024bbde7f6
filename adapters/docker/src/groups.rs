//! Where the control groups of an engine's container lie on this machine, if it is this machine's.
//!
//! The engine is not asked: it takes milliseconds to tell what two files say. A process number alone could be another
//! machine's, and another process's by now: its groups count only where their paths name the container.

use std::path::{Path, PathBuf};

use chasen_runtime::meter::{Gauges, Tree};

/// Counters of the container `id`, whose first process has this number; `None` if its groups are not seen from here.
pub(crate) fn gauges(id: &str, pid: u32) -> Option<Gauges> {
    if pid == 0 || id.is_empty() {
        return None;
    }
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let memory = tree(&own, &mounts, id, "memory");
    let cpu = tree(&own, &mounts, id, "cpuacct");
    (memory.is_some() || cpu.is_some()).then(|| Gauges::new(memory, cpu))
}

/// The container's folder in the tree with this controller, else in the tree of version 2.
fn tree(own: &str, mounts: &str, id: &str, controller: &str) -> Option<Tree> {
    let mut groups = own.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        path.contains(id).then_some((controllers, path))
    });
    let version_1 = groups.clone().find(|(controllers, _)| has(controllers, controller));
    if let Some((_, path)) = version_1 {
        return folder(mounts, path, |kind, options| kind == "cgroup" && has(options, controller))
            .map(Tree::V1);
    }
    let (_, path) = groups.find(|(controllers, _)| controllers.is_empty())?;
    folder(mounts, path, |kind, _| kind == "cgroup2").map(Tree::V2)
}

fn has(list: &str, controller: &str) -> bool {
    list.split(',').any(|one| one == controller)
}

/// Where a group's path lies below the first mount that `fits`, told by its kind and options.
fn folder(mounts: &str, path: &str, fits: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, mount) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (kind, options) = (kind.next()?, kind.nth(1)?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        fits(kind, options).then(|| Path::new(mount).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "30 23 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        32 23 0:28 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn groups_are_found_in_trees_of_either_version() {
        let hybrid = "9:memory:/docker/4f0e\n4:cpu,cpuacct:/docker/4f0e\n0::/docker/4f0e\n";
        let found = |own: &str, controller| tree(own, MOUNTS, "4f0e", controller);
        let at = |tree: &str| PathBuf::from(format!("/sys/fs/cgroup/{tree}/docker/4f0e"));
        assert_eq!(found(hybrid, "memory"), Some(Tree::V1(at("memory"))));
        assert_eq!(found(hybrid, "cpuacct"), Some(Tree::V1(at("cpu,cpuacct"))));
        assert_eq!(found("0::/docker/4f0e\n", "memory"), Some(Tree::V2(at("unified"))));
    }

    #[test]
    fn what_is_not_the_containers_is_nobodys() {
        assert_eq!(tree("9:memory:/docker/other\n0::/init.scope\n", MOUNTS, "4f0e", "memory"), None);
        assert_eq!(tree("nonsense\n:::\n", MOUNTS, "4f0e", "memory"), None);
        assert_eq!(tree("9:memory:/docker/4f0e\n", "nonsense\n", "4f0e", "memory"), None);
        assert!(gauges("4f0e", std::process::id()).is_none());
        assert!(gauges("", std::process::id()).is_none(), "every path contains nothing");
    }

    #[test]
    fn mounts_of_a_part_of_the_tree_show_what_is_below_it() {
        let mounts = "32 23 0:28 /outer /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = |path: &str| tree(&format!("0::{path}\n"), mounts, "4f0e", "memory");
        assert_eq!(found("/outer/4f0e"), Some(Tree::V2(PathBuf::from("/sys/fs/cgroup/4f0e"))));
        assert_eq!(found("/elsewhere/4f0e"), None);
    }
}

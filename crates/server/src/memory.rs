//! How much memory the node's containers may have together when nobody says.

use std::path::Path;

use chasen_entity::ByteSize;

/// Taken where the machine says nothing.
const FALLBACK: ByteSize = ByteSize::mb(2048);

/// Three quarters of what is available: on the machine, or in the control group that the node runs in.
#[must_use]
pub fn available_for_containers() -> ByteSize {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = available(&meminfo);
    let group = group_room(&groups, Path::new("/sys/fs/cgroup"));
    let available = [machine, group].into_iter().flatten().min();
    available.map_or(FALLBACK, |bytes| ByteSize::mb(ByteSize::bytes(bytes / 4 * 3).as_mb()))
}

/// `MemAvailable` in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The smallest room that a control group of this process has left, in bytes; `None` without a limit.
/// `groups` is the text of `/proc/self/cgroup`.
fn group_room(groups: &str, root: &Path) -> Option<u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let (root, limit, usage) = match (number, controllers) {
                ("0", "") => (root.to_owned(), "memory.max", "memory.current"),
                (_, list) if list.split(',').any(|name| name == "memory") => {
                    (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
                }
                _ => return None,
            };
            let group = root.join(path.trim_start_matches('/'));
            let above = group.ancestors().take_while(|folder| folder.starts_with(&root));
            above.filter_map(|folder| room(folder, limit, usage)).min()
        })
        .min()
}

/// Room of one group; `None` where the file is missing or says "no limit".
fn room(group: &Path, limit: &str, usage: &str) -> Option<u64> {
    let number = |name: &str| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    // Version 1 writes "no limit" as the largest multiple of a page.
    let limit = number(limit).filter(|limit| *limit < i64::MAX as u64 / 2)?;
    Some(limit.saturating_sub(number(usage).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_say_what_is_available() {
        assert_eq!(available("MemTotal: 10 kB\nMemAvailable:      2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 10 kB\n"), None);
        assert!(available_for_containers() >= ByteSize::mb(64));
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/memory.current", "400\n");
        write("a/b/memory.max", "max\n");
        write("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(group_room("0::/a/b\n4:cpu,memory:/c\n", root.path()), Some(600));
        assert_eq!(group_room("4:memory:/c\n1:name=systemd:/\n", root.path()), None);
        write("memory/memory.limit_in_bytes", "500\n");
        assert_eq!(group_room("0::/a/b\n4:memory:/c\n", root.path()), Some(500));
    }
}

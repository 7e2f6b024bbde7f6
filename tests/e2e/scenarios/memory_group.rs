//! A control group that bounds the memory of a node's own processes, for either version of control groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use chasen_testkit::{Node, PATIENCE, children};

/// Where the memory controller of version 1, and everything of version 2, is mounted.
const ROOTS: [(&str, Version); 2] =
    [("/sys/fs/cgroup/memory", Version::One), ("/sys/fs/cgroup", Version::Two)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The group. Goes when it goes; what is in it must have ended.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    path: PathBuf,
    version: Version,
}

impl MemoryGroup {
    /// A group that may hold so many bytes; why there can be none.
    pub(crate) fn new(name: &str, bytes: u64) -> Result<Self, String> {
        let Some((root, version)) = ROOTS.into_iter().find(|(root, version)| {
            let mark = match version {
                Version::One => "memory.limit_in_bytes",
                Version::Two => "cgroup.controllers",
            };
            Path::new(root).join(mark).exists()
        }) else {
            return Err("there are no control groups of memory here".to_owned());
        };
        let path = Path::new(root).join(format!("{name}-{}", std::process::id()));
        let refused = |error: std::io::Error| format!("{}: {error}", path.display());
        if version == Version::Two {
            // As root of a machine that is not a container, this is there already or may be asked for.
            let _ = fs::write(Path::new(root).join("cgroup.subtree_control"), "+memory");
        }
        fs::create_dir(&path).map_err(refused)?;
        let group = Self { path, version };
        let file = group.file("memory.limit_in_bytes", "memory.max");
        fs::write(&file, bytes.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(group)
    }

    /// Takes in the node and its helper. Functions are not the node: they have groups of their own.
    pub(crate) fn take(&self, node: &Node) {
        for pid in children(node.pid()).into_iter().chain([node.pid()]) {
            let moved = fs::write(self.path.join("cgroup.procs"), pid.to_string());
            // Those that a node asks for something as it starts come and go.
            let has_ended = !Path::new(&format!("/proc/{pid}")).exists();
            assert!(moved.is_ok() || has_ended, "processes can be moved: {moved:?}");
        }
    }

    /// The most that it has held, in bytes; `None` where the kernel does not say.
    pub(crate) fn peak(&self) -> Option<u64> {
        let text = fs::read_to_string(self.file("memory.max_usage_in_bytes", "memory.peak")).ok()?;
        text.trim().parse().ok()
    }

    /// Processes that the kernel ended for want of memory.
    pub(crate) fn killed(&self) -> u64 {
        let file = self.file("memory.oom_control", "memory.events");
        let text = fs::read_to_string(file).expect("the group is there");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("kernels count kills").trim().parse().expect("a number")
    }

    fn file(&self, one: &str, two: &str) -> PathBuf {
        self.path.join(if self.version == Version::One { one } else { two })
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let begun = Instant::now();
        // The kernel takes a moment to see that the last process is gone.
        while fs::remove_dir(&self.path).is_err() && self.path.exists() && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

//! What runs use, told from what their container's control groups count.
//!
//! The files are kept open and read into the stack: a reading is two system calls, and a third one only where memory
//! was so nearly used up that the kernel may have ended a process.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chasen_entity::{ByteSize, ResourceUse};

/// Most bytes of a file that are read; what is looked for stands at its beginning.
const PIECE: usize = 256;
/// How far below its limit a container may have been at most when the kernel found no more memory for it.
const NEAR: u64 = 1 << 20;

/// A container's folder in a tree of control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// Version 1.
    V1(PathBuf),
    /// Version 2.
    V2(PathBuf),
}

/// What a container has used since it was made; what is not counted is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// Most memory held at one time.
    pub peak_memory: Option<ByteSize>,
    /// Processor time.
    pub cpu_time: Option<Duration>,
    /// Processes that were ended for want of memory.
    pub kills: Option<u64>,
}

/// The counters of one container, opened when they are first read.
#[derive(Debug)]
pub struct Gauges {
    memory: Option<Tree>,
    cpu: Option<Tree>,
    files: OnceLock<Files>,
}

#[derive(Debug)]
struct Files {
    peak: Option<File>,
    kills: Option<File>,
    cpu: Option<File>,
}

impl Gauges {
    /// Counters of the group that holds the memory controller, and of the one that counts processor time.
    #[must_use]
    pub fn new(memory: Option<Tree>, cpu: Option<Tree>) -> Self {
        Self { memory, cpu, files: OnceLock::new() }
    }

    /// What they say now of a container with this memory limit; nothing once the groups are gone.
    #[must_use]
    pub fn read(&self, limit: ByteSize) -> Reading {
        let files = self.files.get_or_init(|| self.open());
        let peak = files.peak.as_ref().and_then(|file| number(file, ""));
        let may_have_killed = peak.is_none_or(|peak| peak.saturating_add(NEAR) >= limit.as_bytes());
        let kills = if may_have_killed {
            files.kills.as_ref().and_then(|file| number(file, "oom_kill "))
        } else {
            Some(0)
        };
        let cpu_time = files.cpu.as_ref().and_then(|file| match self.cpu {
            Some(Tree::V1(_)) => number(file, "").map(Duration::from_nanos),
            Some(Tree::V2(_)) => number(file, "usage_usec ").map(Duration::from_micros),
            None => None,
        });
        Reading { peak_memory: peak.map(ByteSize::bytes), cpu_time, kills }
    }

    fn open(&self) -> Files {
        let open = |folder: &PathBuf, name: &str| File::open(folder.join(name)).ok();
        let (peak, kills) = match &self.memory {
            Some(Tree::V1(folder)) => {
                (open(folder, "memory.max_usage_in_bytes"), open(folder, "memory.oom_control"))
            }
            // Kernels before 5.19 keep no peak.
            Some(Tree::V2(folder)) => (open(folder, "memory.peak"), open(folder, "memory.events")),
            None => (None, None),
        };
        let cpu = match &self.cpu {
            Some(Tree::V1(folder)) => open(folder, "cpuacct.usage"),
            Some(Tree::V2(folder)) => open(folder, "cpu.stat"),
            None => None,
        };
        Files { peak, kills, cpu }
    }
}

/// The number behind `key` at the beginning of a line; behind no key that at the beginning of the file.
fn number(file: &File, key: &str) -> Option<u64> {
    let mut piece = [0; PIECE];
    let length = file.read_at(&mut piece, 0).ok()?;
    let text = str::from_utf8(piece.get(..length)?).ok()?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
    lines.next()?.trim_end().parse().ok()
}

/// Makes the readings of a container into what each of its runs used.
#[derive(Debug, Default)]
pub struct Meter {
    /// Processor time that was told before, nanoseconds.
    told: AtomicU64,
    /// Kills that were told before.
    kills: AtomicU64,
}

impl Meter {
    /// The first activation begins: what was used so far is nobody's.
    pub fn begin(&self, reading: &Reading) {
        self.told.store(reading.cpu_time.map_or(0, nanos), Ordering::Relaxed);
    }

    /// True if a process was ended for want of memory since that was last told.
    #[must_use]
    pub fn has_kills(&self, reading: &Reading) -> bool {
        reading.kills.is_some_and(|kills| kills > self.kills.load(Ordering::Relaxed))
    }

    /// What an activation used that ends now: all processor time since the one before, which it shares with none if it
    /// is `alone`. A kill is told once, unless the container goes down with it: then to all that are in it.
    #[must_use]
    pub fn used(&self, reading: &Reading, alone: bool, lives: bool) -> ResourceUse {
        let cpu_time = reading.cpu_time.filter(|_| alone).map(|time| {
            let before = self.told.swap(nanos(time), Ordering::Relaxed);
            time.saturating_sub(Duration::from_nanos(before))
        });
        let out_of_memory = match reading.kills {
            Some(kills) if lives => self.kills.fetch_max(kills, Ordering::Relaxed) < kills,
            _ => self.has_kills(reading),
        };
        ResourceUse { peak_memory: reading.peak_memory, cpu_time, out_of_memory }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn reading(mb: u64, ms: u64, kills: u64) -> Reading {
        Reading {
            peak_memory: Some(ByteSize::mb(mb)),
            cpu_time: Some(Duration::from_millis(ms)),
            kills: Some(kills),
        }
    }

    fn millis(used: &ResourceUse) -> Option<u128> {
        used.cpu_time.map(|time| time.as_millis())
    }

    #[test]
    fn both_versions_count_alike() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("memory.max_usage_in_bytes", "104857600\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        write("cpuacct.usage", "300000000\n");
        write("memory.peak", "104857600\n");
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 1\n");
        write("cpu.stat", "usage_usec 300000\nuser_usec 1\n");
        for tree in [Tree::V1(folder.path().to_owned()), Tree::V2(folder.path().to_owned())] {
            let gauges = Gauges::new(Some(tree.clone()), Some(tree.clone()));
            let of = |limit| gauges.read(ByteSize::mb(limit));
            assert_eq!(of(100), reading(100, 300, 2), "{tree:?}");
            assert_eq!(of(101), reading(100, 300, 2), "{tree:?}: charges come in pieces");
            assert_eq!(of(102), reading(100, 300, 0), "{tree:?}: nothing can have been killed");
        }
    }

    #[test]
    fn what_is_not_there_is_not_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cpu.stat"), "nonsense\n").unwrap();
        let tree = || Some(Tree::V2(folder.path().to_owned()));
        assert_eq!(Gauges::new(tree(), tree()).read(ByteSize::mb(1)), Reading::default());
        assert_eq!(Gauges::new(None, None).read(ByteSize::mb(1)), Reading::default());
        let used = Meter::default().used(&Reading::default(), true, true);
        assert_eq!(used, ResourceUse::default());
    }

    #[test]
    fn time_is_told_once_and_not_before_the_first_activation() {
        let meter = Meter::default();
        meter.begin(&reading(1, 40, 0));
        assert_eq!(millis(&meter.used(&reading(1, 100, 0), true, true)), Some(60));
        assert_eq!(millis(&meter.used(&reading(1, 103, 0), true, true)), Some(3));
        assert_eq!(millis(&meter.used(&reading(1, 110, 0), false, true)), None, "it was not alone");
        assert_eq!(millis(&meter.used(&reading(1, 90, 0), true, true)), Some(0), "never below nothing");
    }

    #[test]
    fn a_kill_that_the_container_survives_is_told_once() {
        let meter = Meter::default();
        let told = |kills, lives| meter.used(&reading(1, 0, kills), true, lives).out_of_memory;
        assert!(!told(0, true));
        assert!(told(1, true));
        assert!(!told(1, true));
        assert!(!told(1, false), "it ended for another reason");
        assert!(meter.has_kills(&reading(1, 0, 2)));
        assert!(told(2, false));
        assert!(told(2, false), "everybody who was in it");
    }
}

//! The walls around a function, by name.
//!
//! Every wall stands: [`stand`] is a constant, and nothing here is more than a name at the place where one is. Only a
//! binary that was built with the feature `open-walls` can be told to leave single walls open, for the tests that show
//! what each of them stops. Such a binary says so, and is for nothing else.

/// Environment variable with the names of walls that shall be open, separated by commas.
#[cfg(feature = "open-walls")]
const VARIABLE: &str = "CHASEN_OPEN_WALLS";

/// One wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// The list of system calls that a cell may make.
    CallFilter,
    /// No capability is left in a cell.
    NoCapabilities,
    /// Programs gain no rights by being executed.
    NoNewPrivileges,
    /// A cell's user is nobody on the host, and another one in each cell.
    UserNamespace,
    /// A cell sees its own processes, and they end with its first one.
    PidNamespace,
    /// Shared memory, semaphores and queues are the cell's own.
    IpcNamespace,
    /// Addresses, ports and abstract sockets are the cell's own.
    NetworkNamespace,
    /// Nothing of the host's files can be named in a cell.
    HiddenHost,
    /// What cells share of a file system cannot be written.
    ReadOnlyRoot,
    /// Neither set-user-id programs nor devices work on what a cell sees.
    HarmlessMounts,
    /// `/tmp` and `/dev/shm` are the cell's own.
    PrivateScratch,
    /// What a cell changes of its code stays in the cell.
    PrivateCode,
    /// Bytes and files of what a cell can write are bounded.
    ScratchLimit,
    /// Processes and threads are bounded.
    ProcessLimit,
    /// Memory is bounded, scratch folders and what the kernel holds for the cell included.
    MemoryLimit,
    /// A cell has one share of the processors, however many threads it has.
    ProcessorShare,
    /// Open files of a process are bounded.
    FileLimit,
    /// Crashes leave nothing behind, neither a file nor a call of a handler on the host.
    NoCoreDumps,
    /// What runs while nobody has called is stopped.
    Freezing,
    /// Whatever shall end is ended by force, and all of it.
    ForcedEnd,
    /// The node's rules for packets.
    PacketFilter,
    /// The log of an activation is bounded.
    LogLimit,
    /// Entries and links of archives stay below the folder that they are unpacked to.
    ArchiveNames,
    /// A reply counts for the activation that it names, once, while that is under way in this very container.
    ReplyOwner,
}

impl Wall {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::CallFilter,
        Self::NoCapabilities,
        Self::NoNewPrivileges,
        Self::UserNamespace,
        Self::PidNamespace,
        Self::IpcNamespace,
        Self::NetworkNamespace,
        Self::HiddenHost,
        Self::ReadOnlyRoot,
        Self::HarmlessMounts,
        Self::PrivateScratch,
        Self::PrivateCode,
        Self::ScratchLimit,
        Self::ProcessLimit,
        Self::MemoryLimit,
        Self::ProcessorShare,
        Self::FileLimit,
        Self::NoCoreDumps,
        Self::Freezing,
        Self::ForcedEnd,
        Self::PacketFilter,
        Self::LogLimit,
        Self::ArchiveNames,
        Self::ReplyOwner,
    ];

    /// Its name, as documents and tests have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallFilter => "call-filter",
            Self::NoCapabilities => "no-capabilities",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::UserNamespace => "user-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::HiddenHost => "hidden-host",
            Self::ReadOnlyRoot => "read-only-root",
            Self::HarmlessMounts => "harmless-mounts",
            Self::PrivateScratch => "private-scratch",
            Self::PrivateCode => "private-code",
            Self::ScratchLimit => "scratch-limit",
            Self::ProcessLimit => "process-limit",
            Self::MemoryLimit => "memory-limit",
            Self::ProcessorShare => "processor-share",
            Self::FileLimit => "file-limit",
            Self::NoCoreDumps => "no-core-dumps",
            Self::Freezing => "freezing",
            Self::ForcedEnd => "forced-end",
            Self::PacketFilter => "packet-filter",
            Self::LogLimit => "log-limit",
            Self::ArchiveNames => "archive-names",
            Self::ReplyOwner => "reply-owner",
        }
    }
}

/// Whether this wall stands.
#[cfg(not(feature = "open-walls"))]
#[must_use]
pub const fn stand(_: Wall) -> bool {
    true
}

/// Whether this wall stands in this life of a binary that is made for tests.
#[cfg(feature = "open-walls")]
#[must_use]
pub fn stand(wall: Wall) -> bool {
    use std::sync::OnceLock;
    static OPEN: OnceLock<Vec<Wall>> = OnceLock::new();
    // A name that is none has ended the program before: see `open`.
    !OPEN.get_or_init(|| open().unwrap_or_default()).contains(&wall)
}

/// The walls that the environment wants open.
///
/// # Errors
/// A name that is none.
#[cfg(feature = "open-walls")]
pub fn open() -> Result<Vec<Wall>, String> {
    let names = std::env::var(VARIABLE).unwrap_or_default();
    parse(&names)
}

/// The environment variable by which another process of the node learns of them; none without open walls.
#[cfg(feature = "open-walls")]
#[must_use]
pub fn variable() -> Option<(&'static str, String)> {
    std::env::var(VARIABLE).ok().map(|names| (VARIABLE, names))
}

#[cfg(feature = "open-walls")]
fn parse(names: &str) -> Result<Vec<Wall>, String> {
    let named = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    named
        .map(|name| {
            Wall::ALL.into_iter().find(|wall| wall.name() == name).ok_or_else(|| {
                let all = Wall::ALL.map(Wall::name).join(", ");
                format!("{VARIABLE}: there is no wall named {name:?}; there are {all}")
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wall_has_a_name_of_its_own() {
        let mut names = Wall::ALL.map(Wall::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Wall::ALL.len());
    }

    #[cfg(not(feature = "open-walls"))]
    #[test]
    fn every_wall_stands() {
        assert!(Wall::ALL.into_iter().all(stand));
    }

    #[cfg(feature = "open-walls")]
    #[test]
    fn names_that_are_none_are_refused() {
        assert_eq!(parse(" call-filter,,freezing"), Ok(vec![Wall::CallFilter, Wall::Freezing]));
        assert!(parse("call-filter,roof").is_err_and(|error| error.contains("\"roof\"")));
    }
}

//! Names of a node's objects in the kernel: all follow from the node's identity, so that a later
//! life of the node finds what an earlier one left behind, other nodes know whose it is, and nothing else is touched.

/// How the names of packet filter tables begin.
const TABLE: &str = "chasen_";

/// Identity of a node in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    key: u32,
}

impl Names {
    pub(super) fn of(node_id: &str) -> Self {
        // FNV-1a: short, and the same in every version of the program.
        let key = node_id
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        // Group zero is that of every other interface.
        Self { key: key.max(1) }
    }

    pub(super) fn key(self) -> u32 {
        self.key
    }

    /// Group of the node's interfaces: by it rules match them and clean-up removes them.
    pub(super) fn group(self) -> u32 {
        self.key
    }

    /// The packet filter table of a life of the node that holds the block of this number.
    pub(super) fn table(self, block: u32) -> String {
        format!("{}{:08x}_{block}", TABLE, self.key)
    }

    /// True for the table of any life of the node.
    pub(super) fn is_table(self, name: &str) -> bool {
        name.strip_prefix(TABLE).is_some_and(|rest| rest.starts_with(&format!("{:08x}_", self.key)))
    }

    /// The node whose table this is, if it is one's.
    pub(super) fn of_table(name: &str) -> Option<Self> {
        let key = name.strip_prefix(TABLE)?.split('_').next()?;
        let key = (key.len() == 8).then(|| u32::from_str_radix(key, 16).ok()).flatten()?;
        Some(Self { key }).filter(|names| names.is_table(name))
    }

    /// The number of the block that the table of some node is about.
    pub(super) fn block_of_table(name: &str) -> Option<u32> {
        name.strip_prefix(TABLE)?.split_once('_')?.1.parse().ok()
    }

    /// File that a living node holds.
    pub(super) fn lock(self) -> String {
        format!("node-{:08x}.lock", self.key)
    }

    /// Interface that holds the door's address.
    pub(super) fn door(self) -> String {
        format!("ch{:08x}door", self.key)
    }

    /// Node's end of the pair of sandbox number `slot`.
    pub(super) fn pair(self, slot: u16) -> String {
        format!("ch{:08x}{slot:04x}", self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ() {
        let names = Names::of("a node");
        assert_eq!(names, Names::of("a node"));
        assert_ne!(names, Names::of("another node"));
        for name in [names.door(), names.pair(u16::MAX)] {
            assert!(name.len() <= 15, "{name}");
        }
        assert_ne!(names.pair(1), names.pair(2));
        let table = names.table(1023);
        assert!(names.is_table(&table) && !Names::of("another node").is_table(&table));
        assert_eq!(Names::block_of_table(&table), Some(1023));
        assert_eq!(Names::of_table(&table), Some(names));
        for strange in ["filter", "chasen_", "chasen_0af306eb", "chasen_0af306eb_x"] {
            assert_eq!(Names::block_of_table(strange), None, "{strange}");
        }
        for strange in ["filter", "chasen_", "chasen_7", "chasen_+af306eb_1", "chasen_0af306eb1_1"] {
            assert_eq!(Names::of_table(strange), None, "{strange}");
        }
        assert_ne!(Names { key: 0 }.key, Names::of("").group());
    }
}

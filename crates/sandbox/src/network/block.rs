//! The block of addresses that a node holds, and which of them are free.
//!
//! 100.64.0.0/10 is cut into 1024 blocks of 4096 addresses. A node holds one by an advisory lock
//! on a file of the run folder; the kernel frees it when the node dies, however it dies.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::path::Path;

use chasen_entity::Subnet;

use super::error::NetworkError;
use super::lock::{self, Held};

/// Addresses set aside for sharing between customers of a network: nobody's public ones.
pub(super) const RANGE: Subnet = Subnet::of(Ipv4Addr::new(100, 64, 0, 0), 10);
const PREFIX: u8 = 20;
const BLOCKS: u32 = 1 << 10;
const BLOCK_ADDRESSES: u32 = 1 << 12;
/// Sandboxes start behind the network's own address and the door; the broadcast address ends it.
const FIRST_SLOT: u16 = 2;
const LAST_SLOT: u16 = 4094;
/// How many addresses a block has for sandboxes.
pub(super) const SLOTS: usize = 4093;

/// A block of addresses, held as long as this value lives.
#[derive(Debug)]
pub(super) struct Block {
    index: u32,
    _lock: Held,
}

impl Block {
    /// Takes the first free block at or after the one that `key` points to, so that a node tends
    /// to get the same one again. Blocks that a `used` network overlaps are passed over.
    pub(super) fn claim(run_dir: &Path, key: u32, used: &[Subnet]) -> Result<Self, NetworkError> {
        for index in (0..BLOCKS).map(|step| key.wrapping_add(step) % BLOCKS) {
            let wanted = subnet(index);
            if used.iter().any(|network| network.overlaps(wanted)) {
                continue;
            }
            if let Some(lock) = lock::hold(run_dir, &format!("network-{index}.lock"))? {
                return Ok(Self { index, _lock: lock });
            }
        }
        Err(NetworkError::NoBlock)
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn subnet(&self) -> Subnet {
        subnet(self.index)
    }

    /// Where the node answers its sandboxes.
    pub(super) fn door(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Address of sandbox number `slot`.
    pub(super) fn address(&self, slot: u16) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet().first().to_bits() | u32::from(slot))
    }
}

/// The addresses of block number `index`.
pub(super) fn subnet(index: u32) -> Subnet {
    Subnet::of(Ipv4Addr::from_bits(RANGE.first().to_bits() + (index % BLOCKS) * BLOCK_ADDRESSES), PREFIX)
}

/// The slots of a block that no sandbox has. A freed one goes to the end of the line: an address
/// rests as long as possible before somebody else gets it.
#[derive(Debug)]
pub(super) struct Slots {
    fresh: u16,
    freed: VecDeque<u16>,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { fresh: FIRST_SLOT, freed: VecDeque::new() }
    }

    pub(super) fn take(&mut self) -> Option<u16> {
        if self.fresh <= LAST_SLOT {
            self.fresh += 1;
            return Some(self.fresh - 1);
        }
        self.freed.pop_front()
    }

    pub(super) fn free(&mut self, slot: u16) {
        self.freed.push_back(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_differ_and_a_dropped_one_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = folder.path().join("run");
        let first = Block::claim(&run_dir, 7, &[]).unwrap();
        let second = Block::claim(&run_dir, 7, &[]).unwrap();
        assert_eq!((first.index, second.index), (7, 8));
        assert!(!first.subnet().overlaps(second.subnet()));
        drop(first);
        assert_eq!(Block::claim(&run_dir, 7, &[]).unwrap().index, 7);
    }

    #[test]
    fn used_networks_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let used = "100.64.0.9/32".parse().unwrap();
        assert_eq!(Block::claim(folder.path(), 0, &[used]).unwrap().index, 1);
        let all = "100.64.0.0/10".parse().unwrap();
        assert!(matches!(Block::claim(folder.path(), 0, &[all]), Err(NetworkError::NoBlock)));
    }

    #[test]
    fn addresses_stay_within_the_block() {
        let folder = tempfile::tempdir().unwrap();
        let block = Block::claim(folder.path(), BLOCKS - 1, &[]).unwrap();
        assert_eq!(block.subnet().to_string(), "100.127.240.0/20");
        assert_eq!(block.door(), Ipv4Addr::new(100, 127, 240, 1));
        assert_eq!(block.address(LAST_SLOT), Ipv4Addr::new(100, 127, 255, 254));
    }

    #[test]
    fn a_freed_slot_rests_longest() {
        let mut slots = Slots::new();
        let all: Vec<_> = std::iter::from_fn(|| slots.take()).collect();
        assert_eq!(all.len(), SLOTS);
        assert_eq!((all[0], all[SLOTS - 1]), (FIRST_SLOT, LAST_SLOT));
        slots.free(9);
        slots.free(5);
        assert_eq!((slots.take(), slots.take(), slots.take()), (Some(9), Some(5), None));
    }
}

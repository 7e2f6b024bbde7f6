//! Placement as OpenWhisk's sharding balancer has it: a home by hash, steps that visit every node, and chance when all
//! are full. For comparison.

use chasen_spi::{Choice, Need, NoNode, NodeView, Placement};

use super::candidates;

/// Each action has a home node and a step; whoever finds no room at home goes on by steps, and where no node has room,
/// waits at one at random. Room is the memory that nothing runs in: idle containers are evicted for it on the node.
#[derive(Debug, Clone, Copy)]
pub struct Sharding {
    /// Share of the nodes, from the first on, that actions of the platform's kinds go to. OpenWhisk: 0.9.
    pub managed: f64,
    /// Share of the nodes, from the last on, that actions with images go to. OpenWhisk: 0.1.
    pub blackbox: f64,
}

impl Default for Sharding {
    fn default() -> Self {
        Self { managed: 0.9, blackbox: 0.1 }
    }
}

impl Placement for Sharding {
    fn place(&self, need: &Need, nodes: &[NodeView], dice: u64) -> Result<Choice, NoNode> {
        let able = candidates(need, nodes)?;
        let pool = self.pool(need.image.is_some(), &able);
        let hash = hash(need.namespace.as_str(), &need.action);
        let steps = steps(pool.len());
        let pick = |of: usize| usize::try_from(hash).ok().and_then(|hash| hash.checked_rem(of)).unwrap_or(0);
        let (mut at, step) = (pick(pool.len()), steps.get(pick(steps.len())).copied().unwrap_or(1));
        // Two probes more than there are nodes, as upstream; the first ones repeat.
        for _ in 0..pool.len() + 2 {
            let Some(place) = pool.get(at).copied() else { break };
            let room =
                nodes.get(place).map_or(0, |node| node.free.as_bytes().saturating_add(node.idle.as_bytes()));
            if room >= need.memory.as_bytes() {
                return Ok(waits_at(place));
            }
            at = (at + step) % pool.len();
        }
        let count = u64::try_from(pool.len()).unwrap_or(u64::MAX).max(1);
        let chance = usize::try_from(dice % count).unwrap_or(0);
        pool.get(chance).copied().map(waits_at).ok_or(NoNode::NotAvailable)
    }
}

impl Sharding {
    /// The part of the nodes for such actions; where there are few, the parts overlap.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a number of nodes"
    )]
    fn pool<'a>(&self, is_blackbox: bool, nodes: &'a [usize]) -> &'a [usize] {
        let managed = self.managed.clamp(0.0, 1.0);
        let blackbox = (1.0 - managed).max(self.blackbox.min(1.0));
        let of = |share: f64| nodes.len() as f64 * share;
        let count = match is_blackbox {
            false => (of(managed).ceil() as usize).max(1),
            // A tenth of ten is one, whatever the binary digits of a tenth say.
            true => ((of(blackbox) + 1e-9).floor() as usize).max(1),
        };
        let count = count.min(nodes.len());
        let part = match is_blackbox {
            false => nodes.get(..count),
            true => nodes.get(nodes.len() - count..),
        };
        part.unwrap_or(nodes)
    }
}

fn waits_at(place: usize) -> Choice {
    Choice { ask: Vec::new(), wait_at: place, others: Vec::new() }
}

/// Java's hash of both texts, combined; never negative.
pub(super) fn hash(namespace: &str, action: &str) -> u32 {
    let of = |text: &str| {
        text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()))
    };
    (of(namespace) ^ of(action)).unsigned_abs()
}

/// Numbers up to `count` that are coprime to it and to one another: by any of them, every node is visited.
pub(super) fn steps(count: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = Vec::new();
    for step in 1..=count {
        if gcd(step, count) == 1 && steps.iter().all(|other| gcd(step, *other) == 1) {
            steps.push(step);
        }
    }
    steps
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

//! The better one of two nodes at random: nearly as even as asking all of them, and no herd runs to the best one.

use chasen_spi::{Choice, Need, NoNode, NodeView, Placement};

use super::candidates;

/// Most nodes that are asked for room that they have at once.
const MOST_ASKED: usize = 3;

/// Pressure on processors from which a node is taken only where none is better, in percent.
const PRESSED: f64 = 60.0;

/// The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct TwoChoices;

impl Placement for TwoChoices {
    /// Draws two of those that are left, takes the better one, and so on.
    fn place(&self, need: &Need, nodes: &[NodeView], dice: u64) -> Result<Choice, NoNode> {
        let mut left = candidates(need, nodes)?;
        let mut dice = Dice(dice);
        let rank = |at: usize| nodes.get(at).map(|node| Rank::of(need, node));
        let mut order = Vec::with_capacity(left.len());
        while let Some(first) = dice.draw(left.len()) {
            let second = dice.draw(left.len()).unwrap_or(first);
            let best = [first, second].into_iter().filter_map(|one| Some((rank(*left.get(one)?)?, one)));
            let Some((_, chosen)) = best.reduce(|a, b| if b.0.is_better_than(&a.0) { b } else { a }) else {
                break;
            };
            order.push(left.swap_remove(chosen));
        }
        let has_room =
            |at: &usize| nodes.get(*at).is_some_and(|node| node.waiting == 0 && Rank::of(need, node).fits);
        let ask: Vec<usize> = order.iter().copied().filter(has_room).take(MOST_ASKED).collect();
        // Whoever has to wait does so where the most can be had by it, idle containers included.
        let wait_at = order.iter().copied().take(2).max_by_key(|at| {
            nodes
                .get(*at)
                .map(|node| (std::cmp::Reverse(node.waiting), node.free.as_bytes() + node.idle.as_bytes()))
        });
        let wait_at = wait_at.ok_or(NoNode::NotAvailable)?;
        let others = order.into_iter().filter(|at| *at != wait_at).collect();
        Ok(Choice { ask, wait_at, others })
    }
}

/// What makes a node the better one, the first difference that counts first.
struct Rank {
    fits: bool,
    is_calm: bool,
    has_stem: bool,
    has_image: bool,
    /// Share of its memory that is free after the grant.
    free: f64,
}

impl Rank {
    fn of(need: &Need, node: &NodeView) -> Self {
        let after = node.free.as_bytes().saturating_sub(need.memory.as_bytes());
        let stem = need.image.is_none() && node.stems.contains(&(need.kind.clone(), need.memory));
        Self {
            fits: stem || node.free >= need.memory,
            is_calm: node.cpu_pressure < PRESSED,
            has_stem: stem,
            has_image: need.image.as_ref().is_some_and(|image| node.images.contains(image)),
            free: share(after, node.memory.as_bytes()),
        }
    }

    fn is_better_than(&self, other: &Self) -> bool {
        let key = |rank: &Self| (rank.fits, rank.is_calm, rank.has_stem || rank.has_image);
        key(self).cmp(&key(other)).then(self.free.total_cmp(&other.free)).is_gt()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Numbers at random that follow from the first one.
struct Dice(u64);

impl Dice {
    /// One of so many.
    fn draw(&mut self, of: usize) -> Option<usize> {
        // SplitMix64: every bit of the result depends on every bit of the state.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let of = u64::try_from(of).ok().filter(|of| *of > 0)?;
        usize::try_from((mixed ^ (mixed >> 31)) % of).ok()
    }
}

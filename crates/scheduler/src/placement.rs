//! The policies of placement that the platform brings, and what they have in common: who may run an action at all.

mod sharding;
#[cfg(test)]
mod tests;
mod two_choices;

use chasen_spi::{Need, NoNode, NodeView};

pub use sharding::Sharding;
pub use two_choices::TwoChoices;

/// Positions of the nodes that may run this.
///
/// A node is passed over if it is down, works for other namespaces, does not run the kind, or is smaller than the
/// container. With labels, only nodes that have them all count; where none has and they are not asked for strictly,
/// nodes without labels do, then the rest. Without labels, nodes that have none go before those that have some.
fn candidates(need: &Need, nodes: &[NodeView]) -> Result<Vec<usize>, NoNode> {
    let able = || nodes.iter().enumerate().filter(|(_, node)| node.may_run(need));
    if able().next().is_none() {
        return Err(NoNode::NotAvailable);
    }
    let asks = !need.labels.is_empty();
    let classes: [&dyn Fn(&NodeView) -> bool; 3] = [
        &|node| asks && node.has_labels(need),
        &|node| node.labels.is_empty() && !(asks && need.strict),
        &|node| !(node.labels.is_empty() || asks && need.strict),
    ];
    let mut is_known = false;
    for belongs in classes {
        let class: Vec<_> = able().filter(|(_, node)| belongs(node)).collect();
        is_known |= !class.is_empty();
        let large: Vec<_> =
            class.iter().filter(|(_, node)| node.memory >= need.memory).map(|(at, _)| *at).collect();
        if !large.is_empty() {
            return Ok(large);
        }
    }
    Err(if is_known { NoNode::TooSmall } else { NoNode::NoLabels(need.labels.clone()) })
}

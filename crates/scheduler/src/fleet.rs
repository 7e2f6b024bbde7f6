//! Several nodes as one invoker: placement says whom to ask, and whoever reserves memory first makes the container.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{Outcome, Response, error_text};
use chasen_spi::{
    Choice, FleetNode, Invoker, Need, NoNode, Patience, Reservation, ReserveFailure, StartFailure,
    StartRequest, StartedContainer,
};

use crate::policy::Policies;

/// See the module. A node by itself is a fleet of one.
pub struct Fleet {
    nodes: Vec<Arc<dyn FleetNode>>,
    policies: Arc<Policies>,
    /// Where the numbers at random come from.
    dice: AtomicU64,
}

type Reserved = Result<Box<dyn Reservation>, StartFailure>;

impl Fleet {
    /// A fleet of these nodes. Placement is that of the policy which an invocation is scheduled by; `seed` is where its
    /// chance comes from.
    #[must_use]
    pub fn new(nodes: Vec<Arc<dyn FleetNode>>, policies: Arc<Policies>, seed: u64) -> Self {
        Self { nodes, policies, dice: AtomicU64::new(seed) }
    }

    /// Memory for the container on one of the nodes.
    async fn reserve(&self, request: &StartRequest) -> Reserved {
        loop {
            let choice = self.place(request).map_err(|why| nowhere(&why))?;
            for at in choice.ask {
                match self.ask(at, request, Patience::None).await {
                    Some(Err(ReserveFailure::NoRoom)) | None => {}
                    Some(Err(ReserveFailure::Failed(StartFailure::Draining))) => {}
                    Some(Err(ReserveFailure::Failed(failure))) => return Err(failure),
                    Some(Ok(reservation)) => return Ok(reservation),
                }
            }
            match self.wait(request, choice.wait_at, &choice.others).await {
                // Others may take what a node that goes away leaves.
                Err(StartFailure::Draining) if self.is_somewhere_up() => tokio::task::yield_now().await,
                result => return result,
            }
        }
    }

    fn place(&self, request: &StartRequest) -> Result<Choice, NoNode> {
        let need = Need::of(&request.key.namespace, &request.action);
        let views: Vec<_> = self.nodes.iter().map(|node| node.view()).collect();
        let dice = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let placement = &self.policies.of(&request.first).placement;
        let mut choice = placement.place(&need, &views, dice)?;
        if self.nodes.len() == 1 {
            // There is nobody else to ask.
            choice.ask.clear();
        }
        Ok(choice)
    }

    async fn ask(
        &self,
        at: usize,
        request: &StartRequest,
        patience: Patience,
    ) -> Option<Result<Box<dyn Reservation>, ReserveFailure>> {
        Some(self.nodes.get(at)?.reserve(request, patience).await)
    }

    /// Waits at one node; the others are asked when they have room that nobody waits for.
    async fn wait(&self, request: &StartRequest, wait_at: usize, others: &[usize]) -> Reserved {
        let here = async {
            match self.ask(wait_at, request, Patience::Waits).await {
                Some(Ok(reservation)) => Ok(reservation),
                Some(Err(ReserveFailure::Failed(failure))) => Err(failure),
                Some(Err(ReserveFailure::NoRoom)) | None => Err(StartFailure::Draining),
            }
        };
        let elsewhere = self.elsewhere(request, others);
        tokio::select! {
            biased;
            result = here => result,
            reservation = elsewhere => Ok(reservation),
        }
    }

    /// A reservation on whichever of these nodes has room first.
    async fn elsewhere(&self, request: &StartRequest, others: &[usize]) -> Box<dyn Reservation> {
        let tries = others.iter().filter_map(|at| self.nodes.get(*at)).map(|node| {
            let take = async move {
                loop {
                    node.has_room().await;
                    if let Ok(reservation) = node.reserve(request, Patience::None).await {
                        return reservation;
                    }
                }
            };
            Box::pin(take)
        });
        first(tries.collect()).await
    }

    fn is_somewhere_up(&self) -> bool {
        self.nodes.iter().any(|node| node.view().state == chasen_spi::InvokerState::Up)
    }
}

/// What the first of these futures resolves to; never, if there are none.
async fn first<T, F: Future<Output = T>>(mut futures: Vec<Pin<Box<F>>>) -> T {
    poll_fn(|context| {
        let ready = futures.iter_mut().map(|future| future.as_mut().poll(context)).find(Poll::is_ready);
        ready.unwrap_or(Poll::Pending)
    })
    .await
}

/// No node will ever take it: what its activations end with, at once.
fn nowhere(why: &NoNode) -> StartFailure {
    let text = match why {
        NoNode::NotAvailable => error_text::NO_INVOKER.to_owned(),
        NoNode::NoLabels(labels) => error_text::no_invoker_with(labels),
        NoNode::TooSmall => error_text::NO_INVOKER_LARGE_ENOUGH.to_owned(),
    };
    StartFailure::Provision { response: Response::error(Outcome::WhiskError, &text), reason: text }
}

#[async_trait]
impl Invoker for Fleet {
    async fn start(&self, request: StartRequest) -> Result<StartedContainer, StartFailure> {
        self.reserve(&request).await?.make().await
    }

    /// The most hopeful one: work goes where it starts soonest.
    fn cold_start_estimate(&self, kind: &str) -> Duration {
        self.nodes.iter().map(|node| node.cold_start_estimate(kind)).min().unwrap_or_default()
    }

    async fn close(&self) {
        let mut closing = tokio::task::JoinSet::new();
        for node in &self.nodes {
            let node = Arc::clone(node);
            closing.spawn(async move { node.close().await });
        }
        closing.join_all().await;
    }
}

//! Several nodes as one invoker: placement says whom to ask, and whoever reserves memory first makes the container.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{Outcome, Response, error_text};
use chasen_spi::{
    BoxFuture, Choice, FleetNode, Invoker, InvokerState, Need, NoNode, Patience, Reservation, ReserveFailure,
    StartFailure, StartRequest, StartedContainer,
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
            // Before the nodes are looked at: what changes from here on is not missed.
            let mut rooms: Vec<_> = self.nodes.iter().map(|node| Some(node.room())).collect();
            let choice = match self.place(request) {
                Ok(choice) => choice,
                Err(why) => return Err(nowhere(&why)),
            };
            for at in choice.ask {
                match self.ask(at, request, Patience::None).await {
                    Ok(reservation) => return Ok(reservation),
                    Err(ReserveFailure::NoRoom | ReserveFailure::Failed(StartFailure::Draining)) => {}
                    Err(ReserveFailure::Failed(failure)) => return Err(failure),
                }
            }
            let others = choice.others.iter().filter_map(|at| Some((*at, rooms.get_mut(*at)?.take()?)));
            match self.wait(request, choice.wait_at, others.collect()).await {
                // Others may take what a node that goes away leaves.
                Err(StartFailure::Draining) if self.is_somewhere_up() => tokio::task::yield_now().await,
                result => return result,
            }
        }
    }

    fn place(&self, request: &StartRequest) -> Result<Choice, NoNode> {
        let need = Need::of(&request.key.namespace, &request.action);
        let views: Vec<_> = self.nodes.iter().map(|node| node.view()).collect();
        if let [only] = views.as_slice()
            && (only.state != InvokerState::Up || !only.kinds.contains(&need.kind))
        {
            // It says itself best why it cannot.
            return Ok(Choice { ask: Vec::new(), wait_at: 0, others: Vec::new() });
        }
        let dice = self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut choice = self.policies.of(&request.first).placement.place(&need, &views, dice)?;
        if views.len() == 1 {
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
    ) -> Result<Box<dyn Reservation>, ReserveFailure> {
        match self.nodes.get(at) {
            Some(node) => node.reserve(request, patience).await,
            None => Err(ReserveFailure::NoRoom),
        }
    }

    /// Waits at one node; the others are asked when they have room that nobody waits for.
    async fn wait(
        &self,
        request: &StartRequest,
        wait_at: usize,
        others: Vec<(usize, BoxFuture<()>)>,
    ) -> Reserved {
        let here = async {
            self.ask(wait_at, request, Patience::Waits).await.map_err(|failure| match failure {
                ReserveFailure::Failed(failure) => failure,
                ReserveFailure::NoRoom => StartFailure::Draining,
            })
        };
        let elsewhere = others.into_iter().map(|(at, room)| Box::pin(self.take_room(request, at, room)));
        tokio::select! {
            biased;
            result = here => result,
            reservation = first(elsewhere.collect()) => Ok(reservation),
        }
    }

    /// A reservation on this node, at the first time when there is room.
    async fn take_room(
        &self,
        request: &StartRequest,
        at: usize,
        mut room: BoxFuture<()>,
    ) -> Box<dyn Reservation> {
        loop {
            room.await;
            room =
                self.nodes.get(at).map_or_else(|| Box::pin(std::future::pending()) as _, |node| node.room());
            if let Ok(reservation) = self.ask(at, request, Patience::None).await {
                return reservation;
            }
        }
    }

    fn is_somewhere_up(&self) -> bool {
        self.nodes.iter().any(|node| node.view().state == InvokerState::Up)
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

//! What becomes of work of the controller's own that an earlier life of the node accepted and did not finish.

use std::sync::Arc;

use chasen_entity::Role;
use chasen_spi::event_log::Unfinished;
use chasen_telemetry::task;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::{fire, resume};
use crate::controller::Controller;

/// Pieces of work that are taken up at the same time.
const AT_ONCE: usize = 64;

impl Controller {
    /// Takes up unfinished work that is not an action's, in the background and a bounded number at a time: what never
    /// began is done, what did ends as interrupted. Asked once, at start.
    pub fn recover(self: &Arc<Self>, unfinished: Vec<Unfinished>) {
        if unfinished.is_empty() {
            return;
        }
        tracing::info!(total = unfinished.len(), "unfinished work of an earlier life");
        let controller = self.clone();
        let work = async move {
            let (interrupted, rest): (Vec<_>, Vec<_>) =
                unfinished.into_iter().partition(resume::is_interrupted);
            // The newest first: what lies in others has its record before them.
            for work in interrupted.into_iter().rev() {
                take_up(&controller, work).await;
            }
            let mut under_way = FuturesUnordered::new();
            for work in rest {
                if under_way.len() >= AT_ONCE {
                    under_way.next().await;
                }
                under_way.push(take_up(&controller, work));
            }
            while under_way.next().await.is_some() {}
        };
        drop(task::spawn("recovery of the controller's work", work));
    }
}

async fn take_up(controller: &Arc<Controller>, work: Unfinished) {
    let activation = work.invocation.activation_id;
    let session = match controller.invoke.reopen(work.invocation.clone()) {
        Ok(session) => session,
        // While the node drains, it stays in the log for the next start.
        Err(rejection) => {
            tracing::warn!(%activation, %rejection, "work stays unfinished");
            return;
        }
    };
    match work.invocation.role {
        Role::Fire { .. } => fire::resume(controller, session, work).await,
        Role::Sequence | Role::Composition => resume::resume(controller, session, work).await,
        // Actions are the scheduler's. The dropped session records that nobody did anything.
        Role::Action => drop(session),
    }
}

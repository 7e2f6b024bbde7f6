//! What becomes of work that an earlier life of the node accepted and did not finish.

use std::sync::Arc;

use chasen_entity::Invocation;
use chasen_entity::invocation::Delivery;
use chasen_spi::Rejection;
use chasen_spi::event_log::Unfinished;
use chasen_telemetry::{clock, task};
use tokio::sync::Semaphore;

use crate::Scheduler;
use crate::queue::Turn;
use crate::record::Ending;
use crate::run::{Place, Run};

/// Tries of work that is delivered at least once; a node that goes down each time must not do so forever.
const MAX_ATTEMPTS: u32 = 10;

/// What to do with one piece of work.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Run it as this try.
    Run(u32),
    /// Its end is not known and it must not run again.
    Interrupted,
}

fn fate(work: &Unfinished) -> Fate {
    match (work.started, work.invocation.delivery) {
        _ if work.invocation.cause.is_some() => Fate::Interrupted,
        (None, _) => Fate::Run(work.invocation.attempt),
        (Some(attempt), Delivery::AtLeastOnce) if attempt < MAX_ATTEMPTS => Fate::Run(attempt + 1),
        (Some(_), _) => Fate::Interrupted,
    }
}

impl Scheduler {
    /// Takes up what the event log knows to be unfinished, in the background and a bounded number at a time:
    /// what never started runs; what did ends in a whisk error, unless it is delivered at least once. Steps of other
    /// work end in a whisk error in any case: what they were steps of is over, or begins again with steps of its own.
    ///
    /// Work of other roles than [`Role::Action`](chasen_entity::Role) is whoever's who opens such work, and given
    /// back: each is to be taken up with [`Invoke::reopen`](chasen_spi::Invoke::reopen), and done if it has neither
    /// started nor a cause; else ended as interrupted, which dropping its session does.
    #[must_use = "what is given back is unfinished still"]
    pub fn recover(&self, unfinished: Vec<Unfinished>) -> Vec<Unfinished> {
        let (mine, others): (Vec<_>, Vec<_>) =
            unfinished.into_iter().partition(|work| work.invocation.role.is_action());
        if mine.is_empty() {
            return others;
        }
        let total = mine.len();
        let mut again = Vec::new();
        for work in mine {
            match fate(&work) {
                Fate::Run(attempt) if attempt == work.invocation.attempt => again.push(work.invocation),
                Fate::Run(attempt) => {
                    again.push(Arc::new(Invocation { attempt, ..Invocation::clone(&work.invocation) }));
                }
                Fate::Interrupted => {
                    self.shared.record(&work.invocation, Ending::interrupted(clock::now()));
                }
            }
        }
        tracing::info!(total, again = again.len(), "unfinished activations of an earlier life");
        drop(task::spawn("recovery", self.clone().run_again(again)));
        others
    }

    async fn run_again(self, invocations: Vec<Arc<Invocation>>) {
        let permits = Arc::new(Semaphore::new(self.shared.config.max_recovering.max(1)));
        for invocation in invocations {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            // While the node drains, the rest stays in the log for the next start.
            let Some(inside) = self.shared.gate.enter(&invocation) else { return };
            match self.place_again(&invocation) {
                Ok((invocation, place)) => {
                    let run = Run::new(Arc::clone(&self.shared), invocation, place, inside);
                    drop(task::spawn("recovered activation", async move {
                        run.finish().await;
                        drop(permit);
                    }));
                }
                Err(ending) => {
                    self.shared.record(&invocation, *ending);
                }
            }
        }
    }

    fn place_again(&self, invocation: &Arc<Invocation>) -> Result<(Arc<Invocation>, Place), Box<Ending>> {
        let invocation = self.shared.unlocked(invocation)?;
        match self.shared.place(&invocation, Turn::LastAnyway) {
            Ok(place) => Ok((invocation, place)),
            Err(rejection) => {
                let activation = invocation.activation_id;
                tracing::warn!(%activation, %rejection, "recovered work cannot run");
                Err(Box::new(match rejection {
                    Rejection::NoDomain(kind) => Ending::unsupported(&kind, clock::now()),
                    _ => Ending::not_provisioned(clock::now()),
                }))
            }
        }
    }
}

//! Calls of a container that serves: the way in, the run, the way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::response::Answer;
use chasen_entity::{Invocation, Outcome, PayloadLimits, ResourceUse, Response, StartKind};
use chasen_spi::{ReadyContainer, RunFailure, RunReply, RunReport};
use chasen_telemetry::clock;

use super::state::{Effect, Event};
use super::{Handle, PooledContainer};

/// Time beyond an action's limit that a container has to say that the limit ran out. Then it counts as lost.
pub(crate) const OVERTIME: Duration = Duration::from_secs(1);

/// A container in the hands of a scheduler.
pub(crate) struct Serving {
    handle: Handle,
    payload: PayloadLimits,
    start_kind: StartKind,
}

impl Serving {
    pub(crate) fn new(handle: Handle, payload: PayloadLimits, start_kind: StartKind) -> Self {
        Self { handle, payload, start_kind }
    }

    /// The way in: at once, after a thaw, or not at all.
    async fn enter(&self) -> Option<Inside<'_>> {
        let pooled = self.handle.pooled.as_ref();
        let mut effect = pooled.apply(Event::Called);
        while effect == Effect::Wait {
            let settled = pooled.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            effect = pooled.apply(Event::Called);
            if effect == Effect::Wait {
                settled.await;
            }
        }
        if effect == Effect::Thaw {
            let thaw = Thaw { pooled, ended: false };
            let done = self.handle.container.thaw().await;
            if let Err(error) = &done {
                tracing::warn!(container = self.handle.container.name(), %error, "cannot be thawed");
            }
            effect = thaw.end(done.is_ok());
        }
        (effect == Effect::Run).then(|| Inside { pooled, returned: false })
    }
}

#[async_trait]
impl ReadyContainer for Serving {
    fn id(&self) -> u64 {
        self.handle.pooled.id
    }

    fn slots(&self) -> u32 {
        self.handle.pooled.inner.lock().slots
    }

    fn start_kind(&self) -> StartKind {
        self.start_kind
    }

    async fn run(
        &self,
        invocation: &Invocation,
        started: &(dyn Fn() -> bool + Sync),
    ) -> Result<RunReport, RunFailure> {
        let inside = self.enter().await.ok_or(RunFailure)?;
        if !started() {
            inside.leave(true);
            return Err(RunFailure);
        }
        let sent_at = AtomicU64::new(0);
        let sent = || sent_at.store(clock::now().max(1), Ordering::Relaxed);
        let limit = Duration::from_millis(u64::from(invocation.action.limits.timeout));
        let deadline = clock::now().saturating_add(u64::from(invocation.action.limits.timeout));
        let reply = self.handle.answer(limit, self.handle.container.run(invocation, deadline, &sent)).await;
        let payload = self.payload.of_namespace(&invocation.identity.limits);
        let started_at = sent_at.load(Ordering::Relaxed);
        let is_unsent = started_at == 0 && reply.answer == Answer::Gone;
        if reply.answer == Answer::Declined || is_unsent {
            inside.leave(reply.keeps_container());
            return Err(RunFailure);
        }
        let (lives, timed_out) = (reply.keeps_container(), reply.answer == Answer::TimedOut);
        let response = Response::of_run(reply.answer, limit, &payload);
        // Whatever answers out of order is not asked again.
        let lives = lives && !matches!(response.outcome, Outcome::DeveloperError | Outcome::WhiskError);
        inside.leave(lives);
        Ok(RunReport {
            started_at: if started_at == 0 { clock::now() } else { started_at },
            duration: reply.duration,
            container_lives: lives,
            timed_out,
            response,
            logs: reply.logs,
            used: reply.used,
        })
    }

    async fn gone(&self) {
        self.handle.pooled.gone.wait().await;
    }

    fn retire(&self) {
        self.handle.pooled.apply(Event::Retired);
    }

    fn kill(&self) {
        self.handle.pooled.apply(Event::Killed);
    }
}

impl Handle {
    /// The container's answer, or what stands for it when the container is stopped or says nothing in time.
    pub(crate) async fn answer(&self, limit: Duration, work: impl Future<Output = RunReply>) -> RunReply {
        let begun = tokio::time::Instant::now();
        let lost = |answer| {
            let used = ResourceUse::default();
            RunReply { answer, duration: begun.elapsed(), logs: Vec::new(), used }
        };
        tokio::select! {
            biased;
            reply = tokio::time::timeout(limit + OVERTIME, work) => {
                reply.unwrap_or_else(|_| lost(Answer::TimedOut))
            }
            () = self.pooled.ending() => lost(Answer::Gone),
        }
    }

    /// Both handles again.
    pub(crate) fn share(&self) -> Self {
        Self { pooled: Arc::clone(&self.pooled), container: Arc::clone(&self.container) }
    }
}

/// A thaw under way. One that nobody waits for any more leaves a container that may never have been brought back.
struct Thaw<'a> {
    pooled: &'a PooledContainer,
    ended: bool,
}

impl Thaw<'_> {
    fn end(mut self, done: bool) -> Effect {
        self.ended = true;
        self.pooled.apply(Event::Thawed { done })
    }
}

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.pooled.apply(Event::Thawed { done: false });
        }
    }
}

/// A call in the container. Dropped without an answer, it leaves a container that nobody should use.
struct Inside<'a> {
    pooled: &'a PooledContainer,
    returned: bool,
}

impl Inside<'_> {
    fn leave(mut self, fit: bool) {
        self.returned = true;
        self.pooled.apply(Event::Returned { fit });
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if !self.returned {
            self.pooled.apply(Event::Returned { fit: false });
        }
    }
}

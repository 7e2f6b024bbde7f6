//! The `null` domain: answers in the process and echoes the arguments. For tests and benches; no kind
//! reaches it unless somebody routes one to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{Invocation, Outcome, ResourceUse, Response};
use chasen_spi::{
    Invoker, ReadyContainer, RunFailure, RunReport, StartFailure, StartRequest, StartedContainer,
};
use chasen_telemetry::clock;
use tokio::sync::Notify;

/// A domain whose containers are nothing but a number.
#[derive(Debug, Default)]
pub struct NullDomain {
    next: AtomicU64,
}

#[async_trait]
impl Invoker for NullDomain {
    async fn start(&self, request: StartRequest) -> Result<StartedContainer, StartFailure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let slots = request.action.limits.concurrency;
        let container = Arc::new(NullContainer { id, slots, retired: Notify::new() });
        Ok(StartedContainer { container, init_started_at: clock::now(), init_time: Duration::ZERO })
    }

    fn cold_start_estimate(&self, _kind: &str) -> Duration {
        Duration::from_millis(1)
    }

    async fn close(&self) {}
}

struct NullContainer {
    id: u64,
    slots: u32,
    retired: Notify,
}

#[async_trait]
impl ReadyContainer for NullContainer {
    fn id(&self) -> u64 {
        self.id
    }

    fn slots(&self) -> u32 {
        self.slots
    }

    async fn run(
        &self,
        invocation: &Invocation,
        started: &(dyn Fn() -> bool + Sync),
    ) -> Result<RunReport, RunFailure> {
        if !started() {
            return Err(RunFailure);
        }
        let size = Some(invocation.arguments.as_str().len() as u64);
        Ok(RunReport {
            started_at: clock::now(),
            duration: Duration::ZERO,
            response: Response {
                outcome: Outcome::Success,
                result: Some(invocation.arguments.clone()),
                size,
            },
            logs: Vec::new(),
            timed_out: false,
            container_lives: true,
            used: ResourceUse::default(),
        })
    }

    async fn gone(&self) {
        self.retired.notified().await;
    }

    fn retire(&self) {
        self.retired.notify_one();
    }

    fn kill(&self) {
        self.retire();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use chasen_spi::memory::invocation;

    use super::*;

    #[tokio::test]
    async fn containers_go_when_their_action_has_a_newer_state() {
        let first = Arc::new(invocation("guest", "a", "null", "{}"));
        let request = StartRequest {
            key: first.key(),
            action: Arc::clone(&first.action),
            first: Arc::clone(&first),
            siblings: 0,
            needed: Arc::new(AtomicBool::new(true)),
        };
        let container = NullDomain::default().start(request).await.unwrap().container;
        assert!(tokio::time::timeout(Duration::ZERO, container.gone()).await.is_err());
        container.retire();
        container.gone().await;
    }
}

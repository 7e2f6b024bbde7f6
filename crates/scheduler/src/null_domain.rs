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

/// A domain whose containers are nothing but a number.
#[derive(Debug, Default)]
pub struct NullDomain {
    next: AtomicU64,
}

#[async_trait]
impl Invoker for NullDomain {
    async fn start(&self, request: StartRequest) -> Result<StartedContainer, StartFailure> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let container = Arc::new(NullContainer { id, slots: request.action.limits.concurrency });
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
        started: &(dyn Fn() + Sync),
    ) -> Result<RunReport, RunFailure> {
        started();
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
        std::future::pending().await
    }

    fn retire(&self) {}
}

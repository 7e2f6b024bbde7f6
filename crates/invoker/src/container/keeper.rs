//! The keeper of a container: freezes it when it is idle, stops it when its time is over, and sees to it that
//! its memory is given back when nothing of it is left. One task and at most one timer per container; the
//! timer is set anew when it fires, not with every call.

use std::time::Duration;

use tokio::time::Instant;

use super::state::{Effect, Event, State};
use super::{Handle, Inner, PooledContainer};
use crate::config::InvokerConfig;
use crate::pool;

/// How often a stop that does not end is told to the operator.
const STOP_WARNING: Duration = Duration::from_secs(10);

/// What the keeper does next.
enum Plan {
    Freeze,
    Evict,
    /// Have the pool say whether it is one of those that its namespace may keep: so many of its action.
    Ask(u32),
    Stop,
    Wait(Option<Instant>),
}

impl PooledContainer {
    fn plan(&self, config: &InvokerConfig) -> Plan {
        let is_wanted = self.node.upgrade().is_some_and(|node| node.has_kind(&self.spec.kind));
        let mut inner = self.inner.lock();
        match inner.state {
            State::Ready { running: 0 } if !is_wanted => due(&inner, config.pause_grace, Plan::Evict),
            State::Ready { running: 0 } if inner.can_freeze => due(&inner, config.pause_grace, Plan::Freeze),
            State::Ready { running: 0 } | State::Frozen => at_the_end(&mut inner, config.idle_container),
            State::Ready { .. } => {
                inner.keeper_waits = true;
                Plan::Wait(None)
            }
            State::Stopping | State::Dead => Plan::Stop,
            _ => Plan::Wait(None),
        }
    }
}

/// Its time is over after this idleness, or after what its namespace keeps it for beyond that.
fn at_the_end(inner: &mut Inner, after: Duration) -> Plan {
    let (keep, time) = inner.keep;
    if keep == 0 {
        return due(inner, after, Plan::Evict);
    }
    if inner.asked_at == Some(inner.idle_since) {
        return due(inner, after.saturating_add(time), Plan::Evict);
    }
    let plan = due(inner, after, Plan::Ask(keep));
    if matches!(plan, Plan::Ask(_)) {
        inner.asked_at = Some(inner.idle_since);
    }
    plan
}

fn due(inner: &Inner, after: Duration, then: Plan) -> Plan {
    let at = inner.idle_since + after;
    if Instant::now() >= at { then } else { Plan::Wait(Some(at)) }
}

/// Keeps a container until nothing of it is left.
pub(crate) async fn keep(handle: Handle, config: InvokerConfig) {
    let Handle { pooled, container } = handle;
    let exited = container.exited();
    tokio::pin!(exited);
    let mut has_exited = false;
    loop {
        match pooled.plan(&config) {
            Plan::Freeze => {
                if pooled.apply(Event::Paused) == Effect::Freeze {
                    let done = container.freeze().await;
                    if let Err(error) = &done {
                        tracing::warn!(container = container.name(), %error, "cannot be frozen");
                    }
                    pooled.apply(Event::Froze { done: done.is_ok() });
                }
            }
            Plan::Evict => {
                pooled.apply(Event::Evicted);
            }
            Plan::Ask(keep) => {
                if let Some(node) = pooled.node.upgrade() {
                    node.tell(pool::Event::Expired { id: pooled.id, keep });
                }
            }
            Plan::Stop => break,
            Plan::Wait(until) => {
                let timer = async {
                    match until {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = &mut exited, if !has_exited => {
                        has_exited = true;
                        pooled.apply(Event::Exited);
                    }
                    () = pooled.wake.notified() => {}
                    () = timer => {}
                }
            }
        }
    }
    if let Some(node) = pooled.node.upgrade() {
        node.tell(pool::Event::Stopping(pooled.id));
    }
    let stop = container.stop();
    tokio::pin!(stop);
    while tokio::time::timeout(STOP_WARNING, &mut stop).await.is_err() {
        tracing::error!(container = container.name(), "does not stop; its memory stays taken");
    }
    pooled.apply(Event::Stopped);
    if let Some(node) = pooled.node.upgrade() {
        node.dead(pooled.id, false);
    }
}

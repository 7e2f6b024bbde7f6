//! A container of any host: given its action, running it again and again, over HTTP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use chasen_entity::frame::Stream;
use chasen_entity::response::Answer;
use chasen_entity::{ByteSize, Invocation, Millis, ResourceUse, error_text};
use chasen_spi::container_factory::{Container, InitCode, RunBounds, RunReply};
use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::bodies::init_body;
use super::client::{Client, Failure, HttpAnswer, Line, Reach};
use super::engine::Engine;
use super::output::Output;
use crate::connection::Body;
use crate::lines::format_line;
use crate::meter::Meter;
use crate::sentinel::Patience;

/// Status that means: shutting down, nothing was run.
const DECLINED: u16 = 503;
/// How long an answer may still be on its way when the process that sent it has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long the cause of a broken connection is looked for.
const CAUSE_PATIENCE: Duration = Duration::from_secs(2);
/// How often.
const CAUSE_INTERVAL: Duration = Duration::from_millis(20);
/// How long an overdue answer is held back for its processes to be ended.
const KILL_GRACE: Duration = Duration::from_millis(200);
/// How long a log may be silent before the marks that have come before, without being promised, are given up.
const LEARNED_QUIET: Duration = Duration::from_secs(2);
/// Time beyond the limit for causes and logs; more would count as no answer.
const OVERTIME: Duration = Duration::from_millis(500);

/// What a container's host and kind say about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its memory limit.
    pub memory: ByteSize,
    /// Most bytes of an answer that are kept.
    pub keep: ByteSize,
    /// True if its runtime is known to mark the end of every activation's log.
    pub sentinelled: bool,
    /// How long after an answer its log may be silent before all of it counts as arrived, where no marks are expected;
    /// zero where [`Engine::drain`] finds everything.
    pub quiet: Duration,
}

/// One container. Its [`Output`] is filled by the host.
pub struct HttpContainer<E> {
    engine: E,
    output: Arc<Output>,
    client: Client,
    settings: Settings,
    /// Runs under way.
    running: AtomicU32,
    meter: Meter,
}

impl<E: Engine> HttpContainer<E> {
    /// A container that was just started. Its server need not listen yet.
    #[must_use]
    pub fn new(engine: E, output: Arc<Output>, settings: Settings) -> Self {
        let client = Client::new(usize::try_from(settings.keep.as_bytes()).unwrap_or(usize::MAX));
        Self { engine, output, client, settings, running: AtomicU32::new(0), meter: Meter::default() }
    }

    /// The host's side of it.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// Posts within `limit` and says what the answer means. Past the limit the container is killed.
    async fn post(
        &self,
        limit: Duration,
        reach: Reach,
        path: &'static str,
        body: Bytes,
        sent: &(dyn Fn() + Sync),
    ) -> (Answer, Duration) {
        let begun = Instant::now();
        let answered = timeout_at(begun + limit, self.exchange(reach, path, body, sent)).await;
        let duration = begun.elapsed();
        let answer = match answered {
            Ok(Ok(answer)) if duration < limit => self.meaning(answer).await,
            // Nothing was sent, so that nothing needs a cause: another container may run it.
            Ok(Err(Failure::Unreachable(_))) if reach == Reach::Once => Answer::Gone,
            Ok(Err(failure)) if duration < limit => {
                tracing::debug!(container = self.engine.name(), %failure, path, "no answer");
                self.cause(&failure, begun + limit + OVERTIME).await
            }
            _ => {
                // The kill is on its way in any case; the answer does not depend on when it is done.
                let _ = timeout(KILL_GRACE, self.engine.kill()).await;
                Answer::TimedOut
            }
        };
        (answer, duration)
    }

    async fn exchange(
        &self,
        reach: Reach,
        path: &'static str,
        body: Bytes,
        sent: &(dyn Fn() + Sync),
    ) -> Result<HttpAnswer, Failure> {
        let line = self.connect(reach).await?;
        sent();
        let mut work = std::pin::pin!(self.client.exchange(line, path, body));
        tokio::select! {
            biased;
            answer = &mut work => return answer,
            () = self.engine.exited() => {}
        }
        // An address that nobody has any more never says that a connection is over.
        timeout(LAST_WORDS, work).await.unwrap_or(Err(Failure::Closed))
    }

    async fn connect(&self, reach: Reach) -> Result<Line, Failure> {
        tokio::select! {
            biased;
            line = self.client.connect(&self.engine, reach) => line,
            () = self.engine.exited() => Err(Failure::Unreachable(io::ErrorKind::NotConnected)),
        }
    }

    async fn meaning(&self, answer: HttpAnswer) -> Answer {
        match (answer.status, answer.body) {
            (200, Body::Whole(body)) => Answer::Ok(body),
            (DECLINED, _) => Answer::Declined,
            // A server survives when the process that it started is killed for memory.
            (status, _) if status != 200 && self.has_run_out().await => Answer::OutOfMemory,
            (_, Body::Whole(body)) => Answer::Refused(body),
            (_, Body::Cut { length, kept }) => Answer::TooLong { length, kept },
        }
    }

    /// Why there is no answer. Systems tell of the end of a connection before they tell of the end of its process,
    /// and of its cause last.
    async fn cause(&self, failure: &Failure, latest: Instant) -> Answer {
        let latest = match failure {
            Failure::Unreachable(_) | Failure::Closed => latest.min(Instant::now() + CAUSE_PATIENCE),
            // Whoever said that is alive.
            Failure::Garbage(_) | Failure::Empty | Failure::Endless => Instant::now(),
        };
        loop {
            let ended = self.has_exited().await;
            if self.has_run_out().await {
                return Answer::OutOfMemory;
            }
            if ended || Instant::now() >= latest {
                return Answer::Gone;
            }
            tokio::select! {
                () = self.engine.exited() => {}
                () = sleep(CAUSE_INTERVAL) => {}
            }
        }
    }

    /// True if something in it was ended for want of memory that was not told before.
    async fn has_run_out(&self) -> bool {
        let reading = self.engine.reading(self.settings.memory);
        match reading.kills {
            Some(_) => self.meter.has_kills(&reading),
            None => self.engine.oom_killed().await,
        }
    }

    /// What the activation used that ends with this answer.
    fn used(&self, answer: &Answer, shared: bool) -> ResourceUse {
        let reading = self.engine.reading(self.settings.memory);
        let used = self.meter.used(&reading, !shared, RunReply::keeps(answer));
        ResourceUse { out_of_memory: used.out_of_memory || *answer == Answer::OutOfMemory, ..used }
    }

    async fn has_exited(&self) -> bool {
        tokio::select! {
            biased;
            () = self.engine.exited() => true,
            () = std::future::ready(()) => false,
        }
    }

    /// The log of an activation that ended in this answer. Where marks are expected they are waited for, unless the
    /// runtime is out of order. A runtime that need not mark its logs and has done it will do it again.
    async fn logs(&self, answer: &Answer, limit: ByteSize, latest: Instant) -> Vec<String> {
        let in_order = matches!(answer, Answer::Ok(_) | Answer::TooLong { .. });
        let mut complete = true;
        self.engine.drain();
        if limit.as_bytes() == 0 {
            // Nothing is kept, so that nothing is waited for.
        } else if in_order && self.settings.sentinelled {
            complete = self.output.ended(Patience::of_limit(limit), latest).await;
        } else if in_order && self.output.is_marked() {
            self.output.settled(LEARNED_QUIET.max(self.settings.quiet), latest).await;
        } else {
            self.output.settled(self.settings.quiet, latest).await;
            if in_order && self.output.is_ending() {
                self.output.settled(LEARNED_QUIET.max(self.settings.quiet), latest).await;
            }
        }
        let mut lines = self.output.take();
        if !complete {
            lines.push(format_line(Timestamp::now(), Stream::Stderr, error_text::LOGS_INCOMPLETE));
        }
        lines
    }
}

#[async_trait]
impl<E: Engine> Container for HttpContainer<E> {
    fn name(&self) -> &str {
        self.engine.name()
    }

    /// Whatever the action allows: an image that takes fewer says so in its answers.
    fn concurrency(&self) -> u32 {
        u32::MAX
    }

    async fn init(&self, invocation: &Invocation, code: InitCode) -> RunReply {
        let begun = Instant::now();
        let bounds = RunBounds::new(&code.action.limits);
        self.output.set_limit(bounds.logs.as_bytes());
        let env = invocation.init_env(now().saturating_add(u64::from(code.action.limits.timeout)));
        let body = init_body(&code, &env);
        self.meter.begin(&self.engine.reading(self.settings.memory));
        let (answer, duration) = self.post(bounds.time, Reach::Until, "/init", body, &|| {}).await;
        let logs = match answer {
            // What it printed belongs to the first run, and what it used.
            Answer::Ok(_) => {
                return RunReply { answer, duration, logs: Vec::new(), used: ResourceUse::default() };
            }
            _ => self.logs(&answer, bounds.logs, begun + bounds.time + OVERTIME).await,
        };
        let used = self.used(&answer, false);
        RunReply { answer, duration, logs, used }
    }

    async fn run(&self, invocation: &Invocation, deadline: Millis, sent: &(dyn Fn() + Sync)) -> RunReply {
        let begun = Instant::now();
        let bounds = RunBounds::new(&invocation.action.limits);
        let _running = Running::begin(self);
        let body = Bytes::from(invocation.run_body(deadline));
        let (answer, duration) = self.post(bounds.time, Reach::Once, "/run", body, sent).await;
        let used = self.used(&answer, invocation.action.limits.concurrency > 1);
        let logs = self.logs(&answer, bounds.logs, begun + bounds.time + OVERTIME).await;
        RunReply { answer, duration, logs, used }
    }

    async fn freeze(&self) -> io::Result<()> {
        self.client.close_idle();
        self.engine.freeze().await
    }

    async fn thaw(&self) -> io::Result<()> {
        self.engine.thaw().await
    }

    async fn exited(&self) {
        self.engine.exited().await;
    }

    async fn stop(&self) {
        self.client.close_idle();
        self.engine.stop().await;
    }
}

/// A run under way.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn begin<E>(container: &'a HttpContainer<E>) -> Self {
        if container.running.fetch_add(1, Ordering::AcqRel) == 0 {
            container.output.begin();
        }
        Self(&container.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

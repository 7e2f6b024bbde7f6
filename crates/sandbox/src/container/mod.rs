//! Containers: a cell with a runtime in it, given one action, running it again and again.
//!
//! The task that calls does all the work: it writes the request, reads the reply and, while it waits, what the
//! function prints. There is no task per container.

mod executable;
mod runtime;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chasen_entity::error_text::runtime::NOT_STARTED;
use chasen_entity::response::Answer;
use chasen_entity::{ByteSize, Invocation, Millis, ResourceUse};
use chasen_runtime::connection::{Body, Broken, LogSink, Reply};
use chasen_runtime::meter::Meter;
use chasen_runtime::personality::Personality;
use chasen_spi::container_factory::{Container, CreateError, InitCode, RunBounds, RunReply};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::build::{Compile, NotBuilt, Source};
use crate::cell::{Cell, ExitStatus};
use crate::factory::UnderWay;
use crate::helper::MountError;
use crate::layer::{Layer, LayerError, Layers};
use crate::logs::{Output, OwnLog, Together};
use crate::network::Lease;

pub(crate) use runtime::{Coming, Line};
use runtime::{Runtime, Start, error_body};

/// Bytes of what a runtime printed before it failed to come up, for the operator's log.
const LAST_WORDS: u64 = 4096;
/// How long the end of a process is waited for after its connection has closed: the kernel closes descriptors of a
/// process that it kills for memory before its end and its cause are told.
const END_GRACE: Duration = Duration::from_millis(500);
/// Steps in which that is waited for.
const END_STEPS: u32 = 10;
/// How long an overdue answer is held back for its sandbox to be gone.
const KILL_GRACE: Duration = Duration::from_millis(200);

/// What a container is made of.
pub(crate) struct Parts {
    pub(crate) cell: Cell,
    pub(crate) runtime: Coming,
    /// How long that may take to be up.
    pub(crate) start_deadline: Duration,
    pub(crate) output: Output,
    pub(crate) personality: Personality,
    pub(crate) layers: Arc<Layers>,
    /// What is made of the code, for kinds that load it in another form.
    pub(crate) compile: Option<Compile>,
    /// The cell's network; given back when the cell is gone.
    pub(crate) lease: Option<Lease>,
    /// Its memory limit.
    pub(crate) memory: ByteSize,
    /// Most bytes of an answer that are kept.
    pub(crate) keep: ByteSize,
}

/// One sandbox.
pub(crate) struct SandboxContainer {
    parts: Parts,
    /// Held for as long as the cell may read from it.
    layer: Mutex<Option<Arc<Layer>>>,
    /// Taken out when the cell is gone.
    lease: Mutex<Option<Lease>>,
    /// Taken out after the first run.
    under_way: Mutex<Option<UnderWay>>,
    /// Held by the one that runs, where runs follow each other.
    turn: tokio::sync::Mutex<()>,
    /// The logs of activations that are in it at the same time.
    together: Arc<Together>,
    meter: Meter,
}

/// Why an initialisation ended before the runtime was asked, or instead of it.
enum Hindrance {
    /// The developer's fault; the text is for them, and has been logged where the kind does that.
    Code(String),
    /// The platform's fault.
    Platform(String),
}

impl SandboxContainer {
    /// One that `under_way` is the start of, up to the end of its first run.
    pub(crate) fn new(mut parts: Parts, under_way: UnderWay) -> Self {
        let lease = parts.lease.take();
        Self {
            parts,
            layer: Mutex::default(),
            lease: Mutex::new(lease),
            under_way: Mutex::new(Some(under_way)),
            turn: tokio::sync::Mutex::default(),
            together: Arc::default(),
            meter: Meter::default(),
        }
    }

    /// True if other runs of this action may be in it at the same time.
    fn is_shared(&self, invocation: &Invocation) -> bool {
        invocation.action.limits.concurrency.min(self.concurrency()) > 1
    }

    /// Lays the action's code over the cell's folder. `None` if the action has none.
    async fn lay_code(
        &self,
        code: &InitCode,
        env: &[(String, String)],
    ) -> Result<Option<Arc<Layer>>, Hindrance> {
        let Parts { layers, compile, personality, output, .. } = &self.parts;
        let exec = &code.action.exec;
        let Some(text) = code.text.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
        if let Some(laid) = self.layer.lock().clone() {
            return Ok(Some(laid));
        }
        let bad = |why: &str| {
            let texts = personality.bad_code(why);
            texts.log.into_iter().for_each(|line| output.note(&line));
            Hindrance::Code(texts.answer)
        };
        let layer = layers.layer(&digest(code), text, exec.binary).await.map_err(|error| match error {
            LayerError::Code(why) => bad(&why.to_string()),
            LayerError::Disk { .. } => Hindrance::Platform(error.to_string()),
        })?;
        personality.check_shape(layer.shape(), layer.path()).map_err(bad)?;
        let layer = match compile {
            Some(compile) => self.compiled(compile, layer, code, env).await?,
            None => layer,
        };
        if let Some(why) = compile.as_ref().and_then(|compile| compile.foreign(layer.path())) {
            why.lines().for_each(|line| output.note(line));
            return Err(Hindrance::Code(NOT_STARTED.to_owned()));
        }
        let mounted = self.lay(&layer).await;
        mounted.map_err(|error| Hindrance::Platform(error.to_string()))?;
        Ok(Some(layer))
    }

    async fn lay(&self, layer: &Arc<Layer>) -> Result<(), MountError> {
        self.parts.cell.mount_code(layer.path(), self.parts.memory.as_bytes() / 2).await?;
        *self.layer.lock() = Some(Arc::clone(layer));
        Ok(())
    }

    /// Ends a cell whose runtime does not come up. The text is for the operator, with what it printed.
    async fn not_up(&self, why: &str) -> CreateError {
        let Parts { cell, output, .. } = &self.parts;
        let exit = cell.kill().await;
        output.set_limit(LAST_WORDS);
        let words = output.take().join(" | ");
        CreateError::Failed(format!(
            "the runtime in {} did not come up: {why} ({exit:?}) {words}",
            cell.name()
        ))
    }

    /// What the kind's compiler makes of the code.
    async fn compiled(
        &self,
        compile: &Compile,
        source: Arc<Layer>,
        code: &InitCode,
        env: &[(String, String)],
    ) -> Result<Arc<Layer>, Hindrance> {
        let source = Source {
            layer: &source,
            digest: &digest(code),
            main: code.action.exec.entry_point(),
            namespace: code.action.name.path.namespace(),
        };
        compile.layer(source, env).await.map_err(|why| match why {
            NotBuilt::Code(words) => {
                let texts = self.parts.personality.not_built(words.text());
                texts.log.iter().flat_map(|log| log.lines()).for_each(|line| self.parts.output.note(line));
                Hindrance::Code(texts.answer)
            }
            NotBuilt::NoToolchain(why) => Hindrance::Code(why),
            NotBuilt::Platform(reason) => Hindrance::Platform(reason),
        })
    }

    async fn initialize(&self, invocation: &Invocation, code: &InitCode) -> Answer {
        let env = invocation.init_env(now().saturating_add(u64::from(code.action.limits.timeout)));
        let layer = match self.lay_code(code, &env).await {
            Ok(layer) => layer,
            Err(Hindrance::Code(text)) => return Answer::Refused(error_body(&text)),
            Err(Hindrance::Platform(reason)) => {
                tracing::error!(container = self.name(), %reason, "an action's code could not be provided");
                return Answer::NotProvided;
            }
        };
        let start = Start {
            name: code.action.name.name.as_str(),
            main: code.action.exec.entry_point(),
            concurrency: code.action.limits.concurrency,
            acknowledged: self.parts.compile.as_ref().is_some_and(|compile| compile.launch.acknowledged),
            shape: layer.as_ref().map(|layer| layer.shape()),
            env,
            folder: self.parts.cell.action_folder(),
            keep: self.parts.keep,
        };
        let runtime = self.parts.runtime.get();
        let mut reply = match runtime {
            Ok(runtime) => runtime.init(&self.parts.cell, &invocation.activation_id, &start).await,
            Err(broken) => Err(broken),
        };
        if let Ok(Reply::DeveloperError(Body::Whole(body))) = &reply
            && layer.is_some()
            && self.parts.runtime.get().is_ok_and(Runtime::is_executable)
            && let Some(texts) = executable::not_started(self.parts.personality, body)
        {
            self.parts.output.drain();
            texts.log.iter().flat_map(|log| log.lines()).for_each(|line| self.parts.output.note(line));
            reply = Ok(runtime::refused(&texts.answer));
        }
        self.answer(reply, Personality::ended_in_init).await
    }

    /// Does `work` within `limit` while the function's output is read. Past the limit the cell is killed.
    async fn bounded(&self, limit: Duration, work: impl Future<Output = Answer>) -> (Answer, Duration) {
        let begun = Instant::now();
        let reading = async {
            let mut work = pin!(work);
            tokio::select! {
                biased;
                answer = &mut work => return answer,
                // Both streams are closed, by the function or by its end.
                () = self.parts.output.pump() => {}
            }
            work.await
        };
        let answer = timeout(limit, reading).await;
        let duration = begun.elapsed();
        match answer {
            Ok(answer) if duration < limit => (answer, duration),
            Ok(_) | Err(_) => {
                // The kill is on its way in any case; the answer does not depend on when it is done.
                let _ = timeout(KILL_GRACE, self.parts.cell.kill()).await;
                (Answer::TimedOut, duration)
            }
        }
    }

    /// What a reply means, or its absence, which each kind words in its own way.
    async fn answer(&self, reply: Result<Reply, Broken>, ended: fn(Personality) -> Option<String>) -> Answer {
        let Parts { cell, personality, memory, .. } = &self.parts;
        let ran_out = || self.meter.has_kills(&cell.reading(*memory));
        match reply {
            Ok(Reply::Initialized) => Answer::Ok(Vec::new()),
            Ok(Reply::Result(Body::Whole(body))) => Answer::Ok(body),
            Ok(Reply::Result(Body::Cut { length, kept })) => Answer::TooLong { length, kept },
            // A launcher survives when the process that it started is killed for memory.
            Ok(Reply::DeveloperError(_)) if ran_out() => Answer::OutOfMemory,
            Ok(Reply::DeveloperError(Body::Whole(body))) => Answer::Refused(body),
            Ok(Reply::DeveloperError(Body::Cut { length, kept })) => Answer::TooLong { length, kept },
            Err(broken) => {
                tracing::debug!(container = self.name(), %broken, "a runtime's connection is over");
                if matches!(broken, Broken::Closed | Broken::Abandoned) {
                    // Not a wait for the end itself: a function may have closed the connection and live on. Another
                    // run's time limit ends all that are in here; those that reach their own meanwhile say that.
                    if self.end_soon().await == Some(ExitStatus::Lost) {
                        return Answer::Lost;
                    }
                }
                if ran_out() {
                    return Answer::OutOfMemory;
                }
                ended(*personality).map_or(Answer::Gone, |text| Answer::Refused(error_body(&text)))
            }
        }
    }

    /// How the runtime ended, if that is known soon. In steps: one in which the node stood still, with the news unread,
    /// is not the last.
    async fn end_soon(&self) -> Option<ExitStatus> {
        for _ in 0..END_STEPS {
            if let Ok(exit) = timeout(END_GRACE / END_STEPS, self.parts.cell.exited()).await {
                return Some(exit.status);
            }
        }
        None
    }

    /// What the activation used that ends with this answer.
    fn used(&self, answer: &Answer, shared: bool) -> ResourceUse {
        let reading = self.parts.cell.reading(self.parts.memory);
        self.meter.used(&reading, !shared, RunReply::keeps(answer))
    }

    /// True if the runtime ended since its last answer.
    async fn has_ended(&self) -> bool {
        tokio::select! {
            biased;
            _ = self.parts.cell.exited() => true,
            () = std::future::ready(()) => false,
        }
    }
}

#[async_trait]
impl Container for SandboxContainer {
    fn name(&self) -> &str {
        self.parts.cell.name()
    }

    fn concurrency(&self) -> u32 {
        self.parts.runtime.get().map_or(1, Runtime::concurrency)
    }

    async fn up(&self) -> Result<(), CreateError> {
        match timeout(self.parts.start_deadline, self.parts.runtime.up()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(broken)) => Err(self.not_up(&broken.to_string()).await),
            Err(_) => {
                Err(self.not_up(&format!("it was not up within {:?}", self.parts.start_deadline)).await)
            }
        }
    }

    async fn expect(&self, code: &InitCode) {
        let Parts { layers, compile, personality, .. } = &self.parts;
        // What a compiler makes of it is known with the environment of the initialisation only.
        let Some(text) = code.text.as_ref().filter(|text| !text.is_empty() && compile.is_none()) else {
            return;
        };
        if let Ok(layer) = layers.layer(&digest(code), text, code.action.exec.binary).await
            && personality.check_shape(layer.shape(), layer.path()).is_ok()
        {
            // Tried again by the initialisation, which tells why it cannot be.
            let _ = self.lay(&layer).await;
        }
    }

    async fn init(&self, invocation: &Invocation, code: InitCode) -> RunReply {
        let bounds = RunBounds::new(&code.action.limits);
        self.parts.output.set_limit(bounds.logs.as_bytes());
        self.meter.begin(&self.parts.cell.reading(self.parts.memory));
        let work = self.initialize(invocation, &code);
        let (answer, duration) = self.bounded(bounds.time, work).await;
        let logs = match answer {
            // What it printed belongs to the first run, and what it used.
            Answer::Ok(_) => {
                self.parts.output.drain();
                return RunReply { answer, duration, logs: Vec::new(), used: ResourceUse::default() };
            }
            _ => self.parts.output.take(),
        };
        let used = self.used(&answer, false);
        RunReply { answer, duration, logs, used }
    }

    async fn run(&self, invocation: &Invocation, deadline: Millis, sent: &(dyn Fn() + Sync)) -> RunReply {
        let bounds = RunBounds::new(&invocation.action.limits);
        let body = invocation.run_body(deadline);
        let shared = self.is_shared(invocation);
        let _turn = if shared { None } else { Some(self.turn.lock().await) };
        if self.has_ended().await {
            // Nothing was sent: another container may run it.
            return RunReply {
                answer: Answer::Gone,
                duration: Duration::ZERO,
                logs: self.parts.output.take(),
                used: ResourceUse::default(),
            };
        }
        sent();
        let log = shared.then(|| Arc::new(OwnLog::new(bounds.logs.as_bytes(), &self.together)));
        let sink = log.clone().map(|log| log as Arc<dyn LogSink>);
        let work = async {
            let reply = match self.parts.runtime.get() {
                Ok(runtime) => runtime.run(&invocation.activation_id, body.as_bytes(), sink).await,
                Err(broken) => Err(broken),
            };
            self.answer(reply, |personality| personality.ended_in_run().map(str::to_owned)).await
        };
        let (answer, duration) = self.bounded(bounds.time, work).await;
        self.under_way.lock().take();
        let used = self.used(&answer, shared);
        let output = &self.parts.output;
        let logs = log.map_or_else(|| output.take(), |log| output.take_with(&log));
        RunReply { answer, duration, logs, used }
    }

    async fn freeze(&self) -> io::Result<()> {
        self.parts.cell.freeze()
    }

    async fn thaw(&self) -> io::Result<()> {
        self.parts.cell.thaw()
    }

    async fn exited(&self) {
        self.parts.cell.exited().await;
    }

    async fn stop(&self) {
        let ended = self.parts.cell.kill().await;
        let lease = self.lease.lock().take();
        match ended {
            Ok(_) => lease.into_iter().for_each(Lease::give_back),
            Err(error) => {
                tracing::warn!(container = self.name(), %error, "the end of a sandbox was not seen");
            }
        }
        self.layer.lock().take();
    }
}

/// What the code is kept under. A digest is stored with the code; without one, name and revision tell it.
fn digest(code: &InitCode) -> String {
    match &code.action.exec.code {
        Some(stored) => stored.digest.clone(),
        None => format!("{}@{}", code.action.name, code.action.revision),
    }
}

fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

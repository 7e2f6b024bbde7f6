//! The one action of a proxy: initialised once, then run again and again, until its runtime ends.

mod init;
mod run;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chasen_entity::RawJson;
use chasen_runtime::connection::{Body, Broken};
use chasen_runtime::personality::Personality;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::timeout;

use crate::children::Children;
use crate::instance::Instance;
use crate::kind::Launcher;
use crate::manners::Manners;
use crate::output::Output;
use crate::settings::Settings;

/// How long after its deadline an activation is ended here: by then the platform has given it up.
const OVERTIME: Duration = Duration::from_secs(5);
/// The longest that anything may take when nobody names a deadline.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long the end of a process is waited for when its line is closed.
const END_GRACE: Duration = Duration::from_millis(500);

/// The action and what it runs on.
pub(crate) struct Action {
    settings: Settings,
    children: Arc<Children>,
    output: Arc<Output>,
    /// Held by whoever starts, initialises or replaces the runtime.
    beginning: AsyncMutex<()>,
    state: Mutex<State>,
    /// The exit status of the server that this proxy stands for, once that has ended.
    end: watch::Sender<Option<u8>>,
}

#[derive(Default)]
struct State {
    instance: Option<Arc<Instance>>,
    initialized: bool,
}

impl Action {
    pub(crate) fn new(settings: Settings, children: Arc<Children>, output: Arc<Output>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            children,
            output,
            beginning: AsyncMutex::default(),
            state: Mutex::default(),
            end: watch::Sender::new(None),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn personality(&self) -> Personality {
        self.settings.kind.personality
    }

    /// True once it can be run.
    pub(crate) fn is_initialized(&self) -> bool {
        self.state.lock().initialized
    }

    /// Exit status of the server that this proxy stands for, when that has ended.
    pub(crate) fn end(&self) -> watch::Receiver<Option<u8>> {
        self.end.subscribe()
    }

    /// Starts the launcher, if the kind has one and none runs. The error says what went wrong.
    pub(crate) async fn warm_up(self: &Arc<Self>) -> Result<(), String> {
        let _turn = self.beginning.lock().await;
        self.launcher().await.map(drop)
    }

    async fn launcher(self: &Arc<Self>) -> Result<Option<Arc<Instance>>, String> {
        if self.settings.kind.launcher == Launcher::Action {
            return Ok(None);
        }
        let running = self.state.lock().instance.clone();
        if let Some(running) = running.filter(|instance| instance.process.exit().is_none()) {
            return Ok(Some(running));
        }
        let instance = Instance::launch(&self.settings, &self.children, &self.output).await?;
        let instance = Arc::new(instance);
        self.state.lock().instance = Some(Arc::clone(&instance));
        self.watch(&instance);
        Ok(Some(instance))
    }

    /// Tells the server when a launcher that stands for it has ended.
    fn watch(self: &Arc<Self>, instance: &Arc<Instance>) {
        if !self.personality().ends_with_launcher() {
            return;
        }
        let (action, instance) = (Arc::clone(self), Arc::downgrade(instance));
        tokio::spawn(async move {
            let Some(process) = instance.upgrade().map(|instance| instance.process.clone()) else { return };
            let code = process.exited().await;
            let state = action.state.lock();
            let is_current = state
                .instance
                .as_ref()
                .is_some_and(|current| instance.upgrade().is_some_and(|ended| Arc::ptr_eq(current, &ended)));
            if is_current {
                action.end.send_replace(Some(code));
            }
        });
    }

    /// The line to a runtime is over: so is the runtime.
    async fn after_break(&self, instance: &Arc<Instance>, broken: &Broken) {
        if *broken == Broken::Closed {
            // It is about to end by itself, and its exit status is worth knowing.
            let _ = timeout(END_GRACE, instance.process.exited()).await;
        }
        self.give_up(instance);
    }

    /// Ends a runtime that has had its time.
    fn give_up(&self, instance: &Arc<Instance>) {
        instance.process.kill();
        if !self.personality().ends_with_launcher() {
            self.forget(instance);
        }
    }

    /// Runs go to it no more.
    fn forget(&self, instance: &Arc<Instance>) {
        let mut state = self.state.lock();
        if state.instance.as_ref().is_some_and(|current| Arc::ptr_eq(current, instance)) {
            state.instance = None;
        }
    }

    /// Ends the runtime, for another one to follow.
    fn lose(&self) {
        let mut state = self.state.lock();
        state.initialized = false;
        if let Some(instance) = state.instance.take() {
            instance.process.kill();
        }
    }
}

/// The error text of a refusal; the whole refusal where it is none.
fn error_of(body: &Body) -> String {
    let (Body::Whole(text) | Body::Cut { kept: text, .. }) = body;
    let error = RawJson::parse(text).ok().and_then(|body| body.get("error"));
    error
        .and_then(|error| error.read::<String>().ok())
        .unwrap_or_else(|| String::from_utf8_lossy(text).into_owned())
}

/// Time until what began with this deadline is ended here. One that lies in the past already says nothing: the clocks
/// differ, or it is made up.
fn time_left(deadline: Option<&Value>) -> Duration {
    let millis = deadline.and_then(|deadline| deadline.as_u64().or_else(|| deadline.as_str()?.parse().ok()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let left = millis.and_then(|millis| Duration::from_millis(millis).checked_sub(now));
    left.map_or(LONGEST, |left| left.saturating_add(OVERTIME).min(LONGEST))
}

//! The line to the engine: one connection per node that tells what happens to its containers.
//!
//! Whenever the line is up anew, what the engine has is compared with what the node knows: containers of an earlier
//! life, and those whose removal was given up, are removed; those that ended unseen are told so.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::engine::{Engine, EngineError, Happened, Happening, Listed};

/// Shortest and longest wait before an engine that was lost is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often the engine is asked whether it is there. A dead one is noticed at once; this is for one that hangs.
const CHECK: Duration = Duration::from_secs(15);
/// How long the removal of a container is tried.
const REMOVAL: Duration = Duration::from_secs(20);
/// Removals at a time when leftovers are cleared.
const CLEARING: usize = 8;

/// What is known of a container between the engine and the node.
#[derive(Debug)]
pub(crate) struct Life {
    /// Its id, once the engine has made it.
    id: OnceLock<String>,
    stage: watch::Sender<Stage>,
    oom_killed: watch::Sender<bool>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The engine is making it.
    Making,
    /// It was started.
    Started,
    /// It has ended.
    Ended,
}

impl Life {
    fn new() -> Self {
        Self {
            id: OnceLock::new(),
            stage: watch::Sender::new(Stage::Making),
            oom_killed: watch::Sender::new(false),
        }
    }

    /// The engine has made it, under this id.
    pub(crate) fn created(&self, id: String) {
        // Once: every container is created once.
        let _ = self.id.set(id);
    }

    /// It has been started, and may have ended since.
    pub(crate) fn started(&self) {
        self.stage.send_if_modified(|stage| {
            let changes = *stage == Stage::Making;
            if changes {
                *stage = Stage::Started;
            }
            changes
        });
    }

    /// It has ended.
    pub(crate) fn ended(&self) {
        self.stage.send_replace(Stage::Ended);
    }

    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// True if it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.stage() == Stage::Ended
    }

    /// Resolves when it has ended.
    pub(crate) async fn end(&self) {
        // The sender is here: it does not end before.
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Ended).await;
    }

    /// True if the engine said that it ran out of memory.
    pub(crate) fn oom_killed(&self) -> bool {
        *self.oom_killed.borrow()
    }
}

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    socket: PathBuf,
    label: String,
    /// Containers of this life of the node, by name.
    lives: Mutex<HashMap<String, Arc<Life>>>,
    engine: watch::Sender<Link>,
}

/// What there is at the other end.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// An engine that answers, cleared of what is not this life's.
    Up(Engine),
    /// None; why.
    Down(Arc<str>),
}

impl Line {
    pub(crate) fn new(socket: PathBuf, label: String) -> Self {
        let engine = watch::Sender::new(Link::Down("it was not asked yet".into()));
        Self { socket, label, lives: Mutex::default(), engine }
    }

    /// The engine, if it answers.
    pub(crate) fn engine(&self) -> Result<Engine, Arc<str>> {
        match &*self.engine.borrow() {
            Link::Up(engine) => Ok(engine.clone()),
            Link::Down(why) => Err(why.clone()),
        }
    }

    /// The engine; waits a little for one that is starting.
    pub(crate) async fn engine_within(&self, patience: Duration) -> Result<Engine, Arc<str>> {
        let mut link = self.engine.subscribe();
        let _ = timeout(patience, link.wait_for(|link| matches!(link, Link::Up(_)))).await;
        self.engine()
    }

    /// Resolves when the line goes down or up.
    async fn changed(&self) {
        let _ = self.engine.subscribe().changed().await;
    }

    /// Enters a container that the engine will be asked for: from now on it is no leftover.
    pub(crate) fn enter(&self, name: &str) -> Arc<Life> {
        let life = Arc::new(Life::new());
        self.lives.lock().insert(name.to_owned(), Arc::clone(&life));
        life
    }

    /// Strikes it out: if the engine still has it when the line is up the next time, it is removed.
    pub(crate) fn strike(&self, name: &str) {
        self.lives.lock().remove(name);
    }

    /// Keeps the line up until the future is dropped.
    pub(crate) async fn keep(&self) {
        let mut wait = RETRY.0;
        loop {
            let begun = Instant::now();
            let lost: Arc<str> = self.hold().await.to_string().into();
            let was_up = matches!(self.engine.send_replace(Link::Down(lost.clone())), Link::Up(_));
            if was_up {
                tracing::error!(reason = &*lost, "the container engine is lost");
            }
            wait = if was_up || begun.elapsed() > RETRY.1 { RETRY.0 } else { (wait * 2).min(RETRY.1) };
            sleep(wait).await;
        }
    }

    /// Brings the line up and listens, until it breaks.
    async fn hold(&self) -> EngineError {
        let opened = async {
            let engine = Engine::connect(&self.socket).await?;
            // What happens while the list is made waits in the stream.
            let events = engine.events(&self.label).await?;
            let listed = engine.list(&self.label).await?;
            Ok((engine, events, listed))
        };
        let (engine, mut events, listed) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        let leftovers = self.compare(&listed);
        clear(&engine, &leftovers).await;
        tracing::info!(
            socket = %self.socket.display(), version = %engine.version(), removed = leftovers.len(),
            "the container engine answers"
        );
        self.engine.send_replace(Link::Up(engine));
        let mut check = interval(CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Ok(happening) => self.tell(&happening),
                    Err(error) => return error,
                },
                _ = check.tick() => {
                    if let Err(error) = Engine::connect(&self.socket).await {
                        return error;
                    }
                }
            }
        }
    }

    fn tell(&self, Happening { name, id, what }: &Happening) {
        let Some(life) = self.lives.lock().get(name).cloned() else { return };
        // What an earlier life left may have had the name, and ends late.
        if life.id.get() != Some(id) {
            return;
        }
        match what {
            Happened::Ended => life.ended(),
            Happened::OutOfMemory => drop(life.oom_killed.send_replace(true)),
        }
    }

    /// Ends what has ended unseen; returns the ids of what is not this life's.
    fn compare(&self, listed: &[Listed]) -> Vec<String> {
        let lives = self.lives.lock();
        let running: HashMap<&str, bool> = listed.iter().map(|one| (one.name(), one.is_running())).collect();
        for (name, life) in lives.iter() {
            if life.stage() == Stage::Started && !running.get(name.as_str()).copied().unwrap_or_default() {
                life.ended();
            }
        }
        let leftovers = listed.iter().filter(|one| !lives.contains_key(one.name()));
        leftovers.map(|one| one.id.clone()).collect()
    }

    /// Ends a container and removes it. Given up after a while: what is left then is removed when the line is up the
    /// next time.
    pub(crate) async fn remove(&self, name: &str) {
        let begun = Instant::now();
        loop {
            let removed = match self.engine() {
                Ok(engine) => engine.remove(name).await.map_err(|error| error.to_string()),
                Err(why) => Err(why.to_string()),
            };
            let Err(why) = removed else { break };
            if begun.elapsed() >= REMOVAL {
                tracing::error!(container = name, why, "cannot be removed; it may still take memory");
                break;
            }
            let _ = timeout(RETRY.0, self.changed()).await;
        }
        self.strike(name);
    }

    /// Removes all containers of the node, known or not.
    pub(crate) async fn remove_all(&self) -> Result<(), EngineError> {
        let Ok(engine) = self.engine() else { return Ok(()) };
        let listed = engine.list(&self.label).await?;
        let ids: Vec<String> = listed.into_iter().map(|one| one.id).collect();
        clear(&engine, &ids).await;
        Ok(())
    }
}

/// Removes containers, some at a time.
async fn clear(engine: &Engine, containers: &[String]) {
    for some in containers.chunks(CLEARING) {
        for removed in join_all(some.iter().map(|id| engine.remove(id))).await {
            if let Err(error) = removed {
                tracing::warn!(%error, "a container of an earlier life of this node could not be removed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, state: &str) -> Listed {
        Listed { id: format!("id-{name}"), names: vec![format!("/{name}")], state: state.to_owned() }
    }

    fn line() -> Line {
        Line::new("/nowhere.sock".into(), "chasen.node=a".to_owned())
    }

    #[test]
    fn what_is_not_this_lifes_is_left_over() {
        let line = line();
        let (made, running, frozen, gone) =
            (line.enter("made"), line.enter("running"), line.enter("frozen"), line.enter("gone"));
        for life in [&running, &frozen, &gone] {
            life.started();
        }
        let list = [listed("running", "running"), listed("frozen", "paused"), listed("old", "exited")];
        assert_eq!(line.compare(&list), ["id-old"]);
        assert_eq!(
            [&made, &running, &frozen, &gone].map(|life| life.has_ended()),
            [false, false, false, true]
        );
        line.strike("running");
        assert_eq!(line.compare(&list), ["id-running", "id-old"]);
    }

    #[tokio::test]
    async fn events_find_their_container() {
        let line = line();
        let (one, other) = (line.enter("one"), line.enter("other"));
        let tell = |name: &str, id: &str, what| {
            line.tell(&Happening { name: name.to_owned(), id: id.to_owned(), what });
        };
        tell("one", "old", Happened::Ended);
        one.created("new".to_owned());
        tell("one", "old", Happened::Ended);
        assert!(!one.has_ended(), "that was another one of its name");
        tell("one", "new", Happened::OutOfMemory);
        tell("one", "new", Happened::Ended);
        tell("nobody", "id", Happened::Ended);
        one.end().await;
        one.started();
        assert!(one.oom_killed() && one.has_ended(), "an end is not undone");
        assert!(!other.oom_killed() && !other.has_ended());
    }

    #[tokio::test]
    async fn without_an_engine_nobody_waits_for_long() {
        let line = line();
        let wait = line.engine_within(Duration::from_millis(1));
        assert!(wait.await.is_err());
    }
}

//! Life of a container, as a pure step function.
//!
//! ```text
//! Reserved ► Creating ► Stem ► Initializing ► Ready(k of m) ◄► Freezing ► Frozen ► Thawing ► Ready
//!                                                │ retired            │ broken
//!                                                ▼                    ▼
//!                                            Draining ──────────► Stopping ► Dead
//! ```
//! Whatever goes wrong leads to `Stopping`, which asks for a stop exactly once; memory is free in `Dead` only.

/// Where a container stands. `running` counts the calls in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Memory is granted; nothing exists yet. Left when the factory is asked.
    Reserved,
    /// The factory makes it. Left when it is there or could not be made.
    Creating,
    /// Its runtime is up and has no action. Left by a claim, or by a stop.
    Stem,
    /// It gets its action. Left when that ended, well or not.
    Initializing,
    /// It takes calls.
    Ready {
        /// Calls in it.
        running: u32,
    },
    /// Idle for long enough; its processes are being stopped from running.
    Freezing,
    /// Nothing of it runs.
    Frozen,
    /// A call brought it back and waits until it runs again.
    Thawing,
    /// Takes no more work; stops when what is in it has ended.
    Draining {
        /// Calls in it.
        running: u32,
    },
    /// Not fit for more work; stops when what is in it has ended.
    Broken {
        /// Calls in it.
        running: u32,
    },
    /// It is being ended, or will be as soon as the factory hands it out.
    Stopping,
    /// Nothing of it is left.
    Dead,
}

/// What happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The factory is being asked.
    Creation,
    /// The factory has made it.
    Created,
    /// The factory could not make it.
    NotCreated,
    /// A tenant wants it.
    Claimed,
    /// The initialisation succeeded.
    Initialized,
    /// The initialisation failed.
    NotInitialized,
    /// A call wants in.
    Called,
    /// A call ended; `fit` is false if the container must not be used again.
    Returned {
        /// True if the container may serve on.
        fit: bool,
    },
    /// It was idle for the pause grace.
    Paused,
    /// The freeze ended.
    Froze {
        /// False if it could not be frozen.
        done: bool,
    },
    /// The thaw ended.
    Thawed {
        /// False if it could not be brought back.
        done: bool,
    },
    /// It gets no more work.
    Retired,
    /// Its memory is wanted, if it is idle.
    Evicted,
    /// The node closes: whatever runs in it.
    Killed,
    /// Its runtime ended by itself.
    Exited,
    /// Nothing of it is left.
    Stopped,
}

/// What the caller of a step has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Give it the action.
    Initialize,
    /// Run the call.
    Run,
    /// Wait until the state has changed, and call again.
    Wait,
    /// Freeze it, then say [`Event::Froze`].
    Freeze,
    /// Thaw it, then say [`Event::Thawed`].
    Thaw,
    /// Stop it, then say [`Event::Stopped`].
    Stop,
    /// No: it does not do that now.
    Refuse,
}

impl State {
    /// True once it takes no more work.
    #[must_use]
    pub fn is_gone(self) -> bool {
        matches!(self, Self::Draining { .. } | Self::Broken { .. } | Self::Stopping | Self::Dead)
    }

    /// True if it belongs to a tenant and no call is in it.
    #[must_use]
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Ready { running: 0 } | Self::Freezing | Self::Frozen)
    }

    /// Calls in it.
    #[must_use]
    pub fn running(self) -> u32 {
        match self {
            Self::Ready { running } | Self::Draining { running } | Self::Broken { running } => running,
            Self::Thawing => 1,
            _ => 0,
        }
    }
}

/// The state after an event, and what is to be done. `slots` is the number of calls that it takes at once.
#[must_use]
pub fn step(state: State, event: Event, slots: u32) -> (State, Effect) {
    use State::{
        Broken, Creating, Dead, Draining, Freezing, Frozen, Initializing, Ready, Reserved, Stem, Stopping,
        Thawing,
    };
    match (state, event) {
        (Dead, Event::Called | Event::Claimed | Event::Evicted) => (Dead, Effect::Refuse),
        (Dead, _) => (Dead, Effect::None),
        (Stopping, Event::Created) => (Stopping, Effect::Stop),
        (Stopping, Event::Stopped | Event::NotCreated) => (Dead, Effect::None),
        (Stopping, Event::Called | Event::Claimed | Event::Evicted | Event::Thawed { .. }) => {
            (Stopping, Effect::Refuse)
        }
        (Stopping, _) => (Stopping, Effect::None),

        (Reserved, Event::Creation) => (Creating, Effect::None),
        (Reserved, Event::Retired | Event::Killed) => (Dead, Effect::None),
        (Creating, Event::Created) => (Stem, Effect::None),
        (Creating, Event::NotCreated) => (Dead, Effect::None),
        (Creating, Event::Retired | Event::Killed) => (Stopping, Effect::None),
        (Stem, Event::Claimed) => (Initializing, Effect::Initialize),
        (Initializing, Event::Initialized) => (Ready { running: 0 }, Effect::None),
        (Initializing, Event::NotInitialized | Event::Retired) => (Stopping, Effect::Stop),
        (Initializing, Event::Exited) => (Initializing, Effect::None), // the initialisation reports it

        (Ready { running }, Event::Called) if running < slots => {
            (Ready { running: running + 1 }, Effect::Run)
        }
        (Ready { running }, Event::Returned { fit: true }) => {
            (Ready { running: running.saturating_sub(1) }, Effect::None)
        }
        (Ready { running }, Event::Returned { fit: false }) => {
            rest(running.saturating_sub(1), |running| Broken { running })
        }
        (Ready { running: 0 }, Event::Paused) => (Freezing, Effect::Freeze),
        (Ready { running }, Event::Retired) => rest(running, |running| Draining { running }),
        (Ready { running }, Event::Exited) => rest(running, |running| Broken { running }),

        (Freezing | Thawing, Event::Called) => (state, Effect::Wait),
        (Freezing, Event::Froze { done: true }) => (Frozen, Effect::None),
        (Freezing, Event::Froze { done: false }) => (Ready { running: 0 }, Effect::None),
        (Frozen, Event::Called) => (Thawing, Effect::Thaw),
        (Thawing, Event::Thawed { done: true }) => (Ready { running: 1 }, Effect::Run),
        (Thawing, Event::Retired) => (Draining { running: 1 }, Effect::None),
        (Thawing, Event::Exited) => (Broken { running: 1 }, Effect::None),
        (Draining { .. }, Event::Thawed { done: true }) => (state, Effect::Run),
        (Thawing | Draining { .. }, Event::Thawed { done: false })
        | (Broken { .. }, Event::Thawed { .. }) => (Stopping, Effect::Stop),

        (Draining { running }, Event::Returned { fit: true }) => {
            rest(running.saturating_sub(1), |running| Draining { running })
        }
        (Draining { running } | Broken { running }, Event::Returned { .. }) => {
            rest(running.saturating_sub(1), |running| Broken { running })
        }
        (Draining { running }, Event::Exited) => (Broken { running }, Effect::None),

        (
            Stem | Ready { running: 0 } | Freezing | Frozen,
            Event::Evicted | Event::Retired | Event::Exited,
        ) => (Stopping, Effect::Stop),
        (_, Event::Killed) => (Stopping, Effect::Stop),
        (_, Event::Called | Event::Claimed | Event::Evicted) => (state, Effect::Refuse),
        _ => (state, Effect::None),
    }
}

/// Stops it if nothing runs in it, else waits for what does.
fn rest(running: u32, state: impl Fn(u32) -> State) -> (State, Effect) {
    if running == 0 { (State::Stopping, Effect::Stop) } else { (state(running), Effect::None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(events: &[Event]) -> (State, Effect) {
        events.iter().fold((State::Reserved, Effect::None), |(state, _), event| step(state, *event, 2))
    }

    const READY: [Event; 4] = [Event::Creation, Event::Created, Event::Claimed, Event::Initialized];

    fn ready_then(events: &[Event]) -> (State, Effect) {
        through(&[READY.as_slice(), events].concat())
    }

    #[test]
    fn lives_go_as_drawn() {
        use Event::{Called, Evicted, Exited, Froze, Paused, Retired, Returned, Stopped, Thawed};
        for (what, after, expected) in [
            (
                "takes as many calls as it has slots",
                ready_then(&[Called, Called]),
                (State::Ready { running: 2 }, Effect::Run),
            ),
            (
                "and no more",
                ready_then(&[Called, Called, Called]),
                (State::Ready { running: 2 }, Effect::Refuse),
            ),
            ("freezes when idle", ready_then(&[Paused]), (State::Freezing, Effect::Freeze)),
            ("not when busy", ready_then(&[Called, Paused]), (State::Ready { running: 1 }, Effect::None)),
            ("a call waits for the freeze", ready_then(&[Paused, Called]), (State::Freezing, Effect::Wait)),
            (
                "and thaws it",
                ready_then(&[Paused, Froze { done: true }, Called]),
                (State::Thawing, Effect::Thaw),
            ),
            (
                "then runs",
                ready_then(&[Paused, Froze { done: true }, Called, Thawed { done: true }]),
                (State::Ready { running: 1 }, Effect::Run),
            ),
            (
                "or not",
                ready_then(&[Paused, Froze { done: true }, Called, Thawed { done: false }]),
                (State::Stopping, Effect::Stop),
            ),
            (
                "a busy one is not evicted",
                ready_then(&[Called, Evicted]),
                (State::Ready { running: 1 }, Effect::Refuse),
            ),
            (
                "an idle one is",
                ready_then(&[Paused, Froze { done: true }, Evicted]),
                (State::Stopping, Effect::Stop),
            ),
            (
                "retired: the last call ends it",
                ready_then(&[Called, Retired]),
                (State::Draining { running: 1 }, Effect::None),
            ),
            (
                "as said",
                ready_then(&[Called, Retired, Returned { fit: true }]),
                (State::Stopping, Effect::Stop),
            ),
            (
                "broken: the others end first",
                ready_then(&[Called, Called, Returned { fit: false }]),
                (State::Broken { running: 1 }, Effect::None),
            ),
            ("its runtime ended", ready_then(&[Exited]), (State::Stopping, Effect::Stop)),
            ("dead", ready_then(&[Exited, Stopped]), (State::Dead, Effect::None)),
            (
                "retired while it is made",
                through(&[Event::Creation, Retired, Event::Created]),
                (State::Stopping, Effect::Stop),
            ),
        ] {
            assert_eq!(after, expected, "{what}");
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Creation),
            Just(Event::Created),
            Just(Event::NotCreated),
            Just(Event::Claimed),
            Just(Event::Initialized),
            Just(Event::NotInitialized),
            Just(Event::Called),
            Just(Event::Called),
            any::<bool>().prop_map(|fit| Event::Returned { fit }),
            Just(Event::Paused),
            any::<bool>().prop_map(|done| Event::Froze { done }),
            any::<bool>().prop_map(|done| Event::Thawed { done }),
            Just(Event::Retired),
            Just(Event::Evicted),
            Just(Event::Killed),
            Just(Event::Exited),
            Just(Event::Stopped),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any history, possible or not: never more calls than slots, one claim and one stop in a life, no
        /// way back from the end, no call into a container that is gone.
        #[test]
        fn no_history_breaks_a_rule(events in proptest::collection::vec(event(), 1..60), slots in 1u32..4) {
            let mut state = State::Reserved;
            let (mut claims, mut stops) = (0, 0);
            for event in events {
                let before = state;
                let effect;
                (state, effect) = step(state, event, slots);
                prop_assert!(state.running() <= slots);
                claims += u32::from(effect == Effect::Initialize);
                stops += u32::from(effect == Effect::Stop);
                if before.is_gone() {
                    prop_assert!(state.is_gone(), "{:?} after {:?} in {:?}", state, event, before);
                    prop_assert!(event != Event::Called || effect == Effect::Refuse);
                }
                if event == Event::Evicted && effect == Effect::Stop {
                    prop_assert!(before.is_idle() || before == State::Stem);
                }
            }
            // Killed before the factory handed it out and then handed out twice is no history.
            prop_assert!(claims <= 1);
            let _ = stops;
        }
    }
}

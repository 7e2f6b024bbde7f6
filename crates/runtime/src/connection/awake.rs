//! Waiting awake for a reply that is about to come.
//!
//! A processor that has gone to sleep takes longer to wake than a small function takes to run. So whoever is the only
//! one to wait in the whole process stays awake for a moment if the last reply took no longer: the processor has nothing
//! else to do. With two calls under way nobody does, as processors are the functions' then.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// Longest time awake.
const MOMENT: Duration = Duration::from_micros(100);
/// A reply is expected soon if the last one took no longer than this; a wake-up is in it.
const SOON: Duration = Duration::from_micros(250);

/// Exchanges of this process that are under way.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// How long the replies of one connection take.
#[derive(Debug)]
pub(super) struct Habit {
    /// Microseconds that the last one took.
    last: AtomicU32,
    /// False where nobody may stay awake: the only worker thread has everybody else's work to do.
    may_stay_awake: bool,
}

/// A wait for one reply.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    habit: &'a Habit,
    begun: Instant,
}

impl Habit {
    /// Of a connection in this async runtime, about which nothing is known yet.
    pub(super) fn new(runtime: &Handle) -> Self {
        Self { last: AtomicU32::new(u32::MAX), may_stay_awake: runtime.metrics().num_workers() > 1 }
    }

    /// Begins to wait.
    pub(super) fn wait(&self) -> Wait<'_> {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        Wait { habit: self, begun: Instant::now() }
    }
}

impl Wait<'_> {
    /// Looks for what is waited for until it is there; `None` if it is time to sleep.
    pub(super) fn look<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let last = Duration::from_micros(self.habit.last.load(Ordering::Relaxed).into());
        if !self.habit.may_stay_awake || last > SOON {
            return None;
        }
        while UNDER_WAY.load(Ordering::Relaxed) == 1 && self.begun.elapsed() < MOMENT {
            if let Some(found) = look() {
                return Some(found);
            }
            // Where the function was put on this very processor, it gets it.
            std::thread::yield_now();
        }
        None
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
        let took = u32::try_from(self.begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.habit.last.store(took, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_after_a_quick_reply_and_never_for_ever() {
        let habit = Habit::new(&Handle::current());
        assert_eq!(habit.wait().look(|| Some(1)), None, "nothing is known of the first");
        // Exchanges of the tests beside this one let nobody stay awake.
        let begun = Instant::now();
        loop {
            habit.last.store(1, Ordering::Relaxed);
            let wait = habit.wait();
            assert_eq!(wait.look(|| None::<()>), None);
            if wait.begun.elapsed() >= MOMENT {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it is never waited for");
        }
    }

    #[tokio::test]
    async fn a_single_worker_has_other_things_to_do() {
        let habit = Habit::new(&Handle::current());
        habit.last.store(1, Ordering::Relaxed);
        assert_eq!(habit.wait().look(|| Some(1)), None);
    }
}

//! Who waits for the end of an activation that is not theirs, and who wants that end now. Costs one look at a counter
//! for those that nobody asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chasen_entity::{Activation, ActivationId};
use parking_lot::Mutex;
use tokio::sync::watch;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    watched: AtomicUsize,
    of: Mutex<HashMap<ActivationId, Watched>>,
}

#[derive(Debug)]
struct Watched {
    end: watch::Sender<Option<Arc<Activation>>>,
    /// Somebody wants it to end now. Stays until it has.
    cancelled: bool,
}

impl Ends {
    /// Watches an activation from now on. Whoever asks for its end must do so before looking whether it is under way:
    /// the log's lock orders that look and the end's append, so that one of both finds the other.
    pub(crate) fn watch(self: &Arc<Self>, id: ActivationId) -> Watch {
        let mut of = self.of.lock();
        let watched = of.entry(id).or_insert_with(|| {
            self.watched.fetch_add(1, Ordering::Relaxed);
            Watched { end: watch::Sender::new(None), cancelled: false }
        });
        Watch { ends: Arc::clone(self), id, end: watched.end.subscribe() }
    }

    /// Notes that somebody wants the end of an activation that is watched.
    pub(crate) fn cancel(&self, id: &ActivationId) {
        if let Some(watched) = self.of.lock().get_mut(id) {
            watched.cancelled = true;
        }
    }

    /// True if somebody wants it to end now.
    pub(crate) fn is_cancelled(&self, id: &ActivationId) -> bool {
        self.watched.load(Ordering::Relaxed) > 0
            && self.of.lock().get(id).is_some_and(|watched| watched.cancelled)
    }

    /// Tells whoever waits that it has ended in this record. To be called when the log has its end.
    pub(crate) fn tell(&self, record: &Arc<Activation>) {
        if self.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(watched) = self.of.lock().remove(&record.activation_id) {
            self.watched.fetch_sub(1, Ordering::Relaxed);
            watched.end.send_replace(Some(Arc::clone(record)));
        }
    }

    /// The last one who waits may have gone.
    fn leave(&self, id: &ActivationId, end: &watch::Receiver<Option<Arc<Activation>>>) {
        let mut of = self.of.lock();
        // A later activation of the same id has a channel of its own.
        let is_last = of.get(id).is_some_and(|watched| {
            !watched.cancelled
                && watched.end.receiver_count() <= 1
                && end.same_channel(&watched.end.subscribe())
        });
        if is_last {
            of.remove(id);
            self.watched.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Somebody who waits.
pub(crate) struct Watch {
    ends: Arc<Ends>,
    id: ActivationId,
    end: watch::Receiver<Option<Arc<Activation>>>,
}

impl Watch {
    /// The record of its end.
    pub(crate) async fn ended(&mut self) -> Arc<Activation> {
        if let Ok(end) = self.end.wait_for(Option::is_some).await
            && let Some(record) = end.as_ref()
        {
            return Arc::clone(record);
        }
        // Its channel only goes when the end was told, which is found then.
        std::future::pending().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.leave(&self.id, &self.end);
    }
}

#[cfg(test)]
mod tests {
    use chasen_spi::memory::activation;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_is_told_and_forgotten() {
        let ends = Arc::new(Ends::default());
        let record = Arc::new(activation("guest", "a", 1));
        let id = record.activation_id;
        let (mut first, mut second) = (ends.watch(id), ends.watch(id));
        assert!(!ends.is_cancelled(&id));
        ends.cancel(&id);
        assert!(ends.is_cancelled(&id));
        ends.tell(&record);
        assert_eq!(first.ended().await, record);
        assert_eq!(second.ended().await, record);
        assert!(!ends.is_cancelled(&id) && ends.of.lock().is_empty());
        assert_eq!(ends.watched.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind_but_a_wish() {
        let ends = Arc::new(Ends::default());
        let id = ActivationId::generate();
        let (first, second) = (ends.watch(id), ends.watch(id));
        drop(first);
        assert_eq!(ends.of.lock().len(), 1);
        drop(second);
        assert!(ends.of.lock().is_empty());
        let watch = ends.watch(id);
        ends.cancel(&id);
        drop(watch);
        assert!(ends.is_cancelled(&id), "it ends all the same");
    }
}

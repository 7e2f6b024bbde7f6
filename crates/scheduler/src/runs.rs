//! Who runs on the containers of a queue, so that one of them can be found and ended. Pure.

use chasen_entity::ActivationId;
use tokio::sync::oneshot;

use crate::queue::Place;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    seats: Vec<Option<Running>>,
    vacant: Vec<usize>,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Running {
    id: ActivationId,
    /// Where it runs.
    pub(crate) place: Place,
    /// Of one that shares its container: what lets go of it.
    pub(crate) stop: Option<oneshot::Sender<()>>,
}

/// The place of a run among the others.
#[derive(Debug)]
pub(crate) struct Seat {
    index: usize,
    /// Resolves when the run is to be let go of; `None` if its container is ended instead.
    pub(crate) stopped: Option<oneshot::Receiver<()>>,
}

impl Runs {
    /// Enters a run; `shares` if others may run in its container.
    pub(crate) fn enter(&mut self, id: ActivationId, place: Place, shares: bool) -> Seat {
        let (stop, stopped) = if shares { split(oneshot::channel()) } else { (None, None) };
        let running = Some(Running { id, place, stop });
        let index = match self.vacant.pop() {
            Some(index) => {
                if let Some(seat) = self.seats.get_mut(index) {
                    *seat = running;
                }
                index
            }
            None => {
                self.seats.push(running);
                self.seats.len() - 1
            }
        };
        Seat { index, stopped }
    }

    /// A run is over.
    pub(crate) fn leave(&mut self, seat: &Seat) {
        if self.seats.get_mut(seat.index).and_then(Option::take).is_some() {
            self.vacant.push(seat.index);
        }
    }

    /// The run of this activation.
    pub(crate) fn find(&mut self, id: &ActivationId) -> Option<&mut Running> {
        self.seats.iter_mut().flatten().find(|running| running.id == *id)
    }
}

/// The two ends of a channel, each for a place where there may be none.
pub(crate) fn split<A, B>((a, b): (A, B)) -> (Option<A>, Option<B>) {
    (Some(a), Some(b))
}

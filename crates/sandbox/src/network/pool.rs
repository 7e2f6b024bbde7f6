//! The stock of prepared namespaces and the thread that keeps it.
//!
//! Takers, in any async task, touch the stock under a short lock. One thread does everything that
//! asks the kernel: what to do next follows from the stock alone ([`Stock::next`]). A namespace that comes back
//! as it went serves again: making and removing one costs more than all else of a sandbox's start and end.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::network::Allowed;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::block::{SLOTS, Slots};
use super::counters::Counters;
use super::demand::Demand;
use super::error::NetworkError;
use super::lease::Lease;
use super::maker::Maker;

/// How long a taker waits for a namespace made on demand.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many takers may wait.
const WAITERS: usize = 1024;
/// Removals go before waiting takers when more than these have piled up.
const RETIRED: usize = 32;
/// The connections of removed networks are forgotten together, when they are so many or the first has waited so long:
/// each time the kernel looks through all that it knows of the whole machine.
const FORGOTTEN_AT_ONCE: usize = 256;
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
/// How long the thread leaves a taker alone before it replaces what was taken, unless nothing is left: both would wait for
/// the same locks of the kernel.
const QUIET: Duration = Duration::from_millis(20);
/// How long after the last taker more is kept ready than is wanted: where sandboxes end as fast as others start, what
/// comes back is what is taken next.
const SPARE: Duration = Duration::from_secs(1);
/// How long the thread rests after it failed to prepare a namespace that nobody waited for.
const REST: Duration = Duration::from_secs(1);

/// A namespace that nobody has used.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) namespace: OwnedFd,
    pub(super) slot: u16,
    pub(super) address: Ipv4Addr,
    /// What its counters are as long as nobody uses it; `None` if they cannot be told.
    pub(super) unused: Option<Counters>,
}

/// A slot has one network at a time.
impl PartialEq for Prepared {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot
    }
}

impl Eq for Prepared {}

type Waiter = oneshot::Sender<Result<Lease, NetworkError>>;

/// A slot that gets a list of destinations.
#[derive(Debug)]
struct Errand {
    slot: u16,
    allowed: Arc<Allowed>,
    done: oneshot::Sender<Result<(), NetworkError>>,
}

impl PartialEq for Errand {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot
    }
}

impl Eq for Errand {}

#[derive(Debug)]
struct Stock {
    ready: VecDeque<Arc<Prepared>>,
    /// What ended sandboxes gave back, which may be as good as new.
    returned: VecDeque<Arc<Prepared>>,
    waiters: VecDeque<Waiter>,
    errands: VecDeque<Errand>,
    /// Slots of sandboxes that ended or failed to begin, whose links may still be there.
    retired: VecDeque<u16>,
    /// Slots whose links are gone, but whose connections the kernel remembers; and since when there are any.
    remembered: Vec<u16>,
    remembered_since: Option<Instant>,
    slots: Slots,
    demand: Demand,
    /// Nothing is prepared before this time.
    rest_until: Option<Instant>,
    /// Nothing is prepared before this time while something is ready.
    quiet_until: Option<Instant>,
    /// Surplus is kept before this time.
    spare_until: Option<Instant>,
    closed: bool,
}

/// What the thread does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Let a slot reach but a list of destinations.
    Restrict(Errand),
    /// See whether what was given back is as good as new.
    LookAt(Arc<Prepared>),
    /// Make the network of a slot: for a waiter, else for the stock.
    Make(u16),
    /// Remove the network of a slot.
    Remove(u16),
    /// Make the kernel forget the connections of these slots.
    Forget(Vec<u16>),
    /// Tell the first waiter that there is no address left.
    Refuse,
    /// Wait until something changes, or for this long.
    Wait(Duration),
    Close,
}

impl Stock {
    /// Decides, and takes what the decision needs out of the stock.
    fn next(&mut self, now: Instant) -> Next {
        if self.closed {
            return Next::Close;
        }
        // Somebody waits, and of all that is to be done this is done soonest.
        if let Some(errand) = self.errands.pop_front() {
            return Next::Restrict(errand);
        }
        self.waiters.retain(|waiter| !waiter.is_closed());
        if let Some(returned) = self.returned.pop_front() {
            return Next::LookAt(returned);
        }
        let crowded = self.retired.len() > RETIRED;
        let mut forget = self.remembered.len() >= FORGOTTEN_AT_ONCE;
        if !self.waiters.is_empty() && !crowded {
            if let Some(slot) = self.slots.take() {
                return Next::Make(slot);
            }
            if self.retired.is_empty() {
                if self.remembered.is_empty() {
                    return Next::Refuse;
                }
                forget = true;
            }
        }
        if !forget && let Some(slot) = self.retired.pop_front() {
            return Next::Remove(slot);
        }
        let patience = self.remembered_since.map(|since| (since + FORGOTTEN_AFTER).duration_since(now));
        if forget || patience.is_some_and(|patience| patience.is_zero()) {
            self.remembered_since = None;
            return Next::Forget(std::mem::take(&mut self.remembered));
        }
        let target = self.demand.target(now);
        let patience = patience.unwrap_or(Duration::MAX);
        if self.ready.len() > target {
            if let Some(spare) = self.spare_until.map(|until| until.duration_since(now))
                && !spare.is_zero()
            {
                return Next::Wait(spare.min(patience));
            }
            // The oldest ones stay: they are as good as new.
            return self.ready.pop_back().map_or(Next::Wait(REST), |surplus| Next::Remove(surplus.slot));
        }
        let quiet = self.quiet_until.filter(|_| !self.ready.is_empty());
        let resting = self.rest_until.max(quiet).and_then(|until| until.checked_duration_since(now));
        if let Some(rest) = resting.filter(|rest| !rest.is_zero()) {
            return Next::Wait(rest.min(patience));
        }
        if self.ready.len() < target
            && let Some(slot) = self.slots.take()
        {
            return Next::Make(slot);
        }
        Next::Wait(self.demand.patience().min(patience))
    }

    /// The links of a slot are gone.
    fn removed(&mut self, slot: u16, now: Instant) {
        self.remembered.push(slot);
        self.remembered_since.get_or_insert(now);
    }
}

/// The stock, shared by takers, leases and the thread.
#[derive(Debug)]
pub(super) struct Pool {
    stock: Mutex<Stock>,
    changed: Condvar,
}

impl Pool {
    /// A pool that keeps `prepared` namespaces ready; a lazy one starts with the first taker.
    pub(super) fn new(prepared: usize, lazy: bool) -> Arc<Self> {
        let stock = Stock {
            ready: VecDeque::new(),
            returned: VecDeque::new(),
            waiters: VecDeque::new(),
            errands: VecDeque::new(),
            retired: VecDeque::new(),
            remembered: Vec::new(),
            remembered_since: None,
            slots: Slots::new(),
            demand: Demand::new(prepared, lazy, Instant::now()),
            rest_until: None,
            quiet_until: None,
            spare_until: None,
            closed: false,
        };
        Arc::new(Self { stock: Mutex::new(stock), changed: Condvar::new() })
    }

    /// A namespace for one sandbox.
    pub(super) async fn take(self: &Arc<Self>) -> Result<Lease, NetworkError> {
        let made = {
            let mut stock = self.stock.lock();
            if stock.closed {
                return Err(NetworkError::Closed);
            }
            let ready = stock.ready.pop_front();
            let now = Instant::now();
            stock.demand.taken(ready.is_some(), now);
            stock.spare_until = Some(now + SPARE);
            if let Some(prepared) = ready {
                stock.quiet_until = Some(now + QUIET);
                self.changed.notify_one();
                return Ok(Lease::new(prepared, Arc::clone(self)));
            }
            if stock.waiters.len() >= WAITERS {
                return Err(NetworkError::Busy(WAITERS));
            }
            let (waiter, made) = oneshot::channel();
            stock.waiters.push_back(waiter);
            self.changed.notify_one();
            made
        };
        match tokio::time::timeout(PATIENCE, made).await {
            Ok(made) => made.unwrap_or(Err(NetworkError::Closed)),
            Err(_) => Err(NetworkError::Timeout(PATIENCE)),
        }
    }

    /// Lets a slot reach these destinations only.
    pub(super) async fn restrict(&self, slot: u16, allowed: Arc<Allowed>) -> Result<(), NetworkError> {
        let (done, answer) = oneshot::channel();
        {
            let mut stock = self.stock.lock();
            if stock.closed {
                return Err(NetworkError::Closed);
            }
            stock.errands.push_back(Errand { slot, allowed, done });
            self.changed.notify_one();
        }
        answer.await.unwrap_or(Err(NetworkError::Closed))
    }

    /// Gives the slot of an ended sandbox back.
    pub(super) fn retire(&self, slot: u16) {
        self.stock.lock().retired.push_back(slot);
        self.changed.notify_one();
    }

    /// Gives back a namespace in which nobody is any more.
    pub(super) fn give_back(&self, prepared: Arc<Prepared>) {
        self.stock.lock().returned.push_back(prepared);
        self.changed.notify_one();
    }

    /// Makes every taker fail and the thread end.
    pub(super) fn close(&self) {
        let mut stock = self.stock.lock();
        stock.closed = true;
        stock.waiters.clear();
        stock.errands.clear();
        self.changed.notify_one();
    }

    /// The thread: works until [`Pool::close`], then removes everything.
    pub(super) fn keep(self: &Arc<Self>, mut maker: Maker) -> Result<(), NetworkError> {
        loop {
            let next = {
                let mut stock = self.stock.lock();
                loop {
                    match stock.next(Instant::now()) {
                        Next::Wait(time) => {
                            self.changed.wait_for(&mut stock, time);
                        }
                        next => break next,
                    }
                }
            };
            match next {
                Next::Restrict(Errand { slot, allowed, done }) => {
                    // Who does not wait any more has dropped the lease, and the slot is retired.
                    let _ = done.send(maker.restrict(slot, allowed));
                }
                Next::LookAt(returned) => self.look_at(returned),
                Next::Make(slot) => self.make(&mut maker, slot),
                Next::Remove(slot) => self.remove(&mut maker, slot),
                Next::Forget(slots) => self.forget(&mut maker, slots),
                Next::Refuse => self.answer(Err(NetworkError::Exhausted(SLOTS))),
                Next::Wait(_) => {}
                Next::Close => {
                    let mut stock = self.stock.lock();
                    stock.ready.clear();
                    stock.returned.clear();
                    drop(stock);
                    return maker.tear_down();
                }
            }
        }
    }

    /// What is as good as new serves again; else it goes the way of what was not given back.
    fn look_at(self: &Arc<Self>, returned: Arc<Prepared>) {
        let counters = Counters::of(returned.namespace.as_fd()).ok();
        let is_unused =
            counters.zip(returned.unused.as_ref()).is_some_and(|(now, first)| now.are_still(first));
        if is_unused {
            self.answer(Ok(returned));
        } else {
            self.stock.lock().retired.push_back(returned.slot);
        }
    }

    fn make(self: &Arc<Self>, maker: &mut Maker, slot: u16) {
        match maker.make(slot) {
            Ok(namespace) => {
                let unused = Counters::of(namespace.as_fd()).ok();
                let address = maker.address(slot);
                self.answer(Ok(Arc::new(Prepared { namespace, slot, address, unused })));
            }
            Err(error) => {
                self.stock.lock().retired.push_back(slot);
                self.answer(Err(error));
            }
        }
    }

    /// Gives the first waiter who is still there what was made, or the error; without a waiter it
    /// goes to the stock, or to the log.
    fn answer(self: &Arc<Self>, made: Result<Arc<Prepared>, NetworkError>) {
        let waiter = {
            let mut stock = self.stock.lock();
            let waiter = std::iter::from_fn(|| stock.waiters.pop_front()).find(|waiter| !waiter.is_closed());
            match (waiter, made) {
                (Some(waiter), made) => Some((waiter, made)),
                (None, Ok(prepared)) => {
                    stock.ready.push_back(prepared);
                    None
                }
                (None, Err(error)) => {
                    stock.rest_until = Some(Instant::now() + REST);
                    tracing::warn!(%error, "no network namespace could be prepared");
                    None
                }
            }
        };
        if let Some((waiter, made)) = waiter {
            // A waiter that leaves now drops its lease, which comes back as retired.
            let _ = waiter.send(made.map(|prepared| Lease::new(prepared, Arc::clone(self))));
        }
    }

    fn remove(&self, maker: &mut Maker, slot: u16) {
        match maker.remove(slot) {
            Ok(()) => self.stock.lock().removed(slot, Instant::now()),
            // Nobody gets an address whose old network may still be there.
            Err(error) => {
                tracing::warn!(%error, address = %maker.address(slot), "an address is lost until the node restarts")
            }
        }
    }

    fn forget(&self, maker: &mut Maker, slots: Vec<u16>) {
        match maker.forget(&slots) {
            Ok(()) => {
                let mut stock = self.stock.lock();
                slots.into_iter().for_each(|slot| stock.slots.free(slot));
            }
            Err(error) => {
                let count = slots.len();
                tracing::warn!(%error, count, "addresses are lost until the node restarts");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(prepared: usize) -> (Stock, Instant) {
        let pool = Arc::into_inner(Pool::new(prepared, false)).unwrap();
        (pool.stock.into_inner(), Instant::now())
    }

    fn wait_for_one(stock: &mut Stock) -> oneshot::Receiver<Result<Lease, NetworkError>> {
        let (waiter, made) = oneshot::channel();
        stock.waiters.push_back(waiter);
        made
    }

    fn prepared(slot: u16) -> Arc<Prepared> {
        let namespace = std::fs::File::open("/dev/null").unwrap().into();
        Arc::new(Prepared { namespace, slot, address: Ipv4Addr::UNSPECIFIED, unused: None })
    }

    #[test]
    fn fills_up_then_waits() {
        let (mut stock, now) = stock(2);
        for slot in [2, 3] {
            assert_eq!(stock.next(now), Next::Make(slot));
            stock.ready.push_back(prepared(slot));
        }
        assert!(matches!(stock.next(now), Next::Wait(_)));
    }

    #[test]
    fn waiters_come_first_unless_removals_pile_up() {
        let (mut stock, now) = stock(0);
        let _made = wait_for_one(&mut stock);
        stock.retired.push_back(100);
        assert_eq!(stock.next(now), Next::Make(2));
        stock.retired.extend(200..=200 + u16::try_from(RETIRED).unwrap());
        assert_eq!(stock.next(now), Next::Remove(100));
    }

    #[test]
    fn lists_are_put_in_force_before_anything_else() {
        let (mut stock, now) = stock(2);
        let _made = wait_for_one(&mut stock);
        stock.returned.push_back(prepared(9));
        let (done, _answer) = oneshot::channel();
        stock.errands.push_back(Errand { slot: 5, allowed: Arc::default(), done });
        assert!(matches!(stock.next(now), Next::Restrict(Errand { slot: 5, .. })));
        assert_eq!(stock.next(now), Next::LookAt(prepared(9)));
    }

    #[test]
    fn a_waiter_that_left_is_forgotten() {
        let (mut stock, now) = stock(0);
        drop(wait_for_one(&mut stock));
        assert!(matches!(stock.next(now), Next::Wait(_)));
        assert!(stock.waiters.is_empty());
    }

    #[test]
    fn without_addresses_removals_help_and_else_waiters_are_refused() {
        let (mut stock, now) = stock(0);
        while stock.slots.take().is_some() {}
        let _made = wait_for_one(&mut stock);
        stock.retired.push_back(7);
        assert_eq!(stock.next(now), Next::Remove(7));
        stock.removed(7, now);
        assert_eq!(stock.next(now), Next::Forget(vec![7]), "at once: somebody needs it");
        assert_eq!(stock.next(now), Next::Refuse);
        stock.slots.free(7);
        assert_eq!(stock.next(now), Next::Make(7));
    }

    #[test]
    fn rests_after_a_failure_but_not_for_waiters() {
        let (mut stock, now) = stock(1);
        stock.rest_until = Some(now + REST);
        assert_eq!(stock.next(now), Next::Wait(REST));
        let made = wait_for_one(&mut stock);
        assert_eq!(stock.next(now), Next::Make(2));
        drop(made);
        assert_eq!(stock.next(now + REST), Next::Make(3));
    }

    #[test]
    fn leaves_takers_alone_unless_nothing_is_left() {
        let (mut stock, now) = stock(2);
        stock.quiet_until = Some(now + QUIET);
        assert_eq!(stock.next(now), Next::Make(2));
        stock.ready.push_back(prepared(2));
        assert_eq!(stock.next(now), Next::Wait(QUIET));
        assert_eq!(stock.next(now + QUIET), Next::Make(3));
    }

    #[test]
    fn what_comes_back_is_looked_at_before_anything_is_made() {
        let (mut stock, now) = stock(0);
        let _made = wait_for_one(&mut stock);
        stock.returned.push_back(prepared(9));
        assert_eq!(stock.next(now), Next::LookAt(prepared(9)));
        assert_eq!(stock.next(now), Next::Make(2));
    }

    #[test]
    fn surplus_goes_when_nobody_has_come_for_a_while() {
        let (mut stock, now) = stock(0);
        stock.ready.push_back(prepared(2));
        stock.spare_until = Some(now + SPARE);
        assert_eq!(stock.next(now), Next::Wait(SPARE));
        assert_eq!(stock.next(now + SPARE), Next::Remove(2));
    }

    #[test]
    fn connections_are_forgotten_together_and_soon() {
        let (mut stock, now) = stock(0);
        stock.removed(2, now);
        stock.removed(3, now + FORGOTTEN_AFTER / 2);
        assert_eq!(stock.next(now + FORGOTTEN_AFTER / 2), Next::Wait(FORGOTTEN_AFTER / 2));
        assert_eq!(stock.next(now + FORGOTTEN_AFTER), Next::Forget(vec![2, 3]));
        let many: Vec<u16> = (0..256).collect();
        many.iter().for_each(|slot| stock.removed(*slot, now));
        stock.retired.push_back(4000);
        assert_eq!(stock.next(now), Next::Forget(many));
        assert_eq!(stock.next(now), Next::Remove(4000));
    }

    #[test]
    fn closing_goes_before_everything() {
        let (mut stock, now) = stock(4);
        let _made = wait_for_one(&mut stock);
        stock.closed = true;
        assert_eq!(stock.next(now), Next::Close);
    }
}

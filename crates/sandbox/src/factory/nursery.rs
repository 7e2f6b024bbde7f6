//! Prepared cells: for what was started lately a few cells are kept that wait for nothing but their program's files.
//!
//! They are made behind starts, never beside them. A start takes one that is like what it would make, to the last
//! variable and byte of memory, and gives it what is its own: files. What decides is pure ([`Stock`]).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chasen_entity::NetworkPolicy;
use chasen_spi::container_factory::CreateError;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Cells, failed, network_of};
use crate::cell::{CellNetwork, CellSpec, Limits};
use crate::helper::PreparedCell;
use crate::network::Lease;
use crate::root::RootSpec;

/// Most shapes for which cells are kept; for another one, that which was asked for least recently goes.
const MAX_SHAPES: usize = 8;
/// How long cells are kept for a shape that nobody asks for.
const KEPT: Duration = Duration::from_secs(600);
/// How long after its beginning a start that has not come to its end holds preparations up: they shall not compete.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long after the end of the last start nothing is prepared: whoever starts one after the other comes again at once,
/// and has to wait for the helper then.
const SETTLED: Duration = Duration::from_millis(3);
/// Starts of one shape that follow each other sooner than this are a row.
const ROW: Duration = Duration::from_millis(50);
/// How long nothing is prepared after that has failed.
const REST: Duration = Duration::from_secs(1);

/// All that a cell is made from but its name, its network and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// What its name says.
    pub(super) kind: String,
    pub(super) root: Arc<RootSpec>,
    pub(super) argv: Vec<String>,
    pub(super) fork_server: Option<Vec<String>>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: String,
    pub(super) limits: Limits,
    /// Whether its network leads nowhere.
    pub(super) is_closed: bool,
}

impl Shape {
    /// A cell of this shape that has no files yet.
    pub(super) fn cell(&self, name: String, network: CellNetwork) -> CellSpec {
        CellSpec {
            hostname: name.clone(),
            name,
            root: Arc::clone(&self.root),
            fork_server: self.fork_server.clone(),
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            limits: self.limits.clone(),
            network,
            files: Vec::new(),
        }
    }
}

/// A cell that waits, and its network.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) cell: PreparedCell,
    pub(super) lease: Option<Lease>,
}

/// What is kept, and what is known of starts.
#[derive(Debug)]
struct Stock<C> {
    /// Cells per shape.
    wanted: usize,
    /// Those asked for last come first.
    stalls: VecDeque<Stall<C>>,
    /// Starts that have not come to their end.
    under_way: usize,
    last_start: Instant,
    last_end: Option<Instant>,
    rest_until: Option<Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Stall<C> {
    shape: Arc<Shape>,
    cells: VecDeque<C>,
    asked: Instant,
    /// The last start is one of a row.
    in_a_row: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Next<C> {
    /// Make a cell of this shape.
    Make(Arc<Shape>),
    /// End what nobody asks for any more.
    End(VecDeque<C>),
    /// Wait for a start to come to its end, or for this long.
    Wait(Duration),
    Close,
}

impl<C> Stock<C> {
    fn new(wanted: usize, now: Instant) -> Self {
        Self {
            wanted,
            stalls: VecDeque::new(),
            under_way: 0,
            last_start: now,
            last_end: None,
            rest_until: None,
            closed: false,
        }
    }

    /// A start begins: gives the cells that are kept for its shape, for the caller to take one that lives.
    fn begin(&mut self, shape: &Shape, now: Instant) -> Option<&mut VecDeque<C>> {
        self.under_way += 1;
        self.last_start = now;
        if self.wanted == 0 || self.closed {
            return None;
        }
        let known = self.stalls.iter().position(|stall| *stall.shape == *shape);
        let mut stall = known.and_then(|place| self.stalls.remove(place)).unwrap_or_else(|| Stall {
            shape: Arc::new(shape.clone()),
            cells: VecDeque::new(),
            asked: now,
            in_a_row: false,
        });
        stall.in_a_row = known.is_some() && now.duration_since(stall.asked) < ROW;
        stall.asked = now;
        self.stalls.push_front(stall);
        self.stalls.front_mut().map(|stall| &mut stall.cells)
    }

    /// A start has come to its end.
    fn end(&mut self, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.last_end = Some(now);
    }

    /// Takes out what does not live any more.
    fn sort_out(&mut self, lives: impl Fn(&C) -> bool) -> Vec<C> {
        let mut dead = Vec::new();
        for stall in &mut self.stalls {
            let (living, others): (VecDeque<C>, VecDeque<C>) = stall.cells.drain(..).partition(&lives);
            stall.cells = living;
            dead.extend(others);
        }
        dead
    }

    fn next(&mut self, now: Instant) -> Next<C> {
        if self.closed {
            return Next::Close;
        }
        let forgotten = |stall: &Stall<C>| now.duration_since(stall.asked) >= KEPT;
        if (self.stalls.len() > MAX_SHAPES || self.stalls.back().is_some_and(forgotten))
            && let Some(stall) = self.stalls.pop_back()
        {
            return Next::End(stall.cells);
        }
        // The last of a row has taken the last cell: while its runtime comes up there is time for the next one's.
        let urgent = self.stalls.iter().find(|stall| stall.in_a_row && stall.cells.is_empty());
        let hold = match self.under_way {
            _ if urgent.is_some() => None,
            0 => self.last_end.map(|end| end + SETTLED),
            _ => Some(self.last_start + PATIENCE),
        };
        let until = hold.into_iter().chain(self.rest_until).max();
        if let Some(pause) = until.and_then(|until| until.checked_duration_since(now))
            && !pause.is_zero()
        {
            return Next::Wait(pause);
        }
        match urgent.or_else(|| self.stalls.iter().find(|stall| stall.cells.len() < self.wanted)) {
            Some(stall) => Next::Make(Arc::clone(&stall.shape)),
            None => Next::Wait(KEPT),
        }
    }

    /// Keeps a cell that was made; gives it back if it has become too many.
    fn put(&mut self, shape: &Shape, cell: C) -> Option<C> {
        let stall = self.stalls.iter_mut().find(|stall| *stall.shape == *shape);
        match stall.filter(|stall| stall.cells.len() < self.wanted && !self.closed) {
            Some(stall) => {
                stall.cells.push_back(cell);
                None
            }
            None => Some(cell),
        }
    }
}

/// The prepared cells of a node.
#[derive(Debug)]
pub(super) struct Nursery {
    stock: Mutex<Stock<Prepared>>,
    changed: Notify,
}

/// A start under way; it has come to its end when this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Nursery>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stock.lock().end(Instant::now());
        self.0.changed.notify_one();
    }
}

impl Nursery {
    /// One that keeps so many cells per shape; with none it does nothing.
    pub(super) fn new(wanted: usize) -> Arc<Self> {
        Arc::new(Self { stock: Mutex::new(Stock::new(wanted, Instant::now())), changed: Notify::new() })
    }

    /// Begins a start; with it comes a cell, if one of this shape is kept.
    pub(super) fn begin(self: &Arc<Self>, shape: &Shape) -> (UnderWay, Option<Prepared>) {
        let mut taken = None;
        // What has died meanwhile goes with this.
        let mut dead = Vec::new();
        if let Some(cells) = self.stock.lock().begin(shape, Instant::now()) {
            while let Some(prepared) = cells.pop_front() {
                if prepared.cell.is_waiting() {
                    taken = Some(prepared);
                    break;
                }
                dead.push(prepared);
            }
        }
        // What was taken is replaced, at the latest when patience ends.
        self.changed.notify_one();
        (UnderWay(Arc::clone(self)), taken)
    }

    /// Lets go of all cells and keeps none any more; the helper's end is theirs.
    pub(super) fn close(&self) {
        let stalls = {
            let mut stock = self.stock.lock();
            stock.closed = true;
            std::mem::take(&mut stock.stalls)
        };
        drop(stalls);
        self.changed.notify_one();
    }

    /// Makes and ends cells as is to be done, until [`Nursery::close`] or the end of `cells`.
    pub(super) async fn keep(self: Arc<Self>, cells: Weak<Cells>) {
        loop {
            let (dead, next) = {
                let mut stock = self.stock.lock();
                (stock.sort_out(|prepared| prepared.cell.is_waiting()), stock.next(Instant::now()))
            };
            drop(dead);
            match next {
                Next::Make(shape) => {
                    let Some(cells) = cells.upgrade() else { return };
                    self.prepare(&cells, &shape).await;
                }
                Next::End(ended) => {
                    for Prepared { cell, lease } in ended {
                        cell.end().await;
                        drop(lease);
                    }
                }
                Next::Wait(pause) => {
                    // Whichever comes first.
                    let _ = tokio::time::timeout(pause, self.changed.notified()).await;
                }
                Next::Close => return,
            }
        }
    }

    async fn prepare(&self, cells: &Cells, shape: &Shape) {
        let surplus = match make(cells, shape).await {
            Ok(prepared) => self.stock.lock().put(shape, prepared),
            Err(error) => {
                let mut stock = self.stock.lock();
                stock.rest_until = Some(Instant::now() + REST);
                if !stock.closed {
                    tracing::warn!(kind = shape.kind, %error, "no cell could be prepared");
                }
                None
            }
        };
        if let Some(Prepared { cell, lease }) = surplus {
            cell.end().await;
            drop(lease);
        }
    }
}

async fn make(cells: &Cells, shape: &Shape) -> Result<Prepared, CreateError> {
    let policy = if shape.is_closed { NetworkPolicy::None } else { NetworkPolicy::Internet };
    let lease = cells.lease(&policy).await?;
    let network = network_of(lease.as_ref()).map_err(failed)?;
    let cell = cells.prepare(shape.cell(cells.next_name(&shape.kind), network)).await?;
    Ok(Prepared { cell, lease })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: &str) -> Shape {
        Shape {
            kind: kind.to_owned(),
            root: Arc::new(RootSpec::host_system(&[])),
            argv: vec!["/bin/true".to_owned()],
            fork_server: None,
            env: Vec::new(),
            cwd: "/".to_owned(),
            limits: Limits::with_memory(1 << 20),
            is_closed: false,
        }
    }

    fn made(stock: &mut Stock<u32>, now: Instant) -> Arc<Shape> {
        match stock.next(now) {
            Next::Make(shape) => shape,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_is_prepared_before_the_first_start_or_where_none_is_wanted() {
        let now = Instant::now();
        assert_eq!(Stock::<u32>::new(2, now).next(now), Next::Wait(KEPT));
        let mut none = Stock::<u32>::new(0, now);
        assert!(none.begin(&shape("a"), now).is_none());
        none.end(now);
        assert_eq!(none.next(now + SETTLED), Next::Wait(KEPT));
    }

    #[test]
    fn in_a_row_of_starts_the_next_cell_is_made_while_a_runtime_comes_up() {
        let now = Instant::now();
        let mut stock = Stock::new(1, now);
        stock.begin(&shape("a"), now);
        assert_eq!(stock.next(now), Next::Wait(PATIENCE), "one start is no row");
        stock.end(now);
        assert_eq!(stock.next(now), Next::Wait(SETTLED), "another one may follow");
        stock.begin(&shape("a"), now + ROW / 2);
        assert_eq!(made(&mut stock, now + ROW / 2).kind, "a");
        assert_eq!(stock.put(&shape("a"), 1), None);
        assert_eq!(stock.next(now + ROW / 2), Next::Wait(PATIENCE), "there is one");
        stock.begin(&shape("a"), now + ROW * 2).unwrap().pop_front();
        assert_eq!(stock.next(now + ROW * 2), Next::Wait(PATIENCE), "the row has ended");
    }

    #[test]
    fn cells_are_made_behind_starts_up_to_what_is_wanted() {
        let now = Instant::now();
        let mut stock = Stock::new(2, now);
        assert!(stock.begin(&shape("a"), now).unwrap().is_empty());
        assert_eq!(stock.next(now), Next::Wait(PATIENCE));
        stock.end(now - SETTLED);
        for cell in [1, 2] {
            let shape = made(&mut stock, now);
            assert_eq!(stock.put(&shape, cell), None);
        }
        assert_eq!(stock.next(now), Next::Wait(KEPT));
        assert_eq!(stock.put(&shape("a"), 3), Some(3));
        assert_eq!(stock.begin(&shape("a"), now).unwrap().pop_front(), Some(1));
    }

    #[test]
    fn what_has_died_is_replaced() {
        let now = Instant::now();
        let mut stock = Stock::new(2, now);
        stock.begin(&shape("a"), now);
        stock.end(now - SETTLED);
        assert_eq!((stock.put(&shape("a"), 1), stock.put(&shape("a"), 2)), (None, None));
        assert_eq!(stock.sort_out(|cell| *cell != 1), [1]);
        assert_eq!(made(&mut stock, now).kind, "a");
    }

    #[test]
    fn a_start_that_lasts_does_not_hold_preparations_up_for_ever() {
        let now = Instant::now();
        let mut stock = Stock::<u32>::new(1, now);
        stock.begin(&shape("a"), now);
        assert_eq!(stock.next(now + PATIENCE / 2), Next::Wait(PATIENCE / 2));
        assert_eq!(made(&mut stock, now + PATIENCE).kind, "a");
    }

    #[test]
    fn a_cell_is_for_its_very_shape_only() {
        let now = Instant::now();
        let mut stock = Stock::new(1, now);
        stock.begin(&shape("a"), now);
        assert_eq!(stock.put(&shape("a"), 1), None);
        let more = Shape { limits: Limits::with_memory(2 << 20), ..shape("a") };
        assert!(stock.begin(&more, now).unwrap().is_empty());
        let closed = Shape { is_closed: true, ..shape("a") };
        assert!(stock.begin(&closed, now).unwrap().is_empty());
        let other = Shape { env: vec![("A".to_owned(), "b".to_owned())], ..shape("a") };
        assert!(stock.begin(&other, now).unwrap().is_empty());
        assert_eq!(stock.begin(&shape("a"), now).unwrap().len(), 1);
    }

    #[test]
    fn shapes_that_nobody_asks_for_are_forgotten_and_so_are_too_many() {
        let now = Instant::now();
        let mut stock = Stock::new(1, now);
        for number in 0..=MAX_SHAPES {
            stock.begin(&shape(&format!("k{number}")), now);
            stock.end(now - SETTLED);
            assert_eq!(stock.put(&shape(&format!("k{number}")), number), None);
        }
        assert_eq!(stock.next(now), Next::End(VecDeque::from([0])));
        assert_eq!(stock.next(now), Next::Wait(KEPT));
        stock.begin(&shape("k1"), now + KEPT / 2);
        stock.end(now - SETTLED);
        assert_eq!(stock.next(now + KEPT), Next::End(VecDeque::from([2])));
    }

    #[test]
    fn after_a_failure_there_is_rest_and_after_the_end_nothing() {
        let now = Instant::now();
        let mut stock = Stock::<u32>::new(1, now);
        stock.begin(&shape("a"), now);
        stock.end(now - SETTLED);
        stock.rest_until = Some(now + REST);
        assert_eq!(stock.next(now), Next::Wait(REST));
        assert_eq!(made(&mut stock, now + REST).kind, "a");
        stock.closed = true;
        assert_eq!(stock.next(now), Next::Close);
        assert_eq!(stock.put(&shape("a"), 1), Some(1));
        assert!(stock.begin(&shape("a"), now).is_none());
    }
}

//! The scheduler: from an accepted invocation to a slot of a container, and to the record of its end.
//!
//! Place in the corridor: called by whoever invokes (controller, recovery) through [`chasen_spi::Invoke`];
//! calls the execution domains through [`chasen_spi::Invoker`] and writes the event log. It never touches a
//! container's insides, a database or the network.
//!
//! Work that no container does, such as a sequence, is done by whoever opens it; the scheduler keeps its books, so that
//! it too ends in a record and is waited for by drains.
//!
//! What was accepted ends in a record in this life of the node or a later one: `recovery` takes up what was left, as `fate`
//! says; `due` what was put off; `start` sees to it that the disk knows of synced work before a runtime does; `cancel` ends
//! what somebody wants ended.
//!
//! Every action has a [`queue`], pure and under its own short lock. On the warm path an invocation takes a
//! free slot and runs in the task that awaits its ticket; nothing else is woken.

mod action_queue;
mod books;
mod cancel;
mod config;
mod due;
mod ends;
mod fate;
mod fleet;
mod gate;
mod invoke;
mod kind_router;
mod letter;
mod load;
mod null_domain;
mod pending;
pub mod placement;
mod places;
pub mod policy;
pub mod queue;
mod record;
mod recovery;
mod run;
mod runs;
pub mod scaling;
mod scheduler;
mod session;
mod start;

pub use config::{SchedulerConfig, WallClock};
pub use fleet::Fleet;
pub use kind_router::KindRouter;
pub use null_domain::NullDomain;
pub use policy::{Policies, Policy};
pub use scheduler::Scheduler;

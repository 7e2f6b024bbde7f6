//! The invoker: keeps containers on one node and gives schedulers ready ones.
//!
//! Place in the corridor: called by the scheduler through [`chasen_spi::Invoker`]; calls container factories
//! and, for code, the attachment store. [`pool`] decides about memory and [`container::state`] about the life
//! of each container, both pure; the rest does what they say. Activations never pass the pool: a call takes
//! the short lock of its own container, and nothing else.

mod config;
pub mod container;
mod estimate;
mod invoker;
mod making;
mod node;
pub mod pool;
mod pressure;

pub use config::InvokerConfig;
pub use estimate::smoothed;
pub use invoker::NodeInvoker;
pub use pressure::KernelPressure;

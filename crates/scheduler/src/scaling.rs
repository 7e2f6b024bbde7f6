//! The policies of scaling that the platform brings: pure arithmetic on a [`Load`](chasen_spi::Load).

mod event_driven;
mod sharding;

pub use event_driven::EventDriven;
pub use sharding::Sharding;

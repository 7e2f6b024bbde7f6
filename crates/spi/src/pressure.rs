//! Pressure on a node's processors, as somebody measures it.

use std::fmt::Debug;

/// Measures pressure on processors.
pub trait CpuPressure: Debug + Send + Sync {
    /// Share of the time since the last reading in which work waited for a processor, in percent; `None` where it
    /// cannot be measured. Read once a second by one reader.
    fn read(&self) -> Option<f64>;
}

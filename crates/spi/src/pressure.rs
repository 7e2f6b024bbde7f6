//! Pressure on a node's processors, as somebody measures it.

/// Measures pressure on processors.
pub trait CpuPressure: Send + Sync {
    /// Share of the time since the last reading in which work waited for a processor, in percent; `None` where it
    /// cannot be measured. Read once a second by one reader.
    fn read(&self) -> Option<f64>;
}

/// Measures none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPressure;

impl CpuPressure for NoPressure {
    fn read(&self) -> Option<f64> {
        None
    }
}

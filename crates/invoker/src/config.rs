//! Settings of the invoker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ByteSize, EntityName, PayloadLimits};
use chasen_spi::CpuPressure;

/// Settings of a [`crate::NodeInvoker`].
#[derive(Debug, Clone)]
pub struct InvokerConfig {
    /// The node's name among others. Default `invoker0`.
    pub id: String,
    /// What the node has that others have not; actions may ask for it. Default: nothing.
    pub labels: BTreeSet<String>,
    /// Namespaces that it works for. Default: none, which means for everybody.
    pub dedicated: BTreeSet<EntityName>,
    /// Containers beyond the first of their action that are started in a second, and at once; `None` for no bound.
    /// Default 50.
    pub burst: Option<u32>,
    /// What measures pressure on the processors. Default: nothing.
    pub pressure: Option<Arc<dyn CpuPressure>>,
    /// Pressure, in percent, from which on containers beyond the first of their action are held up. Default 80.
    pub most_pressure: f64,
    /// Memory for containers, stem cells included. Default 2 GB; a node should give what its machine has.
    pub memory: ByteSize,
    /// Part of the memory that only first containers of actions get. Default: a tenth of it, at least 256 MB,
    /// at most a quarter.
    pub reserve: Option<ByteSize>,
    /// How long a container is idle before it is frozen. Default 100 ms.
    pub pause_grace: Duration,
    /// How long a container is idle before it is stopped. Default 10 min.
    pub idle_container: Duration,
    /// Bounds of what functions answer; a namespace may lower them. Default 1 MB each.
    pub payload: PayloadLimits,
    /// Longest creation of a container, without its initialisation. Default 60 s.
    pub create_timeout: Duration,
    /// How long after its start the demand for reactive stem cells is looked at for the first time. Default 10 min.
    pub stem_check_delay: Duration,
    /// How often it is looked at from then on. Default 10 min.
    pub stem_check_interval: Duration,
    /// Stem cells are made while fewer containers than this are in the making. Default: half the processors.
    pub quiet_below: usize,
}

impl Default for InvokerConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            id: "invoker0".to_owned(),
            labels: BTreeSet::new(),
            dedicated: BTreeSet::new(),
            burst: Some(50),
            pressure: None,
            most_pressure: 80.0,
            memory: ByteSize::mb(2048),
            reserve: None,
            pause_grace: Duration::from_millis(100),
            idle_container: Duration::from_secs(10 * 60),
            payload: PayloadLimits::default(),
            create_timeout: Duration::from_secs(60),
            stem_check_delay: Duration::from_secs(10 * 60),
            stem_check_interval: Duration::from_secs(10 * 60),
            quiet_below: (processors / 2).max(1),
        }
    }
}

impl InvokerConfig {
    /// The reserve, by default or as set, never more than the memory.
    #[must_use]
    pub fn reserve(&self) -> ByteSize {
        let memory = self.memory.as_bytes();
        let default = (memory / 10).max(ByteSize::mb(256).as_bytes()).min(memory / 4);
        ByteSize::bytes(self.reserve.map_or(default, ByteSize::as_bytes).min(memory))
    }
}

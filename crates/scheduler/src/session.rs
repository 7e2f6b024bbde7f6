//! Work that its opener does itself: sequences, compositions, fires, and what ends before it reaches a container.
//! The scheduler keeps its books: it is inside until it has its record, and has one whatever becomes of its opener.

use std::sync::Arc;

use chasen_entity::{Activation, Invocation};
use chasen_spi::OpenSession;
use chasen_telemetry::clock;

use crate::gate::Inside;
use crate::load::Burden;
use crate::record::Ending;
use crate::scheduler::Shared;

/// See the module.
pub(crate) struct OpenWork {
    shared: Arc<Shared>,
    invocation: Arc<Invocation>,
    is_over: bool,
    _burden: Burden,
    // Last: whoever waits for it to leave finds its record.
    _inside: Inside,
}

impl OpenWork {
    pub(crate) fn new(shared: Arc<Shared>, invocation: Arc<Invocation>, inside: Inside) -> Self {
        let burden = shared.surroundings.load.add(&invocation);
        Self { shared, invocation, is_over: false, _burden: burden, _inside: inside }
    }
}

impl OpenSession for OpenWork {
    fn started(&self) {
        self.shared.started(&self.invocation);
    }

    fn finish(mut self: Box<Self>, record: Activation) -> Arc<Activation> {
        self.is_over = true;
        self.shared.keep(&self.invocation, record)
    }
}

impl Drop for OpenWork {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.record(&self.invocation, Ending::interrupted(clock::now()));
        }
    }
}

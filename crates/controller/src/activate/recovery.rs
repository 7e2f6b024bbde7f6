//! What becomes of work of the controller's own that an earlier life of the node accepted and did not finish.

use std::sync::Arc;

use chasen_spi::event_log::Unfinished;

use crate::controller::Controller;

impl Controller {
    /// Takes up unfinished work that is not an action's. What cannot go on ends as interrupted.
    pub fn recover(self: &Arc<Self>, unfinished: Vec<Unfinished>) {
        for work in unfinished {
            let activation = work.invocation.activation_id;
            match self.invoke.reopen(work.invocation) {
                // Nobody takes its next step: the dropped session records that.
                Ok(session) => drop(session),
                Err(rejection) => tracing::warn!(%activation, %rejection, "work stays unfinished"),
            }
        }
    }
}

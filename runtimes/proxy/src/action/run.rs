//! One run.

use std::sync::Arc;

use chasen_entity::error_text::runtime::{EXITED, NOT_DEFINED, UNREADABLE};
use chasen_runtime::connection::{Body, Reply};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{Action, error_of, time_left};
use crate::answer::{Answer, Outcome, Payload, Silence};
use crate::environment::json_error;
use crate::kind::Launcher;
use crate::manners::Manners;

/// What the proxy reads of a run's body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head {
    deadline: Value,
}

impl Action {
    /// `POST /run`.
    pub(crate) async fn run(self: &Arc<Self>, body: &[u8]) -> Outcome {
        if self.personality().is_action_loop() && !self.is_initialized() {
            return self.ended(500, Some(NOT_DEFINED));
        }
        let mut current = self.state.lock().instance.clone();
        if current.is_none() && !self.is_initialized() && self.settings.kind.launcher != Launcher::Action {
            // It may just be starting.
            let _turn = self.beginning.lock().await;
            current = self.launcher().await.ok().flatten();
        }
        let Some(instance) = current else {
            return self.ended(500, self.personality().is_action_loop().then_some(NOT_DEFINED));
        };
        let _turn = instance.turn().await;
        if instance.process.exit().is_some() {
            self.forget(&instance);
            return self.ended(500, self.personality().ended_in_run());
        }
        let head = match serde_json::from_slice::<Head>(body) {
            // What is no value, or several, would leave executables that read lines out of step.
            Err(error) if self.personality().is_action_loop() && !error.is_data() => {
                let text = format!("{UNREADABLE}{}", json_error(body, &error));
                return Ok(Answer::new(400, self.personality().error_body(&text).into()));
            }
            read => read.unwrap_or_default(),
        };
        let reply = timeout(time_left(Some(&head.deadline)), instance.run(body)).await;
        let (outcome, mark) = match reply {
            Ok(Ok(Reply::Result(body))) => (Ok(Answer::new(200, self.payload(body))), true),
            Ok(Ok(Reply::Initialized)) => (Err(Silence), true),
            Ok(Ok(Reply::DeveloperError(body))) => {
                let text = error_of(&body);
                if text == EXITED {
                    self.forget(&instance);
                }
                let status = self.personality().status(&text);
                let mark = self.personality().marks_refused_run(status, &text);
                (Ok(Answer::new(status, self.payload(body))), mark)
            }
            Ok(Err(broken)) => {
                self.after_break(&instance, &broken).await;
                (self.ended(400, self.personality().ended_in_run()), true)
            }
            Err(_) => {
                self.give_up(&instance);
                (Err(Silence), true)
            }
        };
        self.output.finish(mark).await;
        outcome
    }

    /// A launcher's words as the family writes them.
    fn payload(&self, body: Body) -> Payload {
        match body {
            Body::Whole(mut whole) => {
                self.personality().end_body(&mut whole);
                whole.into()
            }
            cut @ Body::Cut { .. } => cut.into(),
        }
    }

    /// What is answered where there is no runtime to answer: silence, unless the family has a word for it.
    fn ended(&self, status: u16, text: Option<&str>) -> Outcome {
        let text = text.ok_or(Silence)?;
        Ok(Answer::new(status, self.personality().error_body(text).into()))
    }
}

//! Records of activations, as far as callers look into them.

use chasen_entity::{Outcome, RawJson};
use serde::Deserialize;

use crate::Reply;

/// The record of an activation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its id.
    pub activation_id: String,
    /// How it ended.
    pub response: RecordResponse,
    /// Formatted log lines; empty in the answer of a blocking call.
    #[serde(default)]
    pub logs: Vec<String>,
}

/// How an activation ended.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordResponse {
    /// The text of an [`Outcome`].
    pub status: String,
    /// The result, untouched.
    #[serde(default = "RawJson::null")]
    pub result: RawJson,
}

impl RecordResponse {
    /// The outcome; one that this version does not know counts as the platform's failure.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        [Outcome::Success, Outcome::ApplicationError, Outcome::DeveloperError]
            .into_iter()
            .find(|outcome| outcome.as_str() == self.status)
            .unwrap_or(Outcome::WhiskError)
    }
}

impl Reply {
    /// The record in the body, if it is one.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The id of the activation that this reply is about, with or without its record.
    #[must_use]
    pub fn activation_id(&self) -> Option<String> {
        self.text_field("activationId")
    }

    /// What an error says; the whole body if it is not in the form of the API.
    #[must_use]
    pub fn error_text(&self) -> String {
        self.text_field("error").unwrap_or_else(|| self.text())
    }

    fn text_field(&self, name: &str) -> Option<String> {
        self.json().get(name)?.as_str().map(str::to_owned)
    }
}
